//! [`Calculus`]: a manifold's operations on one problem, with host numbers out, and the state that all
//! solvers share.

use super::{
    Evaluations, Iteration, Outcome, Problem, SecondOrderProblem, Solution, SolveError, Stop, Termination,
    start::Carried,
};
use lr_linalg::{Coef, Dims, Linalg, Mats, MatsMut, Scalar, Scope, Scratch};
use lr_manifolds::{
    Base, Derivatives, Factors, Health, Manifold, Ray, Retraction, SecondOrderManifold, Tangent,
    TangentFactors, Transport,
};
use std::time::Instant;

/// A point with its frame.
#[derive(Debug)]
pub(super) struct Point<B: Linalg, M: Manifold<B>> {
    pub x: Factors<B>,
    pub frame: M::Frame,
}

impl<B: Linalg, M: Manifold<B>> Point<B, M> {
    pub fn base(&self) -> Base<'_, B, M> {
        Base { x: self.x.as_ref(), frame: &self.frame }
    }
}

/// What solvers with Riemannian gradients begin with.
pub(super) struct Opening<B: Linalg, M: Manifold<B>> {
    pub point: Point<B, M>,
    pub cost: f64,
    pub gradient: Tangent<B>,
    /// `<gradient, gradient>`.
    pub square: f64,
    /// Room for the next point.
    pub next: Point<B, M>,
    /// Room for its gradient.
    pub new_gradient: Tangent<B>,
}

/// The operations, and what they need.
pub(super) struct Calculus<'a, B: Linalg, M: Manifold<B>, P> {
    pub b: &'a B,
    pub manifold: &'a M,
    pub problem: &'a mut P,
    pub evaluations: Evaluations,
    /// Iterations taken.
    pub iteration: usize,
    /// Inner iterations of trust regions.
    pub inner_iterations: usize,
    scratch: Scratch<B>,
    direction: M::Direction,
    egrad: Factors<B>,
    /// Factors of a tangent vector.
    lifted: Factors<B>,
    along: Factors<B>,
    ehess: Factors<B>,
    scalar: Mats<B>,
    health: Health<B>,
    started: Instant,
    /// What relative criteria compare with: NaN until a start brings it or the first record sets it.
    pub first_gradient_norm: f64,
    /// Cost and gradient norm of the last record.
    recorded: [f64; 2],
}

impl<'a, B: Linalg, M: Manifold<B>, P: Problem<B>> Calculus<'a, B, M, P> {
    pub fn new(b: &'a B, manifold: &'a M, problem: &'a mut P) -> Result<Self, SolveError> {
        let pair = || Factors::zeros(b, manifold.grid(), 1);
        Ok(Self {
            b,
            manifold,
            problem,
            evaluations: Evaluations::default(),
            iteration: 0,
            inner_iterations: 0,
            scratch: Scratch::new(b)?,
            direction: manifold.new_direction(b, 1)?,
            egrad: pair()?,
            lifted: pair()?,
            along: pair()?,
            ehess: pair()?,
            scalar: Mats::zeros(b, Dims::scalars(1))?,
            health: Health::new(b, 1)?,
            started: Instant::now(),
            first_gradient_norm: f64::NAN,
            recorded: [f64::NAN; 2],
        })
    }

    /// The start, checked and factored.
    pub fn start(&mut self, x: Factors<B>) -> Result<Point<B, M>, SolveError> {
        let grid = self.manifold.grid();
        let (expected_left, expected_right) = (grid.left_dims(1), grid.right_dims(1));
        let (left, right) = (x.left.dims(), x.right.dims());
        if (left, right) != (expected_left, expected_right) {
            return Err(SolveError::Shape { left, right, expected_left, expected_right });
        }
        let mut point = Point { x, frame: self.manifold.new_frame(self.b, 1)? };
        let Self { b, manifold, scratch, health, .. } = self;
        scratch.scope(|scope| manifold.factor(b, point.x.as_ref(), &mut point.frame, health.as_mut(), scope));
        self.sound()?;
        Ok(point)
    }

    /// The start with its cost and gradient, and room to go on.
    pub fn open(&mut self, x: Factors<B>) -> Result<Opening<B, M>, SolveError> {
        let (point, next) = (self.start(x)?, self.room()?);
        let (mut gradient, new_gradient) = (self.tangent()?, self.tangent()?);
        let cost = self.cost(&point)?;
        self.gradient(&point, &mut gradient)?;
        let square = self.inner(&point, &gradient, &gradient)?;
        Ok(Opening { point, cost, gradient, square, next, new_gradient })
    }

