//! [`Manifold`]: the contract of every geometry; the strategies that a caller picks beside it are in
//! [`moves`](crate::moves).
//!
//! The operations follow the paper's schematic (section 2.1): factor the point, turn the Euclidean
//! gradient into the Riemannian one, aim along a tangent vector, measure it, retract, transport. All of
//! them work on a slice of problems at once.

use crate::{
    Blend, Factors, FactorsMut, FactorsRef, Grid, HealthMut, Timing,
    repair::{self, GradientRepair},
};
use lr_linalg::{Coef, DeviceError, Dims, Linalg, Mats, MatsMut, Scope};
use std::fmt::Debug;

/// Matrices kept with a point or a direction, by name, so that a checkpoint can hold them.
pub trait State<B: Linalg>: Debug + Send + Sync {
    /// Names and matrices.
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)>;
    /// Names and matrices, writable.
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)>;
}

/// Nothing to keep.
impl<B: Linalg> State<B> for () {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        Vec::new()
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        Vec::new()
    }
}

/// A point and the factorizations that were made there.
#[derive(Debug)]
pub struct Base<'a, B: Linalg, M: Manifold<B>> {
    /// The factors.
    pub x: FactorsRef<'a, B>,
    /// QR factors, Cholesky factors, or nothing.
    pub frame: &'a M::Frame,
}

impl<B: Linalg, M: Manifold<B>> Clone for Base<'_, B, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Linalg, M: Manifold<B>> Copy for Base<'_, B, M> {}

/// A tangent vector made ready to be measured and followed: the curve `t -> R_x(t v)`.
#[derive(Debug)]
pub struct Ray<'a, B: Linalg, M: Manifold<B>> {
    /// Where it starts.
    pub at: Base<'a, B, M>,
    /// The tangent vector, in the geometry's coordinates.
    pub tangent: FactorsRef<'a, B>,
    /// What [`Manifold::aim`] made of it.
    pub direction: &'a M::Direction,
}

impl<B: Linalg, M: Manifold<B>> Clone for Ray<'_, B, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Linalg, M: Manifold<B>> Copy for Ray<'_, B, M> {}

/// Norms of a tangent vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// The norm of the Riemannian metric.
    Metric,
    /// The spectral norm of the ambient matrix; embedded geometries only.
    Spectral,
}

/// Norms of the ambient matrix for normed descent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schatten {
    /// The sum of the singular values (nuclear norm): steps of rank 1.
    One,
    /// The largest singular value (spectral norm): steps that move all directions alike.
    Infinity,
}

