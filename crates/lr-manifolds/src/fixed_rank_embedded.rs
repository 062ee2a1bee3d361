//! Fixed-rank matrices, embedded geometry (paper section 3.2, A.1; singleton and grid).
//!
//! Set: `{A B^T : rank r}`, m x n; a grid is the same set on vertically stacked factors.
//! Point: `A`, `B` with frame `A = U R_A`, `B = V R_B` (thin QR).
//! Tangent: `Xi = U K V^T + X V^T + U Y^T` in CD-coordinates `(C, D) = (Xi V, Xi^T U)`.
//! Metric: `<Xi, H> = tr(Xi^T H)`, that of the ambient space.
//!
//! | step | equation |
//! |---|---|
//! | gradient | `C = G_A R_B^{-1}`, `D = G_B R_A^{-1}` |
//! | retraction | rank-r truncated SVD of `W + t Xi` through the 2r x 2r core |
//! | transport | orthogonal projection onto the new tangent space |

use crate::{
    Base, Factors, FactorsMut, FactorsRef, Grid, HealthMut, Manifold, NormKind, Order, Ray, Retraction,
    ShapeError, State, Transport,
    manifold::orthogonality_of,
    xky::{self, Bases, Middle, Xky},
};
use lr_linalg::{
    Coef, DeviceError, Dims, Epilogue::Overwrite, Linalg, Map, Mats, MatsMut, Scope, Side, Triangle,
};

/// The geometry.
#[derive(Clone, Debug)]
pub struct FixedRankEmbedded {
    grid: Grid,
}

/// `A = U R_A`, `B = V R_B`.
#[derive(Debug)]
pub struct QrFrame<B: Linalg> {
    bases: Factors<B>,
    ra: Mats<B>,
    rb: Mats<B>,
}

impl<B: Linalg> State<B> for QrFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        vec![("u", &self.bases.left), ("v", &self.bases.right), ("ra", &self.ra), ("rb", &self.rb)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { bases, ra, rb } = self;
        vec![("u", &mut bases.left), ("v", &mut bases.right), ("ra", ra), ("rb", rb)]
    }
}

impl<B: Linalg> QrFrame<B> {
    fn bases(&self) -> Bases<'_, B> {
        Bases { u: self.bases.left.as_ref(), v: self.bases.right.as_ref() }
    }
}

impl FixedRankEmbedded {
    /// The geometry on matrices of shape `grid`.
    ///
    /// # Errors
    /// [`ShapeError`] when the rank exceeds `min(sum m_i, sum n_j)` or something is zero.
    pub fn new(grid: Grid) -> Result<Self, ShapeError> {
        grid.require_stacked_rank("fixed-embedded")?;
        Ok(Self { grid })
    }
}

impl<B: Linalg> Manifold<B> for FixedRankEmbedded {
    type Frame = QrFrame<B>;
    type Direction = Xky<B>;

    fn name(&self) -> &'static str {
        if self.grid.is_singleton() { "fixed-embedded" } else { "grid-fixed-embedded" }
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dim(&self) -> usize {
        self.grid.rank * (self.grid.left.total() + self.grid.right.total() - self.grid.rank)
    }

    fn has_norm(&self, _: NormKind) -> bool {
        true
    }

    fn new_frame(&self, b: &B, problems: usize) -> Result<QrFrame<B>, DeviceError> {
        let small = self.grid.small_dims(problems);
        Ok(QrFrame {
            bases: Factors::zeros(b, &self.grid, problems)?,
            ra: Mats::zeros(b, small)?,
            rb: Mats::zeros(b, small)?,
        })
    }

    fn new_direction(&self, b: &B, problems: usize) -> Result<Xky<B>, DeviceError> {
        Xky::zeros(b, &self.grid, problems)
    }

    fn factor(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        frame: &mut QrFrame<B>,
        mut health: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        frame.bases.as_mut().copy_from(b, x);
        b.qr(frame.bases.left.as_mut(), frame.ra.as_mut(), health.breakdown.as_mut());
        b.qr(frame.bases.right.as_mut(), frame.rb.as_mut(), health.breakdown);
    }

