//! Partial isometries in factor space: the quotient and the canonical geometry, singleton and grid
//! (paper sections 4.3 to 4.5, A.4).
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

use crate::{
    Base, FactorsMut, FactorsRef, Grid, HealthMut, Manifold, NormKind, Order, Ray, Retraction, ShapeError,
    StiefelRetraction, Transport, fixed_rank_quotient::lift_to_ambient, grid::Blocks,
    manifold::orthogonality_of, stiefel::orthonormalize,
};
use lr_linalg::{
    Coef, DeviceError, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, MatsMut, MatsRef, Part, Scope,
};

/// Metric of the total space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsometryMetric {
    /// Euclidean on both factors.
    Quotient,
    /// Canonical on both Stiefel manifolds (Edelman, Arias and Smith 1998).
    Canonical,
}

/// The geometry.
#[derive(Clone, Debug)]
pub struct PartialIsometryLifted {
    grid: Grid,
    metric: IsometryMetric,
}

/// `m <- m - u sym(u^T m)`, the projection onto the tangent space of one Stiefel manifold.
fn remove_symmetric<B: Linalg>(b: &B, u: MatsRef<'_, B>, m: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    scope.nest(|scope| {
        let mut k = scope.take(Dims::square(u.dims().batch, u.dims().cols));
        b.gemm(1.0, u.t(), m.as_ref().n(), Overwrite, k.as_mut());
        b.take_part(Part::Sym, k.as_mut());
        b.gemm(-1.0, u.n(), k.as_ref().n(), Scale(1.0), m);
    });
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
        })?;
        Ok(Self { grid, metric })
    }

    /// The weights `(J, I)` of the left and the right side.
    fn weights(&self) -> (f64, f64) {
        (self.grid.right.count() as f64, self.grid.left.count() as f64)
    }

    fn singleton_gradient<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let mut k = scope.take(self.grid.small_dims(x.problems()));
            b.gemm(0.5, egrad.left.t(), x.left.n(), Overwrite, k.as_mut());
            match self.metric {
                IsometryMetric::Quotient => {
                    b.gemm(0.5, egrad.right.t(), x.right.n(), Scale(1.0), k.as_mut());
                    b.take_part(Part::Sym, k.as_mut());
                }
                IsometryMetric::Canonical => {
                    b.gemm(0.5, x.right.t(), egrad.right.n(), Scale(1.0), k.as_mut());
                }
            }
            b.gemm(-1.0, x.left.n(), k.as_ref().n(), Scale(1.0), out.left);
            b.gemm(-1.0, x.right.n(), k.as_ref().t(), Scale(1.0), out.right);
        });
    }

    fn grid_gradient<B: Linalg>(
        &self,
        b: &B,
        x: MatsRef<'_, B>,
        blocks: &Blocks,
        mut out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        for rows in blocks.ranges() {
            let (u, mut g) = (x.rows(rows.clone()), out.as_mut().rows(rows));
            match self.metric {
                IsometryMetric::Quotient => remove_symmetric(b, u, g, scope),
                IsometryMetric::Canonical => scope.nest(|scope| {
                    let mut k = scope.take(self.grid.small_dims(u.dims().batch));
                    b.gemm(1.0, g.as_ref().t(), u.n(), Overwrite, k.as_mut());
                    b.gemm(-1.0, u.n(), k.as_ref().n(), Scale(1.0), g.as_mut());
                }),
            }
        }
    }

    /// Subtracts `U_i Omega`, `V_j Omega`.
    fn remove_vertical<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (j, i) = self.weights();
        scope.nest(|scope| {
            // The blocks of one side stand above one another, so one product sums over them.
            let mut omega = scope.take(self.grid.small_dims(x.problems()));
            b.gemm(j / (2.0 * i * j), x.left.t(), v.left.as_ref().n(), Overwrite, omega.as_mut());
            b.gemm(i / (2.0 * i * j), x.right.t(), v.right.as_ref().n(), Scale(1.0), omega.as_mut());
            b.gemm(-1.0, x.left.n(), omega.as_ref().n(), Scale(1.0), v.left);
            b.gemm(-1.0, x.right.n(), omega.as_ref().n(), Scale(1.0), v.right);
        });
    }
}

impl<B: Linalg> Manifold<B> for PartialIsometryLifted {
    type Frame = ();
    type Direction = ();

