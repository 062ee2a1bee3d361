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
    Checkpoint, Iteration, LineSearch, Problem, Solution, SolveError, Stop, Termination, calculus::Calculus,
    stop::Carried,
};
use lr_linalg::Linalg;
use lr_manifolds::{Factors, Retraction, TangentFactors, Transport};

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
        start: Factors<B>,
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
        self.descend(b, manifold, retraction, transport, problem, start, Carried::Nothing, stop, observe)
    }

    /// Goes on from a checkpoint of conjugate gradients with its direction; from one of another solver with the
    /// gradient. Iterations are counted, and relative criteria compare, as [`Checkpoint`] says.
    ///
    /// # Errors
    /// As [`ConjugateGradients::solve`].
    #[allow(clippy::too_many_arguments)]
    pub fn resume<B, M, P, R, T>(
        &self,
        b: &B,
        manifold: &M,
        retraction: &R,
        transport: &T,
        problem: &mut P,
        from: &Checkpoint,
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
        let (start, carried) = (from.point(b)?, from.carried(b)?);
        self.descend(b, manifold, retraction, transport, problem, start, carried, stop, observe)
    }

    #[allow(clippy::too_many_arguments)]
    fn descend<B, M, P, R, T>(
        &self,
        b: &B,
        manifold: &M,
        retraction: &R,
        transport: &T,
        problem: &mut P,
        start: Factors<B>,
        carried: Carried<B>,
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
        let mut calculus = Calculus::new(b, manifold, problem)?;
        let (mut point, mut next) = (calculus.start(start)?, calculus.room()?);
        let [mut gradient, mut new_gradient, mut direction] =
            [calculus.tangent()?, calculus.tangent()?, calculus.tangent()?];
        let mut cost = calculus.cost(&point)?;
        calculus.gradient(&point, &mut gradient)?;
        let mut square = calculus.inner(&point, &gradient, &gradient)?;
        calculus.combine(-1.0, &gradient, 0.0, &mut direction);
        let (mut slope, mut step) = (-square, 0.0);
        let mut trial = 1.0 / square.max(0.0).sqrt().max(f64::MIN_POSITIVE);
        if let Carried::Direction { direction: carried, numbers: [its_slope, its_trial, first] } = carried {
            (direction, slope, trial) = (carried, its_slope, its_trial);
            calculus.first_gradient_norm = Some(first);
        }
        loop {
            let norm = square.max(0.0).sqrt();
            if let Some(end) = calculus.record([cost, norm, step], 0, stop, observe)? {
                let numbers = [slope, trial, calculus.first_gradient_norm.unwrap_or(norm)];
                return Ok(calculus
                    .solution(point.x, (end, "the stopping criterion holds"), [cost, norm], 0)
                    .carrying(Carried::Direction { direction, numbers }));
            }
            if let Some(proposed) = calculus.line_minimum(&point, &direction)? {
                trial = proposed;
            }
            let search = (&direction, slope);
            let found = self.line_search.search(
                &mut calculus,
                retraction,
                (&point, cost),
                search,
                trial,
                &mut next,
            )?;
            let Some(accepted) = found else {
                // Exactly so only where the direction was the gradient's: then there is nothing else to try.
                if slope != -square {
                    calculus.combine(-1.0, &gradient, 0.0, &mut direction);
                    (slope, trial) = (-square, 1.0 / norm);
                    continue;
                }
                let reason = (Termination::Exhausted, "no step along the gradient gets lower");
                return Ok(calculus.solution(point.x, reason, [cost, norm], 0));
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
        }
    }
}
