//! [`Factor`]: the dense factorizations, each with a numerical status for every problem.
//!
//! A status is data, `[batch, 1, 1]`: zero when the problem went well. Operations overwrite it only for
//! problems that fail, so that one status can watch a chain of them.

use crate::{Blas, MatsMut};

/// What a Cholesky factorization does with a matrix that is not positive definite (paper B.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PivotGuard {
    /// Stop that problem: its factor is unspecified, its status the 1-based index of the bad pivot.
    Report,
    /// Add `relative` times the mean diagonal to the diagonal, doubling until it succeeds; the status
    /// counts the attempts. Matrices that never succeed (NaN, zero) get the identity and status -1.
    Shift {
        /// First multiple of the mean diagonal, such as `1e-6`.
        relative: f64,
    },
}

/// Dense factorizations.
pub trait Factor: Blas {
    /// `a = L L^T`; `a` becomes `L`, with zeros above the diagonal. Reads the lower triangle.
    #[track_caller]
    fn cholesky(&self, guard: PivotGuard, a: MatsMut<'_, Self>, status: MatsMut<'_, Self>);

    /// Thin Householder QR of `a` (`m >= n`): `a` becomes `Q` (orthonormal columns even when `a` is
    /// rank-deficient), `r` (`[batch, n, n]`) upper triangular with a non-negative diagonal
    /// (`sign(0) = +1`). Status 1 where `a` is not finite.
    #[track_caller]
    fn qr(&self, a: MatsMut<'_, Self>, r: MatsMut<'_, Self>, status: MatsMut<'_, Self>);

    /// Thin SVD `a = U diag(s) V^T` of `a` (`m >= n`): `a` becomes `U`, `s` (`[batch, 1, n]`) descends,
    /// `v` is `[batch, n, n]`. Status 1 where `a` is not finite or the iteration did not converge; the
    /// outputs of such a problem are unspecified but finite.
    #[track_caller]
    fn svd(
        &self,
        a: MatsMut<'_, Self>,
        s: MatsMut<'_, Self>,
        v: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
    );

    /// Symmetric eigendecomposition `a = Q diag(w) Q^T`, reading the lower triangle: `a` becomes `Q`,
    /// `w` (`[batch, 1, n]`) ascends. Status 1 where `a` is not finite or the iteration did not
    /// converge; the outputs of such a problem are unspecified but finite.
    #[track_caller]
    fn eigh(&self, a: MatsMut<'_, Self>, w: MatsMut<'_, Self>, status: MatsMut<'_, Self>);

    /// Inverse of general square matrices, in place, by elimination with partial pivoting. Status 1 where
    /// `a` is not finite, a pivot is exactly zero, or the inverse overflows; `a` is then the identity.
    /// A matrix that is singular up to rounding is not reported: its inverse is as large as rounding
    /// makes it.
    #[track_caller]
    fn invert(&self, a: MatsMut<'_, Self>, status: MatsMut<'_, Self>);
}