    fn name(&self) -> &'static str {
        match (self.grid.is_singleton(), self.metric) {
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
        kind == NormKind::Metric
    }

    fn new_frame(&self, _: &B, _: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn new_direction(&self, _: &B, _: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn factor(&self, _: &B, _: FactorsRef<'_, B>, _: &mut (), _: HealthMut<'_, B>, _: &Scope<'_, B>) {
        // Nothing is kept at a point.
    }

    fn egrad_to_rgrad(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (j, i) = self.weights();
        b.axpby(Coef::Host(1.0 / j), egrad.left, 0.0, out.left.as_mut());
        b.axpby(Coef::Host(1.0 / i), egrad.right, 0.0, out.right.as_mut());
        if self.grid.is_singleton() {
            self.singleton_gradient(b, at.x, egrad, out, scope);
        } else {
            self.grid_gradient(b, at.x.left, &self.grid.left, out.left, scope);
            self.grid_gradient(b, at.x.right, &self.grid.right, out.right, scope);
        }
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
        if self.metric == IsometryMetric::Quotient {
            return;
        }
        let sides = [
            (j, &self.grid.left, at.x.left, u.left, v.left),
            (i, &self.grid.right, at.x.right, u.right, v.right),
        ];
        for (weight, blocks, x, u, v) in sides {
            for rows in blocks.ranges() {
                scope.nest(|scope| {
                    let small = self.grid.small_dims(x.dims().batch);
                    let (mut ku, mut kv) = (scope.take(small), scope.take(small));
                    let x = x.rows(rows.clone());
                    b.gemm(1.0, x.t(), u.rows(rows.clone()).n(), Overwrite, ku.as_mut());
                    b.gemm(1.0, x.t(), v.rows(rows).n(), Overwrite, kv.as_mut());
                    b.dot(-0.5 * weight, ku.as_ref(), kv.as_ref(), 1.0, out.as_mut());
                });
            }
        }
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, mut v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        for rows in self.grid.left.ranges() {
            remove_symmetric(b, at.x.left.rows(rows.clone()), v.left.as_mut().rows(rows), scope);
        }
        for rows in self.grid.right.ranges() {
            remove_symmetric(b, at.x.right.rows(rows.clone()), v.right.as_mut().rows(rows), scope);
        }
        self.remove_vertical(b, at.x, v, scope);
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
        // The lift is followed as it is.
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
        assert!(kind == NormKind::Metric, "the lifted partial isometries have no spectral norm");
        self.inner(b, ray.at, ray.tangent, ray.tangent, out.as_mut(), scope);
        b.map(Map::Sqrt, out);
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

impl<B: Linalg> Retraction<B, PartialIsometryLifted> for StiefelRetraction {
    fn name(&self) -> &'static str {
        match self {
            Self::Polar => "polar",
            Self::Qr => "qr",
        }
    }

    fn order(&self, manifold: &PartialIsometryLifted) -> Order {
        match (self, manifold.metric) {
            (Self::Polar, IsometryMetric::Quotient) => Order::Second,
            // Geodesics of the canonical metric accelerate within the tangent space, by X Omega.
            (Self::Polar, IsometryMetric::Canonical) | (Self::Qr, _) => Order::First,
        }
    }

    fn retract(
        &self,
        b: &B,
        manifold: &PartialIsometryLifted,
        ray: Ray<'_, B, PartialIsometryLifted>,
        t: Coef<'_, B>,
        mut to: FactorsMut<'_, B>,
        _: &mut (),
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        to.copy_from(b, ray.at.x);
        to.axpby(b, t, ray.tangent, 1.0);
        for rows in manifold.grid.left.ranges() {
            orthonormalize(b, *self, to.left.as_mut().rows(rows), health.as_mut(), scope);
        }
        for rows in manifold.grid.right.ranges() {
            orthonormalize(b, *self, to.right.as_mut().rows(rows), health.as_mut(), scope);
        }
    }
}

/// Tangent, then horizontal projection at the new point.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiftedProjection;

impl<B: Linalg> Transport<B, PartialIsometryLifted> for LiftedProjection {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn transport(
        &self,
        b: &B,
        manifold: &PartialIsometryLifted,
        _: Base<'_, B, PartialIsometryLifted>,
        to: Base<'_, B, PartialIsometryLifted>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        manifold.project(b, to, v, scope);
    }
}
