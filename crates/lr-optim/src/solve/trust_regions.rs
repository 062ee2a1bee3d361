//! Trust regions with truncated conjugate gradients (Absil, Baker and Gallivan 2007).
//!
//! Each outer iteration minimizes the model `m(eta) = f + <g, eta> + <eta, Hess eta>/2` over `|eta| <=
//! radius` by Steihaug's conjugate gradients, which stop at the boundary, at negative curvature, or when the
//! residual has fallen to `|r0| min(|r0|^theta, kappa)`: superlinear convergence of order `1 + theta`. The
//! radius follows the ratio of actual to predicted decrease, regularized against rounding near convergence
//! (Conn, Gould and Toint 2000, 17.4.2); where the predicted decrease is within that rounding, a step must lower
//! the norm of the gradient as well.
//!
//! `theta = 1`, quadratic convergence, is not the default. Where the rank is over-estimated the Hessian is
//! singular at the solution: directions that turn a column of V which X does not use move X to second order
//! only. There the gradient is of order `|E| |X - A|`, the square of its own norm, and curvature is of either
//! sign and of order `|E|`. An inner iteration that goes on until its residual is `|r0|^2` resolves just those
//! components, follows them to the boundary, and the model does not hold there. With `theta` well below 1 it
//! ends before.

use super::{
    Iteration, Preconditioner, SecondOrderProblem, Solution, SolveError, Start, Stop, Termination,
    Unpreconditioned,
    calculus::{Calculus, Opening, Point},
    start::Carried,
};
use lr_linalg::Linalg;
use lr_manifolds::{Retraction, SecondOrderManifold, Tangent};

/// The solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrustRegions {
    /// Largest radius; 0 takes the root of the manifold's dimension.
    pub largest_radius: f64,
    /// First radius as a share of the largest.
    pub first_share: f64,
    /// Least ratio of actual to predicted decrease for a step to be taken, below 1/4.
    pub accept: f64,
    /// Order of convergence less 1; keep it well below 1 where the Hessian may be singular at the solution.
    pub theta: f64,
    /// Linear reduction of the residual that the inner iteration reaches at least.
    pub kappa: f64,
    /// Inner iterations at most; 0 takes the manifold's dimension.
    pub inner: usize,
}

impl Default for TrustRegions {
    fn default() -> Self {
        Self { largest_radius: 0.0, first_share: 0.125, accept: 0.1, theta: 0.5, kappa: 0.1, inner: 0 }
    }
}

/// Scale of the regularization of the ratio, in units of rounding of the cost.
const RHO_REGULARIZATION: f64 = 1e3;

/// Vectors of the inner iteration.
struct Inner<B: Linalg> {
    eta: Tangent<B>,
    hess_eta: Tangent<B>,
    residual: Tangent<B>,
    /// The preconditioned residual.
    preconditioned: Tangent<B>,
    delta: Tangent<B>,
    hess_delta: Tangent<B>,
}

/// Why the inner iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InnerEnd {
    Boundary,
    Residual,
    Budget,
}

impl TrustRegions {
    fn validate(&self) -> Result<(), SolveError> {
        let ranges = [
            ("accept", self.accept, 0.0..0.25, "must lie in [0, 1/4)"),
            ("first_share", self.first_share, f64::MIN_POSITIVE..1.0, "must lie in (0, 1)"),
            ("kappa", self.kappa, f64::MIN_POSITIVE..1.0, "must lie in (0, 1)"),
            ("theta", self.theta, 0.0..f64::MAX, "must not be negative"),
            ("largest_radius", self.largest_radius, 0.0..f64::MAX, "must not be negative"),
        ];
        match ranges.into_iter().find(|(_, value, range, _)| !range.contains(value)) {
            Some((name, value, _, requirement)) => Err(SolveError::Setting { name, value, requirement }),
            None => Ok(()),
        }
    }

