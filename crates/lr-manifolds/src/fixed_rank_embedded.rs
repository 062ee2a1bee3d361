//! Fixed-rank matrices, embedded geometry (paper section 3.2, A.1; singleton and grid).
//!
//! Set: `{A B^T : rank r}`, m x n; a grid is the same set on vertically stacked factors.
//! Point: `A`, `B` with frame `A = U R_A`, `B = V R_B`, `U` and `V` orthonormal (thin QR at first), and the
//! inverses of `R_A` and `R_B`.
//! Tangent: `Xi = U K V^T + X V^T + U Y^T` in CD-coordinates `(C, D) = (Xi V, Xi^T U)`.
//! Metric: `<Xi, H> = tr(Xi^T H)`, that of the ambient space.
//!
//! | step | equation |
//! |---|---|
//! | gradient | `C = G_A R_B^{-1}`, `D = G_B R_A^{-1}` |
//! | consistency | `S_A K + K S_B = S_A K_D + K_C S_B` or the average of `K_C = U^T C` and `K_D = D^T V` |
//! | homothety | `c W`: `R_A` and `R_B` times the root of `c` |
//! | transport | orthogonal projection onto the new tangent space |

use crate::{
    Base, Factors, FactorsMut, FactorsRef, GradientRepair, Grid, HealthMut, Manifold, NormKind, Ray,
    Schatten, ShapeError, State, Transport, guard,
    manifold::orthogonality_of,
    normed_descent, repair,
    xky::{self, Bases, Link, Middle, Xky},
};
use lr_linalg::{
    DeviceError,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, Mats, MatsMut, MatsRef, Scope,
};

/// The geometry.
#[derive(Clone, Debug)]
pub struct FixedRankEmbedded {
    pub(crate) grid: Grid,
}

/// `A = U R_A`, `B = V R_B`, the inverses of `R_A` and `R_B`, and how a retraction made `U` and `V`.
#[derive(Debug)]
pub struct QrFrame<B: Linalg> {
    pub(crate) bases: Factors<B>,
    pub(crate) ra: Mats<B>,
    pub(crate) rb: Mats<B>,
    pub(crate) inverses: [Mats<B>; 2],
    pub(crate) link: Link<B>,
}

impl<B: Linalg> State<B> for QrFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        let Self { bases: Factors { left, right }, ra, rb, inverses: [ia, ib], .. } = self;
        vec![("u", left), ("v", right), ("ra", ra), ("rb", rb), ("ra_inverse", ia), ("rb_inverse", ib)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { bases: Factors { left, right }, ra, rb, inverses: [ia, ib], .. } = self;
        vec![("u", left), ("v", right), ("ra", ra), ("rb", rb), ("ra_inverse", ia), ("rb_inverse", ib)]
    }
}

