//! Nonlinear conjugate gradients.
//!
//! `d' = -g' + beta T(d)` with the transported direction and gradient, `y = g' - T(g)`:
//!
//! | rule | beta |
//! |---|---|
//! | Hestenes-Stiefel | `max(<g', y> / <T(d), y>, 0)` |
//! | Polak-Ribiere+ | `max(<g', y> / <g, g>, 0)` |
//! | Fletcher-Reeves | `<g', g'> / <g, g>` |
//!
//! Restarted from the gradient where the direction does not descend or consecutive gradients are far from
//! orthogonal (Powell 1977).

use super::{
    Iteration, LineSearch, Problem, Solution, SolveError, Start, Stop, Termination,
    calculus::{Calculus, Opening},
    start::Carried,
};
use lr_linalg::Linalg;
use lr_manifolds::{Retraction, TangentFactors, Transport};

/// How the old direction is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BetaRule {
    /// Hestenes and Stiefel, cut at zero.
    #[default]
    HestenesStiefel,
    /// Polak and Ribiere, cut at zero.
    PolakRibierePlus,
    /// Fletcher and Reeves.
    FletcherReeves,
}

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConjugateGradients {
    /// Weight of the old direction.
    pub beta: BetaRule,
    /// Backtracking.
    pub line_search: LineSearch,
    /// Restart when `|<g', T(g)>|` exceeds this share of `<g', g'>`.
    pub orthogonality: f64,
}

impl Default for ConjugateGradients {
    fn default() -> Self {
        Self { beta: BetaRule::default(), line_search: LineSearch::default(), orthogonality: 10.0 }
    }
}

impl ConjugateGradients {
    /// Descends from `start`.
    ///
    /// # Errors
    /// [`SolveError`]: a start of another shape, numbers that are not finite, a failing device.
    #[allow(clippy::too_many_arguments)]
    pub fn solve<B, M, P, R, T>(
        &self,
        b: &B,
        manifold: &M,
        retraction: &R,
        transport: &T,
        problem: &mut P,
        start: impl Into<Start<B>>,
        stop: &Stop,
        observe: &mut dyn FnMut(&Iteration),
    ) -> Result<Solution<B>, SolveError>
    where
        B: Linalg,
        M: TangentFactors<B>,
        P: Problem<B>,
        R: Retraction<B, M>,
        T: Transport<B, M>,
    {
        self.line_search.validate()?;
        let Start { x, carried } = start.into();
        let mut calculus = Calculus::new(b, manifold, problem)?;
        let Opening { mut point, mut cost, mut gradient, mut square, mut next, mut new_gradient } =
            calculus.open(x)?;
        let (mut direction, mut slope, mut trial) = match carried {
            Carried::Direction { direction, slope, trial, first_gradient_norm } => {
                calculus.first_gradient_norm = first_gradient_norm;
                (direction, slope, trial)
            }
            _ => {
                let mut direction = calculus.tangent()?;
                calculus.combine(-1.0, &gradient, 0.0, &mut direction);
                (direction, -square, 1.0 / square.max(0.0).sqrt().max(f64::MIN_POSITIVE))
            }
        };
        let mut step = 0.0;
        let reason = loop {
            let norm = square.max(0.0).sqrt();
            if let Some(end) = calculus.record([cost, norm, step], stop, observe)? {
                break end;
            }
            if let Some(proposed) = calculus.line_minimum(&point, &direction)? {
                trial = proposed;
            }
            let (here, along) = ((&point, cost), (&direction, slope));
            let found = self.line_search.search(&mut calculus, retraction, here, along, trial, &mut next)?;
            let Some(accepted) = found else {
                // Exactly so only where the direction was the gradient's: then there is nothing else to try.
                if slope != -square {
                    calculus.combine(-1.0, &gradient, 0.0, &mut direction);
                    (slope, trial) = (-square, 1.0 / norm);
                    continue;
                }
                break (Termination::Exhausted, "no step along the gradient gets lower");
            };
            calculus.iteration += 1;
            step = accepted.length * calculus.norm(&point, &direction)?;
            let predicted = 2.0 * (accepted.cost - cost);
            calculus.gradient(&next, &mut new_gradient)?;
            calculus.transport(transport, &point, &next, &mut gradient);
            calculus.transport(transport, &point, &next, &mut direction);
            let new_square = calculus.inner(&next, &new_gradient, &new_gradient)?;
            let mixed = calculus.inner(&next, &new_gradient, &gradient)?;
            let beta = match self.beta {
                _ if mixed.abs() > self.orthogonality * new_square => 0.0,
                BetaRule::FletcherReeves => new_square / square,
                BetaRule::PolakRibierePlus => ((new_square - mixed) / square).max(0.0),
                BetaRule::HestenesStiefel => {
                    let along = calculus.inner(&next, &direction, &new_gradient)?
                        - calculus.inner(&next, &direction, &gradient)?;
                    if along == 0.0 { 0.0 } else { ((new_square - mixed) / along).max(0.0) }
                }
            };
            calculus.combine(-1.0, &new_gradient, beta, &mut direction);
            slope = calculus.inner(&next, &direction, &new_gradient)?;
            if slope >= 0.0 {
                calculus.combine(-1.0, &new_gradient, 0.0, &mut direction);
                slope = -new_square;
            }
            // The step that would repeat the last decrease of the cost (Nocedal and Wright, 3.60).
            trial = if predicted < 0.0 && slope < 0.0 {
                (1.01 * predicted / slope).max(1e-3 * accepted.length)
            } else {
                accepted.length
            };
            (cost, square) = (accepted.cost, new_square);
            std::mem::swap(&mut point, &mut next);
            std::mem::swap(&mut gradient, &mut new_gradient);
        };
        let first_gradient_norm = calculus.first_gradient_norm;
        let carried = Carried::Direction { direction, slope, trial, first_gradient_norm };
        Ok(calculus.solution(point.x, reason, carried))
    }
}