    /// Descends from `start`.
    ///
    /// # Errors
    /// [`SolveError`]: a start of another shape, numbers that are not finite, a failing device.
    #[allow(clippy::too_many_arguments)]
    pub fn solve<B, M, P, R>(
        &self,
        b: &B,
        manifold: &M,
        retraction: &R,
        problem: &mut P,
        start: impl Into<Start<B>>,
        stop: &Stop,
        observe: &mut dyn FnMut(&Iteration),
    ) -> Result<Solution<B>, SolveError>
    where
        B: Linalg,
        M: SecondOrderManifold<B>,
        P: SecondOrderProblem<B>,
        R: Retraction<B, M>,
    {
        self.solve_with(b, manifold, retraction, problem, &mut Unpreconditioned, start, stop, observe)
    }

    /// The same with a preconditioner, whose inverse also measures the radius.
    ///
    /// # Errors
    /// As [`TrustRegions::solve`].
    #[allow(clippy::too_many_arguments)]
    pub fn solve_with<B, M, P, R, C>(
        &self,
        b: &B,
        manifold: &M,
        retraction: &R,
        problem: &mut P,
        preconditioner: &mut C,
        start: impl Into<Start<B>>,
        stop: &Stop,
        observe: &mut dyn FnMut(&Iteration),
    ) -> Result<Solution<B>, SolveError>
    where
        B: Linalg,
        M: SecondOrderManifold<B>,
        P: SecondOrderProblem<B>,
        R: Retraction<B, M>,
        C: Preconditioner<B, M>,
    {
        self.validate()?;
        let Start { x, carried } = start.into();
        let mut calculus = Calculus::new(b, manifold, problem)?;
        let Opening { mut point, mut cost, mut gradient, square, mut next, mut new_gradient } =
            calculus.open(x)?;
        let mut work = Inner {
            eta: calculus.tangent()?,
            hess_eta: calculus.tangent()?,
            residual: calculus.tangent()?,
            preconditioned: calculus.tangent()?,
            delta: calculus.tangent()?,
            hess_delta: calculus.tangent()?,
        };
        let largest =
            if self.largest_radius > 0.0 { self.largest_radius } else { (manifold.dim() as f64).sqrt() };
        let budget = if self.inner > 0 { self.inner } else { manifold.dim() };
        let (mut radius, mut first_cost) = (self.first_share * largest, cost.abs());
        if let Carried::Radius { radius: carried, first_cost: of_all, first_gradient_norm } = carried {
            // The settings may be others.
            (radius, first_cost) = (carried.min(largest), of_all);
            calculus.first_gradient_norm = first_gradient_norm;
        }
        let (mut norm, mut step) = (square.max(0.0).sqrt(), 0.0);
        preconditioner.prepare(b, manifold, point.base())?;
        let reason = loop {
            if let Some(end) = calculus.record([cost, norm, step], stop, observe)? {
                break end;
            }
            if radius < f64::EPSILON * largest {
                break (Termination::Exhausted, "the trust region has shrunk to rounding");
            }
            let (ended, products) = self.inner(
                &mut calculus,
                preconditioner,
                &point,
                &gradient,
                norm,
                radius,
                budget,
                &mut work,
            )?;
            calculus.inner_iterations += products;
            calculus.iteration += 1;
            // m(eta) - f = <g, eta> + <eta, Hess eta>/2.
            let model = calculus.inner(&point, &gradient, &work.eta)?
                + 0.5 * calculus.inner(&point, &work.eta, &work.hess_eta)?;
            let length = calculus.norm(&point, &work.eta)?;
            let sound = calculus.retract(retraction, &point, &work.eta, 1.0, &mut next)?.is_some();
            let reached = if sound { calculus.cost(&next)? } else { f64::INFINITY };
            // Relative to the cost itself: one that falls towards zero, as a fit's, is known to ever more
            // digits.
            let slack = cost.abs().max(f64::EPSILON * first_cost) * f64::EPSILON * RHO_REGULARIZATION;
            let mut ratio = (cost - reached + slack) / (-model + slack);
            // False where a number is NaN: that shrinks the region.
            let mut taken = ratio > self.accept && model <= 0.0 && reached.is_finite();
            let mut new_norm = norm;
            if taken {
                calculus.gradient(&next, &mut new_gradient)?;
                new_norm = calculus.norm(&next, &new_gradient)?;
                // Decreases that the cost cannot tell from rounding are judged by the gradient; otherwise any
                // step along a flat valley would pass.
                if -model <= slack && new_norm >= norm {
                    (taken, ratio) = (false, 0.0);
                    // The problem's derivatives are those of the last gradient.
                    calculus.gradient(&point, &mut gradient)?;
                }
            }
            let trusted = ratio >= 0.25 && model <= 0.0;
            if !trusted {
                radius = 0.25 * length.min(radius);
            } else if ratio > 0.75 && ended == InnerEnd::Boundary {
                radius = (2.0 * radius).min(largest);
            }
            step = 0.0;
            if taken {
                (cost, step, norm) = (reached, length, new_norm);
                std::mem::swap(&mut point, &mut next);
                std::mem::swap(&mut gradient, &mut new_gradient);
                preconditioner.prepare(b, manifold, point.base())?;
            }
        };
        let first_gradient_norm = calculus.first_gradient_norm;
        let carried = Carried::Radius { radius, first_cost, first_gradient_norm };
        Ok(calculus.solution(point.x, reason, carried))
    }

