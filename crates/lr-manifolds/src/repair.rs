//! Consistency and coherence: what goes wrong with gradients and momenta in factored form, how far, and
//! what mends it (paper B.3 and B.4).
//!
//! Pulled-back gradients `(G_A, G_B) = (G_W B, G_W^T A)` of a function of `W = A B^T` are *consistent*:
//! `A^T G_A = G_B^T B` (for partial isometries only the skew parts matter). A loss that looks at the factors
//! in another way, as attention with rotary positions does, yields pairs that are gradients of nothing. A
//! momentum is *coherent* while it is a tangent vector. Both defects are reported relative to what is
//! measured: 0 is none, 1 is nothing but defect.

use crate::{FactorsRef, manifold::take_pair, xky::Middle};
use lr_linalg::{Coef, Dims, Epilogue::Overwrite, Linalg, Map, MatsMut, MatsRef, Part, Scalar, Scope};

/// How a Riemannian gradient is made from inconsistent pulled-back gradients (paper B.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientRepair {
    /// The projection that costs least: in the embedded geometries the average of the two middles that the
    /// sides claim, in the others the horizontal projection of the provisional gradient.
    Projection,
    /// The gradient whose pulled-back pair is nearest to the given one: by a Sylvester equation for fixed
    /// rank, in closed form for partial isometries, both with the embedded metric. The geometries in factor
    /// space have no other repair than [`GradientRepair::Projection`] and use it.
    LeastSquares,
}

/// How a momentum that has left the tangent space is mended (paper B.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentumRepair {
    /// Replaced by the nearest tangent vector. In CD-coordinates the least-squares repair is the average of
    /// the two middles, so that the paper's two repairs are this one.
    Projection,
    /// Forgotten: the next step starts from the gradient alone.
    Reset,
}

/// `num / max(den, smallest)` of non-negative device scalars, in place of `num`.
fn divide<B: Linalg>(b: &B, num: MatsMut<'_, B>, mut den: MatsMut<'_, B>) {
    b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE }, den.as_mut());
    b.multiply(den.as_ref(), num);
}

/// `sqrt(|x|^2 + |y|^2)` a problem.
fn norm_of_pair<B: Linalg>(b: &B, x: MatsRef<'_, B>, y: MatsRef<'_, B>, mut out: MatsMut<'_, B>) {
    b.dot(1.0, x, x, 0.0, out.as_mut());
    b.dot(1.0, y, y, 1.0, out.as_mut());
    b.map(Map::Sqrt, out);
}

/// `|A^T G_A - G_B^T B| / sqrt(|A^T G_A|^2 + |G_B^T B|^2)`; of the difference only the skew part where the
/// middles of the geometry are skew. `out` is `[problems, 1, 1]`.
pub(crate) fn consistency_defect<B: Linalg>(
    b: &B,
    middle: Middle,
    x: FactorsRef<'_, B>,
    egrad: FactorsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let Dims { batch, cols: r, .. } = x.left.dims();
        let (mut left, mut right) = (scope.take(Dims::square(batch, r)), scope.take(Dims::square(batch, r)));
        let mut scale = scope.take(Dims::scalars(batch));
        b.gemm(1.0, x.left.t(), egrad.left.n(), Overwrite, left.as_mut());
        b.gemm(1.0, egrad.right.t(), x.right.n(), Overwrite, right.as_mut());
        norm_of_pair(b, left.as_ref(), right.as_ref(), scale.as_mut());
        b.axpby(Coef::Host(-1.0), right.as_ref(), 1.0, left.as_mut());
        if middle == Middle::Skew {
            b.take_part(Part::Skew, left.as_mut());
        }
        b.dot(1.0, left.as_ref(), left.as_ref(), 0.0, out.as_mut());
        b.map(Map::Sqrt, out.as_mut());
        divide(b, out, scale);
    });
}

/// `|v - project(v)| / |v|` in the coordinates' Frobenius norm; `out` is `[problems, 1, 1]`.
pub(crate) fn coherence_defect<B: Linalg>(
    b: &B,
    v: FactorsRef<'_, B>,
    project: impl FnOnce(crate::FactorsMut<'_, B>, &Scope<'_, B>),
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let mut p = take_pair(scope, v);
        let mut scale = scope.take(Dims::scalars(v.problems()));
        p.copy_from(b, v);
        scope.nest(|scope| project(p.as_mut(), scope));
        p.axpby(b, Coef::Host(-1.0), v, 1.0);
        norm_of_pair(b, p.left.as_ref(), p.right.as_ref(), out.as_mut());
        norm_of_pair(b, v.left, v.right, scale.as_mut());
        divide(b, out, scale);
    });
}
