//! The Riemannian Hessian of [`SpaceDecoupling`].
//!
//! With `E = grad f(X)`, `eta = K V^T + H Vp^T`, `D = D grad f(X)[eta]` and the normal part `N = E V - P_T(E V)`:
//!
//! ```text
//! K'  = P_T(D V) + W_H(K, E V) + P_T((I - H M^{-1} H^T) E Vp)
//! Vp' = [ G (D^T H + E^T (I - H M^{-1} H^T) K) - Vp N^T H ] M^{-1}
//! ```
//!
//! The published slides leave out the last `P_T` and the term `-Vp N^T H`.

use super::{SpaceDecoupling, solve_left, solve_right};
use crate::{
    Base, Derivatives, FactorsMut, FactorsRef, LevelSet, SecondOrderManifold, tangent_factors::remove_span,
};
use lr_linalg::{
    Coef,
    Epilogue::{Overwrite, Scale},
    Linalg, Scope,
};

impl<B: Linalg, S: LevelSet<B>> SecondOrderManifold<B> for SpaceDecoupling<S> {
    fn ehess_to_rhess(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        f: Derivatives<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (h, frame) = (at.x.left, at.frame);
        let FactorsMut { left: mut k_out, right: mut vp_out } = out;
        scope.nest(|scope| {
            let small = self.grid.small_dims(at.x.problems());
            let mut coefficient = scope.take(small);

            // K' = P_T(D V + E Vp - H M^{-1} (E^T H)^T Vp) + W_H(K, E V).
            b.copy(f.ehess.left.n(), k_out.as_mut());
            b.axpby(Coef::Host(1.0), f.egrad_along.left, 1.0, k_out.as_mut());
            b.gemm(1.0, f.egrad.right.t(), v.right.n(), Overwrite, coefficient.as_mut());
            solve_left(b, frame, coefficient.as_mut());
            b.gemm(-1.0, h.n(), coefficient.as_ref().n(), Scale(1.0), k_out.as_mut());
            self.set.project_tangent(b, h, k_out.as_mut(), scope);
            self.set.add_curvature(b, h, v.left, f.egrad.left, k_out, scope);

            // G (D^T H + E^T K - (E^T H) M^{-1} H^T K).
            b.copy(f.ehess.right.n(), vp_out.as_mut());
            b.axpby(Coef::Host(1.0), f.egrad_along.right, 1.0, vp_out.as_mut());
            b.gemm(1.0, h.t(), v.left.n(), Overwrite, coefficient.as_mut());
            solve_left(b, frame, coefficient.as_mut());
            b.gemm(-1.0, f.egrad.right.n(), coefficient.as_ref().n(), Scale(1.0), vp_out.as_mut());
            remove_span(b, at.x.right, vp_out.as_mut(), scope);

            // - Vp N^T H.
            let (mut tangential, mut normal) = (scope.take(h.dims()), scope.take(h.dims()));
            b.copy(f.egrad.left.n(), tangential.as_mut());
            self.set.project_tangent(b, h, tangential.as_mut(), scope);
            b.copy(f.egrad.left.n(), normal.as_mut());
            b.axpby(Coef::Host(-1.0), tangential.as_ref(), 1.0, normal.as_mut());
            b.gemm(1.0, normal.as_ref().t(), h.n(), Overwrite, coefficient.as_mut());
            b.gemm(-1.0, v.right.n(), coefficient.as_ref().n(), Scale(1.0), vp_out.as_mut());
            solve_right(b, frame, vp_out);
        });
    }
}