    /// Steihaug's truncated conjugate gradients: `work.eta` and its image under the Hessian; why it ended and
    /// after how many products.
    #[allow(clippy::too_many_arguments)]
    fn inner<B, M, P, C>(
        &self,
        calculus: &mut Calculus<'_, B, M, P>,
        preconditioner: &mut C,
        point: &Point<B, M>,
        gradient: &Tangent<B>,
        norm: f64,
        radius: f64,
        budget: usize,
        work: &mut Inner<B>,
    ) -> Result<(InnerEnd, usize), SolveError>
    where
        B: Linalg,
        M: SecondOrderManifold<B>,
        P: SecondOrderProblem<B>,
        C: Preconditioner<B, M>,
    {
        let Inner { eta, hess_eta, residual, preconditioned, delta, hess_delta } = work;
        let (b, manifold) = (calculus.b, calculus.manifold);
        calculus.combine(0.0, gradient, 0.0, eta);
        calculus.combine(0.0, gradient, 0.0, hess_eta);
        calculus.combine(1.0, gradient, 0.0, residual);
        preconditioner.apply(b, manifold, point.base(), residual, preconditioned)?;
        calculus.combine(-1.0, preconditioned, 0.0, delta);
        // Inner products of eta and delta in the metric of the preconditioner's inverse, carried along by
        // their
        // recurrences; rr is <r, P r>.
        let mut rr = calculus.inner(point, residual, preconditioned)?;
        let (mut ee, mut ed, mut dd) = (0.0, 0.0, rr);
        let target = norm * norm.powf(self.theta).min(self.kappa);
        for taken in 1..=budget {
            calculus.hessian(point, delta, hess_delta)?;
            let curvature = calculus.inner(point, delta, hess_delta)?;
            let alpha = rr / curvature;
            let reach = ee + 2.0 * alpha * ed + alpha * alpha * dd;
            // False where it is NaN, which ends at the boundary as negative curvature does.
            let convex = curvature > 0.0;
            if !convex || reach >= radius * radius {
                let tau = (-ed + (ed * ed + dd * (radius * radius - ee)).max(0.0).sqrt()) / dd;
                calculus.combine(tau, delta, 1.0, eta);
                calculus.combine(tau, hess_delta, 1.0, hess_eta);
                return Ok((InnerEnd::Boundary, taken));
            }
            calculus.combine(alpha, delta, 1.0, eta);
            calculus.combine(alpha, hess_delta, 1.0, hess_eta);
            calculus.combine(alpha, hess_delta, 1.0, residual);
            let square = calculus.inner(point, residual, residual)?;
            if square.max(0.0).sqrt() <= target {
                return Ok((InnerEnd::Residual, taken));
            }
            preconditioner.apply(b, manifold, point.base(), residual, preconditioned)?;
            let new = calculus.inner(point, residual, preconditioned)?;
            let beta = new / rr;
            ee = reach;
            ed = beta * (ed + alpha * dd);
            dd = new + beta * beta * dd;
            rr = new;
            calculus.combine(-1.0, preconditioned, beta, delta);
        }
        Ok((InnerEnd::Budget, budget))
    }
}
