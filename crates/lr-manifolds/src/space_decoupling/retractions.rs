//! Retractions and transport of [`SpaceDecoupling`].
//!
//! | order | equation |
//! |---|---|
//! | first | `V' = polar(V + t Vp)`, `H' = P_H(H + t K)` |
//! | second | `C = I - t K^T H M^{-1}`, `W = polar(V + t Vp C)`, `V' = W`, `H' = P_H((X + t eta) W)` |
//!
//! The second in `r x r` terms: `S = V^T W`, `(X + t eta) W = (H + t K + t^2 H Vp^T Vp C) S`. `S` is positive
//! definite, so that old and new gauges are aligned.
//!
//! Transport, the projection of the ambient pair, whatever the gauges: `c = V^T V'`, `d = Vp^T V'`,
//! `K' = P_T'(K c + H d)`, `Vp' = G' (V K^T H' + Vp H^T H' + 2 omega (Vp c + V d)) M'^{-1}`.

use super::{DecouplingFrame, SpaceDecoupling, solve_right};
use crate::{
    Base, FactorsMut, HealthMut, LevelSet, Manifold, Order, Ray, Retraction, Transport, manifold::take_pair,
    tangent_factors::remove_span,
};
use lr_linalg::{
    Coef,
    Epilogue::{Overwrite, Scale},
    Linalg, PolarMethod, Scope,
};

/// Retractions of the space-decoupling manifold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DecouplingRetraction {
    /// Both factors on their own; cheapest.
    First,
    /// Follows geodesics to second order, for a few `r x r` products more.
    #[default]
    Second,
}

impl<B: Linalg, S: LevelSet<B>> Retraction<B, SpaceDecoupling<S>> for DecouplingRetraction {
    fn name(&self) -> &'static str {
        match self {
            Self::First => "first-order",
            Self::Second => "second-order",
        }
    }

    fn order(&self, _: &SpaceDecoupling<S>) -> Order {
        match self {
            Self::First => Order::First,
            Self::Second => Order::Second,
        }
    }

    fn retract(
        &self,
        b: &B,
        manifold: &SpaceDecoupling<S>,
        ray: Ray<'_, B, SpaceDecoupling<S>>,
        t: Coef<'_, B>,
        mut to: FactorsMut<'_, B>,
        frame: &mut DecouplingFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (x, v) = (ray.at.x, ray.tangent);
        to.copy_from(b, x);
        b.axpby(t, v.left, 1.0, to.left.as_mut());
        match self {
            Self::First => {
                b.axpby(t, v.right, 1.0, to.right.as_mut());
                b.polar(PolarMethod::default(), to.right.as_mut(), health.breakdown.as_mut(), scope);
            }
            Self::Second => scope.nest(|scope| {
                let small = manifold.grid.small_dims(x.problems());
                let (mut c, mut product) = (scope.take(small), scope.take(small));
                b.gemm(-1.0, v.left.t(), x.left.n(), Overwrite, product.as_mut());
                solve_right(b, ray.at.frame, product.as_mut());
                b.fill(0.0, c.as_mut());
                b.add_diagonal(1.0, c.as_mut());
                b.axpby(t, product.as_ref(), 1.0, c.as_mut());

                let (mut tv, mut tvc) = (scope.take(v.right.dims()), scope.take(v.right.dims()));
                b.axpby(t, v.right, 0.0, tv.as_mut());
                b.gemm(1.0, tv.as_ref().n(), c.as_ref().n(), Overwrite, tvc.as_mut());
                b.axpby(Coef::Host(1.0), tvc.as_ref(), 1.0, to.right.as_mut());
                b.polar(PolarMethod::default(), to.right.as_mut(), health.breakdown.as_mut(), scope);

                // (H + t K + H (t Vp)^T (t Vp C)) S.
                let mut moved = scope.take(x.left.dims());
                b.gemm(1.0, tv.as_ref().t(), tvc.as_ref().n(), Overwrite, product.as_mut());
                b.copy(to.left.as_ref().n(), moved.as_mut());
                b.gemm(1.0, x.left.n(), product.as_ref().n(), Scale(1.0), moved.as_mut());
                b.gemm(1.0, x.right.t(), to.right.as_ref().n(), Overwrite, c.as_mut());
                b.gemm(1.0, moved.as_ref().n(), c.as_ref().n(), Overwrite, to.left.as_mut());
            }),
        }
        manifold.set.project_point(b, to.left.as_mut(), health.as_mut(), scope);
        manifold.factor(b, to.as_ref(), frame, health, scope);
    }
}

/// Projection of the ambient pair onto the new tangent space.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecouplingProjection;

impl<B: Linalg, S: LevelSet<B>> Transport<B, SpaceDecoupling<S>> for DecouplingProjection {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn transport(
        &self,
        b: &B,
        manifold: &SpaceDecoupling<S>,
        from: Base<'_, B, SpaceDecoupling<S>>,
        to: Base<'_, B, SpaceDecoupling<S>>,
        mut v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (x, y, omega) = (from.x, to.x, manifold.omega);
        scope.nest(|scope| {
            let small = manifold.grid.small_dims(x.problems());
            let product = |a: lr_linalg::Operand<'_, B>, c: lr_linalg::Operand<'_, B>| {
                let mut out = scope.take(small);
                b.gemm(1.0, a, c, Overwrite, out.as_mut());
                out
            };
            let c = product(x.right.t(), y.right.n());
            let d = product(v.right.as_ref().t(), y.right.n());
            // Coefficients of V and Vp in Vp': K^T H' + 2 omega d and H^T H' + 2 omega c.
            let mut of_v = product(v.left.as_ref().t(), y.left.n());
            let mut of_vp = product(x.left.t(), y.left.n());
            b.axpby(Coef::Host(2.0 * omega), d.as_ref(), 1.0, of_v.as_mut());
            b.axpby(Coef::Host(2.0 * omega), c.as_ref(), 1.0, of_vp.as_mut());

            let mut moved = take_pair(scope, v.as_ref());
            b.gemm(1.0, v.left.as_ref().n(), c.as_ref().n(), Overwrite, moved.left.as_mut());
            b.gemm(1.0, x.left.n(), d.as_ref().n(), Scale(1.0), moved.left.as_mut());
            b.gemm(1.0, x.right.n(), of_v.as_ref().n(), Overwrite, moved.right.as_mut());
            b.gemm(1.0, v.right.as_ref().n(), of_vp.as_ref().n(), Scale(1.0), moved.right.as_mut());
            v.copy_from(b, moved.as_ref());
        });
        manifold.set.project_tangent(b, y.left, v.left.as_mut(), scope);
        solve_right(b, to.frame, v.right.as_mut());
        remove_span(b, y.right, v.right, scope);
    }
}