impl<B: Linalg> QrFrame<B> {
    pub(crate) fn bases(&self) -> Bases<'_, B> {
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

/// The `K` of the least-squares repair (paper B.4): `S_A K + K S_B = S_A K_D + K_C S_B` with
/// `S_A = R_A R_A^T`, `S_B = R_B R_B^T`.
fn least_squares_middle<B: Linalg>(
    b: &B,
    frame: &QrFrame<B>,
    [kc, kd]: [MatsRef<'_, B>; 2],
    mut k: MatsMut<'_, B>,
    breakdown: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let (mut sa, mut sb) = (scope.take(kc.dims()), scope.take(kc.dims()));
        b.gemm(1.0, frame.ra.as_ref().n(), frame.ra.as_ref().t(), Overwrite, sa.as_mut());
        b.gemm(1.0, frame.rb.as_ref().n(), frame.rb.as_ref().t(), Overwrite, sb.as_mut());
        b.gemm(1.0, sa.as_ref().n(), kd.n(), Overwrite, k.as_mut());
        b.gemm(1.0, kc.n(), sb.as_ref().n(), Scale(1.0), k.as_mut());
        b.sylvester(sa.as_ref(), sb.as_ref(), k, breakdown, scope);
    });
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
            inverses: [Mats::zeros(b, small)?, Mats::zeros(b, small)?],
            link: Link::new(b, &self.grid, problems)?,
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
        frame.link.forget();
        frame.bases.as_mut().copy_from(b, x);
        b.qr(frame.bases.left.as_mut(), frame.ra.as_mut(), health.breakdown.as_mut());
        b.qr(frame.bases.right.as_mut(), frame.rb.as_mut(), health.breakdown.as_mut());
        for (r, inverse) in [&frame.ra, &frame.rb].into_iter().zip(&mut frame.inverses) {
            b.copy(r.as_ref().n(), inverse.as_mut());
            b.invert(inverse.as_mut(), health.breakdown.as_mut());
        }
    }

    fn egrad_to_rgrad(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        let [ia, ib] = &at.frame.inverses;
        b.gemm(1.0, egrad.left.n(), ib.as_ref().n(), Overwrite, out.left);
        b.gemm(1.0, egrad.right.n(), ia.as_ref().n(), Overwrite, out.right);
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
        _: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        direction.aim(b, at.frame.bases(), Middle::General, v);
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
        ray.direction.norm(b, ray.tangent, kind, out, health, scope);
    }

    fn carries_orthonormal_factors(&self) -> bool {
        true
    }

    fn reorthogonalize(
        &self,
        b: &B,
        x: FactorsMut<'_, B>,
        frame: &mut QrFrame<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        // On the exact path U^ is orthonormal only as far as [U Q_X] is; a fresh QR stops the drift.
        self.factor(b, x.as_ref(), frame, health, scope);
    }

    fn orthogonality_defect(&self, b: &B, at: Base<'_, B, Self>, out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        let Bases { u, v } = at.frame.bases();
        orthogonality_of(b, [u, v].into_iter(), out, scope);
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

    fn make_consistent(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        repair: GradientRepair,
        rgrad: FactorsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        match repair {
            GradientRepair::Projection => self.project(b, at, rgrad, scope),
            GradientRepair::LeastSquares => {
                let choose = |[kc, kd]: [MatsRef<'_, B>; 2], k: MatsMut<'_, B>, scope: &Scope<'_, B>| {
                    least_squares_middle(b, at.frame, [kc, kd], k, health.breakdown, scope);
                };
                xky::replace_middle(b, at.frame.bases(), choose, rgrad, scope);
            }
        }
    }

    fn hazard(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        mut out: MatsMut<'_, B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (x, frame) = (ray.at.x, ray.at.frame);
        scope.nest(|scope| {
            let mut norm = scope.take(out.dims());
            self.norm(b, ray, NormKind::Spectral, norm.as_mut(), health.as_mut(), scope);
            let triangles = [frame.ra.as_ref(), frame.rb.as_ref()];
            let breakdown = health.breakdown;
            guard::inverse_rank_distance(b, &self.grid, x, triangles, out.as_mut(), breakdown, scope);
            b.multiply(norm.as_ref(), out);
        });
    }

    fn is_cone(&self) -> bool {
        true
    }

    fn dilate(
        &self,
        b: &B,
        c: f64,
        x: FactorsMut<'_, B>,
        frame: &mut QrFrame<B>,
        _: Option<FactorsMut<'_, B>>,
    ) {
        // The bases stay, and with them the CD-coordinates of any tangent matrix.
        for mut part in [x.left, x.right, frame.ra.as_mut(), frame.rb.as_mut()] {
            b.map(Map::Scale(c.sqrt()), part.as_mut());
        }
        for inverse in &mut frame.inverses {
            b.map(Map::Scale(1.0 / c.sqrt()), inverse.as_mut());
        }
    }

    fn has_steepest(&self) -> bool {
        true
    }

    fn steepest(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        norm: Schatten,
        v: FactorsMut<'_, B>,
        direction: &mut Xky<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        match norm {
            Schatten::One => normed_descent::schatten_one(b, at.frame.bases(), v, health, scope),
            Schatten::Infinity => {
                direction.aim(b, at.frame.bases(), Middle::General, v.as_ref());
                normed_descent::schatten_infinity(b, at.frame.bases(), direction, v, health, scope);
            }
        }
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
    fn carry(
        &self,
        b: &B,
        _: &FixedRankEmbedded,
        ray: Ray<'_, B, FixedRankEmbedded>,
        target: Base<'_, B, FixedRankEmbedded>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (from, to) = (ray.at.frame.bases(), target.frame.bases());
        let link = target.frame.link.holding();
        xky::carry(b, from, to, link, Middle::General, ray.tangent, ray.direction.middles(), out, scope);
    }
}
