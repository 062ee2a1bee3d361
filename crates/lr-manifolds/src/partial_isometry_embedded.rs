//! Partial isometries, embedded geometry, single pairs (paper section 4.2, A.3).
//!
//! Set: `{U V^T : U^T U = V^T V = I_r}`, m x n. Point: `A = U`, `B = V`; the frame says how they were made.
//! Tangent: `Xi = U K V^T + X V^T + U Y^T` with `K^T = -K`, in CD-coordinates `(C, D) = (Xi V, Xi^T U)`.
//! Metric: `<Xi, H> = tr(Xi^T H)`, that of the ambient space.
//!
//! | step | equation |
//! |---|---|
//! | gradient | `S = sym(U^T G_U + V^T G_V)/2`, `C = G_U - U S`, `D = G_V - V S` |
//! | momentum | `nu M + w grad` is the gradient's projection of `nu M + w (G_U, G_V)`, for tangent `M` |
//! | retraction | the SVD retraction's bases with all singular values set to 1 |
//! | transport | projection onto the fixed-rank tangent space, then `K = sym(U^T C + V^T D)/2` removed |
//!
//! Well defined while `|t Xi|_2 < 1/2`, or by the sharper condition of [`crate::Manifold::hazard`]. Gradients
//! of functions that are not functions of `U V^T` are made consistent by `K = skew(U^T C + D^T V)/2`, which is
//! the projection and the least-squares repair in one.

mod frame;

pub use frame::IsometryFrame;

use crate::{
    Base, Blend, FactorsMut, FactorsRef, Grid, HealthMut, Manifold, NormKind, Order, Ray, Retraction,
    ShapeError, Timing, Transport, guard,
    manifold::orthogonality_of,
    repair,
    stiefel::{StiefelRetraction, orthonormalize},
    xky::{self, Bases, Core, Ends, Factored, Measured, Middle, Step, Xky},
};
use lr_linalg::{
    Coef, DeviceError, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, MatsMut, Part, Scope,
};

/// The geometry.
#[derive(Clone, Debug)]
pub struct PartialIsometryEmbedded {
    grid: Grid,
    repair: StiefelRetraction,
}

impl PartialIsometryEmbedded {
    /// The geometry on pairs of shape `grid`, reorthogonalizing as `repair` says (the paper: polar).
    ///
    /// # Errors
    /// [`ShapeError`] when the rank exceeds `min(m, n)` or `grid` is not a single pair.
    pub fn new(grid: Grid, repair: StiefelRetraction) -> Result<Self, ShapeError> {
        grid.require_singleton("partial-embedded")?;
        grid.require_block_rank("partial-embedded")?;
        Ok(Self { grid, repair })
    }
}

fn bases<B: Linalg>(x: FactorsRef<'_, B>) -> Bases<'_, B> {
    Bases { u: x.left, v: x.right }
}

/// `S = sym(U^T C + V^T D)/2`; `own` receives `U^T C - S` and `D^T V - S`, the middles of `(C - U S, D - V S)`.
fn symmetric_part<'s, B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    v: FactorsRef<'_, B>,
    [mut kc, mut kd]: [MatsMut<'_, B>; 2],
    scope: &'s Scope<'_, B>,
) -> MatsMut<'s, B> {
    let mut s = scope.take(kc.dims());
    b.gemm(1.0, at.u.t(), v.left.n(), Overwrite, kc.as_mut());
    b.gemm(1.0, v.right.t(), at.v.n(), Overwrite, kd.as_mut());
    // The symmetric part of a matrix is that of its transpose.
    b.axpby(Coef::Host(0.5), kc.as_ref(), 0.0, s.as_mut());
    b.axpby(Coef::Host(0.5), kd.as_ref(), 1.0, s.as_mut());
    b.take_part(Part::Sym, s.as_mut());
    b.axpby(Coef::Host(-1.0), s.as_ref(), 1.0, kc);
    b.axpby(Coef::Host(-1.0), s.as_ref(), 1.0, kd);
    s
}

/// `out = (G_U - U S, G_V - V S)` with the [`symmetric_part`] `S` of the gradients.
fn gradient<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    egrad: FactorsRef<'_, B>,
    out: FactorsMut<'_, B>,
    own: [MatsMut<'_, B>; 2],
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let s = symmetric_part(b, at, egrad, own, scope);
        b.gemm(-1.0, at.u.n(), s.as_ref().n(), Add(1.0, egrad.left), out.left);
        b.gemm(-1.0, at.v.n(), s.as_ref().n(), Add(1.0, egrad.right), out.right);
    });
}

impl<B: Linalg> Manifold<B> for PartialIsometryEmbedded {
    type Frame = IsometryFrame<B>;
    type Direction = Xky<B>;

    fn name(&self) -> &'static str {
        "partial-embedded"
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dim(&self) -> usize {
        let r = self.grid.rank;
        r * (self.grid.left.total() + self.grid.right.total() - r) - r * (r + 1) / 2
    }

    fn has_norm(&self, _: NormKind) -> bool {
        true
    }

    fn new_frame(&self, b: &B, problems: usize) -> Result<IsometryFrame<B>, DeviceError> {
        IsometryFrame::new(b, &self.grid, problems)
    }

    fn new_direction(&self, b: &B, problems: usize) -> Result<Xky<B>, DeviceError> {
        Xky::zeros(b, &self.grid, problems)
    }

