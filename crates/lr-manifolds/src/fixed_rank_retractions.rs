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

use crate::{
    FactorsMut, FixedRankEmbedded, HealthMut, Manifold, Order, QrFrame, Ray, Retraction,
    xky::{self, Core, Ends, Factored, Measured, Step},
};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, Map, MatsMut, MatsRef, Scalar, Scope, Side, Triangle,
};

/// Truncated SVD of `W + t Xi` (paper section 3.3), singular values no smaller than a floor.
///
/// Short steps find the dominant subspaces by the graph iteration (`xky::graph`) and continue the factors from
/// step to step, `A^T A` and `B^T B` equal up to a quarter. Long steps, points with singular values near the
/// floor and factors out of balance take the paper's way through the SVD of the 2r x 2r core, after which
/// `A = U^ S^{1/2}`, `B = V^ S^{1/2}`. The new `A B^T` is the same to rounding.
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

/// Relative imbalance `|R_A^T R_A - R_B^T R_B|_F / |R_A^T R_A|_F` at which a step takes the exact path, which
/// balances the factors perfectly.
const MOST_IMBALANCE: f64 = 0.25;

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
        let bases = [&frame.bases.left, &frame.bases.right];
        for ((basis, r), mut x) in
            bases.into_iter().zip([&mut frame.ra, &mut frame.rb]).zip([to.left, to.right])
        {
            diagonal(b, s.as_ref(), r.as_mut());
            b.copy(basis.as_ref().n(), x.as_mut());
            b.scale_columns(s.as_ref(), x);
        }
        b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE }, s.as_mut());
        for inverse in &mut frame.inverses {
            diagonal(b, s.as_ref(), inverse.as_mut());
        }
    }

    /// `A = U R_A`, `B = V R_B` with the bases of `frame` and `R_A R_B^T = core`, continuing the factors of
    /// `from`: `R_A = (R_A' + core R_B'^{-T})/2`, half of the way that the core has gone. `false` when the
    /// balance between the factors is lost.
    fn share<B: Linalg>(
        &self,
        b: &B,
        core: MatsRef<'_, B>,
        from: &QrFrame<B>,
        frame: &mut QrFrame<B>,
        to: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) -> bool {
        let QrFrame { bases, ra, rb, inverses: [ia, ib], .. } = frame;
        let [_, old_ib] = &from.inverses;
        scope.nest(|scope| {
            let mut broken = scope.status(core.dims().batch);
            b.gemm(0.5, core.n(), old_ib.as_ref().t(), Add(0.5, from.ra.as_ref()), ra.as_mut());
            b.copy(ra.as_ref().n(), ia.as_mut());
            b.invert(ia.as_mut(), broken.as_mut());
            b.gemm(1.0, core.t(), ia.as_ref().t(), Overwrite, rb.as_mut());
            b.copy(rb.as_ref().n(), ib.as_mut());
            b.invert(ib.as_mut(), broken.as_mut());
            for (basis, r, x) in [(&bases.left, ra.as_ref(), to.left), (&bases.right, rb.as_ref(), to.right)]
            {
                b.gemm(1.0, basis.as_ref().n(), r.n(), Overwrite, x);
            }
            let (mut left, mut right) = (scope.take(core.dims()), scope.take(core.dims()));
            b.gemm(1.0, ra.as_ref().t(), ra.as_ref().n(), Overwrite, left.as_mut());
            b.gemm(1.0, rb.as_ref().t(), rb.as_ref().n(), Overwrite, right.as_mut());
            flag_imbalance(b, [left.as_ref(), right.as_ref()], broken.as_mut(), scope);
            b.glance(broken.as_ref()) == Some(0.0)
        })
    }
}

/// `out = diag(s)`.
fn diagonal<B: Linalg>(b: &B, s: MatsRef<'_, B>, mut out: MatsMut<'_, B>) {
    b.fill(0.0, out.as_mut());
    b.add_diagonal(1.0, out.as_mut());
    b.scale_columns(s, out);
}

/// Marks the problems whose factors, of which these are the Gram matrices, are further from balance than
/// [`MOST_IMBALANCE`].
pub(crate) fn flag_imbalance<B: Linalg>(
    b: &B,
    [left, right]: [MatsRef<'_, B>; 2],
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let (mut difference, mut excess) = (scope.take(left.dims()), scope.status(left.dims().batch));
        b.add_scaled(left, Coef::Host(-1.0), right, difference.as_mut());
        b.dot(1.0, difference.as_ref(), difference.as_ref(), 0.0, excess.as_mut());
        b.dot(-MOST_IMBALANCE.powi(2), left, left, 1.0, excess.as_mut());
        b.map(Map::Floor(0.0), excess.as_mut());
        b.flag_above(0.0, excess.as_ref(), status);
    });
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
        mut to: FactorsMut<'_, B>,
        frame: &mut QrFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (from, direction, v) = (ray.at.frame, ray.direction, ray.tangent);
        scope.nest(|scope| {
            let small = manifold.grid.small_dims(v.problems());
            let (mut s, mut inverse, mut core) = (scope.take(small), scope.take(small), scope.take(small));
            let [ia, ib] = &from.inverses;
            b.gemm(1.0, from.ra.as_ref().n(), from.rb.as_ref().t(), Overwrite, s.as_mut());
            b.gemm(1.0, ib.as_ref().t(), ia.as_ref().n(), Overwrite, inverse.as_mut());
            let (at, s) = (from.bases(), s.as_ref());
            let given = Core::Given { s, inverse: inverse.as_ref() };
            let (floor, measured) = (self.floor, Measured::Factors);
            let step = Step { at, core: given, v, direction, t, floor, measured };
            let ends = Ends::Core(core.as_mut());
            if xky::follow(b, &step, ends, frame.bases.as_mut(), &mut frame.link, scope)
                && self.share(b, core.as_ref(), from, frame, to.as_mut(), scope)
            {
                return;
            }
            frame.link.forget();
            health.count_exact_step(b, scope);
            let breakdown = &mut health.breakdown;
            let mut values = scope.take(Dims::new(v.problems(), 1, manifold.grid.rank));
            let tangent = Factored::of(b, at, direction.middles(), v, breakdown.as_mut(), scope);
            let bases = frame.bases.as_mut();
            let (bases, breakdown) = ([bases.left, bases.right], breakdown.as_mut());
            tangent.follow(b, at, t, s, bases, values.as_mut(), breakdown, scope);
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
        let bases = from.bases();
        scope.nest(|scope| {
            let breakdown = health.breakdown.as_mut();
            let tangent = Factored::of(b, bases, ray.direction.middles(), ray.tangent, breakdown, scope);
            let ([k, rx, ry], rest) = (tangent.middle_blocks(), tangent.complements());
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
