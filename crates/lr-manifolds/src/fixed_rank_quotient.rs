//! Fixed-rank matrices, quotient geometry (paper section 3.4, A.2; singleton and grid).
//!
//! Set: `{A B^T : rank r}` as pairs of full-rank factors modulo `(A M, B M^{-T})`; a grid is the same
//! set on vertically stacked factors. Frame: the Gram matrices `A^T A`, `B^T B` and their inverses.
//! Tangent: horizontal lift `(M_A, M_B)`, `A^T M_A (B^T B) = (A^T A) M_B^T B`.
//! Metric: `<M, N> = tr(M_A^T N_A B^T B) + tr(M_B^T N_B A^T A)`.
//!
//! | step | equation |
//! |---|---|
//! | gradient | `G_A (B^T B)^{-1}`, `G_B (A^T A)^{-1}` |
//! | norm | `sqrt(<M_A^T M_A, B^T B> + <M_B^T M_B, A^T A>)`, of a gradient `sqrt(<G_A, M_A> + <G_B, M_B>)` |
//! | retraction | `A + t M_A`, `B + t M_B` |
//! | projection | `Lambda = ((A^T A)^{-1} A^T M_A - M_B^T B (B^T B)^{-1})/2`, `M_A - A Lambda`, `M_B + B Lambda^T` |

use crate::{
    Base, Blend, FactorsMut, FactorsRef, Grid, HealthMut, Manifold, NormKind, Order, Ray, Retraction, Room,
    ShapeError, State, Timing, Transport, guard, repair, xky::Middle,
};
use lr_linalg::{
    Coef, DeviceError, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, Map, Mats, MatsMut, PivotGuard, Scalar, Scope, Side, Triangle,
};

/// What happens when a Gram matrix is not positive definite (paper B.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CholeskySafeguard {
    /// The problem counts as broken down.
    Off,
    /// A small multiple of the identity is added to the Gram matrix, and the repair counted.
    #[default]
    On,
}

/// The geometry.
#[derive(Clone, Debug)]
pub struct FixedRankQuotient {
    grid: Grid,
    safeguard: CholeskySafeguard,
}

/// `A^T A`, `B^T B` and their inverses.
#[derive(Debug)]
pub struct GramFrame<B: Linalg> {
    grams: [Mats<B>; 2],
    inverses: [Mats<B>; 2],
}

impl<B: Linalg> State<B> for GramFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        let Self { grams: [a, b], inverses: [ia, ib] } = self;
        vec![("aa", a), ("bb", b), ("aa_inverse", ia), ("bb_inverse", ib)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { grams: [a, b], inverses: [ia, ib] } = self;
        vec![("aa", a), ("bb", b), ("aa_inverse", ia), ("bb_inverse", ib)]
    }
}

/// The square of a tangent vector's norm, where it came at no cost.
#[derive(Debug)]
pub struct QuotientDirection<B: Linalg> {
    /// `[problems, 1, 1]`.
    square: Mats<B>,
    known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

impl<B: Linalg> State<B> for QuotientDirection<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        vec![("square", &self.square)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        vec![("square", &mut self.square)]
    }
}

impl FixedRankQuotient {
    /// The geometry on matrices of shape `grid`.
    ///
    /// # Errors
    /// [`ShapeError`] when the rank exceeds `min(sum m_i, sum n_j)` or something is zero.
    pub fn new(grid: Grid, safeguard: CholeskySafeguard) -> Result<Self, ShapeError> {
        grid.require_stacked_rank("fixed-quotient")?;
        Ok(Self { grid, safeguard })
    }
}

impl<B: Linalg> Manifold<B> for FixedRankQuotient {
    type Frame = GramFrame<B>;
    type Direction = QuotientDirection<B>;

