//! Partial isometries in factor space: the quotient and the canonical geometry, singleton and grid, and the
//! embedded geometry of the grid (paper sections 4.3 to 4.5, A.4; see [`embedded_metric`]).
//!
//! Set: `{(U_i V_j^T)_ij : U_i^T U_i = V_j^T V_j = I_r}` as products of Stiefel manifolds modulo a common
//! rotation `(U_i Q, V_j Q)`. Point: the stacked `U`, `V`, no frame. Tangent: the horizontal lift
//! `(M_U, M_V)`. With I block rows and J block columns:
//!
//! | | quotient | canonical |
//! |---|---|---|
//! | metric | `J sum <M_Ui, N_Ui> + I sum <M_Vj, N_Vj>` | the same less half of `<U_i^T M_Ui, U_i^T N_Ui>`, likewise V |
//! | gradient, singleton | `K = sym(G_U^T U + G_V^T V)/2`: `G_U - U K`, `G_V - V K` | `K = (G_U^T U + V^T G_V)/2`: `G_U - U K`, `G_V - V K^T` |
//! | gradient, grid | `(G_Ui - U_i sym(G_Ui^T U_i))/J`, likewise V with 1/I | `(G_Ui - U_i G_Ui^T U_i)/J`, likewise V |
//!
//! Projection and transport: `M' = M - U sym(U^T M)` factor by factor, then
//! `Omega = (J sum U_i^T M'_Ui + I sum V_j^T M'_Vj)/(2 I J)` removed from all of them. The singleton
//! gradients average what the two sides say, which repairs an inconsistent gradient at no cost.

mod embedded_metric;
mod middles;
mod moves;

pub use moves::LiftedProjection;

use crate::{
    Base, FactorsMut, FactorsRef, Grid, HealthMut, Manifold, NormKind, Ray, ShapeError, State,
    fixed_rank_quotient::lift_to_ambient,
    manifold::orthogonality_of,
    repair::{self, GradientRepair},
    xky::Middle,
};
use lr_linalg::{
    Coef, DeviceError, Dims,
    Epilogue::{Add, Overwrite},
    Linalg, Map, Mats, MatsMut, Part, Scope,
};

/// Metric of the total space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsometryMetric {
    /// Euclidean on both factors.
    Quotient,
    /// Canonical on both Stiefel manifolds (Edelman, Arias and Smith 1998).
    Canonical,
    /// That of the ambient space, `<Xi, H> = tr(Xi^T H)`, in horizontal lifts.
    Embedded,
}

/// The geometry.
#[derive(Clone, Debug)]
pub struct PartialIsometryLifted {
    grid: Grid,
    metric: IsometryMetric,
}

/// What distinguishes the square of a tangent vector's norm from the quotient metric's, `[problems, 1, 1]`.
#[derive(Debug)]
pub struct LiftedDirection<B: Linalg> {
    correction: Mats<B>,
}

impl<B: Linalg> State<B> for LiftedDirection<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        vec![("correction", &self.correction)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        vec![("correction", &mut self.correction)]
    }
}

impl PartialIsometryLifted {
    /// The geometry on matrices of shape `grid`.
    ///
    /// # Errors
    /// [`ShapeError`] when the rank exceeds a block height or something is zero.
    pub fn new(grid: Grid, metric: IsometryMetric) -> Result<Self, ShapeError> {
        grid.require_block_rank(match metric {
            IsometryMetric::Quotient => "partial-quotient",
            IsometryMetric::Canonical => "partial-canonical",
            IsometryMetric::Embedded => "grid-partial-embedded",
        })?;
        Ok(Self { grid, metric })
    }

    /// Whether [`Self::singleton_gradient`] is the gradient.
    fn has_singleton_gradient(&self) -> bool {
        self.grid.is_singleton() && self.metric != IsometryMetric::Embedded
    }

    /// The weights `(J, I)` of the left and the right side.
    fn weights(&self) -> (f64, f64) {
        (self.grid.right.count() as f64, self.grid.left.count() as f64)
    }

