//! The SVD retraction in pulled-back coordinates, apart or over the point itself, the exact way beside it, and the
//! transport along it. What the new factors are made of is in [`super::solution`].

use super::{
    FixedRankPullback, PullbackDirection, PullbackFrame,
    certificate::Plan,
    frame::{Grams, Lead},
    link::PullbackLink,
    orthonormal::Orthonormal,
    solution::{Solution, disagreement, halves, solve},
};
use crate::{
    Base, FactorsMut, FactorsRef, HealthMut, Order, Ray, Retraction, Room, SvdRetraction, xky::Factored,
};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, Map, Mats, MatsMut, Scope,
};

/// Follows the ray by the graph iteration. `false`, with `to` and `next` unspecified, for steps that are too long,
/// points that are too ill-conditioned or out of balance, and on devices that would have to stall to tell.
pub(super) fn follow<B: Linalg>(
    b: &B,
    ray: Ray<'_, B, FixedRankPullback>,
    t: Coef<'_, B>,
    floor: f64,
    mut to: FactorsMut<'_, B>,
    next: &mut PullbackFrame<B>,
    scope: &Scope<'_, B>,
) -> bool {
    scope.nest(|scope| {
        let Some(solution) = solve(b, ray, t, floor, to.as_mut(), next, scope) else {
            return false;
        };
        if solution.grams == Grams::Continued {
            let (halves, (l, o)) = (halves(ray), solution.lead.order());
            let [to_leading, to_other] = solution.lead.sort(to);
            halves[l].tilt(b, solution.tilt.as_ref(), to_leading);
            halves[o].combine(b, [solution.alpha.as_ref(), solution.beta.as_ref()], to_other);
        }
        true
    })
}

