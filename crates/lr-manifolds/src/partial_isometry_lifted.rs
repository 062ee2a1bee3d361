//! Partial isometries in factor space: the quotient and the canonical geometry, singleton and grid, and the
//! embedded geometry of the grid (paper sections 4.3 to 4.5, A.4; see [`embedded_metric`]).
//!
//! Set: `{(U_i V_j^T)_ij : U_i^T U_i = V_j^T V_j = I_r}` as products of Stiefel manifolds modulo a common
//! rotation `(U_i Q, V_j Q)`. Point: the stacked `U`, `V`; the frame knows middles of the momentum. Tangent:
//! the horizontal lift `(M_U, M_V)`. With I block rows and J block columns:
//!
//! | | quotient | canonical |
//! |---|---|---|
//! | metric | `J sum <M_Ui, N_Ui> + I sum <M_Vj, N_Vj>` | the same less half of `<U_i^T M_Ui, U_i^T N_Ui>`, likewise V |
//! | gradient, singleton | `K = sym(G_U^T U + G_V^T V)/2`: `G_U - U K`, `G_V - V K` | `K = (G_U^T U + V^T G_V)/2`: `G_U - U K`, `G_V - V K^T` |
//! | gradient, grid | `(G_Ui - U_i sym(G_Ui^T U_i))/J`, likewise V with 1/I | `(G_Ui - U_i G_Ui^T U_i)/J`, likewise V |
//!
//! Projection and transport: `M' = M - U sym(U^T M)` factor by factor, then
//! `Omega = (J sum U_i^T M'_Ui + I sum V_j^T M'_Vj)/(2 I J)` removed from all of them. The singleton
//! gradients average what the two sides say, which repairs an inconsistent gradient at no cost. A momentum
//! waits for its transport until the next gradient has a part to take off as well (see [`parts`]).

mod embedded_metric;
mod frame;
mod middles;
mod moves;
mod parts;

pub use frame::{LiftedDirection, LiftedFrame};
pub use moves::LiftedProjection;

use crate::{
    Base, Blend, FactorsMut, FactorsRef, Grid, HealthMut, Manifold, NormKind, Ray, ShapeError,
    fixed_rank_quotient::lift_to_ambient,
    manifold::orthogonality_of,
    repair::{self, GradientRepair},
    xky::Middle,
};
use lr_linalg::{Coef, DeviceError, Linalg, Map, MatsMut, Scope};

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

    /// The weights `(J, I)` of the left and the right side.
    fn weights(&self) -> (f64, f64) {
        (self.grid.right.count() as f64, self.grid.left.count() as f64)
    }
}

impl<B: Linalg> Manifold<B> for PartialIsometryLifted {
    type Frame = LiftedFrame<B>;
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

    fn new_frame(&self, b: &B, problems: usize) -> Result<LiftedFrame<B>, DeviceError> {
        LiftedFrame::new(b, self, problems)
    }

    fn new_direction(&self, b: &B, problems: usize) -> Result<LiftedDirection<B>, DeviceError> {
        LiftedDirection::new(b, self, problems)
    }

    fn factor(
        &self,
        b: &B,
        _: FactorsRef<'_, B>,
        frame: &mut LiftedFrame<B>,
        _: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        frame.forget(b);
    }

    fn egrad_to_rgrad(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let parts = self.gradient_parts(b, at.x, egrad, scope);
            self.gradient(b, at.x, egrad, &parts.k, out);
        });
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
        if self.metric != IsometryMetric::Quotient {
            scope.nest(|scope| {
                let [u, v] = [u, v].map(|v| self.overlaps(b, at.x, v, scope));
                self.correct(b, &u, &v, out, scope);
            });
        }
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, mut v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut k = self.overlaps(b, at.x, v.as_ref(), scope);
            self.normal_part(b, &mut k, scope);
            self.take_off(b, at.x, &k, v.as_mut());
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
        direction.forget();
        b.fill(0.0, direction.correction.as_mut());
        if self.metric != IsometryMetric::Quotient {
            scope.nest(|scope| {
                let own = self.overlaps(b, at.x, v, scope);
                self.correct(b, &own, &own, direction.correction.as_mut(), scope);
            });
        }
    }

    fn aim_gradient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        direction: &mut LiftedDirection<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        direction.forget();
        b.fill(0.0, direction.correction.as_mut());
        scope.nest(|scope| {
            let parts = self.gradient_parts(b, at.x, egrad, scope);
            self.gradient(b, at.x, egrad, &parts.k, out);
            if self.metric != IsometryMetric::Quotient {
                let (_, own) = parts.own(b);
                self.correct(b, &own, &own, direction.correction.as_mut(), scope);
            }
        });
    }

    fn aim_momentum(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        blend: Blend,
        momentum: FactorsMut<'_, B>,
        _: FactorsMut<'_, B>,
        direction: &mut LiftedDirection<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        // A tangent momentum is projected to itself, at a price that only pending transports are worth.
        self.blend(b, at, egrad, blend, momentum, direction, scope);
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
