//! [`Linalg`]: operations composed of the primitive ones, written once for every backend and
//! overridable by it. Each has an exact form, which is the oracle of every faster one.

mod cholesky_qr;
mod inverse_sqrt;
mod lanczos;
mod polar;
mod spectral_norm;
mod sylvester;
mod truncated_svd;

use crate::{Factor, MatsMut, MatsRef, Scope};

pub use cholesky_qr::cholesky_qr;
pub use polar::{gram_inverse_sqrt, polar, polar_into};
pub use spectral_norm::spectral_norm;
pub use sylvester::sylvester;
pub use truncated_svd::truncated_svd;

/// How a polar factor is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PolarMethod {
    /// `Q = U V^T` from the QR of the tall matrix and the SVD of its small factor; any full-rank
    /// matrix. The oracle.
    Svd,
    /// `Q = Z (Z^T Z)^{-1/2}` by a polynomial in the Gram matrix, its degree chosen from `|Z^T Z - I|_F`;
    /// for `Z` near the Stiefel manifold, such as `U + T` with tangent `T`, whose Gram matrix is
    /// `I + T^T T`. [`PolarMethod::GramEigen`] where that norm is above 1/2, and on devices that would
    /// have to stall to look at it.
    #[default]
    Polynomial,
    /// `Q = Z (Z^T Z)^{-1/2}` by the eigendecomposition of the Gram matrix; for well-conditioned `Z`.
    GramEigen,
    /// Newton-Schulz iteration on the Gram matrix: products only. For matrices scaled so that all
    /// singular values lie in `(0, sqrt(3))`.
    NewtonSchulz {
        /// Number of iterations; 6 suffice when the singular values lie in `[1, sqrt(2)]`.
        iterations: usize,
    },
}

/// A complete linear-algebra backend: the bound that algorithms ask for.
pub trait Linalg: Factor {
    /// Replaces tall full-rank matrices `z` (`m >= n`) by their orthonormal polar factors; see [`polar`].
    fn polar(
        &self,
        method: PolarMethod,
        z: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
        scope: &Scope<'_, Self>,
    ) {
        polar(self, method, z, status, scope);
    }

    /// The same out of place; `z` is lost.
    fn polar_into(
        &self,
        method: PolarMethod,
        z: MatsMut<'_, Self>,
        out: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
        scope: &Scope<'_, Self>,
    ) {
        polar_into(self, method, z, out, status, scope);
    }

    /// What takes matrices with these Gram matrices to their polar factors; see [`gram_inverse_sqrt`].
    fn gram_inverse_sqrt(
        &self,
        method: PolarMethod,
        gram: MatsRef<'_, Self>,
        out: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
        scope: &Scope<'_, Self>,
    ) {
        gram_inverse_sqrt(self, method, gram, out, status, scope);
    }

    /// Thin QR with non-negative diagonal through Gram matrices, Householder where that breaks down;
    /// see [`cholesky_qr`].
    fn cholesky_qr(
        &self,
        a: MatsMut<'_, Self>,
        r: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
        scope: &Scope<'_, Self>,
    ) {
        cholesky_qr(self, a, r, status, scope);
    }

    /// Leading singular triplets of a square core; see [`truncated_svd`].
    fn truncated_svd(
        &self,
        core: MatsRef<'_, Self>,
        u: MatsMut<'_, Self>,
        s: MatsMut<'_, Self>,
        v: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
        scope: &Scope<'_, Self>,
    ) {
        truncated_svd(self, core, u, s, v, status, scope);
    }

    /// Largest singular value; see [`spectral_norm`].
    fn spectral_norm(
        &self,
        a: MatsRef<'_, Self>,
        out: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
        scope: &Scope<'_, Self>,
    ) {
        spectral_norm(self, a, out, status, scope);
    }

    /// Solves `S K + K T = C` in place of `c`; see [`sylvester`].
    fn sylvester(
        &self,
        s: MatsRef<'_, Self>,
        t: MatsRef<'_, Self>,
        c: MatsMut<'_, Self>,
        status: MatsMut<'_, Self>,
        scope: &Scope<'_, Self>,
    ) {
        sylvester(self, s, t, c, status, scope);
    }
}
