//! Limited-memory BFGS on a manifold (Liu and Nocedal 1989; Huang, Gallivan and Absil 2015).
//!
//! Of the last steps `s = T(t d)` and changes of the gradient `y = g' - T(g)`, all transported to the current
//! point, the two-loop recursion makes `d = -H g`. Pairs without positive curvature are left out.

use super::{
    Iteration, LineSearch, Problem, Solution, SolveError, Start, Stop, Termination,
    calculus::{Calculus, Opening, Point},
    start::Carried,
};
use lr_linalg::Linalg;
use lr_manifolds::{Retraction, Tangent, TangentFactors, Transport};
use std::collections::VecDeque;

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lbfgs {
    /// Pairs that are kept, at least 1.
    pub memory: usize,
    /// Backtracking.
    pub line_search: LineSearch,
}

impl Default for Lbfgs {
    fn default() -> Self {
        Self { memory: 8, line_search: LineSearch::default() }
    }
}

/// A pair is kept when `<s, y>` exceeds this share of `|s| |y|`.
const LEAST_CURVATURE: f64 = 1e-8;

struct Pair<B: Linalg> {
    s: Tangent<B>,
    y: Tangent<B>,
    /// `<s, y>`.
    sy: f64,
    /// `<y, y>`.
    yy: f64,
}

impl Lbfgs {
    fn validate(&self) -> Result<(), SolveError> {
        if self.memory == 0 {
            let requirement = "must be at least 1";
            return Err(SolveError::Setting { name: "memory", value: 0.0, requirement });
        }
        self.line_search.validate()
    }

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
        self.validate()?;
        let Start { x, carried } = start.into();
        let mut calculus = Calculus::new(b, manifold, problem)?;
        let Opening { mut point, mut cost, mut gradient, mut square, mut next, mut new_gradient } =
            calculus.open(x)?;
        let (mut direction, mut step) = (calculus.tangent()?, 0.0);
        let mut pairs: VecDeque<Pair<B>> = VecDeque::new();
        if let Carried::Pairs { pairs: old, first_gradient_norm } = carried {
            let skipped = old.len().saturating_sub(self.memory);
            pairs.extend(old.into_iter().skip(skipped).map(|(s, y, [sy, yy])| Pair { s, y, sy, yy }));
            calculus.first_gradient_norm = first_gradient_norm;
        }
        let reason = loop {
            let norm = square.max(0.0).sqrt();
            if let Some(end) = calculus.record([cost, norm, step], stop, observe)? {
                break end;
            }
            two_loops(&mut calculus, &point, &gradient, &pairs, &mut direction)?;
            let mut slope = calculus.inner(&point, &direction, &gradient)?;
            // False where it is NaN.
            let descends = slope < 0.0;
            if !descends {
                pairs.clear();
                calculus.combine(-1.0, &gradient, 0.0, &mut direction);
                slope = -square;
            }
            let natural = if pairs.is_empty() { 1.0 / norm.max(f64::MIN_POSITIVE) } else { 1.0 };
            let trial = calculus.line_minimum(&point, &direction)?.unwrap_or(natural);
            let (here, along) = ((&point, cost), (&direction, slope));
            let found = self.line_search.search(&mut calculus, retraction, here, along, trial, &mut next)?;
            let Some(accepted) = found else {
                if !pairs.is_empty() {
                    pairs.clear();
                    continue;
                }
                break (Termination::Exhausted, "no step along the gradient gets lower");
            };
            calculus.iteration += 1;
            step = accepted.length * calculus.norm(&point, &direction)?;
            calculus.gradient(&next, &mut new_gradient)?;
            calculus.transport(transport, &point, &next, &mut gradient);
            calculus.transport(transport, &point, &next, &mut direction);
            for pair in &mut pairs {
                calculus.transport(transport, &point, &next, &mut pair.s);
                calculus.transport(transport, &point, &next, &mut pair.y);
            }
            let oldest = if pairs.len() == self.memory { pairs.pop_front() } else { None };
            let mut pair = match oldest {
                Some(pair) => pair,
                None => Pair { s: calculus.tangent()?, y: calculus.tangent()?, sy: 0.0, yy: 0.0 },
            };
            calculus.combine(accepted.length, &direction, 0.0, &mut pair.s);
            calculus.combine(1.0, &new_gradient, 0.0, &mut pair.y);
            calculus.combine(-1.0, &gradient, 1.0, &mut pair.y);
            pair.sy = calculus.inner(&next, &pair.s, &pair.y)?;
            pair.yy = calculus.inner(&next, &pair.y, &pair.y)?;
            let length = calculus.norm(&next, &pair.s)?;
            if pair.sy > LEAST_CURVATURE * length * pair.yy.max(0.0).sqrt() {
                pairs.push_back(pair);
            }
            cost = accepted.cost;
            std::mem::swap(&mut point, &mut next);
            std::mem::swap(&mut gradient, &mut new_gradient);
            square = calculus.inner(&point, &gradient, &gradient)?;
        };
        let pairs = pairs.into_iter().map(|pair| (pair.s, pair.y, [pair.sy, pair.yy])).collect();
        let first_gradient_norm = calculus.first_gradient_norm;
        Ok(calculus.solution(point.x, reason, Carried::Pairs { pairs, first_gradient_norm }))
    }
}

/// `direction = -H gradient`.
fn two_loops<B: Linalg, M: TangentFactors<B>, P: Problem<B>>(
    calculus: &mut Calculus<'_, B, M, P>,
    point: &Point<B, M>,
    gradient: &Tangent<B>,
    pairs: &VecDeque<Pair<B>>,
    direction: &mut Tangent<B>,
) -> Result<(), SolveError> {
    calculus.combine(-1.0, gradient, 0.0, direction);
    let mut weights = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let weight = calculus.inner(point, &pair.s, direction)? / pair.sy;
        calculus.combine(-weight, &pair.y, 1.0, direction);
        weights.push(weight);
    }
    if let Some(last) = pairs.back() {
        direction.as_mut().scale(calculus.b, last.sy / last.yy);
    }
    for (pair, weight) in pairs.iter().zip(weights.into_iter().rev()) {
        let again = calculus.inner(point, &pair.y, direction)? / pair.sy;
        calculus.combine(weight - again, &pair.s, 1.0, direction);
    }
    Ok(())
}
