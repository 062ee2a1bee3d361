//! Retractions of orthonormal factors, `U -> orthonormalize(U + t M_U)`, factor by factor: by polar
//! factor (second order, invariant under `(U Q, V Q)`) or by QR with non-negative diagonal (first
//! order, not invariant), paper section 4.4.

use crate::HealthMut;
use lr_linalg::{Dims, Linalg, MatsMut, PolarMethod, Scope};

/// How orthonormal columns are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StiefelRetraction {
    /// Orthonormal polar factor, the nearest matrix with orthonormal columns.
    #[default]
    Polar,
    /// Q of the QR factorization with non-negative diagonal.
    Qr,
}

/// Replaces tall matrices near the Stiefel manifold by matrices on it.
pub(crate) fn orthonormalize<B: Linalg>(
    b: &B,
    method: StiefelRetraction,
    x: MatsMut<'_, B>,
    health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    match method {
        StiefelRetraction::Polar => b.polar(PolarMethod::default(), x, health.breakdown, scope),
        StiefelRetraction::Qr => scope.nest(|scope| {
            let d = x.dims();
            let mut r = scope.take(Dims::square(d.batch, d.cols));
            b.cholesky_qr(x, r.as_mut(), health.breakdown, scope);
        }),
    }
}
