//! [`AmbientProblem`]: a problem whose gradient and its derivative are matrices in any representation;
//! [`Pulled`] makes of it what the solvers ask for.

use super::{Problem, SecondOrderProblem, SolveError};
use lr_linalg::Linalg;
use lr_manifolds::{Ambient, FactorsMut, FactorsRef};

/// A smooth function of `X = L R^T` with derivatives as [`Ambient`] matrices; none of them has to be formed.
pub trait AmbientProblem<B: Linalg> {
    /// How `E = grad f(X)` is kept.
    type Gradient: Ambient<B>;
    /// How `D = D grad f(X)[eta]` is kept.
    type Curvature: Ambient<B>;

    /// `f(X)`.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn cost(&mut self, b: &B, x: FactorsRef<'_, B>) -> Result<f64, SolveError>;

    /// `grad f(X)`.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn gradient(&mut self, b: &B, x: FactorsRef<'_, B>) -> Result<Self::Gradient, SolveError>;

    /// `D grad f(X)[eta]` along `eta = K R^T + L W^T`, given as `(K, W)`.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    fn curvature(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        eta: FactorsRef<'_, B>,
    ) -> Result<Self::Curvature, SolveError>;
}

/// An ambient problem as the solvers ask for it.
#[derive(Debug)]
pub struct Pulled<P, G> {
    problem: P,
    /// At the point of the last [`Problem::egrad`].
    gradient: Option<G>,
}

impl<P, G> Pulled<P, G> {
    /// Wraps `problem`.
    pub fn new(problem: P) -> Self {
        Self { problem, gradient: None }
    }

    /// The problem.
    pub fn problem(&self) -> &P {
        &self.problem
    }
}

impl<B: Linalg, P: AmbientProblem<B>> Problem<B> for Pulled<P, P::Gradient> {
    fn cost(&mut self, b: &B, x: FactorsRef<'_, B>) -> Result<f64, SolveError> {
        self.problem.cost(b, x)
    }

    fn egrad(&mut self, b: &B, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), SolveError> {
        let gradient = self.gradient.insert(self.problem.gradient(b, x)?);
        Ok(gradient.pull(b, x, out)?)
    }
}

impl<B: Linalg, P: AmbientProblem<B>> SecondOrderProblem<B> for Pulled<P, P::Gradient> {
    fn ehess(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        eta: FactorsRef<'_, B>,
        along: FactorsMut<'_, B>,
        ehess: FactorsMut<'_, B>,
    ) -> Result<(), SolveError> {
        let Self { problem, gradient } = self;
        let gradient = match gradient {
            Some(known) => known,
            None => gradient.insert(problem.gradient(b, x)?),
        };
        gradient.pull(b, eta, along)?;
        Ok(problem.curvature(b, x, eta)?.pull(b, x, ehess)?)
    }
}
