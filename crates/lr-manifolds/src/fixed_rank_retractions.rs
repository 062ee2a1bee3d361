//! Retractions of the embedded fixed-rank geometry: the truncated SVD (paper section 3.3) and the
//! orthographic retraction (Absil and Malick 2012).
//!
//! With `Xi = U K V^T + X V^T + U Y^T`, `X = Q_X R_X`, `Y = Q_Y R_Y`, and `S = R_A R_B^T`, `P = S + t K`:
//!
//! | retraction | the new point |
//! |---|---|
//! | SVD | best rank-r approximation of `W + t Xi = [U Q_X] [[P, t R_Y^T], [t R_X, 0]] [V Q_Y]^T` |
//! | orthographic | `(U P + t X) P^{-1} (P V^T + t Y^T)`: `W + t Xi` plus a normal vector |
//!
//! Both are of second order. The orthographic one needs no SVD of the 2r x 2r core; it is defined while `P`
//! is invertible, which small steps guarantee and large ones do not.

use crate::{FactorsMut, FixedRankEmbedded, HealthMut, Manifold, Order, QrFrame, Ray, Retraction};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, MatsMut, MatsRef, Scope, Side, Triangle,
};

/// Truncated SVD of `W + t Xi` through its 2r x 2r core (paper section 3.3), singular values no smaller
/// than a floor, factors balanced: `A = U^ S^{1/2}`, `B = V^ S^{1/2}`.
#[derive(Clone, Copy, Debug)]
pub struct SvdRetraction {
    /// Least singular value of the new point, absolute.
    pub floor: f64,
}

impl Default for SvdRetraction {
    /// Floor 2^-23.
    fn default() -> Self {
        Self { floor: f64::from(f32::EPSILON) }
    }
}

impl SvdRetraction {
    /// `A = U S^{1/2}`, `B = V S^{1/2}` with the bases of `frame`, and `R_A = R_B = S^{1/2}`.
    fn balance<B: Linalg>(
        &self,
        b: &B,
        mut s: MatsMut<'_, B>,
        frame: &mut QrFrame<B>,
        to: FactorsMut<'_, B>,
    ) {
        b.map(Map::Floor(self.floor), s.as_mut());
        b.map(Map::Sqrt, s.as_mut());
        for (basis, r, mut x) in
            [(&frame.bases.left, &mut frame.ra, to.left), (&frame.bases.right, &mut frame.rb, to.right)]
        {
            b.fill(0.0, r.as_mut());
            b.add_diagonal(1.0, r.as_mut());
            b.scale_columns(s.as_ref(), r.as_mut());
            b.copy(basis.as_ref().n(), x.as_mut());
            b.scale_columns(s.as_ref(), x);
        }
    }
}

impl<B: Linalg> Retraction<B, FixedRankEmbedded> for SvdRetraction {
    fn name(&self) -> &'static str {
        "svd"
    }

    fn order(&self, _: &FixedRankEmbedded) -> Order {
        Order::Second
    }

    fn retract(
        &self,
        b: &B,
        manifold: &FixedRankEmbedded,
        ray: Ray<'_, B, FixedRankEmbedded>,
        t: Coef<'_, B>,
        to: FactorsMut<'_, B>,
        frame: &mut QrFrame<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let from = ray.at.frame;
        let problems = ray.tangent.problems();
        scope.nest(|scope| {
            let mut s = scope.take(manifold.grid.small_dims(problems));
            b.gemm(1.0, from.ra.as_ref().n(), from.rb.as_ref().t(), Overwrite, s.as_mut());
            let mut values = scope.take(Dims::new(problems, 1, manifold.grid.rank));
            let bases = frame.bases.as_mut();
            let (u, v) = (bases.left, bases.right);
            ray.direction.follow(b, from.bases(), t, s.as_ref(), u, values.as_mut(), v, health, scope);
            self.balance(b, values, frame, to);
        });
    }
}

/// The point above `W + t Xi` in the normal space at `W` (Absil and Malick 2012), factors balanced and
/// singular values floored as [`SvdRetraction`] does.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrthographicRetraction {
    /// Least singular value of the new point.
    pub balancing: SvdRetraction,
}

impl<B: Linalg> Retraction<B, FixedRankEmbedded> for OrthographicRetraction {
    fn name(&self) -> &'static str {
        "orthographic"
    }

    fn order(&self, _: &FixedRankEmbedded) -> Order {
        Order::Second
    }

    fn retract(
        &self,
        b: &B,
        manifold: &FixedRankEmbedded,
        ray: Ray<'_, B, FixedRankEmbedded>,
        t: Coef<'_, B>,
        mut to: FactorsMut<'_, B>,
        frame: &mut QrFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (from, problems) = (ray.at.frame, ray.tangent.problems());
        let [k, rx, ry] = ray.direction.middle_blocks();
        let (bases, rest) = (from.bases(), ray.direction.complements());
        scope.nest(|scope| {
            let small = manifold.grid.small_dims(problems);
            let (mut p, mut q, mut r) = (scope.take(small), scope.take(small), scope.take(small));
            b.gemm(1.0, from.ra.as_ref().n(), from.rb.as_ref().t(), Overwrite, p.as_mut());
            b.axpby(t, k, 1.0, p.as_mut());
            b.copy(p.as_ref().n(), q.as_mut());
            b.qr(q.as_mut(), r.as_mut(), health.breakdown.as_mut());

            // A = U P + t X.
            let mut part = scope.take(small);
            scaled(b, t, rx, part.as_mut());
            b.gemm(1.0, bases.u.n(), p.as_ref().n(), Overwrite, to.left.as_mut());
            b.gemm(1.0, rest.u.n(), part.as_ref().n(), Scale(1.0), to.left.as_mut());

            // B = V + t Y P^{-T}: with P = Q R, Z P^T = R_Y is Z R^T = R_Y Q.
            let mut z = scope.take(small);
            b.gemm(1.0, ry.n(), q.as_ref().n(), Overwrite, z.as_mut());
            b.trsm(Side::Right, Triangle::Upper, r.as_ref().t(), z.as_mut());
            scaled(b, t, z.as_ref(), part.as_mut());
            b.copy(bases.v.n(), to.right.as_mut());
            b.gemm(1.0, rest.v.n(), part.as_ref().n(), Scale(1.0), to.right.as_mut());

            // Bases of the two, rotated so that the core becomes diagonal.
            manifold.factor(b, to.as_ref(), frame, health.as_mut(), scope);
            let (mut u, mut v) = (scope.take(small), scope.take(small));
            let mut s = scope.take(Dims::new(problems, 1, manifold.grid.rank));
            b.gemm(1.0, frame.ra.as_ref().n(), frame.rb.as_ref().t(), Overwrite, u.as_mut());
            b.svd(u.as_mut(), s.as_mut(), v.as_mut(), health.breakdown.as_mut());
            for (basis, rotation, mut room) in
                [(&mut frame.bases.left, u, to.left.as_mut()), (&mut frame.bases.right, v, to.right.as_mut())]
            {
                b.gemm(1.0, basis.as_ref().n(), rotation.as_ref().n(), Overwrite, room.as_mut());
                b.copy(room.as_ref().n(), basis.as_mut());
            }
            self.balancing.balance(b, s, frame, to);
        });
    }
}

/// `out = t x`.
fn scaled<B: Linalg>(b: &B, t: Coef<'_, B>, x: MatsRef<'_, B>, out: MatsMut<'_, B>) {
    b.axpby(t, x, 0.0, out);
}
