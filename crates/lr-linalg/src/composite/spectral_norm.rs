//! Largest singular value: by Lanczos steps for a single matrix that is not small, else by the SVD.

use super::lanczos::largest_singular_value;
use crate::{Dims, Linalg, MatsMut, MatsRef, Scope};

/// Columns from which Lanczos steps are cheaper than the SVD.
const LANCZOS_FROM: usize = 24;

/// `out[p]` (`[batch, 1, 1]`) becomes the largest singular value of `a[p]` (`[batch, m, n]`, `m >= n`).
///
/// # Panics
/// If shapes do not fit.
pub fn spectral_norm<B: Linalg>(
    b: &B,
    a: MatsRef<'_, B>,
    out: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let d = a.dims();
    if d.cols >= LANCZOS_FROM
        && let Some(norm) = largest_singular_value(b, a, scope)
    {
        b.fill(norm, out);
        return;
    }
    scope.nest(|scope| {
        let (mut u, mut v) = (scope.take(d), scope.take(Dims::square(d.batch, d.cols)));
        let mut s = scope.take(Dims::new(d.batch, 1, d.cols));
        b.copy(a.n(), u.as_mut());
        b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status);
        b.copy(s.as_ref().block(0..1, 0..1).n(), out);
    });
}