    /// The gradient at a single pair, and what [`LiftedDirection`] says of it.
    fn singleton_gradient<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        mut correction: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let small = self.grid.small_dims(x.problems());
            let (mut gu, mut vg, mut k) = (scope.take(small), scope.take(small), scope.take(small));
            b.gemm(1.0, egrad.left.t(), x.left.n(), Overwrite, gu.as_mut());
            b.gemm(1.0, x.right.t(), egrad.right.n(), Overwrite, vg.as_mut());
            b.axpby(Coef::Host(0.5), gu.as_ref(), 0.0, k.as_mut());
            b.axpby(Coef::Host(0.5), vg.as_ref(), 1.0, k.as_mut());
            b.fill(0.0, correction.as_mut());
            match self.metric {
                IsometryMetric::Canonical => {
                    // M_U^T U = G_U^T U - K^T and V^T M_V = V^T G_V - K^T.
                    let mut transposed = scope.take(small);
                    b.copy(k.as_ref().t(), transposed.as_mut());
                    for mut middle in [gu, vg] {
                        b.axpby(Coef::Host(-1.0), transposed.as_ref(), 1.0, middle.as_mut());
                        b.dot(-0.5, middle.as_ref(), middle.as_ref(), 1.0, correction.as_mut());
                    }
                }
                IsometryMetric::Quotient | IsometryMetric::Embedded => b.take_part(Part::Sym, k.as_mut()),
            }
            b.gemm(-1.0, x.left.n(), k.as_ref().n(), Add(1.0, egrad.left), out.left);
            b.gemm(-1.0, x.right.n(), k.as_ref().t(), Add(1.0, egrad.right), out.right);
        });
    }

    /// The gradient from the middles `U_i^T G_i` of all blocks, at once for all metrics.
    fn grid_gradient<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (j, i) = self.weights();
        let sides = [
            (1.0 / j, &self.grid.left, x.left, egrad.left),
            (1.0 / i, &self.grid.right, x.right, egrad.right),
        ];
        scope.nest(|scope| {
            let small = self.grid.small_dims(x.problems());
            let mut stacks = sides.map(|(_, blocks, ..)| scope.take(middles::dims(blocks, small)));
            for ((share, blocks, u, g), k) in sides.into_iter().zip(&mut stacks) {
                match self.metric {
                    IsometryMetric::Canonical => middles::of(b, blocks, g, u, k.as_mut()),
                    IsometryMetric::Quotient | IsometryMetric::Embedded => {
                        middles::of(b, blocks, u, g, k.as_mut());
                    }
                }
                b.map(Map::Scale(share), k.as_mut());
            }
            let mut common = scope.take(small);
            if self.metric == IsometryMetric::Embedded {
                self.common_part(b, stacks.each_ref().map(MatsMut::as_ref), common.as_mut(), scope);
            }
            let signs = [1.0, -1.0];
            for ((((share, blocks, u, g), mut k), out), sign) in
                sides.into_iter().zip(stacks).zip([out.left, out.right]).zip(signs)
            {
                let mut each = k.as_mut().reshape(Dims { batch: small.batch * blocks.count(), ..small });
                if self.metric != IsometryMetric::Canonical {
                    b.take_part(Part::Sym, each.as_mut());
                }
                if self.metric == IsometryMetric::Embedded {
                    b.axpby(Coef::Host(sign), common.as_ref(), 1.0, each);
                }
                middles::difference(b, blocks, (share, g), u, k.as_ref(), out);
            }
        });
    }

    /// The stacked `K_i` of both sides that the projection of `(M_U, M_V)` takes off as `U_i K_i`:
    /// `sym(U_i^T M_Ui) + Omega`.
    fn normal_part<'s, B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> [MatsMut<'s, B>; 2] {
        let (j, i) = self.weights();
        let sides = [(j, &self.grid.left, x.left, v.left), (i, &self.grid.right, x.right, v.right)];
        let small = self.grid.small_dims(x.problems());
        let mut middles = sides.map(|(_, blocks, ..)| scope.take(middles::dims(blocks, small)));
        scope.nest(|scope| {
            let (mut omega, mut skew) = (scope.take(small), scope.take(small));
            b.fill(0.0, omega.as_mut());
            // K_i = U_i^T M_i, of which the symmetric part goes; the skew parts of all blocks make Omega.
            for ((weight, blocks, u, m), k) in sides.into_iter().zip(&mut middles) {
                middles::of(b, blocks, u, m, k.as_mut());
                middles::sum(b, weight / (2.0 * i * j), k.as_ref(), skew.as_mut());
                b.take_part(Part::Skew, skew.as_mut());
                b.axpby(Coef::Host(1.0), skew.as_ref(), 1.0, omega.as_mut());
            }
            for ((_, blocks, ..), k) in sides.into_iter().zip(&mut middles) {
                let each = Dims { batch: small.batch * blocks.count(), ..small };
                let mut coefficients = k.as_mut().reshape(each);
                b.take_part(Part::Sym, coefficients.as_mut());
                b.axpby(Coef::Host(1.0), omega.as_ref(), 1.0, coefficients);
            }
        });
        middles
    }

    /// Subtracts half of `J <U_i^T M_Ui, U_i^T N_Ui>` and of `I <V_j^T M_Vj, V_j^T N_Vj>`, `N = M` if not given.
    fn subtract_canonical<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        m: FactorsRef<'_, B>,
        n: Option<FactorsRef<'_, B>>,
        mut out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (j, i) = self.weights();
        let sides = [
            (j, &self.grid.left, x.left, m.left, n.map(|n| n.left)),
            (i, &self.grid.right, x.right, m.right, n.map(|n| n.right)),
        ];
        for (weight, blocks, u, m, n) in sides {
            scope.nest(|scope| {
                let dims = middles::dims(blocks, self.grid.small_dims(x.problems()));
                let (mut km, mut kn) = (scope.take(dims), scope.take(dims));
                middles::of(b, blocks, u, m, km.as_mut());
                let kn = match n {
                    Some(n) => {
                        middles::of(b, blocks, u, n, kn.as_mut());
                        kn.as_ref()
                    }
                    None => km.as_ref(),
                };
                b.dot(-0.5 * weight, km.as_ref(), kn, 1.0, out.as_mut());
            });
        }
    }

    /// Adds to `out` what distinguishes `<m, n>`, `|m|^2` if `n` is not given, from the quotient metric's.
    fn correct<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        m: FactorsRef<'_, B>,
        n: Option<FactorsRef<'_, B>>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        match self.metric {
            IsometryMetric::Quotient => {}
            IsometryMetric::Canonical => self.subtract_canonical(b, x, m, n, out, scope),
            IsometryMetric::Embedded => self.subtract_cross_terms(b, x, m, n, out, scope),
        }
    }
}