/// A Riemannian geometry of low-rank matrices.
///
/// Points are [`Factors`]; tangent vectors too, in coordinates that each geometry documents. Shapes
/// that do not fit panic: they are the caller's contract. Constructors validate the grid and return errors.
pub trait Manifold<B: Linalg>: Clone + Debug + Send + Sync + 'static {
    /// Factorizations kept with a point.
    type Frame: State<B>;
    /// A tangent vector, factored for measuring and following it.
    type Direction: State<B>;

    /// Name as in reports, such as `"fixed-embedded"`.
    fn name(&self) -> &'static str;

    /// Shape of one problem.
    fn grid(&self) -> &Grid;

    /// Dimension of the manifold of one problem.
    fn dim(&self) -> usize;

    /// Whether [`Manifold::norm`] knows `kind`.
    fn has_norm(&self, kind: NormKind) -> bool;

    /// Room for the frames of `problems` points.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    fn new_frame(&self, b: &B, problems: usize) -> Result<Self::Frame, DeviceError>;

    /// Room for `problems` directions.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    fn new_direction(&self, b: &B, problems: usize) -> Result<Self::Direction, DeviceError>;

    /// Step 0: the factorizations at `x`.
    fn factor(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        frame: &mut Self::Frame,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Steps 1 and 2: the Riemannian gradient from the pulled-back Euclidean one, `(G_W B, G_W^T A)`.
    fn egrad_to_rgrad(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Riemannian inner product of two tangent vectors, `[problems, 1, 1]`.
    fn inner(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        u: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Nearest tangent vector to arbitrary coordinates: idempotent, the identity on tangent vectors.
    /// As the coherence repair of paper B.3 it mends a momentum.
    fn project(&self, b: &B, at: Base<'_, B, Self>, v: FactorsMut<'_, B>, scope: &Scope<'_, B>);

    /// Factors a tangent vector for [`Manifold::norm`] and [`crate::Retraction::retract`].
    fn aim(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        direction: &mut Self::Direction,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// [`Manifold::egrad_to_rgrad`] and [`Manifold::aim`] along the gradient, which share work in some geometries.
    #[allow(clippy::too_many_arguments)]
    fn aim_gradient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        mut out: FactorsMut<'_, B>,
        direction: &mut Self::Direction,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        self.egrad_to_rgrad(b, at, egrad, out.as_mut(), scope);
        self.aim(b, at, out.as_ref(), direction, health, scope);
    }

    /// Step 3 as one operation: the gradient enters the momentum as `blend` says, and the sum is aimed along, by
    /// [`Manifold::egrad_to_rgrad`] and [`Manifold::aim`], which share work in some geometries. `rgrad` is room for the
    /// gradient; what it holds afterwards is unspecified.
    #[allow(clippy::too_many_arguments)]
    fn aim_momentum(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        blend: Blend,
        mut momentum: FactorsMut<'_, B>,
        mut rgrad: FactorsMut<'_, B>,
        direction: &mut Self::Direction,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if blend.transport == Timing::WithNextGradient {
            self.project(b, at, momentum.as_mut(), scope);
        }
        self.egrad_to_rgrad(b, at, egrad, rgrad.as_mut(), scope);
        momentum.axpby(b, Coef::Host(blend.weight), rgrad.as_ref(), blend.nu);
        self.aim(b, at, momentum.as_ref(), direction, health, scope);
    }

    /// Whether [`Manifold::egrad_to_rgrad`] only copies, so that a pulled-back gradient may be followed where it lies.
    fn takes_egrad(&self) -> bool {
        false
    }

    /// Norm of the ray's tangent vector, `[problems, 1, 1]`.
    ///
    /// # Panics
    /// If [`Manifold::has_norm`] denies `kind`.
    fn norm(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        kind: NormKind,
        out: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Whether orthonormal factors are carried from step to step, so that [`Manifold::reorthogonalize`] has
    /// something to do.
    fn carries_orthonormal_factors(&self) -> bool {
        false
    }

    /// Restores the orthonormality that rounding wears off the point and its frame, leaving `A B^T` as
    /// it is up to rounding. Geometries without orthonormal factors have nothing to do.
    fn reorthogonalize(
        &self,
        _b: &B,
        _x: FactorsMut<'_, B>,
        _frame: &mut Self::Frame,
        _health: HealthMut<'_, B>,
        _scope: &Scope<'_, B>,
    ) {
    }

    /// Orthogonality defect `sqrt(|U^T U - I|^2 + |V^T V - I|^2)` of the orthonormal factors kept at the
    /// point, `[problems, 1, 1]`; zero for geometries without any.
    fn orthogonality_defect(&self, b: &B, at: Base<'_, B, Self>, out: MatsMut<'_, B>, scope: &Scope<'_, B>);

    /// Ambient tangent matrix `d/dt (A B^T)`, dense: `[problems, m, n]`. For tests and small problems.
    fn to_ambient(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Coherence defect of a momentum: the distance of the coordinates `v` from the nearest tangent vector,
    /// relative to their norm, `[problems, 1, 1]`.
    fn coherence_defect(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        repair::coherence_defect(b, v, |p, scope| self.project(b, at, p, scope), out, scope);
    }

    /// Consistency defect of pulled-back gradients, `|A^T G_A - G_B^T B|` relative to the norm of the two,
    /// `[problems, 1, 1]`; of the difference only the skew part for partial isometries (paper B.4).
    fn consistency_defect(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Replaces what [`Manifold::egrad_to_rgrad`] made of inconsistent gradients by a tangent vector
    /// (paper B.4); leaves the gradient of a function of `W` as it is, up to rounding.
    fn make_consistent(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        _repair: GradientRepair,
        rgrad: FactorsMut<'_, B>,
        _health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        self.project(b, at, rgrad, scope);
    }

    /// Hazard `h` of the ray, `[problems, 1, 1]`: the step `t v` keeps the rank, and with it the retraction
    /// well defined, while `|t| h < 1`. Zero where every step is safe.
    fn hazard(
        &self,
        b: &B,
        ray: Ray<'_, B, Self>,
        out: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Whether the set contains `c W` with every `W`, so that [`Manifold::dilate`] exists.
    fn is_cone(&self) -> bool {
        false
    }

    /// The homothety `W -> c W`, `c > 0`, of a point with its frame. Tangent spaces along it are the same;
    /// `v`, if given, keeps its ambient tangent matrix.
    ///
    /// # Panics
    /// Unless [`Manifold::is_cone`].
    fn dilate(
        &self,
        _b: &B,
        _c: f64,
        _x: FactorsMut<'_, B>,
        _frame: &mut Self::Frame,
        _v: Option<FactorsMut<'_, B>>,
    ) {
        panic!("{} is no cone", self.name());
    }

    /// Whether [`Manifold::steepest`] exists.
    fn has_steepest(&self) -> bool {
        false
    }

    /// Replaces a tangent vector `v` by the tangent vector `t` of unit norm that has the largest inner product
    /// with it: minus `t` is the direction of steepest descent in that norm. Zero stays zero.
    ///
    /// # Panics
    /// Unless [`Manifold::has_steepest`].
    #[allow(clippy::too_many_arguments)]
    fn steepest(
        &self,
        _b: &B,
        _at: Base<'_, B, Self>,
        _norm: Schatten,
        _v: FactorsMut<'_, B>,
        _direction: &mut Self::Direction,
        _health: HealthMut<'_, B>,
        _scope: &Scope<'_, B>,
    ) {
        panic!("{} has no normed descent", self.name());
    }
}

/// Pulled-back derivatives of `f` at `X = L R^T` along a tangent vector `eta` with factors `(K, Vp)`
/// ([`TangentFactors`](crate::TangentFactors)), ambient `K R^T + L Vp^T`. With `E = grad f(X)` and `D = D grad f(X)[eta]`; neither is formed here.
#[derive(Debug)]
pub struct Derivatives<'a, B: Linalg> {
    /// `(E R, E^T L)`.
    pub egrad: FactorsRef<'a, B>,
    /// `(E Vp, E^T K)`.
    pub egrad_along: FactorsRef<'a, B>,
    /// `(D R, D^T L)`.
    pub ehess: FactorsRef<'a, B>,
}

impl<B: Linalg> Clone for Derivatives<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Linalg> Copy for Derivatives<'_, B> {}

/// A geometry that knows the Hessian of a function from its derivatives in the ambient space.
pub trait SecondOrderManifold<B: Linalg>: crate::TangentFactors<B> {
    /// `out = Hess f(x)[v]`, the Riemannian Hessian along the tangent vector `v`.
    fn ehess_to_rhess(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        v: FactorsRef<'_, B>,
        f: Derivatives<'_, B>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    );
}

/// `out = sqrt(|U^T U - I|^2 + |V^T V - I|^2)` over the given matrices with orthonormal columns.
pub(crate) fn orthogonality_of<'a, B: Linalg>(
    b: &B,
    orthonormal: impl Iterator<Item = lr_linalg::MatsRef<'a, B>>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    b.fill(0.0, out.as_mut());
    for q in orthonormal {
        let d = q.dims();
        scope.nest(|scope| {
            let mut gram = scope.take(Dims::square(d.batch, d.cols));
            b.gemm(1.0, q.t(), q.n(), lr_linalg::Epilogue::Overwrite, gram.as_mut());
            b.add_diagonal(-1.0, gram.as_mut());
            b.dot(1.0, gram.as_ref(), gram.as_ref(), 1.0, out.as_mut());
        });
    }
    b.map(lr_linalg::Map::Sqrt, out);
}

/// Room for a pair shaped as `like`, with unspecified contents.
pub(crate) fn take_pair<'s, B: Linalg>(
    scope: &'s Scope<'_, B>,
    like: FactorsRef<'_, B>,
) -> FactorsMut<'s, B> {
    FactorsMut { left: scope.take(like.left.dims()), right: scope.take(like.right.dims()) }
}

/// A tangent vector owned by its holder, in a geometry's coordinates.
pub type Tangent<B> = Factors<B>;
