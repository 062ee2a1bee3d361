//! Orthonormal polar factor: the nearest matrix with orthonormal columns (Higham 1986).

use super::inverse_sqrt::inverse_sqrt;
use crate::{Coef, Dims, Epilogue, Linalg, Map, MatsMut, MatsRef, PolarMethod, Scalar, Scope};
use Epilogue::{Overwrite, Scale};

/// Replaces every tall full-rank `z` (`[batch, m, n]`, `m >= n`) by its orthonormal polar factor.
///
/// The status of a problem becomes non-zero when a factorization inside did not succeed, and, for the
/// methods that work on the Gram matrix, when fewer than half of the digits of orthonormality are
/// reached: the matrix was rank-deficient or too ill-conditioned, or the iterations were too few. The
/// result of such a problem is unspecified.
///
/// # Panics
/// If `m < n`.
pub fn polar<B: Linalg>(
    b: &B,
    method: PolarMethod,
    z: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let mut copy = scope.take(z.dims());
        b.copy(z.as_ref().n(), copy.as_mut());
        polar_into(b, method, copy, z, status, scope);
    });
}

/// [`polar`] of `z`, which is lost, in `out`.
///
/// # Panics
/// As [`polar`].
pub fn polar_into<B: Linalg>(
    b: &B,
    method: PolarMethod,
    mut z: MatsMut<'_, B>,
    out: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let d = z.dims();
    assert!(d.rows >= d.cols, "polar factor of a wide {} x {} matrix", d.rows, d.cols);
    let square = Dims::square(d.batch, d.cols);
    scope.nest(|scope| {
        let mut factor = scope.take(square);
        match method {
            PolarMethod::Svd => {
                // z = q r and r = u s v^T, so polar(z) = q (u v^T).
                let (mut s, mut v, mut uv) =
                    (scope.take(Dims::new(d.batch, 1, d.cols)), scope.take(square), scope.take(square));
                b.qr(z.as_mut(), factor.as_mut(), status.as_mut());
                b.svd(factor.as_mut(), s.as_mut(), v.as_mut(), status);
                b.gemm(1.0, factor.as_ref().n(), v.as_ref().t(), Overwrite, uv.as_mut());
                b.gemm(1.0, z.as_ref().n(), uv.as_ref().n(), Overwrite, out);
                return;
            }
            PolarMethod::Polynomial | PolarMethod::GramEigen | PolarMethod::NewtonSchulz { .. } => {
                let mut gram = scope.take(square);
                b.gemm(1.0, z.as_ref().t(), z.as_ref().n(), Overwrite, gram.as_mut());
                gram_inverse_sqrt(b, method, gram.as_ref(), factor.as_mut(), status, scope);
            }
        }
        b.gemm(1.0, z.as_ref().n(), factor.as_ref().n(), Overwrite, out);
    });
}

/// `out = gram^{-1/2}` of Gram matrices `z^T z` (`[batch, n, n]`): `z out` is the polar factor of `z`.
/// [`PolarMethod::Svd`], which knows no Gram matrix, stands for [`PolarMethod::GramEigen`]. The status as in [`polar`].
pub fn gram_inverse_sqrt<B: Linalg>(
    b: &B,
    method: PolarMethod,
    gram: MatsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    match method {
        PolarMethod::Polynomial if by_polynomial(b, gram, out.as_mut(), scope) => {}
        PolarMethod::NewtonSchulz { iterations } => {
            b.fill(0.0, out.as_mut());
            b.add_diagonal(1.0, out.as_mut());
            newton_schulz(b, gram, out.as_mut(), iterations, scope);
            flag_defect(b, gram, out.as_ref(), status, scope);
        }
        PolarMethod::Svd | PolarMethod::Polynomial | PolarMethod::GramEigen => {
            by_eigendecomposition(b, gram, out.as_mut(), status.as_mut(), scope);
            // An f32 eigendecomposition is good to a hundred roundings; one iteration
            // squares that error away.
            newton_schulz(b, gram, out.as_mut(), 1, scope);
            flag_defect(b, gram, out.as_ref(), status, scope);
        }
    }
}

