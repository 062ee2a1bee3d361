//! The Riemannian Hessian of [`FixedRankEmbedded`] (Vandereycken 2013, section 2.3, for any core `S`).
//!
//! With `X = U S V^T`, `Xi = U K V^T + Up V^T + U Vp^T`, `E = grad f(X)` and `D = D grad f(X)[Xi]`, in
//! CD-coordinates:
//!
//! ```text
//! C' = D V   + (I - U U^T) E Vp S^{-T}
//! D' = D^T U + (I - V V^T) E^T Up S^{-1}
//! ```
//!
//! The pulled-back derivatives come with the factors `(K~, W) = (C R_B^{-T}, Vp R_A^{-T})` of
//! [`TangentFactors`](crate::TangentFactors) and `S = R_A R_B^T`, so that
//! `E Vp S^{-T} = (E W) R_B^{-1}` and `E^T Up S^{-1} = (E^T K~ - E^T U K R_B^{-T}) R_A^{-1}`.

use crate::{
    Base, Derivatives, FactorsMut, FactorsRef, FixedRankEmbedded, SecondOrderManifold,
    tangent_factors::remove_span,
};
use lr_linalg::{
    Coef,
    Epilogue::{Overwrite, Scale},
    Linalg, Scope, Side, Triangle,
};

impl<B: Linalg> SecondOrderManifold<B> for FixedRankEmbedded {
    fn ehess_to_rhess(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        f: Derivatives<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (frame, bases) = (at.frame, at.frame.bases());
        let (ra, rb) = (frame.ra.as_ref(), frame.rb.as_ref());
        let FactorsMut { left: mut c, right: mut d } = out;
        b.copy(f.egrad_along.left.n(), c.as_mut());
        remove_span(b, bases.u, c.as_mut(), scope);
        b.axpby(Coef::Host(1.0), f.ehess.left, 1.0, c.as_mut());
        b.trsm(Side::Right, Triangle::Upper, rb.n(), c);

        b.copy(f.egrad_along.right.n(), d.as_mut());
        scope.nest(|scope| {
            // E^T U K R_B^{-T} = (E^T L) R_A^{-1} K R_B^{-T}, K = U^T C.
            let small = self.grid.small_dims(at.x.problems());
            let mut core = scope.take(small);
            b.gemm(1.0, bases.u.t(), v.left.n(), Overwrite, core.as_mut());
            b.trsm(Side::Left, Triangle::Upper, ra.n(), core.as_mut());
            b.trsm(Side::Right, Triangle::Upper, rb.t(), core.as_mut());
            b.gemm(-1.0, f.egrad.right.n(), core.as_ref().n(), Scale(1.0), d.as_mut());
        });
        remove_span(b, bases.v, d.as_mut(), scope);
        b.axpby(Coef::Host(1.0), f.ehess.right, 1.0, d.as_mut());
        b.trsm(Side::Right, Triangle::Upper, ra.n(), d);
    }
}
