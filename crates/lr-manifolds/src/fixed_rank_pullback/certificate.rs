//! How far a step may go without orthonormal bases.

use super::FixedRankPullback;
use crate::{Ray, xky::Reach};
use lr_linalg::{Coef, Linalg, MatsRef, Scope};

/// How the certificate lets a step go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// `T = S_A^{-1}`, which makes `S_A^{-1} A^T A' = I`.
    Coherent,
    /// With so many sweeps.
    Sweeps(usize),
}

/// How the step may go, if it may go this way: everything as `xky::graph` has it, with bounds in orthonormal bases
/// from `|S_A^{-1}|` and `|S_B^{-1}|`. Where `q = t |K| (|S_A^{-1}| |S_B^{-1}|)^{1/2} < 1`, `|P^{-1}|` is at most
/// `(|S_A^{-1}| |S_B^{-1}|)^{1/2} / (1 - q)`.
pub(super) fn plan<B: Linalg>(
    b: &B,
    ray: Ray<'_, B, FixedRankPullback>,
    t: Coef<'_, B>,
    floor: f64,
    scope: &Scope<'_, B>,
) -> Option<Plan> {
    scope.nest(|scope| {
        let weakness = ray.at.frame.sides.each_ref().map(|side| side.weakness.as_ref());
        let scalars = weakness[0].dims();
        let (mut value, mut once) = (scope.take(scalars), scope.take(scalars));
        // t times the root of the largest of the squares, relative to the least singular value of W.
        let mut relative = |squares: &[MatsRef<'_, B>]| {
            b.fill(0.0, value.as_mut());
            squares.iter().for_each(|square| b.max_abs(*square, value.as_mut()));
            weakness.iter().for_each(|w| b.multiply(*w, value.as_mut()));
            b.axpby(t, value.as_ref(), 0.0, once.as_mut());
            b.axpby(t, once.as_ref(), 0.0, value.as_mut());
            b.glance(value.as_ref()).map(f64::sqrt)
        };
        let [k, x, y] = ray.direction.squares();
        let middle = relative(&[k])?;
        let reach = relative(&[x, y])? / (1.0 - middle);
        let apart = relative(&[ray.direction.disagreement()])?;
        b.copy(weakness[0].n(), value.as_mut());
        b.multiply(weakness[1], value.as_mut());
        let least = (1.0 - middle) / b.glance(value.as_ref())?.sqrt();
        // The new point's least singular value is at least a quarter of that of P.
        let short = middle <= Reach::LONGEST && least >= 4.0 * floor;
        let sweeps = Reach(reach).sweeps::<B::Elem>().filter(|_| short)?;
        let coherent = sweeps == 0 && Reach(reach).forgives::<B::Elem>(2.0 * apart);
        Some(if coherent { Plan::Coherent } else { Plan::Sweeps(sweeps) })
    })
}
