//! What a caller picks beside a geometry: the [`Retraction`] along a ray, the [`Transport`] of what is kept
//! from step to step, and how the next gradient enters it ([`Blend`]).

use crate::{Base, FactorsMut, FactorsRef, HealthMut, Manifold, Ray};
use lr_linalg::{Coef, Linalg, Scope};
use std::fmt::Debug;

/// Room for a point with its frame; what is in it is unspecified.
#[derive(Debug)]
pub struct Room<'a, B: Linalg, M: Manifold<B>> {
    /// Shaped as the factors.
    pub x: FactorsMut<'a, B>,
    /// A frame of the geometry.
    pub frame: &'a mut M::Frame,
}

/// Order to which a retraction follows the geodesic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// `R(t v) = x + t v + O(t^2)`.
    First,
    /// The acceleration at `t = 0` is normal to the manifold as well.
    Second,
}

/// Moves a point along a tangent vector.
pub trait Retraction<B: Linalg, M: Manifold<B>>: Clone + Debug + Send + Sync + 'static {
    /// Name as in reports.
    fn name(&self) -> &'static str;

    /// Order on `manifold`: whether it is second depends on the metric, too.
    fn order(&self, manifold: &M) -> Order;

    /// `to = R_x(t v)` with its frame; `t` is a constant or one device scalar for each problem.
    #[allow(clippy::too_many_arguments)]
    fn retract(
        &self,
        b: &B,
        manifold: &M,
        ray: Ray<'_, B, M>,
        t: Coef<'_, B>,
        to: FactorsMut<'_, B>,
        frame: &mut M::Frame,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// `x = R_x(t v)` with its frame, the same point as by [`Retraction::retract`], for callers who do not look
    /// back: nothing has to be copied where the last operation may write over `x`.
    #[allow(clippy::too_many_arguments)]
    fn advance(
        &self,
        b: &B,
        manifold: &M,
        mut x: FactorsMut<'_, B>,
        frame: &mut M::Frame,
        (tangent, direction): (FactorsRef<'_, B>, &M::Direction),
        t: Coef<'_, B>,
        room: Room<'_, B, M>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let Room { x: mut to, frame: next } = room;
        let ray = Ray { at: Base { x: x.as_ref(), frame: &*frame }, tangent, direction };
        self.retract(b, manifold, ray, t, to.as_mut(), next, health, scope);
        x.copy_from(b, to.as_ref());
        std::mem::swap(frame, next);
    }
}

/// Carries tangent vectors from the start of a ray to its end.
pub trait Transport<B: Linalg, M: Manifold<B>>: Clone + Debug + Send + Sync + 'static {
    /// Name as in reports.
    fn name(&self) -> &'static str;

    /// When a descent has its momentum transported.
    fn timing(&self) -> Timing {
        Timing::AfterRetraction
    }

    /// Replaces `v`, a tangent vector at `from`, by one at `to`.
    fn transport(
        &self,
        b: &B,
        manifold: &M,
        from: Base<'_, B, M>,
        to: Base<'_, B, M>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    );

    /// Writes to `out` what [`Transport::transport`] makes of the ray's own tangent vector, for which more is
    /// known. `to` must be where a retraction took the ray last.
    fn carry(
        &self,
        b: &B,
        manifold: &M,
        ray: Ray<'_, B, M>,
        to: Base<'_, B, M>,
        mut out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        out.copy_from(b, ray.tangent);
        self.transport(b, manifold, ray.at, to, out, scope);
    }
}

/// When a momentum is transported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// At the end of the step, so that between steps it is a tangent vector at the current point.
    AfterRetraction,
    /// When the next gradient joins it, so that the two share a pass. For transports that keep the coordinates and
    /// apply [`Manifold::project`] at the new point, where points are not dilated in between. Between steps the
    /// momentum is then any vector whose projection is the transported one, hence also the transported one itself.
    WithNextGradient,
}

/// How a gradient enters a momentum: `M <- nu M + weight grad`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blend {
    /// What remains of the momentum, in `[0, 1)`.
    pub nu: f64,
    /// What the gradient counts.
    pub weight: f64,
    /// Whether `M` is tangent already or has its projection still before it: then that is what `nu` weights.
    pub transport: Timing,
}