    /// Room for a point.
    pub fn room(&self) -> Result<Point<B, M>, SolveError> {
        let x = Factors::zeros(self.b, self.manifold.grid(), 1)?;
        Ok(Point { x, frame: self.manifold.new_frame(self.b, 1)? })
    }

    /// Room for a tangent vector.
    pub fn tangent(&self) -> Result<Tangent<B>, SolveError> {
        Ok(Tangent::zeros(self.b, self.manifold.grid(), 1)?)
    }

    fn sound(&mut self) -> Result<(), SolveError> {
        match self.health.breakdown.to_vec(self.b)?[0].to_f64() {
            0.0 => Ok(()),
            _ => Err(SolveError::Breakdown { iteration: self.iteration }),
        }
    }

    /// Runs `work` on a scalar and returns it.
    fn scalar(
        &mut self,
        work: impl FnOnce(&B, &M, MatsMut<'_, B>, &Scope<'_, B>),
    ) -> Result<f64, SolveError> {
        let Self { b, manifold, scratch, scalar, .. } = self;
        scratch.scope(|scope| work(b, manifold, scalar.as_mut(), scope));
        Ok(self.scalar.to_vec(self.b)?[0].to_f64())
    }

    /// `f(x)`; infinite values are for the caller to refuse.
    pub fn cost(&mut self, point: &Point<B, M>) -> Result<f64, SolveError> {
        self.evaluations.costs += 1;
        self.problem.cost(self.b, point.x.as_ref())
    }

    /// The Riemannian gradient; its Euclidean origin is kept for [`Calculus::hessian`].
    pub fn gradient(&mut self, point: &Point<B, M>, out: &mut Tangent<B>) -> Result<(), SolveError> {
        self.evaluations.gradients += 1;
        self.problem.egrad(self.b, point.x.as_ref(), self.egrad.as_mut())?;
        let Self { b, manifold, scratch, egrad, .. } = self;
        scratch.scope(|scope| {
            manifold.egrad_to_rgrad(b, point.base(), egrad.as_ref(), out.as_mut(), scope);
        });
        Ok(())
    }

    /// The pulled-back Euclidean gradient at the point.
    pub fn pulled_gradient(&mut self, point: &Point<B, M>) -> Result<&Factors<B>, SolveError> {
        self.evaluations.gradients += 1;
        self.problem.egrad(self.b, point.x.as_ref(), self.egrad.as_mut())?;
        Ok(&self.egrad)
    }

    /// `<u, v>` at the point.
    pub fn inner(&mut self, point: &Point<B, M>, u: &Tangent<B>, v: &Tangent<B>) -> Result<f64, SolveError> {
        self.scalar(|b, m, out, scope| m.inner(b, point.base(), u.as_ref(), v.as_ref(), out, scope))
    }

    /// `|v|` at the point.
    pub fn norm(&mut self, point: &Point<B, M>, v: &Tangent<B>) -> Result<f64, SolveError> {
        Ok(self.inner(point, v, v)?.max(0.0).sqrt())
    }

