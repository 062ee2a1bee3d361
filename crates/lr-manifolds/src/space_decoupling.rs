//! The space-decoupling manifold `M_h`: matrices of rank at most r that satisfy an orthogonally invariant
//! constraint (Yang, Gao and Yuan, arXiv 2501.13830).
//!
//! Set: `{(X, G) : X G = 0, G = I - V V^T, h(X) = 0}`; unlike the set of such `X` it is smooth where the rank
//! drops. Point: `(H, V)` with `X = H V^T`, `H` in the [`LevelSet`], `V` orthonormal; gauge `(H Q, V Q)`.
//! Frame: Cholesky factor of `M = 2 omega I + H^T H`. Tangent: `(K, Vp)`, `K` tangent to the level set, `V^T Vp = 0`;
//! ambient `K V^T + H Vp^T`. Metric: `<X1, X2> + omega <G1, G2> = tr K1^T K2 + tr M Vp1^T Vp2`.
//!
//! With `E = grad f(X)` the pulled-back pair `(E V, E^T H)` is what [`Manifold::egrad_to_rgrad`] takes:
//!
//! | step | equation |
//! |---|---|
//! | gradient | `K = P_T(E V)`, `Vp = G E^T H M^{-1}` |
//! | projection of an ambient pair | `K = P_T(A V)`, `Vp = G (A^T H - 2 omega B V) M^{-1}` |
//! | Hessian | [`second_order`] |
//! | retractions, transport | [`retractions`] |
//! | tangent cone of the original problem | [`tangent_cone`] |
//!
//! `H` may be rank-deficient anywhere: `M` is not.

pub mod retractions;
pub mod second_order;
pub mod tangent_cone;

use crate::{
    Base, FactorsMut, FactorsRef, Grid, HealthMut, LevelSet, LevelSetShape, Manifold, NormKind, Ray,
    ShapeError, State, fixed_rank_quotient::lift_to_ambient, manifold::orthogonality_of, repair,
    tangent_factors::remove_span, xky::Middle,
};
use lr_linalg::{
    Coef, DeviceError, Epilogue::Overwrite, Linalg, Map, Mats, MatsMut, MatsRef, PivotGuard, PolarMethod,
    Scope, Side, Triangle,
};

/// The geometry over the level set `S`.
#[derive(Clone, Debug)]
pub struct SpaceDecoupling<S> {
    grid: Grid,
    set: S,
    omega: f64,
}

/// `2 omega I + H^T H = L L^T`.
#[derive(Debug)]
pub struct DecouplingFrame<B: Linalg> {
    l: Mats<B>,
}

impl<B: Linalg> State<B> for DecouplingFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        vec![("l", &self.l)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        vec![("l", &mut self.l)]
    }
}

impl<S: LevelSetShape> SpaceDecoupling<S> {
    /// The geometry on `m x n` matrices of rank at most `r` in the level set, `omega > 0` weighing the two parts of
    /// the metric (usual: 1/2).
    ///
    /// # Errors
    /// [`ShapeError`] when the rank exceeds `n`, the set admits no such matrices, or `omega` is not positive.
    pub fn new(m: usize, n: usize, r: usize, set: S, omega: f64) -> Result<Self, ShapeError> {
        let grid = Grid::singleton(m, n, r);
        grid.require_nonempty()?;
        if r > n {
            return Err(ShapeError::RankTooLarge {
                geometry: "space-decoupling",
                rank: r,
                bound: "the number of columns n",
                limit: n,
            });
        }
        set.admit(m, r)?;
        if !(omega > 0.0 && omega.is_finite()) {
            return Err(ShapeError::Omega(omega.to_string()));
        }
        Ok(Self { grid, set, omega })
    }

    /// The level set.
    pub fn level_set(&self) -> &S {
        &self.set
    }

    /// Weight of the second part of the metric.
    pub fn omega(&self) -> f64 {
        self.omega
    }

    /// The nearest tangent vector to an ambient pair `(A, B)`, `B` symmetric, from the products
    /// `(A V, A^T H)` in `out` and `B V` (`[problems, n, r]`).
    pub fn project_ambient<B: Linalg>(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        bv: MatsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) where
        S: LevelSet<B>,
    {
        self.set.project_tangent(b, at.x.left, out.left.as_mut(), scope);
        b.axpby(Coef::Host(-2.0 * self.omega), bv, 1.0, out.right.as_mut());
        solve_right(b, at.frame, out.right.as_mut());
        remove_span(b, at.x.right, out.right, scope);
    }
}

