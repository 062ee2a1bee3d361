//! Stopping criteria that compose, what an observer sees, and what a solver returns.

use super::{Evaluations, start::Carried};
use lr_linalg::Backend;
use lr_manifolds::Factors;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What an observer sees after every iteration; iteration 0 is the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iteration {
    /// Outer iterations taken.
    pub iteration: usize,
    /// Inner iterations of trust regions so far.
    pub inner: usize,
    /// Cost at the point.
    pub cost: f64,
    /// Norm of the Riemannian gradient.
    pub gradient_norm: f64,
    /// Length of the last step in the metric, 0 at the start.
    pub step: f64,
    /// Wall clock since the start, seconds.
    pub seconds: f64,
    /// How often the problem was asked.
    pub evaluations: Evaluations,
}

/// Whether the end of a solver means convergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// A criterion of accuracy holds.
    Converged,
    /// A budget is used up, or no step gets lower.
    Exhausted,
}

/// A flag that another thread raises, a handler of Ctrl-C for one. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    /// Raises the flag; returns whether it was raised before.
    pub fn raise(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Flag {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// When a solver stops; criteria combine with [`Stop::or`] and [`Stop::and`].
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Gradient norm at most this: convergence.
    Gradient(f64),
    /// Gradient norm at most this share of the start's: convergence.
    RelativeGradient(f64),
    /// Cost at most this: convergence.
    Cost(f64),
    /// That many outer iterations.
    Iterations(usize),
    /// That many seconds of wall clock; makes a run depend on the machine.
    Seconds(f64),
    /// Once somebody raises the flag.
    Raised(Flag),
    /// One of the two.
    Or(Box<Stop>, Box<Stop>),
    /// Both; convergence if one of them is.
    And(Box<Stop>, Box<Stop>),
}

impl Stop {
    /// [`Stop::Gradient`].
    pub fn gradient_below(tolerance: f64) -> Self {
        Self::Gradient(tolerance)
    }

    /// [`Stop::Iterations`].
    pub fn iterations(most: usize) -> Self {
        Self::Iterations(most)
    }

    /// Either criterion.
    pub fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    /// Both criteria.
    pub fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    /// Whether `now` is the end, given the gradient norm of the start.
    pub fn check(&self, now: &Iteration, first_gradient_norm: f64) -> Option<Termination> {
        let converged = |holds: bool| holds.then_some(Termination::Converged);
        let exhausted = |holds: bool| holds.then_some(Termination::Exhausted);
        match self {
            Self::Gradient(tolerance) => converged(now.gradient_norm <= *tolerance),
            Self::RelativeGradient(share) => converged(now.gradient_norm <= share * first_gradient_norm),
            Self::Cost(bound) => converged(now.cost <= *bound),
            Self::Iterations(most) => exhausted(now.iteration >= *most),
            Self::Seconds(most) => exhausted(now.seconds >= *most),
            Self::Raised(flag) => exhausted(flag.is_raised()),
            Self::Or(a, b) => better(a.check(now, first_gradient_norm), b.check(now, first_gradient_norm)),
            Self::And(a, b) => {
                let (a, b) = (a.check(now, first_gradient_norm)?, b.check(now, first_gradient_norm)?);
                better(Some(a), Some(b))
            }
        }
    }
}

fn better(a: Option<Termination>, b: Option<Termination>) -> Option<Termination> {
    match (a, b) {
        (Some(Termination::Converged), _) | (_, Some(Termination::Converged)) => Some(Termination::Converged),
        (Some(Termination::Exhausted), _) | (_, Some(Termination::Exhausted)) => Some(Termination::Exhausted),
        (None, None) => None,
    }
}

/// How a solver ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether it converged.
    pub termination: Termination,
    /// What ended it, in words.
    pub reason: String,
    /// Outer iterations.
    pub iterations: usize,
    /// Inner iterations of trust regions.
    pub inner_iterations: usize,
    /// Final cost.
    pub cost: f64,
    /// Final norm of the Riemannian gradient.
    pub gradient_norm: f64,
    /// How often the problem was asked.
    pub evaluations: Evaluations,
}

/// The point that a solver found.
#[derive(Debug)]
pub struct Solution<B: Backend> {
    /// Its factors.
    pub x: Factors<B>,
    /// How the solver ended.
    pub outcome: Outcome,
    pub(super) carried: Carried<B>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(iteration: usize, gradient_norm: f64) -> Iteration {
        let evaluations = Evaluations::default();
        Iteration { iteration, inner: 0, cost: 1.0, gradient_norm, step: 0.0, seconds: 0.5, evaluations }
    }

    #[test]
    fn criteria_compose_and_know_whether_they_mean_convergence() {
        let stop = Stop::gradient_below(1e-6).or(Stop::iterations(10));
        assert_eq!(stop.check(&at(3, 1.0), 1.0), None);
        assert_eq!(stop.check(&at(10, 1.0), 1.0), Some(Termination::Exhausted));
        assert_eq!(stop.check(&at(10, 1e-7), 1.0), Some(Termination::Converged));
        assert_eq!(stop.check(&at(2, 1e-6), 1.0), Some(Termination::Converged));
        let flag = Flag::default();
        let raised = Stop::Raised(flag.clone());
        assert_eq!(raised.check(&at(2, 1.0), 1.0), None);
        assert!(!flag.raise() && flag.raise());
        assert_eq!(raised.check(&at(2, 1.0), 1.0), Some(Termination::Exhausted));
        let both = Stop::RelativeGradient(1e-3).and(Stop::iterations(5));
        assert_eq!(both.check(&at(2, 1e-3), 2.0), None);
        assert_eq!(both.check(&at(5, 2e-3), 2.0), Some(Termination::Converged));
        assert_eq!(both.check(&at(5, 3e-3), 2.0), None);
        assert_eq!(Stop::Cost(1.0).check(&at(0, 1.0), 1.0), Some(Termination::Converged));
        assert_eq!(Stop::Seconds(0.4).check(&at(0, 1.0), 1.0), Some(Termination::Exhausted));
        assert_eq!(Stop::gradient_below(1.0).check(&at(0, f64::NAN), 1.0), None, "NaN is no convergence");
    }
}
