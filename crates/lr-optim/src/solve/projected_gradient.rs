//! Projected gradient descent on matrices of bounded rank in a level set (P2GD, Schneider and Uschmajew
//! 2015): the gradient is projected onto the tangent cone, the step back onto the set. A baseline, of first
//! order.
//!
//! At `X = U Sigma V^T`, `H = U Sigma`, the direction is `K V^T + U J` with `K = -P_T(E V)` and `J = -U^T E
//! (I - V V^T)`, and
//!
//! ```text
//! X + t (K V^T + U J) = [H + t K, U] [V, t J^T]^T
//! ```
//!
//! is projected onto rank r by the QR factors of both sides and the SVD of their `2r x 2r` core, then onto
//! the level set, which does not raise the rank.
//!
//! Where the rank s of `X` is below r, the cone also has `U_perp R V_perp^T` with `R` of rank r - s at most. The
//! columns of `V` that `X` does not use are free, and `K V^T` reaches just those `R` whose rows they span: they
//! are turned to the leading right singular vectors of `(I - U U^T) E (I - V V^T)` first, by a subspace
//! iteration. A problem multiplies `E` by the columns to spare of either factor while those of the other are
//! zero: `X` stays the same.

use super::{
    Iteration, LineSearch, Problem, Solution, SolveError, Start, Stop, Termination,
    calculus::{Calculus, Point},
    start::Carried,
};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, Mats, Scalar, Scratch,
};
use lr_manifolds::{Factors, HealthMut, LevelSet, SpaceDecoupling};

/// The solver.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProjectedGradient {
    /// Backtracking; the slope is minus the square of the cone's stationarity measure.
    pub line_search: LineSearch,
}

/// The point `U Sigma V^T` and the projection of `-E` onto its cone.
struct Cone<B: Linalg> {
    u: Mats<B>,
    /// `U Sigma`.
    h: Mats<B>,
    v: Mats<B>,
    k: Mats<B>,
    /// `J^T`.
    jt: Mats<B>,
    sigma: Mats<B>,
    status: Mats<B>,
    scratch: Scratch<B>,
    square: Mats<B>,
}

/// Rounds of the subspace iteration at a point below rank r.
const ROUNDS: usize = 12;

/// The factor that gets zeros where the other gets columns to spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spare {
    Left,
    Right,
}

impl<B: Linalg> Cone<B> {
    fn new(b: &B, m: usize, n: usize, r: usize) -> Result<Self, SolveError> {
        let zeros = |rows, cols| Mats::zeros(b, Dims::new(1, rows, cols));
        Ok(Self {
            u: zeros(m, r)?,
            h: zeros(m, r)?,
            v: zeros(n, r)?,
            k: zeros(m, r)?,
            jt: zeros(n, r)?,
            sigma: zeros(1, r)?,
            status: zeros(1, 1)?,
            scratch: Scratch::new(b)?,
            square: zeros(1, 1)?,
        })
    }

    /// Factors the point and projects the gradient; the square of the stationarity measure.
    fn aim<S: LevelSet<B>>(
        &mut self,
        b: &B,
        set: &S,
        x: &Factors<B>,
        egrad: &Factors<B>,
    ) -> Result<f64, SolveError> {
        let Self { u, h, v, k, jt, sigma, status, scratch, square } = self;
        let r = u.dims().cols;
        b.fill(0.0, status.as_mut());
        scratch.scope(|scope| {
            // H = U Sigma Q^T; the point becomes (U Sigma, V Q), the gradient (E V Q, E^T U Sigma).
            let (mut q, mut triangle) = (scope.take(Dims::square(1, r)), scope.take(Dims::square(1, r)));
            let (mut tall, mut rotation) = (scope.take(u.dims()), scope.take(Dims::square(1, r)));
            b.copy(x.left.as_ref().n(), tall.as_mut());
            b.qr(tall.as_mut(), triangle.as_mut(), status.as_mut());
            b.copy(triangle.as_ref().n(), rotation.as_mut());
            b.svd(rotation.as_mut(), sigma.as_mut(), q.as_mut(), status.as_mut());
            b.gemm(1.0, tall.as_ref().n(), rotation.as_ref().n(), Overwrite, u.as_mut());
            b.copy(u.as_ref().n(), h.as_mut());
            b.scale_columns(sigma.as_ref(), h.as_mut());
            b.gemm(1.0, x.right.as_ref().n(), q.as_ref().n(), Overwrite, v.as_mut());
            b.gemm(-1.0, egrad.left.as_ref().n(), q.as_ref().n(), Overwrite, k.as_mut());
            set.project_tangent(b, h.as_ref(), k.as_mut(), scope);
            // E^T U = (E^T H) Q Sigma^{-1}, with the pseudo-inverse.
            b.copy(sigma.as_ref().n(), triangle.as_mut().rows(0..1));
            let mut inverse = triangle.rows(0..1);
            b.map(lr_linalg::Map::Ratio { numerator: 1.0, floor: B::Elem::EPSILON }, inverse.as_mut());
            b.gemm(-1.0, egrad.right.as_ref().n(), q.as_ref().n(), Overwrite, jt.as_mut());
            b.scale_columns(inverse.as_ref(), jt.as_mut());
            b.gemm(1.0, v.as_ref().t(), jt.as_ref().n(), Overwrite, q.as_mut());
            b.gemm(-1.0, v.as_ref().n(), q.as_ref().n(), Scale(1.0), jt.as_mut());
            b.dot(1.0, k.as_ref(), k.as_ref(), 0.0, square.as_mut());
            b.dot(1.0, jt.as_ref(), jt.as_ref(), 1.0, square.as_mut());
        });
        Ok(square.to_vec(b)?[0].to_f64())
    }

