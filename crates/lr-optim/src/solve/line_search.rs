//! Armijo backtracking along a retraction.

use super::{
    Problem, SolveError,
    calculus::{Calculus, Point},
};
use lr_linalg::Linalg;
use lr_manifolds::{Manifold, Retraction, Tangent};

/// Settings of the backtracking: a step `t v` is accepted when `f(R(t v)) <= f(x) + sufficient t <grad f,
/// v>`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineSearch {
    /// Share of the predicted decrease that a step must reach, in (0, 1).
    pub sufficient: f64,
    /// Factor by which a step is shortened, in (0, 1).
    pub shrink: f64,
    /// Shortenings at most.
    pub most: usize,
}

impl Default for LineSearch {
    fn default() -> Self {
        Self { sufficient: 1e-4, shrink: 0.5, most: 40 }
    }
}

/// An accepted step.
pub(super) struct Accepted {
    pub length: f64,
    pub cost: f64,
}

impl LineSearch {
    pub(super) fn validate(&self) -> Result<(), SolveError> {
        for (name, value) in [("sufficient", self.sufficient), ("shrink", self.shrink)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(SolveError::Setting { name, value, requirement: "must lie in (0, 1)" });
            }
        }
        Ok(())
    }

    /// Tries `length`, then shorter steps along `v` with `slope = <grad f, v>`, `length slope < 0`; `next` is
    /// the accepted point. None when no step gets low enough.
    pub(super) fn search<B, M, P, R>(
        &self,
        calculus: &mut Calculus<'_, B, M, P>,
        retraction: &R,
        (point, cost): (&Point<B, M>, f64),
        (v, slope): (&Tangent<B>, f64),
        length: f64,
        next: &mut Point<B, M>,
    ) -> Result<Option<Accepted>, SolveError>
    where
        B: Linalg,
        M: Manifold<B>,
        P: Problem<B>,
        R: Retraction<B, M>,
    {
        let mut length = length;
        for _ in 0..=self.most {
            if calculus.retract(retraction, point, v, length, next)?.is_some() {
                let reached = calculus.cost(next)?;
                // Differences below rounding count as no increase.
                let slack = 4.0 * f64::EPSILON * cost.abs();
                if reached <= cost + self.sufficient * length * slope + slack && reached <= cost + slack {
                    return Ok(Some(Accepted { length, cost: reached }));
                }
            }
            length *= self.shrink;
        }
        Ok(None)
    }
}
