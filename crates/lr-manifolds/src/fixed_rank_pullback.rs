//! Fixed-rank matrices, embedded geometry, in the coordinates that backpropagation gives (paper section 3.2 and A.1
//! in another gauge; singleton and grid).
//!
//! The geometry is that of [`FixedRankEmbedded`](crate::FixedRankEmbedded). There a tangent matrix has coordinates in
//! orthonormal bases of the point, which every step makes and which the factors must be turned into. Here the factors
//! themselves are the bases, and no step makes any other: for optimizers on devices that can look at a certificate.
//!
//! Point: `A`, `B` with frame `S_A = A^T A = L_A L_A^T`, `S_B = B^T B = L_B L_B^T` and the inverses.
//! Tangent: `Xi` in pulled-back coordinates `(C, D) = (Xi B, Xi^T A)`.
//! Metric: `<Xi, H> = tr(Xi^T H)`, that of the ambient space.
//!
//! | step | equation |
//! |---|---|
//! | gradient | the pulled-back gradient `(G_A, G_B)`: no work |
//! | middle | `K = (A^T C + D^T B)/2`, in orthonormal bases `L_A^{-1} K L_B^{-T}` |
//! | norm | `|Xi|^2 = <C^T C, S_B^{-1}> + <D^T D, S_A^{-1}> - <K, S_A^{-1} K S_B^{-1}>` |
//! | projection | `C - A S_A^{-1} (A^T C - K)`, `D - B S_B^{-1} (B^T D - K^T)` |
//! | consistency | `S_A K + K S_B = S_A (D^T B) + (A^T C) S_B` or the average |
//! | retraction | truncated SVD of `W + t Xi`: see [`retraction`] |
//! | transport | orthogonal projection onto the new tangent space: `C' = Xi B'`, `D' = Xi^T A'` |
//!
//! Gram matrices square the condition of a factor. At points where that costs digits, and for long steps, everything
//! takes the way of the other type: [`orthonormal`].

mod certificate;
mod direction;
mod frame;
mod link;
mod orthonormal;
mod retraction;
mod solution;

pub use direction::PullbackDirection;
pub use frame::PullbackFrame;

use crate::{
    Base, Blend, EmbeddedProjection, FactorsMut, FactorsRef, GradientRepair, Grid, HealthMut, Manifold,
    NormKind, Ray, ShapeError, Timing, Transport, guard,
    manifold::orthogonality_of,
    repair,
    xky::{self, Middle},
};
use lr_linalg::{
    Coef, DeviceError,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, MatsMut, MatsRef, Op, Operand, Scope, Side, Triangle,
};
use orthonormal::Orthonormal;

/// The geometry.
#[derive(Clone, Debug)]
pub struct FixedRankPullback {
    grid: Grid,
}

impl FixedRankPullback {
    /// The geometry on matrices of shape `grid`.
    ///
    /// # Errors
    /// [`ShapeError`] when the rank exceeds `min(sum m_i, sum n_j)` or something is zero.
    pub fn new(grid: Grid) -> Result<Self, ShapeError> {
        grid.require_stacked_rank("fixed-embedded")?;
        Ok(Self { grid })
    }

    /// `C - A S_A^{-1} (A^T C - K)`, `D - B S_B^{-1} (B^T D - K^T)` with the `K` that `choose` makes of `A^T C` and
    /// `(B^T D)^T`.
    fn replace_middle<B: Linalg>(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        choose: impl FnOnce([MatsRef<'_, B>; 2], MatsMut<'_, B>, &Scope<'_, B>),
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let take = || scope.take(self.grid.small_dims(at.x.problems()));
            let (mut kc, mut kd, mut k) = (take(), take(), take());
            b.gemm(1.0, at.x.left.t(), v.left.as_ref().n(), Overwrite, kc.as_mut());
            b.gemm(1.0, v.right.as_ref().t(), at.x.right.n(), Overwrite, kd.as_mut());
            scope.nest(|scope| choose([kc.as_ref(), kd.as_ref()], k.as_mut(), scope));
            let sides = [(at.x.left, v.left, kc, Op::None), (at.x.right, v.right, kd, Op::Transpose)];
            for ((x, c, mut claim, op), l) in sides.into_iter().zip(at.frame.triangles()) {
                b.axpby(Coef::Host(-1.0), k.as_ref(), 1.0, claim.as_mut());
                let mut excess = take();
                b.copy(Operand { view: claim.as_ref(), op }, excess.as_mut());
                b.trsm(Side::Left, Triangle::Lower, l.n(), excess.as_mut());
                b.trsm(Side::Left, Triangle::Lower, l.t(), excess.as_mut());
                b.gemm(-1.0, x.n(), excess.as_ref().n(), Scale(1.0), c);
            }
        });
    }
}

impl<B: Linalg> Manifold<B> for FixedRankPullback {
    type Frame = PullbackFrame<B>;
    type Direction = PullbackDirection<B>;

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

    fn new_frame(&self, b: &B, problems: usize) -> Result<PullbackFrame<B>, DeviceError> {
        PullbackFrame::zeros(b, &self.grid, problems)
    }

    fn new_direction(&self, b: &B, problems: usize) -> Result<PullbackDirection<B>, DeviceError> {
        PullbackDirection::zeros(b, &self.grid, problems)
    }

