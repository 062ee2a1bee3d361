//! [`TangentFactors`]: tangent vectors as factors of the ambient space, so that a problem need not know
//! coordinates.
//!
//! At `X = L R^T` every tangent matrix is `K R^T + L W^T`. Geometries that work on lifts have the pair `(K,
//! W)` for
//! coordinates; those in CD-coordinates `(C, D)`, with `C = Xi V`, `Y = (I - V V^T) D` and `Xi = C V^T + U
//! Y^T`, convert:
//!
//! | geometry | `K` | `W` |
//! |---|---|---|
//! | lifts: quotient, lifted partial isometries, `M_h`, factor space | `K` | `W` |
//! | embedded fixed rank, `L = U R_A`, `R = V R_B` | `C R_B^{-T}` | `Y R_A^{-T}` |
//! | embedded partial isometries, `L = U`, `R = V` | `C` | `Y` |

use crate::{
    Base, FactorsMut, FactorsRef, FixedRankEmbedded, FixedRankQuotient, LevelSet, Manifold,
    PartialIsometryEmbedded, PartialIsometryLifted, SpaceDecoupling,
};
use lr_linalg::{
    Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, MatsMut, MatsRef, Scope, Side, Triangle,
};

/// A geometry whose tangent vectors can be had as factors `(K, W)` of the ambient `K R^T + L W^T`.
pub trait TangentFactors<B: Linalg>: Manifold<B> {
    /// Writes the factors of the tangent vector `v`. By default the coordinates are the factors.
    fn tangent_factors(
        &self,
        b: &B,
        _at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        _scope: &Scope<'_, B>,
    ) {
        out.copy_from(b, v);
    }
}

impl<B: Linalg> TangentFactors<B> for FixedRankQuotient {}
impl<B: Linalg> TangentFactors<B> for PartialIsometryLifted {}
impl<B: Linalg, S: LevelSet<B>> TangentFactors<B> for SpaceDecoupling<S> {}

/// `y <- (I - q q^T) y` for orthonormal `q`.
pub(crate) fn remove_span<B: Linalg>(b: &B, q: MatsRef<'_, B>, y: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    scope.nest(|scope| {
        let mut overlap = scope.take(Dims::new(q.dims().batch, q.dims().cols, y.dims().cols));
        b.gemm(1.0, q.t(), y.as_ref().n(), Overwrite, overlap.as_mut());
        b.gemm(-1.0, q.n(), overlap.as_ref().n(), Scale(1.0), y);
    });
}

impl<B: Linalg> TangentFactors<B> for FixedRankEmbedded {
    fn tangent_factors(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let frame = at.frame;
        out.copy_from(b, v);
        remove_span(b, frame.bases().v, out.right.as_mut(), scope);
        b.trsm(Side::Right, Triangle::Upper, frame.rb.as_ref().t(), out.left);
        b.trsm(Side::Right, Triangle::Upper, frame.ra.as_ref().t(), out.right);
    }
}

impl<B: Linalg> TangentFactors<B> for PartialIsometryEmbedded {
    fn tangent_factors(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        out.copy_from(b, v);
        remove_span(b, at.x.right, out.right, scope);
    }
}