    /// Rank of the point of the last [`Cone::aim`], to rounding.
    fn rank(&self, b: &B) -> Result<usize, SolveError> {
        let sigma: Vec<f64> = self.sigma.to_vec(b)?.into_iter().map(Scalar::to_f64).collect();
        let sides = self.u.dims().rows.max(self.v.dims().rows);
        let floor = sigma.first().copied().unwrap_or(0.0) * sides as f64 * B::Elem::EPSILON.to_f64();
        Ok(sigma.iter().filter(|sigma| **sigma > floor).count())
    }

    /// Writes the point of the last [`Cone::aim`] into `x`; columns from `rank` on are those of `U` or `V` on one
    /// side and zero on the other.
    fn write(&self, b: &B, rank: usize, spare: Spare, x: &mut Factors<B>) {
        b.copy(self.h.as_ref().n(), x.left.as_mut());
        b.copy(self.v.as_ref().n(), x.right.as_mut());
        let (m, n, r) = (self.u.dims().rows, self.v.dims().rows, self.u.dims().cols);
        match spare {
            Spare::Left => {
                b.copy(self.u.as_ref().block(0..m, rank..r).n(), x.left.as_mut().block(0..m, rank..r));
                b.fill(0.0, x.right.as_mut().block(0..n, rank..r));
            }
            Spare::Right => b.fill(0.0, x.left.as_mut().block(0..m, rank..r)),
        }
    }

    /// Turns the columns of `U` (`V`) from `rank` on to an orthonormal basis of those of `product`, `E V`
    /// (`E^T U`), beside the first ones.
    fn turn(&mut self, b: &B, rank: usize, spare: Spare, product: &Mats<B>) {
        let Self { u, v, status, scratch, .. } = self;
        let basis = if spare == Spare::Left { u } else { v };
        let (rows, r) = (basis.dims().rows, basis.dims().cols);
        scratch.scope(|scope| {
            let mut q = scope.take(basis.dims());
            let mut triangle = scope.take(Dims::square(1, r));
            b.copy(basis.as_ref().n(), q.as_mut());
            b.copy(product.as_ref().block(0..rows, rank..r).n(), q.as_mut().block(0..rows, rank..r));
            b.qr(q.as_mut(), triangle.as_mut(), status.as_mut());
            b.copy(q.as_ref().block(0..rows, rank..r).n(), basis.as_mut().block(0..rows, rank..r));
        });
    }

    /// The projection of `X + t (K V^T + U J)` onto the set, or [`None`] where there is none.
    fn step<S: LevelSet<B>>(
        &mut self,
        b: &B,
        set: &S,
        t: f64,
        to: &mut Factors<B>,
    ) -> Result<Option<()>, SolveError> {
        let Self { u, h, v, k, jt, status, scratch, .. } = self;
        let (m, n, r) = (u.dims().rows, v.dims().rows, u.dims().cols);
        b.fill(0.0, status.as_mut());
        let (first, second) = (0..r, r..2 * r);
        scratch.scope(|scope| {
            let small = Dims::square(1, 2 * r);
            let (mut left, mut right) =
                (scope.take(Dims::new(1, m, 2 * r)), scope.take(Dims::new(1, n, 2 * r)));
            b.copy(h.as_ref().n(), left.as_mut().block(0..m, first.clone()));
            b.axpby(Coef::Host(t), k.as_ref(), 1.0, left.as_mut().block(0..m, first.clone()));
            b.copy(u.as_ref().n(), left.as_mut().block(0..m, second.clone()));
            b.copy(v.as_ref().n(), right.as_mut().block(0..n, first.clone()));
            b.axpby(Coef::Host(t), jt.as_ref(), 0.0, right.as_mut().block(0..n, second));
            let (mut rl, mut rr) = (scope.take(small), scope.take(small));
            b.qr(left.as_mut(), rl.as_mut(), status.as_mut());
            b.qr(right.as_mut(), rr.as_mut(), status.as_mut());
            let (mut core, mut q) = (scope.take(small), scope.take(small));
            let mut values = scope.take(Dims::new(1, 1, 2 * r));
            b.gemm(1.0, rl.as_ref().n(), rr.as_ref().t(), Overwrite, core.as_mut());
            b.svd(core.as_mut(), values.as_mut(), q.as_mut(), status.as_mut());
            b.scale_columns(values.as_ref(), core.as_mut());
            let leading = |x: lr_linalg::MatsMut<'_, B>, by: lr_linalg::MatsRef<'_, B>, out: &mut Mats<B>| {
                b.gemm(1.0, x.as_ref().n(), by.block(0..2 * r, 0..r).n(), Overwrite, out.as_mut());
            };
            leading(left, core.as_ref(), &mut to.left);
            leading(right, q.as_ref(), &mut to.right);
            let (mut repairs, mut exact_steps) = (scope.status(1), scope.status(1));
            let health = HealthMut {
                breakdown: status.as_mut(),
                repairs: repairs.as_mut(),
                exact_steps: exact_steps.as_mut(),
            };
            set.project_point(b, to.left.as_mut(), health, scope);
        });
        Ok((status.to_vec(b)?[0].to_f64() == 0.0).then_some(()))
    }
}