    fn factor(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        frame: &mut PullbackFrame<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        frame.factor(b, x, health.breakdown, scope);
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
        at: Base<'_, B, Self>,
        u: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let (u, v) = (Orthonormal::at(b, at, u, scope), Orthonormal::at(b, at, v, scope));
            scope.nest(|scope| {
                xky::inner(b, u.bases(), Middle::General, u.coordinates(), v.coordinates(), out, scope);
            });
        });
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        let choose = |[kc, kd]: [MatsRef<'_, B>; 2], k: MatsMut<'_, B>, _: &Scope<'_, B>| {
            xky::average(b, Middle::General, kc, kd, k);
        };
        self.replace_middle(b, at, choose, v, scope);
    }

    fn aim(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        direction: &mut PullbackDirection<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        direction.aim(b, at, v, scope);
    }

    fn aim_momentum(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        blend: Blend,
        mut momentum: FactorsMut<'_, B>,
        _: FactorsMut<'_, B>,
        direction: &mut PullbackDirection<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if blend.transport == Timing::WithNextGradient {
            self.project(b, at, momentum.as_mut(), scope);
        }
        // The gradient given is the gradient.
        momentum.axpby(b, Coef::Host(blend.weight), egrad, blend.nu);
        direction.aim(b, at, momentum.as_ref(), scope);
    }

    fn takes_egrad(&self) -> bool {
        true
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
        match kind {
            NormKind::Metric => ray.direction.norm(b, out),
            NormKind::Spectral => scope.nest(|scope| {
                let plain = Orthonormal::at(b, ray.at, ray.tangent, scope);
                let [_, x, y] = ray.direction.squares();
                scope.nest(|scope| {
                    let (v, breakdown) = (plain.coordinates(), health.breakdown);
                    xky::spectral_norm(b, plain.middles(), [x, y], v, out, breakdown, scope);
                });
            }),
        }
    }

    fn carries_orthonormal_factors(&self) -> bool {
        true
    }

    fn reorthogonalize(
        &self,
        b: &B,
        x: FactorsMut<'_, B>,
        frame: &mut PullbackFrame<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        // A L_A^{-T} and B L_B^{-T} are orthonormal as far as the Gram matrices of the frame are those of the factors.
        frame.refresh(b, x.as_ref(), health.breakdown, scope);
    }

    fn orthogonality_defect(&self, b: &B, at: Base<'_, B, Self>, out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let plain = Orthonormal::at(b, at, at.x, scope);
            let bases = plain.bases();
            scope.nest(|scope| orthogonality_of(b, [bases.u, bases.v].into_iter(), out, scope));
        });
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
                let [sa, sb] = at.frame.sides.each_ref().map(|side| side.gram.as_ref());
                let choose = |[kc, kd]: [MatsRef<'_, B>; 2], mut k: MatsMut<'_, B>, scope: &Scope<'_, B>| {
                    b.gemm(1.0, sa.n(), kd.n(), Overwrite, k.as_mut());
                    b.gemm(1.0, kc.n(), sb.n(), Scale(1.0), k.as_mut());
                    b.sylvester(sa, sb, k, health.breakdown, scope);
                };
                self.replace_middle(b, at, choose, rgrad, scope);
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
        scope.nest(|scope| {
            let mut norm = scope.take(out.dims());
            self.norm(b, ray, NormKind::Spectral, norm.as_mut(), health.as_mut(), scope);
            let (x, breakdown) = (ray.at.x, health.breakdown);
            let triangles = ray.at.frame.triangles().map(|l| {
                let mut r = scope.take(l.dims());
                b.copy(l.t(), r.as_mut());
                r
            });
            let triangles = triangles.each_ref().map(MatsMut::as_ref);
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
        frame: &mut PullbackFrame<B>,
        v: Option<FactorsMut<'_, B>>,
    ) {
        // Xi stays as it is while A and B, which it is multiplied with, grow by the root of c.
        let pairs = [Some(x), v];
        for side in pairs.into_iter().flatten().flat_map(|pair| [pair.left, pair.right]) {
            b.map(Map::Scale(c.sqrt()), side);
        }
        frame.dilate(b, c);
    }

    fn to_ambient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let plain = Orthonormal::at(b, at, v, scope);
            scope.nest(|scope| {
                xky::to_ambient(b, plain.bases(), Middle::General, plain.coordinates(), out, scope);
            });
        });
    }
}

impl<B: Linalg> Transport<B, FixedRankPullback> for EmbeddedProjection {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn transport(
        &self,
        b: &B,
        _: &FixedRankPullback,
        from: Base<'_, B, FixedRankPullback>,
        to: Base<'_, B, FixedRankPullback>,
        mut v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let mut breakdown = scope.status(v.problems());
            let plain = Orthonormal::anew(b, from.x, v.as_ref(), breakdown.as_mut(), scope);
            // C' = Xi B' whatever the bases that the new point is given by.
            let ends = xky::Bases { u: to.x.left, v: to.x.right };
            let (from, coordinates, middles) = (plain.bases(), plain.coordinates(), plain.middles());
            scope.nest(|scope| {
                xky::carry(b, from, ends, None, Middle::General, coordinates, middles, v.as_mut(), scope);
            });
        });
    }

    fn carry(
        &self,
        b: &B,
        manifold: &FixedRankPullback,
        ray: Ray<'_, B, FixedRankPullback>,
        to: Base<'_, B, FixedRankPullback>,
        mut out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let Some((lead, plan)) = to.frame.link.made() else {
            out.copy_from(b, ray.tangent);
            self.transport(b, manifold, ray.at, to, out, scope);
            return;
        };
        retraction::carry(b, ray, &to.frame.link, (lead, plan), out, scope);
    }
}
