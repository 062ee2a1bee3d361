//! Cholesky-QR: the thin QR factorization from Gram matrices, twice (Yamamoto et al. 2015), with
//! Householder for the problems on which it breaks down.

use crate::{Dims, Epilogue::Overwrite, Linalg, MatsMut, PivotGuard, Scalar, Scope, Side, Triangle};

/// `a` (`[batch, m, n]`, `m >= n`) becomes `Q`, `r` upper triangular with non-negative diagonal.
///
/// Two passes give orthogonality to rounding for conditions up to about `eps^{-1/2}`. A pass that
/// meets a Gram matrix that is not positive definite, or a result whose defect `|Q^T Q - I|` is not
/// small, sends that problem alone down the Householder path. `status` reports only what Householder
/// itself could not do.
///
/// # Panics
/// If `m < n` or `r` is not `[batch, n, n]`.
pub fn cholesky_qr<B: Linalg>(
    b: &B,
    mut a: MatsMut<'_, B>,
    mut r: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let d = a.dims();
    let square = Dims::square(d.batch, d.cols);
    scope.nest(|scope| {
        let mut original = scope.take(d);
        b.copy(a.as_ref().n(), original.as_mut());
        let mut broken = scope.status(d.batch);
        let (mut first, mut second) = (scope.take(square), scope.take(square));
        for l in [&mut first, &mut second] {
            b.gemm(1.0, a.as_ref().t(), a.as_ref().n(), Overwrite, l.as_mut());
            b.cholesky(PivotGuard::Report, l.as_mut(), broken.as_mut());
            b.trsm(Side::Right, Triangle::Lower, l.as_ref().t(), a.as_mut());
        }
        // A = Q L2^T L1^T, so R = L2^T L1^T.
        b.gemm(1.0, second.as_ref().t(), first.as_ref().t(), Overwrite, r.as_mut());
        flag_defect(b, &a, broken.as_mut(), scope);
        b.when_any(broken.as_ref(), || {
            scope.nest(|scope| {
                let (mut q, mut rr) = (scope.take(d), scope.take(square));
                b.copy(original.as_ref().n(), q.as_mut());
                b.qr(q.as_mut(), rr.as_mut(), status);
                b.copy_where(broken.as_ref(), q.as_ref(), a.as_mut());
                b.copy_where(broken.as_ref(), rr.as_ref(), r.as_mut());
            });
        });
    });
}

/// Marks the problems whose `|Q^T Q - I|` exceeds a hundred roundings: the certificate.
fn flag_defect<B: Linalg>(b: &B, q: &MatsMut<'_, B>, broken: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    let d = q.dims();
    scope.nest(|scope| {
        let mut gram = scope.take(Dims::square(d.batch, d.cols));
        let mut defect = scope.take(Dims::scalars(d.batch));
        b.gemm(1.0, q.as_ref().t(), q.as_ref().n(), Overwrite, gram.as_mut());
        b.add_diagonal(-1.0, gram.as_mut());
        b.dot(1.0, gram.as_ref(), gram.as_ref(), 0.0, defect.as_mut());
        let bound = 100.0 * B::Elem::EPSILON * (d.cols as f64).sqrt();
        b.flag_above(bound * bound, defect.as_ref(), broken);
    });
}
