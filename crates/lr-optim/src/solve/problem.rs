//! [`Problem`]: a cost with its pulled-back derivatives, and what a solver counts of it.

use lr_linalg::{DeviceError, Linalg};
use lr_manifolds::{FactorsMut, FactorsRef};

/// A smooth function `f` of `X = L R^T`, seen through the factors of one problem. Implementations need not form `X`.
pub trait Problem<B: Linalg> {
    /// `f(X)`.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn cost(&mut self, b: &B, x: FactorsRef<'_, B>) -> Result<f64, SolveError>;

    /// The pulled-back gradient `(E R, E^T L)`, `E = grad f(X)`.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn egrad(&mut self, b: &B, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), SolveError>;

    /// The `t` that minimizes `f(X + t eta)`, `eta = K R^T + L W^T`, where it is known in closed form: the first trial
    /// of a line search. Asked at the point of the last [`Problem::egrad`].
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn line_minimum(
        &mut self,
        _b: &B,
        _x: FactorsRef<'_, B>,
        _eta: FactorsRef<'_, B>,
    ) -> Result<Option<f64>, SolveError> {
        Ok(None)
    }
}

/// A problem with Hessian-vector products.
pub trait SecondOrderProblem<B: Linalg>: Problem<B> {
    /// Along the tangent `eta = K R^T + L Vp^T` with factors `(K, Vp)`: `(E Vp, E^T K)` into `along` and `(D R, D^T L)`,
    /// `D = D grad f(X)[eta]`, into `ehess`. Asked at the point of the last [`Problem::egrad`].
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn ehess(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        eta: FactorsRef<'_, B>,
        along: FactorsMut<'_, B>,
        ehess: FactorsMut<'_, B>,
    ) -> Result<(), SolveError>;
}

/// How often a problem was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluations {
    /// Costs.
    pub costs: u64,
    /// Gradients.
    pub gradients: u64,
    /// Hessian-vector products.
    pub hessians: u64,
}

/// What keeps a solver from going on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SolveError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The start holds more than one problem, or has another shape than the manifold.
    #[error(
        "the start has shapes {left:?} and {right:?}, the manifold needs {expected_left:?} and {expected_right:?}"
    )]
    Shape {
        /// Shape of the left factor.
        left: lr_linalg::Dims,
        /// Shape of the right factor.
        right: lr_linalg::Dims,
        /// Shape needed on the left.
        expected_left: lr_linalg::Dims,
        /// Shape needed on the right.
        expected_right: lr_linalg::Dims,
    },
    /// A cost or gradient is not a number.
    #[error(
        "{what} at iteration {iteration} is {value}; look for NaN or infinite entries in the data and the start"
    )]
    NotFinite {
        /// What was looked at.
        what: &'static str,
        /// Iteration.
        iteration: usize,
        /// Its value.
        value: f64,
    },
    /// A factorization failed at a point.
    #[error("a factorization broke down at iteration {iteration}: the point has left the manifold's domain")]
    Breakdown {
        /// Iteration.
        iteration: usize,
    },
    /// A setting that makes no sense.
    #[error("{name} = {value} {requirement}")]
    Setting {
        /// Name of the field.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        requirement: &'static str,
    },
}