impl ProjectedGradient {
    /// Descends from `start`, a point of the manifold.
    ///
    /// # Errors
    /// [`SolveError`]: a start of another shape or rank above the number of rows, numbers that are not
    /// finite, a failing device.
    #[allow(clippy::too_many_arguments)]
    pub fn solve<B, S, P>(
        &self,
        b: &B,
        manifold: &SpaceDecoupling<S>,
        problem: &mut P,
        start: impl Into<Start<B>>,
        stop: &Stop,
        observe: &mut dyn FnMut(&Iteration),
    ) -> Result<Solution<B>, SolveError>
    where
        B: Linalg,
        S: LevelSet<B>,
        P: Problem<B>,
    {
        self.line_search.validate()?;
        let Start { x, carried } = start.into();
        let [m, n, r] = [x.left.dims().rows, x.right.dims().rows, x.left.dims().cols];
        if 2 * r > m.min(n) {
            let requirement = "must be at most half of both sides for projected gradients";
            return Err(SolveError::Setting { name: "rank", value: r as f64, requirement });
        }
        let set = manifold.level_set();
        let mut calculus = Calculus::new(b, manifold, problem)?;
        let (mut point, mut next): (Point<B, SpaceDecoupling<S>>, _) = (calculus.start(x)?, calculus.room()?);
        let (mut cone, mut step, mut trial) = (Cone::new(b, m, n, r)?, 0.0, None);
        if let Carried::Trial { trial: carried, first_gradient_norm } = carried {
            (trial, calculus.first_gradient_norm) = (Some(carried), first_gradient_norm);
        }
        let mut cost = calculus.cost(&point)?;
        let (reason, trial) = loop {
            let mut square = cone.aim(b, set, &point.x, calculus.pulled_gradient(&point)?)?;
            let rank = cone.rank(b)?;
            if rank < r {
                for _ in 0..ROUNDS {
                    cone.write(b, rank, Spare::Right, &mut point.x);
                    cone.turn(b, rank, Spare::Left, &calculus.pulled_gradient(&point)?.left);
                    cone.write(b, rank, Spare::Left, &mut point.x);
                    cone.turn(b, rank, Spare::Right, &calculus.pulled_gradient(&point)?.right);
                }
                cone.write(b, rank, Spare::Right, &mut point.x);
                square = cone.aim(b, set, &point.x, calculus.pulled_gradient(&point)?)?;
            }
            let norm = square.max(0.0).sqrt();
            let first = trial.unwrap_or(1.0 / norm.max(f64::MIN_POSITIVE));
            if let Some(end) = calculus.record([cost, norm, step], stop, observe)? {
                break (end, first);
            }
            let (mut t, mut accepted) = (first, None);
            for _ in 0..=self.line_search.most {
                if cone.step(b, set, t, &mut next.x)?.is_some() {
                    let reached = calculus.cost(&next)?;
                    let slack = 4.0 * f64::EPSILON * cost.abs();
                    if reached <= cost - self.line_search.sufficient * t * square + slack {
                        accepted = Some(reached);
                        break;
                    }
                }
                t *= self.line_search.shrink;
            }
            let Some(reached) = accepted else {
                break ((Termination::Exhausted, "no projected step gets lower"), first);
            };
            calculus.iteration += 1;
            // A little longer than what held: backtracking makes it shorter again where it must.
            (cost, step, trial) = (reached, t * norm, Some(t / self.line_search.shrink));
            std::mem::swap(&mut point, &mut next);
        };
        let first_gradient_norm = calculus.first_gradient_norm;
        Ok(calculus.solution(point.x, reason, Carried::Trial { trial, first_gradient_norm }))
    }
}