    fn egrad_to_rgrad(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        out.copy_from(b, egrad);
        b.trsm(Side::Right, Triangle::Upper, at.frame.rb.as_ref().n(), out.left);
        b.trsm(Side::Right, Triangle::Upper, at.frame.ra.as_ref().n(), out.right);
    }

    fn inner(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        u: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        xky::inner(b, at.frame.bases(), Middle::General, u, v, out, scope);
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        xky::project(b, at.frame.bases(), Middle::General, v, scope);
    }

    fn aim(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        direction: &mut Xky<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        direction.aim(b, at.frame.bases(), Middle::General, v, health, scope);
    }

    fn norm(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        kind: NormKind,
        out: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        ray.direction.norm(b, kind, out, health, scope);
    }

    fn reorthogonalize(
        &self,
        b: &B,
        x: FactorsMut<'_, B>,
        frame: &mut QrFrame<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        // U^ is orthonormal only as far as [U Q_X] is; a fresh QR of the factors stops the drift.
        self.factor(b, x.as_ref(), frame, health, scope);
    }

    fn orthogonality_defect(&self, b: &B, at: Base<'_, B, Self>, out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        let Bases { u, v } = at.frame.bases();
        orthogonality_of(b, [u, v].into_iter(), out, scope);
    }

    fn to_ambient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        xky::to_ambient(b, at.frame.bases(), Middle::General, v, out, scope);
    }
}

/// Truncated SVD of `W + t Xi` through its 2r x 2r core (paper section 3.3), singular values no smaller
/// than a floor, factors balanced: `A = U^ S^{1/2}`, `B = V^ S^{1/2}`.
#[derive(Clone, Copy, Debug)]
pub struct SvdRetraction {
    /// Least singular value of the new point, absolute.
    pub floor: f64,
}

impl Default for SvdRetraction {
    /// Floor 2^-23.
    fn default() -> Self {
        Self { floor: f64::from(f32::EPSILON) }
    }
}

impl<B: Linalg> Retraction<B, FixedRankEmbedded> for SvdRetraction {
    fn name(&self) -> &'static str {
        "svd"
    }

    fn order(&self, _: &FixedRankEmbedded) -> Order {
        Order::Second
    }

    fn retract(
        &self,
        b: &B,
        manifold: &FixedRankEmbedded,
        ray: Ray<'_, B, FixedRankEmbedded>,
        t: Coef<'_, B>,
        to: FactorsMut<'_, B>,
        frame: &mut QrFrame<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let from = ray.at.frame;
        let problems = ray.tangent.problems();
        scope.nest(|scope| {
            let mut s = scope.take(manifold.grid.small_dims(problems));
            b.gemm(1.0, from.ra.as_ref().n(), from.rb.as_ref().t(), Overwrite, s.as_mut());
            let mut values = scope.take(Dims::new(problems, 1, manifold.grid.rank));
            let bases = frame.bases.as_mut();
            let (u, v) = (bases.left, bases.right);
            ray.direction.follow(b, from.bases(), t, s.as_ref(), u, values.as_mut(), v, health, scope);
            b.map(Map::Floor(self.floor), values.as_mut());
            b.map(Map::Sqrt, values.as_mut());
            for (basis, r, mut x) in
                [(&frame.bases.left, &mut frame.ra, to.left), (&frame.bases.right, &mut frame.rb, to.right)]
            {
                b.fill(0.0, r.as_mut());
                b.add_diagonal(1.0, r.as_mut());
                b.scale_columns(values.as_ref(), r.as_mut());
                b.copy(basis.as_ref().n(), x.as_mut());
                b.scale_columns(values.as_ref(), x);
            }
        });
    }
}

/// Orthogonal projection of the ambient tangent matrix onto the new tangent space.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbeddedProjection;

impl<B: Linalg> Transport<B, FixedRankEmbedded> for EmbeddedProjection {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn transport(
        &self,
        b: &B,
        _: &FixedRankEmbedded,
        from: Base<'_, B, FixedRankEmbedded>,
        to: Base<'_, B, FixedRankEmbedded>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        xky::transport(b, from.frame.bases(), to.frame.bases(), Middle::General, v, scope);
    }
}