    fn name(&self) -> &'static str {
        if self.grid.is_singleton() { "fixed-quotient" } else { "grid-fixed-quotient" }
    }

    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dim(&self) -> usize {
        self.grid.rank * (self.grid.left.total() + self.grid.right.total() - self.grid.rank)
    }

    fn has_norm(&self, kind: NormKind) -> bool {
        kind == NormKind::Metric
    }

    fn new_frame(&self, b: &B, problems: usize) -> Result<GramFrame<B>, DeviceError> {
        let small = || Mats::zeros(b, self.grid.small_dims(problems));
        Ok(GramFrame { grams: [small()?, small()?], inverses: [small()?, small()?] })
    }

    fn new_direction(&self, b: &B, problems: usize) -> Result<QuotientDirection<B>, DeviceError> {
        Ok(QuotientDirection { square: Mats::zeros(b, Dims::scalars(problems))?, known: Known::No })
    }

    fn factor(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        frame: &mut GramFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let GramFrame { grams, inverses } = frame;
        for ((x, gram), inverse) in [x.left, x.right].into_iter().zip(grams).zip(inverses) {
            b.gemm(1.0, x.t(), x.n(), Overwrite, gram.as_mut());
            scope.nest(|scope| {
                let (mut l, mut status) = (scope.take(gram.dims()), scope.status(x.dims().batch));
                b.copy(gram.as_ref().n(), l.as_mut());
                match self.safeguard {
                    CholeskySafeguard::Off => {
                        b.cholesky(PivotGuard::Report, l.as_mut(), health.breakdown.as_mut());
                    }
                    CholeskySafeguard::On => {
                        let guard = PivotGuard::Shift { relative: 10.0 * B::Elem::EPSILON };
                        b.cholesky(guard, l.as_mut(), status.as_mut());
                        health.count_repairs(b, &status, scope);
                    }
                }
                // (L L^T)^{-1} = Y Y^T with Y = L^{-T}, symmetric to the last bit.
                let mut y = scope.take(gram.dims());
                b.fill(0.0, y.as_mut());
                b.add_diagonal(1.0, y.as_mut());
                b.trsm(Side::Right, Triangle::Lower, l.as_ref().t(), y.as_mut());
                b.gemm(1.0, y.as_ref().n(), y.as_ref().t(), Overwrite, inverse.as_mut());
            });
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
        mut out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let [aa, bb] = &at.frame.grams;
        b.fill(0.0, out.as_mut());
        for (gram, u, v) in [(bb, u.left, v.left), (aa, u.right, v.right)] {
            scope.nest(|scope| {
                let mut product = scope.take(gram.dims());
                b.gemm(1.0, u.t(), v.n(), Overwrite, product.as_mut());
                b.dot(1.0, product.as_ref(), gram.as_ref(), 1.0, out.as_mut());
            });
        }
    }

    fn project(&self, b: &B, at: Base<'_, B, Self>, v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut lambda = scope.take(self.grid.small_dims(at.x.problems()));
            vertical(b, at, v.as_ref(), lambda.as_mut(), scope);
            b.gemm(-1.0, at.x.left.n(), lambda.as_ref().n(), Scale(1.0), v.left);
            b.gemm(1.0, at.x.right.n(), lambda.as_ref().t(), Scale(1.0), v.right);
        });
    }

    fn aim(
        &self,
        _: &B,
        _: Base<'_, B, Self>,
        _: FactorsRef<'_, B>,
        direction: &mut QuotientDirection<B>,
        _: HealthMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        // The lift is followed as it is.
        direction.known = Known::No;
    }

    fn aim_gradient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        direction: &mut QuotientDirection<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        self.egrad_to_rgrad(b, at, egrad, out.as_mut(), scope);
        // |grad|^2 = <G_A, M_A> + <G_B, M_B>: the metric's Gram matrices cancel.
        let QuotientDirection { square, known } = direction;
        b.dot(1.0, egrad.left, out.left.as_ref(), 0.0, square.as_mut());
        b.dot(1.0, egrad.right, out.right.as_ref(), 1.0, square.as_mut());
        b.map(Map::Floor(0.0), square.as_mut());
        *known = Known::Yes;
    }

    fn aim_momentum(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        Blend { nu, weight, transport }: Blend,
        mut momentum: FactorsMut<'_, B>,
        _: FactorsMut<'_, B>,
        direction: &mut QuotientDirection<B>,
        _: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        // nu (M_A - A Lambda, M_B + B Lambda^T), then the gradient; where M is tangent, its products take nu along.
        let rest = match transport {
            Timing::AfterRetraction => nu,
            Timing::WithNextGradient => {
                scope.nest(|scope| {
                    let mut lambda = scope.take(self.grid.small_dims(at.x.problems()));
                    vertical(b, at, momentum.as_ref(), lambda.as_mut(), scope);
                    b.gemm(-nu, at.x.left.n(), lambda.as_ref().n(), Scale(nu), momentum.left.as_mut());
                    b.gemm(nu, at.x.right.n(), lambda.as_ref().t(), Scale(nu), momentum.right.as_mut());
                });
                1.0
            }
        };
        let [ia, ib] = &at.frame.inverses;
        b.gemm(weight, egrad.left.n(), ib.as_ref().n(), Scale(rest), momentum.left);
        b.gemm(weight, egrad.right.n(), ia.as_ref().n(), Scale(rest), momentum.right);
        direction.known = Known::No;
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
        assert!(kind == NormKind::Metric, "the quotient geometry has no spectral norm");
        match ray.direction.known {
            Known::Yes => b.copy(ray.direction.square.as_ref().n(), out.as_mut()),
            Known::No => self.inner(b, ray.at, ray.tangent, ray.tangent, out.as_mut(), scope),
        }
        b.map(Map::Sqrt, out);
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

    fn hazard(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        mut out: MatsMut<'_, B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (x, v) = (ray.at.x, ray.tangent);
        b.fill(0.0, out.as_mut());
        for (blocks, x, v) in [(&self.grid.left, x.left, v.left), (&self.grid.right, x.right, v.right)] {
            guard::relative_step(b, blocks, x, v, out.as_mut(), health.breakdown.as_mut(), scope);
        }
    }

    fn is_cone(&self) -> bool {
        true
    }

    fn dilate(
        &self,
        b: &B,
        c: f64,
        x: FactorsMut<'_, B>,
        frame: &mut GramFrame<B>,
        v: Option<FactorsMut<'_, B>>,
    ) {
        let GramFrame { grams, inverses } = frame;
        for side in [x.left, x.right] {
            b.map(Map::Scale(c.sqrt()), side);
        }
        for (gram, inverse) in grams.iter_mut().zip(inverses) {
            b.map(Map::Scale(c), gram.as_mut());
            b.map(Map::Scale(1.0 / c), inverse.as_mut());
        }
        // M_A B^T + A M_B^T stays as it is while A and B grow by the root of c.
        for side in v.into_iter().flat_map(|v| [v.left, v.right]) {
            b.map(Map::Scale(1.0 / c.sqrt()), side);
        }
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
}

/// `Lambda = ((A^T A)^{-1} A^T M_A - M_B^T B (B^T B)^{-1})/2`.
fn vertical<B: Linalg>(
    b: &B,
    at: Base<'_, B, FixedRankQuotient>,
    v: FactorsRef<'_, B>,
    mut lambda: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let (x, [ia, ib]) = (at.x, &at.frame.inverses);
    scope.nest(|scope| {
        let mut product = scope.take(lambda.dims());
        b.gemm(1.0, x.left.t(), v.left.n(), Overwrite, product.as_mut());
        b.gemm(0.5, ia.as_ref().n(), product.as_ref().n(), Overwrite, lambda.as_mut());
        b.gemm(1.0, v.right.t(), x.right.n(), Overwrite, product.as_mut());
        b.gemm(-0.5, product.as_ref().n(), ib.as_ref().n(), Scale(1.0), lambda);
    });
}

/// `M_A B^T + A M_B^T`, the ambient tangent of a lift.
pub(crate) fn lift_to_ambient<B: Linalg>(
    b: &B,
    x: FactorsRef<'_, B>,
    v: FactorsRef<'_, B>,
    mut out: MatsMut<'_, B>,
) {
    b.gemm(1.0, v.left.n(), x.right.t(), Overwrite, out.as_mut());
    b.gemm(1.0, x.left.n(), v.right.t(), Scale(1.0), out);
}

/// `A + t M_A`, `B + t M_B`. Keeps full rank while `|A^+ t M_A|_2 < 1` and `|B^+ t M_B|_2 < 1`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdditiveRetraction;

impl<B: Linalg> Retraction<B, FixedRankQuotient> for AdditiveRetraction {
    fn name(&self) -> &'static str {
        "additive"
    }

    fn order(&self, _: &FixedRankQuotient) -> Order {
        Order::First
    }

    fn retract(
        &self,
        b: &B,
        manifold: &FixedRankQuotient,
        ray: Ray<'_, B, FixedRankQuotient>,
        t: Coef<'_, B>,
        mut to: FactorsMut<'_, B>,
        frame: &mut GramFrame<B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (x, v) = (ray.at.x, ray.tangent);
        for (x, v, to) in [(x.left, v.left, to.left.as_mut()), (x.right, v.right, to.right.as_mut())] {
            b.add_scaled(x, t, v, to);
        }
        manifold.factor(b, to.as_ref(), frame, health, scope);
    }

    fn advance(
        &self,
        b: &B,
        manifold: &FixedRankQuotient,
        mut x: FactorsMut<'_, B>,
        frame: &mut GramFrame<B>,
        (tangent, _): (FactorsRef<'_, B>, &QuotientDirection<B>),
        t: Coef<'_, B>,
        _: Room<'_, B, FixedRankQuotient>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        x.axpby(b, t, tangent, 1.0);
        manifold.factor(b, x.as_ref(), frame, health, scope);
    }
}

/// Horizontal projection at the new point.
#[derive(Clone, Copy, Debug, Default)]
pub struct HorizontalProjection;

impl<B: Linalg> Transport<B, FixedRankQuotient> for HorizontalProjection {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn timing(&self) -> Timing {
        Timing::WithNextGradient
    }

    fn transport(
        &self,
        b: &B,
        manifold: &FixedRankQuotient,
        _: Base<'_, B, FixedRankQuotient>,
        to: Base<'_, B, FixedRankQuotient>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        manifold.project(b, to, v, scope);
    }

    fn carry(
        &self,
        b: &B,
        manifold: &FixedRankQuotient,
        ray: Ray<'_, B, FixedRankQuotient>,
        to: Base<'_, B, FixedRankQuotient>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let v = ray.tangent;
        scope.nest(|scope| {
            let mut lambda = scope.take(manifold.grid.small_dims(v.problems()));
            vertical(b, to, v, lambda.as_mut(), scope);
            b.gemm(-1.0, to.x.left.n(), lambda.as_ref().n(), Add(1.0, v.left), out.left);
            b.gemm(1.0, to.x.right.n(), lambda.as_ref().t(), Add(1.0, v.right), out.right);
        });
    }
}
