//! Truncated SVD of a small square core, the heart of the SVD retraction (paper section 3.3).

use crate::{Dims, Linalg, MatsMut, MatsRef, Scope};

/// Leading `k` singular triplets of `core` (`[batch, n, n]`): `u` and `v` are `[batch, n, k]` with
/// orthonormal columns, `s` is `[batch, 1, k]`, descending.
///
/// # Panics
/// If shapes do not fit.
pub fn truncated_svd<B: Linalg>(
    b: &B,
    core: MatsRef<'_, B>,
    u: MatsMut<'_, B>,
    s: MatsMut<'_, B>,
    v: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let (d, k) = (core.dims(), u.dims().cols);
    scope.nest(|scope| {
        let (mut left, mut right) = (scope.take(d), scope.take(d));
        let mut values = scope.take(Dims::new(d.batch, 1, d.cols));
        b.copy(core.n(), left.as_mut());
        b.svd(left.as_mut(), values.as_mut(), right.as_mut(), status);
        b.copy(left.as_ref().block(0..d.rows, 0..k).n(), u);
        b.copy(right.as_ref().block(0..d.cols, 0..k).n(), v);
        b.copy(values.as_ref().block(0..1, 0..k).n(), s);
    });
}
