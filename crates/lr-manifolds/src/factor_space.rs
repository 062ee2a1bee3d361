//! Pairs of factors with the Euclidean metric: `X = L R^T` as a change of variables, no geometry at all.
//!
//! The baseline that geometries are compared with: the Riemannian gradient is the pulled-back pair itself,
//! the
//! retraction `(L + t K, R + t W)`, the transport the identity, the Hessian `(D R + E W, D^T L + E^T K)`.
//! Its conditioning depends on how the factors share the
//! scale of `X`.

use crate::{
    Base, Derivatives, FactorsMut, FactorsRef, Grid, HealthMut, Manifold, NormKind, Order, Ray, Retraction,
    SecondOrderManifold, ShapeError, TangentFactors, Transport, fixed_rank_quotient::lift_to_ambient, repair,
    xky::Middle,
};
use lr_linalg::{Coef, DeviceError, Linalg, Map, MatsMut, Scope};

/// The factors of `m x n` matrices of rank at most `r`.
#[derive(Clone, Debug)]
pub struct FactorSpace {
    grid: Grid,
}

impl FactorSpace {
    /// Factors of `m x r` and `n x r`.
    ///
    /// # Errors
    /// [`ShapeError`] when something is zero.
    pub fn new(m: usize, n: usize, r: usize) -> Result<Self, ShapeError> {
        let grid = Grid::singleton(m, n, r);
        grid.require_nonempty()?;
        Ok(Self { grid })
    }
}

impl<B: Linalg> Manifold<B> for FactorSpace {
    type Frame = ();
    type Direction = ();

    fn name(&self) -> &'static str {
        "factor-space"
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dim(&self) -> usize {
        (self.grid.left.total() + self.grid.right.total()) * self.grid.rank
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
        // Nothing to factor.
    }

    fn egrad_to_rgrad(
        &self,
        b: &B,
        _: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        out.copy_from(b, egrad);
    }

    fn inner(
        &self,
        b: &B,
        _: Base<'_, B, Self>,
        u: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        mut out: MatsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        b.dot(1.0, u.left, v.left, 0.0, out.as_mut());
        b.dot(1.0, u.right, v.right, 1.0, out);
    }

    fn project(&self, _: &B, _: Base<'_, B, Self>, _: FactorsMut<'_, B>, _: &Scope<'_, B>) {
        // Every pair is tangent.
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
        assert!(kind == NormKind::Metric, "the factor space has no spectral norm");
        self.inner(b, ray.at, ray.tangent, ray.tangent, out.as_mut(), scope);
        b.map(Map::Sqrt, out);
    }

    fn orthogonality_defect(&self, b: &B, _: Base<'_, B, Self>, out: MatsMut<'_, B>, _: &Scope<'_, B>) {
        b.fill(0.0, out);
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

impl<B: Linalg> TangentFactors<B> for FactorSpace {}

impl<B: Linalg> SecondOrderManifold<B> for FactorSpace {
    /// `(D R + E W, D^T L + E^T K)`.
    fn ehess_to_rhess(
        &self,
        b: &B,
        _: Base<'_, B, Self>,
        _: FactorsRef<'_, B>,
        f: Derivatives<'_, B>,
        mut out: FactorsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        out.copy_from(b, f.ehess);
        out.axpby(b, Coef::Host(1.0), f.egrad_along, 1.0);
    }
}

/// `(L + t K, R + t W)`, and the identity as its transport.
#[derive(Clone, Copy, Debug, Default)]
pub struct StraightLine;

impl<B: Linalg> Retraction<B, FactorSpace> for StraightLine {
    fn name(&self) -> &'static str {
        "straight-line"
    }

    fn order(&self, _: &FactorSpace) -> Order {
        Order::Second
    }

    fn retract(
        &self,
        b: &B,
        _: &FactorSpace,
        ray: Ray<'_, B, FactorSpace>,
        t: Coef<'_, B>,
        mut to: FactorsMut<'_, B>,
        _: &mut (),
        _: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        to.copy_from(b, ray.at.x);
        to.axpby(b, t, ray.tangent, 1.0);
    }
}

impl<B: Linalg> Transport<B, FactorSpace> for StraightLine {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn transport(
        &self,
        _: &B,
        _: &FactorSpace,
        _: Base<'_, B, FactorSpace>,
        _: Base<'_, B, FactorSpace>,
        _: FactorsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        // Tangent spaces are the same everywhere.
    }
}