/// The same over `x`, which stays as it is where the answer is `false`; `room` is unspecified afterwards.
#[allow(clippy::too_many_arguments)]
pub(super) fn follow_in_place<B: Linalg>(
    b: &B,
    mut x: FactorsMut<'_, B>,
    frame: &PullbackFrame<B>,
    (tangent, direction): (FactorsRef<'_, B>, &PullbackDirection<B>),
    t: Coef<'_, B>,
    floor: f64,
    mut room: FactorsMut<'_, B>,
    next: &mut PullbackFrame<B>,
    scope: &Scope<'_, B>,
) -> bool {
    scope.nest(|scope| {
        let ray = Ray { at: Base { x: x.as_ref(), frame }, tangent, direction };
        let Some(solution) = solve(b, ray, t, floor, room.as_mut(), next, scope) else {
            return false;
        };
        let Solution { lead, grams, tilt, alpha, beta } = solution;
        match grams {
            Grams::Anew => x.copy_from(b, room.as_ref()),
            Grams::Continued => {
                let [leading, mut other] = lead.sort(x);
                let [_, mut room] = lead.sort(room);
                let (l, o) = lead.order();
                let c = [tangent.left, tangent.right];
                b.gemm(1.0, c[l].n(), tilt.as_ref().n(), Scale(1.0), leading);
                b.gemm(1.0, other.as_ref().n(), alpha.as_ref().n(), Overwrite, room.as_mut());
                b.gemm(1.0, c[o].n(), beta.as_ref().n(), Add(1.0, room.as_ref()), other.as_mut());
            }
        }
        true
    })
}

/// Xi at the other end of the step that `link` tells of, in coordinates there.
pub(super) fn carry<B: Linalg>(
    b: &B,
    ray: Ray<'_, B, FixedRankPullback>,
    link: &PullbackLink<B>,
    (lead, plan): (Lead, Plan),
    out: FactorsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let (l, o) = lead.order();
    let halves = halves(ray);
    let (leading, other) = (&halves[l], &halves[o]);
    let (to_leading, mut to_other) = match lead {
        Lead::Left => (out.left, out.right),
        Lead::Right => (out.right, out.left),
    };
    // Xi B' = C h + A a.
    let [h, a] = link.coefficients.each_ref().map(Mats::as_ref);
    b.gemm(1.0, other.c.n(), h.n(), Overwrite, to_other.as_mut());
    b.gemm(1.0, other.x.n(), a.n(), Scale(1.0), to_other);
    // Xi^T A' = D h + B a with h = S_A^{-1} A^T A' and a = S_B^{-1} (C^T A' + E^T h).
    let [own, cross] = link.overlaps.each_ref().map(Mats::as_ref);
    scope.nest(|scope| {
        let take = || scope.take(own.dims());
        let (mut h, mut a, mut e, mut sum) = (take(), take(), take(), take());
        disagreement(b, [leading, other], e.as_mut());
        match plan {
            Plan::Coherent => {
                b.axpby(Coef::Host(1.0), cross, 1.0, e.as_mut());
                b.gemm(1.0, leading.inverse.n(), e.as_ref().n(), Overwrite, a.as_mut());
                b.gemm(1.0, leading.x.n(), a.as_ref().n(), Add(1.0, leading.c), to_leading);
            }
            Plan::Sweeps(_) => {
                b.gemm(1.0, other.inverse.n(), own.n(), Overwrite, h.as_mut());
                b.gemm(1.0, e.as_ref().n(), h.as_ref().n(), Add(1.0, cross), sum.as_mut());
                b.gemm(1.0, leading.inverse.n(), sum.as_ref().n(), Overwrite, a.as_mut());
                let mut to_leading = to_leading;
                b.gemm(1.0, leading.c.n(), h.as_ref().n(), Overwrite, to_leading.as_mut());
                b.gemm(1.0, leading.x.n(), a.as_ref().n(), Scale(1.0), to_leading);
            }
        }
    });
}

/// The paper's way through the SVD of the 2r x 2r core; factors in balance afterwards.
#[allow(clippy::too_many_arguments)]
fn follow_exactly<B: Linalg>(
    b: &B,
    ray: Ray<'_, B, FixedRankPullback>,
    t: Coef<'_, B>,
    floor: f64,
    mut to: FactorsMut<'_, B>,
    next: &mut PullbackFrame<B>,
    mut breakdown: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let small = ray.at.frame.sides[0].gram.dims();
    next.link.forget();
    let plain = Orthonormal::anew(b, ray.at.x, ray.tangent, breakdown.as_mut(), scope);
    let [ra, rb] = plain.triangles();
    let mut s = scope.take(small);
    let mut values = scope.take(Dims { rows: 1, ..small });
    b.gemm(1.0, ra.n(), rb.t(), Overwrite, s.as_mut());
    let (bases, coordinates) = (plain.bases(), plain.coordinates());
    let tangent = Factored::of(b, bases, plain.middles(), coordinates, breakdown.as_mut(), scope);
    let ends = [to.left.as_mut(), to.right.as_mut()];
    tangent.follow(b, bases, t, s.as_ref(), ends, values.as_mut(), breakdown, scope);
    b.map(Map::Floor(floor), values.as_mut());
    b.map(Map::Sqrt, values.as_mut());
    for side in [to.left, to.right] {
        b.scale_columns(values.as_ref(), side);
    }
    next.balance(b, values.as_ref(), scope);
}

impl<B: Linalg> Retraction<B, FixedRankPullback> for SvdRetraction {
    fn name(&self) -> &'static str {
        "svd"
    }

    fn order(&self, _: &FixedRankPullback) -> Order {
        Order::Second
    }

    fn retract(
        &self,
        b: &B,
        _: &FixedRankPullback,
        ray: Ray<'_, B, FixedRankPullback>,
        t: Coef<'_, B>,
        mut to: FactorsMut<'_, B>,
        frame: &mut PullbackFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if follow(b, ray, t, self.floor, to.as_mut(), frame, scope) {
            return;
        }
        health.count_exact_step(b, scope);
        scope.nest(|scope| follow_exactly(b, ray, t, self.floor, to, frame, health.breakdown, scope));
    }

    fn advance(
        &self,
        b: &B,
        _: &FixedRankPullback,
        mut x: FactorsMut<'_, B>,
        frame: &mut PullbackFrame<B>,
        along: (FactorsRef<'_, B>, &PullbackDirection<B>),
        t: Coef<'_, B>,
        Room { x: mut room, frame: next }: Room<'_, B, FixedRankPullback>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (floor, (tangent, direction)) = (self.floor, along);
        if !follow_in_place(b, x.as_mut(), frame, along, t, floor, room.as_mut(), next, scope) {
            health.count_exact_step(b, scope);
            let ray = Ray { at: Base { x: x.as_ref(), frame }, tangent, direction };
            let (to, breakdown) = (room.as_mut(), health.breakdown);
            scope.nest(|scope| follow_exactly(b, ray, t, floor, to, next, breakdown, scope));
            x.copy_from(b, room.as_ref());
        }
        std::mem::swap(frame, next);
    }
}