    /// `out = R(t v)`. An unsound end is reported as [`None`]: a shorter step may do.
    pub fn retract<R: Retraction<B, M>>(
        &mut self,
        retraction: &R,
        point: &Point<B, M>,
        v: &Tangent<B>,
        t: f64,
        out: &mut Point<B, M>,
    ) -> Result<Option<()>, SolveError> {
        let Self { b, manifold, scratch, direction, health, .. } = self;
        scratch.scope(|scope| {
            let mut health = health.as_mut();
            manifold.aim(b, point.base(), v.as_ref(), direction, health.as_mut(), scope);
            let ray = Ray { at: point.base(), tangent: v.as_ref(), direction: &*direction };
            let Point { x, frame } = out;
            retraction.retract(b, manifold, ray, Coef::Host(t), x.as_mut(), frame, health, scope);
        });
        match self.sound() {
            Ok(()) => Ok(Some(())),
            Err(SolveError::Breakdown { .. }) => {
                self.b.fill(0.0, self.health.breakdown.as_mut());
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Carries `v` from one point to another.
    pub fn transport<T: Transport<B, M>>(
        &mut self,
        transport: &T,
        from: &Point<B, M>,
        to: &Point<B, M>,
        v: &mut Tangent<B>,
    ) {
        let Self { b, manifold, scratch, .. } = self;
        scratch.scope(|scope| transport.transport(b, manifold, from.base(), to.base(), v.as_mut(), scope));
    }

    /// Replaces `v` by the nearest tangent vector.
    pub fn project(&mut self, point: &Point<B, M>, v: &mut Tangent<B>) {
        let Self { b, manifold, scratch, .. } = self;
        scratch.scope(|scope| manifold.project(b, point.base(), v.as_mut(), scope));
    }

    /// `out = a x + c out`.
    pub fn combine(&self, a: f64, x: &Tangent<B>, c: f64, out: &mut Tangent<B>) {
        out.as_mut().axpby(self.b, Coef::Host(a), x.as_ref(), c);
    }

    /// Records an iteration; an end and its reason when `stop` says so.
    pub fn record(
        &mut self,
        [cost, gradient_norm, step]: [f64; 3],
        stop: &Stop,
        observe: &mut dyn FnMut(&Iteration),
    ) -> Result<Option<(Termination, &'static str)>, SolveError> {
        for (what, value) in [("the cost", cost), ("the gradient norm", gradient_norm)] {
            if !value.is_finite() {
                return Err(SolveError::NotFinite { what, iteration: self.iteration, value });
            }
        }
        let now = Iteration {
            iteration: self.iteration,
            inner: self.inner_iterations,
            cost,
            gradient_norm,
            step,
            seconds: self.started.elapsed().as_secs_f64(),
            evaluations: self.evaluations,
        };
        observe(&now);
        self.recorded = [cost, gradient_norm];
        if self.first_gradient_norm.is_nan() {
            self.first_gradient_norm = gradient_norm;
        }
        Ok(stop.check(&now, self.first_gradient_norm).map(|end| (end, "the stopping criterion holds")))
    }

    /// What the solver returns: the point of the last record.
    pub fn solution(
        &self,
        x: Factors<B>,
        (termination, reason): (Termination, &str),
        carried: Carried<B>,
    ) -> Solution<B> {
        let [cost, gradient_norm] = self.recorded;
        let outcome = Outcome {
            termination,
            reason: reason.to_owned(),
            iterations: self.iteration,
            inner_iterations: self.inner_iterations,
            cost,
            gradient_norm,
            evaluations: self.evaluations,
        };
        Solution { x, outcome, carried }
    }
}

impl<B: Linalg, M: TangentFactors<B>, P: Problem<B>> Calculus<'_, B, M, P> {
    /// The positive step along `v` that the problem itself proposes, at the point of the last [`Calculus::gradient`].
    pub fn line_minimum(&mut self, point: &Point<B, M>, v: &Tangent<B>) -> Result<Option<f64>, SolveError> {
        let Self { b, manifold, problem, scratch, lifted, .. } = self;
        scratch.scope(|scope| {
            manifold.tangent_factors(b, point.base(), v.as_ref(), lifted.as_mut(), scope);
        });
        let proposed = problem.line_minimum(b, point.x.as_ref(), lifted.as_ref())?;
        Ok(proposed.filter(|t| *t > 0.0 && t.is_finite()))
    }
}

impl<B: Linalg, M: SecondOrderManifold<B>, P: SecondOrderProblem<B>> Calculus<'_, B, M, P> {
    /// `out = Hess f(x)[v]`, at the point of the last [`Calculus::gradient`].
    pub fn hessian(
        &mut self,
        point: &Point<B, M>,
        v: &Tangent<B>,
        out: &mut Tangent<B>,
    ) -> Result<(), SolveError> {
        self.evaluations.hessians += 1;
        let Self { b, manifold, problem, scratch, egrad, lifted, along, ehess, .. } = self;
        scratch.scope(|scope| {
            manifold.tangent_factors(b, point.base(), v.as_ref(), lifted.as_mut(), scope);
        });
        problem.ehess(b, point.x.as_ref(), lifted.as_ref(), along.as_mut(), ehess.as_mut())?;
        let f = Derivatives { egrad: egrad.as_ref(), egrad_along: along.as_ref(), ehess: ehess.as_ref() };
        scratch.scope(|scope| manifold.ehess_to_rhess(b, point.base(), v.as_ref(), f, out.as_mut(), scope));
        Ok(())
    }
}