/// `out = gram^{-1/2}` where a polynomial of low degree is known to be good enough for the whole batch.
fn by_polynomial<B: Linalg>(b: &B, gram: MatsRef<'_, B>, out: MatsMut<'_, B>, scope: &Scope<'_, B>) -> bool {
    let d = gram.dims();
    scope.nest(|scope| {
        let (mut defect, mut norm) = (scope.take(d), scope.take(Dims::scalars(d.batch)));
        b.copy(gram.n(), defect.as_mut());
        b.add_diagonal(-1.0, defect.as_mut());
        b.dot(1.0, defect.as_ref(), defect.as_ref(), 0.0, norm.as_mut());
        match b.glance(norm.as_ref()) {
            Some(square) => inverse_sqrt(b, defect, square.sqrt(), out, scope),
            None => false,
        }
    })
}

/// `out = gram^{-1/2} = Q diag(w)^{-1/2} Q^T`.
fn by_eigendecomposition<B: Linalg>(
    b: &B,
    gram: MatsRef<'_, B>,
    out: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let d = gram.dims();
    scope.nest(|scope| {
        let mut q = scope.take(d);
        let mut w = scope.take(Dims::new(d.batch, 1, d.cols));
        b.copy(gram.n(), q.as_mut());
        b.eigh(q.as_mut(), w.as_mut(), status);
        // Q w^{-1/4} times its transpose: one product, symmetric to the last bit.
        for map in [Map::Sqrt, Map::Sqrt, Map::Ratio { numerator: 1.0, floor: f32::MIN_POSITIVE.into() }] {
            b.map(map, w.as_mut());
        }
        b.scale_columns(w.as_ref(), q.as_mut());
        b.gemm(1.0, q.as_ref().n(), q.as_ref().t(), Overwrite, out);
    });
}

/// Brings `P`, a polynomial in the Gram matrix, nearer to the one with `z P` the polar factor of `z`:
/// `X <- X (3 I - X^T X)/2` for `X = z P`, carried out on the small matrices `P` and `P^T (z^T z) P`.
fn newton_schulz<B: Linalg>(
    b: &B,
    gram: MatsRef<'_, B>,
    mut p: MatsMut<'_, B>,
    iterations: usize,
    scope: &Scope<'_, B>,
) {
    let square = gram.dims();
    scope.nest(|scope| {
        let (mut half, mut next, mut current) = (scope.take(square), scope.take(square), scope.take(square));
        for _ in 0..iterations {
            // current = P^T G P; P is a polynomial in G, so P^T = P.
            b.gemm(1.0, gram.n(), p.as_ref().n(), Overwrite, half.as_mut());
            b.gemm(1.0, p.as_ref().t(), half.as_ref().n(), Overwrite, current.as_mut());
            b.axpby(Coef::Host(1.5), p.as_ref(), 0.0, next.as_mut());
            b.gemm(-0.5, p.as_ref().n(), current.as_ref().n(), Scale(1.0), next.as_mut());
            b.copy(next.as_ref().n(), p.as_mut());
        }
    });
}

/// Marks the problems whose result is not orthonormal, `|P^T G P - I|_F^2 > eps`: the certificate, on
/// small matrices only.
fn flag_defect<B: Linalg>(
    b: &B,
    gram: MatsRef<'_, B>,
    p: MatsRef<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let d = gram.dims();
    scope.nest(|scope| {
        let (mut half, mut defect) = (scope.take(d), scope.take(d));
        let mut square = scope.take(Dims::scalars(d.batch));
        b.gemm(1.0, gram.n(), p.n(), Overwrite, half.as_mut());
        b.gemm(1.0, p.t(), half.as_ref().n(), Overwrite, defect.as_mut());
        b.add_diagonal(-1.0, defect.as_mut());
        b.dot(1.0, defect.as_ref(), defect.as_ref(), 0.0, square.as_mut());
        b.flag_above(B::Elem::EPSILON, square.as_ref(), status);
    });
}