impl<B: Linalg> Manifold<B> for PartialIsometryLifted {
    type Frame = ();
    type Direction = LiftedDirection<B>;

    fn name(&self) -> &'static str {
        match (self.grid.is_singleton(), self.metric) {
            (_, IsometryMetric::Embedded) => "grid-partial-embedded",
            (true, IsometryMetric::Quotient) => "partial-quotient",
            (true, IsometryMetric::Canonical) => "partial-canonical",
            (false, IsometryMetric::Quotient) => "grid-partial-quotient",
            (false, IsometryMetric::Canonical) => "grid-partial-canonical",
        }
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dim(&self) -> usize {
        let r = self.grid.rank;
        let stiefel = |n: usize| n * r - r * (r + 1) / 2;
        let sides = self.grid.left.ranges().chain(self.grid.right.ranges());
        sides.map(|rows| stiefel(rows.len())).sum::<usize>() - r * (r - 1) / 2
    }

    fn has_norm(&self, kind: NormKind) -> bool {
        kind == NormKind::Metric || self.metric == IsometryMetric::Embedded
    }

    fn new_frame(&self, _: &B, _: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn new_direction(&self, b: &B, problems: usize) -> Result<LiftedDirection<B>, DeviceError> {
        Ok(LiftedDirection { correction: Mats::zeros(b, Dims::scalars(problems))? })
    }

    fn factor(&self, _: &B, _: FactorsRef<'_, B>, _: &mut (), _: HealthMut<'_, B>, _: &Scope<'_, B>) {
        // Nothing is kept at a point.
    }

    fn egrad_to_rgrad(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if self.has_singleton_gradient() {
            scope.nest(|scope| {
                let correction = scope.take(Dims::scalars(at.x.problems()));
                scope.nest(|scope| self.singleton_gradient(b, at.x, egrad, out, correction, scope));
            });
            return;
        }
        self.grid_gradient(b, at.x, egrad, out, scope);
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
        let (j, i) = self.weights();
        b.dot(j, u.left, v.left, 0.0, out.as_mut());
        b.dot(i, u.right, v.right, 1.0, out.as_mut());
        self.correct(b, at.x, u, Some(v), out, scope);
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, mut v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let k = self.normal_part(b, at.x, v.as_ref(), scope);
            let sides = [
                (&self.grid.left, at.x.left, v.left.as_mut()),
                (&self.grid.right, at.x.right, v.right.as_mut()),
            ];
            for ((blocks, u, m), k) in sides.into_iter().zip(&k) {
                middles::subtract(b, blocks, u, k.as_ref(), m);
            }
        });
    }

    fn aim(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        direction: &mut LiftedDirection<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        // The lift is followed as it is.
        b.fill(0.0, direction.correction.as_mut());
        self.correct(b, at.x, v, None, direction.correction.as_mut(), scope);
    }

    fn aim_gradient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        direction: &mut LiftedDirection<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if self.has_singleton_gradient() {
            self.singleton_gradient(b, at.x, egrad, out, direction.correction.as_mut(), scope);
            return;
        }
        self.egrad_to_rgrad(b, at, egrad, out.as_mut(), scope);
        if self.metric != IsometryMetric::Canonical {
            self.aim(b, at, out.as_ref(), direction, health, scope);
            return;
        }
        // |grad|^2 = <G, grad> in any metric on the factors.
        let ((j, i), correction) = (self.weights(), &mut direction.correction);
        b.fill(0.0, correction.as_mut());
        for (weight, g, m) in [(j, egrad.left, out.left.as_ref()), (i, egrad.right, out.right.as_ref())] {
            b.dot(1.0, g, m, 1.0, correction.as_mut());
            b.dot(-weight, m, m, 1.0, correction.as_mut());
        }
    }

    fn norm(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        kind: NormKind,
        mut out: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        match kind {
            NormKind::Metric => {
                let ((j, i), v) = (self.weights(), ray.tangent);
                b.dot(j, v.left, v.left, 0.0, out.as_mut());
                b.dot(i, v.right, v.right, 1.0, out.as_mut());
                b.axpby(Coef::Host(1.0), ray.direction.correction.as_ref(), 1.0, out.as_mut());
                b.map(Map::Sqrt, out);
            }
            NormKind::Spectral => {
                assert!(
                    self.metric == IsometryMetric::Embedded,
                    "only the embedded metric has a spectral norm"
                );
                embedded_metric::spectral_norm(b, ray.at.x, ray.tangent, out, health.breakdown, scope);
            }
        }
    }

    fn consistency_defect(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        repair::consistency_defect(b, Middle::Skew, at.x, egrad, out, scope);
    }

    fn make_consistent(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        repair: GradientRepair,
        rgrad: FactorsMut<'_, B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        match (repair, self.metric) {
            (GradientRepair::LeastSquares, IsometryMetric::Embedded) => {
                self.nearest_consistent(b, at.x, rgrad, scope);
            }
            _ => self.project(b, at, rgrad, scope),
        }
    }

    fn hazard(&self, b: &B, _: Ray<'_, B, Self>, out: MatsMut<'_, B>, _: HealthMut<'_, B>, _: &Scope<'_, B>) {
        // (U + t M)^T (U + t M) = I + t^2 M^T M whatever the step.
        b.fill(0.0, out);
    }

    fn orthogonality_defect(&self, b: &B, at: Base<'_, B, Self>, out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        let left = self.grid.left.ranges().map(|rows| at.x.left.rows(rows));
        let right = self.grid.right.ranges().map(|rows| at.x.right.rows(rows));
        orthogonality_of(b, left.chain(right), out, scope);
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
}
