//! [`Preconditioner`]: an approximate inverse of the Hessian for the inner iteration of trust regions.

use super::SolveError;
use lr_linalg::Linalg;
use lr_manifolds::{Base, Manifold, Tangent};

/// A symmetric positive definite operator on tangent vectors, near the inverse of the Hessian.
pub trait Preconditioner<B: Linalg, M: Manifold<B>> {
    /// Called once at every new point.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn prepare(&mut self, b: &B, manifold: &M, at: Base<'_, B, M>) -> Result<(), SolveError>;

    /// Writes the image of the tangent vector `residual` into `out`, tangent at the same point.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn apply(
        &mut self,
        b: &B,
        manifold: &M,
        at: Base<'_, B, M>,
        residual: &Tangent<B>,
        out: &mut Tangent<B>,
    ) -> Result<(), SolveError>;
}

/// The identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpreconditioned;

impl<B: Linalg, M: Manifold<B>> Preconditioner<B, M> for Unpreconditioned {
    fn prepare(&mut self, _: &B, _: &M, _: Base<'_, B, M>) -> Result<(), SolveError> {
        Ok(())
    }

    fn apply(
        &mut self,
        b: &B,
        _: &M,
        _: Base<'_, B, M>,
        residual: &Tangent<B>,
        out: &mut Tangent<B>,
    ) -> Result<(), SolveError> {
        out.as_mut().copy_from(b, residual.as_ref());
        Ok(())
    }
}