/// `x <- x M^{-1}`.
fn solve_right<B: Linalg>(b: &B, frame: &DecouplingFrame<B>, mut x: MatsMut<'_, B>) {
    b.trsm(Side::Right, Triangle::Lower, frame.l.as_ref().t(), x.as_mut());
    b.trsm(Side::Right, Triangle::Lower, frame.l.as_ref().n(), x);
}

/// `x <- M^{-1} x`.
fn solve_left<B: Linalg>(b: &B, frame: &DecouplingFrame<B>, mut x: MatsMut<'_, B>) {
    b.trsm(Side::Left, Triangle::Lower, frame.l.as_ref().n(), x.as_mut());
    b.trsm(Side::Left, Triangle::Lower, frame.l.as_ref().t(), x);
}

impl<B: Linalg, S: LevelSet<B>> Manifold<B> for SpaceDecoupling<S> {
    type Frame = DecouplingFrame<B>;
    type Direction = ();

    fn name(&self) -> &'static str {
        "space-decoupling"
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dim(&self) -> usize {
        let (m, n, r) = (self.grid.left.total(), self.grid.right.total(), self.grid.rank);
        (m + n - r) * r - self.set.codimension(m)
    }

    fn has_norm(&self, kind: NormKind) -> bool {
        kind == NormKind::Metric
    }

    fn new_frame(&self, b: &B, problems: usize) -> Result<DecouplingFrame<B>, DeviceError> {
        Ok(DecouplingFrame { l: Mats::zeros(b, self.grid.small_dims(problems))? })
    }

    fn new_direction(&self, _: &B, _: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn factor(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        frame: &mut DecouplingFrame<B>,
        health: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        b.gemm(1.0, x.left.t(), x.left.n(), Overwrite, frame.l.as_mut());
        b.add_diagonal(2.0 * self.omega, frame.l.as_mut());
        b.cholesky(PivotGuard::Report, frame.l.as_mut(), health.breakdown);
    }

    fn egrad_to_rgrad(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        out.copy_from(b, egrad);
        self.set.project_tangent(b, at.x.left, out.left.as_mut(), scope);
        solve_right(b, at.frame, out.right.as_mut());
        remove_span(b, at.x.right, out.right, scope);
    }

    fn inner(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        u: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        mut out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        b.dot(1.0, u.left, v.left, 0.0, out.as_mut());
        scope.nest(|scope| {
            let (mut ul, mut vl) = (scope.take(u.right.dims()), scope.take(v.right.dims()));
            b.gemm(1.0, u.right.n(), at.frame.l.as_ref().n(), Overwrite, ul.as_mut());
            b.gemm(1.0, v.right.n(), at.frame.l.as_ref().n(), Overwrite, vl.as_mut());
            b.dot(1.0, ul.as_ref(), vl.as_ref(), 1.0, out);
        });
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        self.set.project_tangent(b, at.x.left, v.left, scope);
        remove_span(b, at.x.right, v.right, scope);
    }

    fn aim(
        &self,
        _: &B,
        _: Base<'_, B, Self>,
        _: FactorsRef<'_, B>,
        _: &mut (),
        _: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        // The pair is followed as it is.
    }

    fn norm(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        kind: NormKind,
        mut out: MatsMut<'_, B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        assert!(kind == NormKind::Metric, "the space-decoupling manifold has no spectral norm");
        self.inner(b, ray.at, ray.tangent, ray.tangent, out.as_mut(), scope);
        b.map(Map::Sqrt, out);
    }

    fn carries_orthonormal_factors(&self) -> bool {
        true
    }

    fn reorthogonalize(
        &self,
        b: &B,
        x: FactorsMut<'_, B>,
        frame: &mut DecouplingFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let FactorsMut { mut left, mut right } = x;
        b.polar(PolarMethod::default(), right.as_mut(), health.breakdown.as_mut(), scope);
        self.set.project_point(b, left.as_mut(), health.as_mut(), scope);
        self.factor(b, FactorsRef { left: left.as_ref(), right: right.as_ref() }, frame, health, scope);
    }

    fn orthogonality_defect(&self, b: &B, at: Base<'_, B, Self>, out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        orthogonality_of(b, std::iter::once(at.x.right), out, scope);
    }

    fn to_ambient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        lift_to_ambient(b, at.x, v, out);
    }

    fn consistency_defect(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        repair::consistency_defect(b, Middle::General, at.x, egrad, out, scope);
    }

    fn hazard(&self, b: &B, _: Ray<'_, B, Self>, out: MatsMut<'_, B>, _: HealthMut<'_, B>, _: &Scope<'_, B>) {
        // The rank may drop.
        b.fill(0.0, out);
    }
}
