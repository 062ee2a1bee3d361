//! Sylvester equation with symmetric positive semidefinite coefficients.

use crate::{Coef, Dims, Epilogue, Linalg, Map, MatsMut, MatsRef, Scalar, Scope};
use Epilogue::{Overwrite, Scale};

/// Solves `S K + K T = C` in place of `c` (`[batch, n, n]`), `s` and `t` symmetric positive semidefinite.
///
/// With `S = Q diag(a) Q^T` and `T = P diag(b) P^T`, `K = Q ((Q^T C P) / (a_i + b_j)) P^T`. Sums
/// `a_i + b_j` below a rounding of the largest are raised to it: along directions in which both
/// coefficients vanish the equation says nothing, and `K` stays finite. The status of a problem becomes 1
/// where an eigendecomposition did not succeed.
///
/// # Panics
/// If shapes do not fit.
pub fn sylvester<B: Linalg>(
    b: &B,
    s: MatsRef<'_, B>,
    t: MatsRef<'_, B>,
    c: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let d = c.dims();
    scope.nest(|scope| {
        let (mut q, mut p, mut inverse) = (scope.take(d), scope.take(d), scope.take(d));
        let row = Dims::new(d.batch, 1, d.rows);
        let (mut a, mut w, mut ones) = (scope.take(row), scope.take(row), scope.take(row));
        b.copy(s.n(), q.as_mut());
        b.eigh(q.as_mut(), a.as_mut(), status.as_mut());
        b.copy(t.n(), p.as_mut());
        b.eigh(p.as_mut(), w.as_mut(), status);
        b.fill(1.0, ones.as_mut());
        b.gemm(1.0, a.as_ref().t(), ones.as_ref().n(), Overwrite, inverse.as_mut());
        b.gemm(1.0, ones.as_ref().t(), w.as_ref().n(), Scale(1.0), inverse.as_mut());
        invert_sums(b, inverse.as_mut(), scope);

        let mut half = scope.take(d);
        let mut k = c;
        b.gemm(1.0, q.as_ref().t(), k.as_ref().n(), Overwrite, half.as_mut());
        b.gemm(1.0, half.as_ref().n(), p.as_ref().n(), Overwrite, k.as_mut());
        b.multiply(inverse.as_ref(), k.as_mut());
        b.gemm(1.0, q.as_ref().n(), k.as_ref().n(), Overwrite, half.as_mut());
        b.gemm(1.0, half.as_ref().n(), p.as_ref().t(), Overwrite, k);
    });
}

/// `x = 1 / max(x, eps max|x|)`: the sums are divided by the largest of their problem first, so that one
/// floor serves problems of any scale.
fn invert_sums<B: Linalg>(b: &B, x: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    scope.nest(|scope| {
        let mut scale = scope.status(x.dims().batch);
        b.max_abs(x.as_ref(), scale.as_mut());
        b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE / B::Elem::EPSILON }, scale.as_mut());
        let mut relative = scope.take(x.dims());
        b.axpby(Coef::Device(scale.as_ref()), x.as_ref(), 0.0, relative.as_mut());
        b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::EPSILON }, relative.as_mut());
        b.axpby(Coef::Device(scale.as_ref()), relative.as_ref(), 0.0, x);
    });
}