    fn factor(
        &self,
        b: &B,
        _: FactorsRef<'_, B>,
        frame: &mut IsometryFrame<B>,
        _: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        // U and V are their own bases.
        frame.renew(b);
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
            let own = [(); 2].map(|()| scope.take(self.grid.small_dims(at.x.problems())));
            scope.nest(|scope| gradient(b, bases(at.x), egrad, out, own, scope));
        });
    }

    fn aim_gradient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        direction: &mut Xky<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        gradient(b, bases(at.x), egrad, out.as_mut(), direction.claims_mut(), scope);
        direction.measure(b, Middle::Skew, out.as_ref());
    }

    fn aim_momentum(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        blend: Blend,
        mut momentum: FactorsMut<'_, B>,
        _: FactorsMut<'_, B>,
        direction: &mut Xky<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if blend.transport == Timing::WithNextGradient {
            self.project(b, at, momentum.as_mut(), scope);
        }
        // The gradient is linear in the gradients given, and a tangent vector has no S: that of the sum is all.
        momentum.axpby(b, Coef::Host(blend.weight), egrad, blend.nu);
        scope.nest(|scope| {
            let own = direction.claims_mut();
            let s = symmetric_part(b, bases(at.x), momentum.as_ref(), own, scope);
            b.gemm(-1.0, at.x.left.n(), s.as_ref().n(), Scale(1.0), momentum.left.as_mut());
            b.gemm(-1.0, at.x.right.n(), s.as_ref().n(), Scale(1.0), momentum.right.as_mut());
            direction.measure(b, Middle::Skew, momentum.as_ref());
            direction.prepare_to_carry(b, s.as_ref());
        });
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
        xky::inner(b, bases(at.x), Middle::Skew, u, v, out, scope);
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        xky::project(b, bases(at.x), Middle::Skew, v, scope);
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
        direction.aim(b, bases(at.x), Middle::Skew, v);
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
        frame: &mut IsometryFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        frame.renew(b);
        for factor in [x.left, x.right] {
            orthonormalize(b, self.repair, factor, health.as_mut(), scope);
        }
    }

    fn orthogonality_defect(&self, b: &B, at: Base<'_, B, Self>, out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        orthogonality_of(b, [at.x.left, at.x.right].into_iter(), out, scope);
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

    fn hazard(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        out: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let (at, mut breakdown) = (bases(ray.at.x), health.breakdown);
            let tangent =
                Factored::of(b, at, ray.direction.middles(), ray.tangent, breakdown.as_mut(), scope);
            scope.nest(|scope| guard::isometry_hazard(b, tangent.middle_blocks(), out, breakdown, scope));
        });
    }

    fn to_ambient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        xky::to_ambient(b, bases(at.x), Middle::Skew, v, out, scope);
    }
}

/// The nearest partial isometry of rank `r` to `U V^T + t Xi`: by the graph iteration, or for long steps
/// through the SVD of the 2r x 2r core.
#[derive(Clone, Copy, Debug, Default)]
pub struct IsometrySvdRetraction;

impl<B: Linalg> Retraction<B, PartialIsometryEmbedded> for IsometrySvdRetraction {
    fn name(&self) -> &'static str {
        "svd"
    }

    fn order(&self, _: &PartialIsometryEmbedded) -> Order {
        Order::Second
    }

    fn retract(
        &self,
        b: &B,
        manifold: &PartialIsometryEmbedded,
        ray: Ray<'_, B, PartialIsometryEmbedded>,
        t: Coef<'_, B>,
        mut to: FactorsMut<'_, B>,
        frame: &mut IsometryFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let problems = ray.tangent.problems();
        scope.nest(|scope| {
            let (at, v) = (bases(ray.at.x), ray.tangent);
            let (core, direction) = (Core::Identity, ray.direction);
            let measured =
                if direction.tells_factors(b, t, scope) { ray.at.frame.allows(b) } else { Measured::Factors };
            let step = Step { at, core, v, direction, t, floor: 0.0, measured };
            if xky::follow(b, &step, Ends::Isometry, to.as_mut(), &mut frame.link, scope) {
                frame.age_from(b, ray.at.frame);
                return;
            }
            frame.renew(b);
            health.count_exact_step(b, scope);
            let mut identity = scope.take(manifold.grid.small_dims(problems));
            b.fill(0.0, identity.as_mut());
            b.add_diagonal(1.0, identity.as_mut());
            let values = scope.take(Dims::new(problems, 1, manifold.grid.rank));
            let breakdown = &mut health.breakdown;
            let tangent = Factored::of(b, at, ray.direction.middles(), v, breakdown.as_mut(), scope);
            let s = identity.as_ref();
            tangent.follow(b, at, t, s, [to.left, to.right], values, breakdown.as_mut(), scope);
        });
    }
}

/// Projection of the ambient tangent matrix onto the new tangent space.
#[derive(Clone, Copy, Debug, Default)]
pub struct IsometryProjection;

impl<B: Linalg> Transport<B, PartialIsometryEmbedded> for IsometryProjection {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn transport(
        &self,
        b: &B,
        _: &PartialIsometryEmbedded,
        from: Base<'_, B, PartialIsometryEmbedded>,
        to: Base<'_, B, PartialIsometryEmbedded>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        xky::transport(b, bases(from.x), bases(to.x), Middle::Skew, v, scope);
    }
    fn carry(
        &self,
        b: &B,
        _: &PartialIsometryEmbedded,
        ray: Ray<'_, B, PartialIsometryEmbedded>,
        to: Base<'_, B, PartialIsometryEmbedded>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let link = to.frame.link.holding();
        let (from, to) = (bases(ray.at.x), bases(to.x));
        xky::carry(b, from, to, link, Middle::Skew, ray.tangent, ray.direction.middles(), out, scope);
    }
}
