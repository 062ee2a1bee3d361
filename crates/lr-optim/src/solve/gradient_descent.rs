//! Steepest descent with Armijo backtracking from a Barzilai-Borwein step.
//!
//! With `s = -t g` the last step and `y = g' - T(g)` the change of the gradient, both at the new point, the next first
//! trial is `<T s, T s> / |<T s, y>|` (Barzilai and Borwein 1988; Iannazzo and Porcelli 2018 on manifolds).

use super::{
    Iteration, LineSearch, Problem, Solution, SolveError, Start, Stop, Termination,
    calculus::{Calculus, Opening},
    start::Carried,
};
use lr_linalg::Linalg;
use lr_manifolds::{Manifold, Retraction, Transport};

/// The solver.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradientDescent {
    /// Backtracking.
    pub line_search: LineSearch,
}

/// First trial of the first step: that long in the metric.
const FIRST_STEP: f64 = 1.0;

impl GradientDescent {
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
        M: Manifold<B>,
        P: Problem<B>,
        R: Retraction<B, M>,
        T: Transport<B, M>,
    {
        self.line_search.validate()?;
        let Start { x, carried } = start.into();
        let mut calculus = Calculus::new(b, manifold, problem)?;
        let Opening { mut point, mut cost, mut gradient, mut square, mut next, mut new_gradient } =
            calculus.open(x)?;
        let (mut trial, mut step) = (FIRST_STEP / square.max(0.0).sqrt().max(f64::MIN_POSITIVE), 0.0);
        if let Carried::Trial { trial: carried, first_gradient_norm } = carried {
            (trial, calculus.first_gradient_norm) = (carried, first_gradient_norm);
        }
        let reason = loop {
            let norm = square.max(0.0).sqrt();
            if let Some(end) = calculus.record([cost, norm, step], stop, observe)? {
                break end;
            }
            // Along the gradient itself, backwards: the length is negative, the slope is its square.
            let (here, along) = ((&point, cost), (&gradient, square));
            let found = self.line_search.search(&mut calculus, retraction, here, along, -trial, &mut next)?;
            let Some(accepted) = found else {
                break (Termination::Exhausted, "no step along the gradient gets lower");
            };
            let length = -accepted.length;
            calculus.iteration += 1;
            calculus.gradient(&next, &mut new_gradient)?;
            calculus.transport(transport, &point, &next, &mut gradient);
            // s = -length T(g); y = g' - T(g).
            let moved = calculus.inner(&next, &gradient, &gradient)?;
            let mixed = calculus.inner(&next, &gradient, &new_gradient)?;
            let change = (mixed - moved).abs();
            trial = if change > 0.0 { length * moved / change } else { 2.0 * length };
            (cost, step) = (accepted.cost, length * norm);
            std::mem::swap(&mut point, &mut next);
            std::mem::swap(&mut gradient, &mut new_gradient);
            square = calculus.inner(&point, &gradient, &gradient)?;
        };
        let first_gradient_norm = calculus.first_gradient_norm;
        Ok(calculus.solution(point.x, reason, Carried::Trial { trial, first_gradient_norm }))
    }
}
