//! The SVD retraction in pulled-back coordinates: one factor finds its column space, the other is projected on it.
//!
//! Call the factor that leads `B`; with `A` in its place everything is transposed. The row space of the best
//! rank-`r` approximation of `W + t Xi` is a graph over that of `W` (see `xky::graph`, here with the factors for
//! bases),
//!
//! ```text
//! B' = B + t D T,   T = (S_A + t S_B^{-1} (K^T - B^T D) + t^2 S_B^{-1} G_X N_L)^{-1},
//! N_L = (S_B + t S_A^{-1} K + t^2 S_A^{-1} G_Y N_R)^{-1},   N_R = (S_A + t S_B^{-1} K^T + t^2 S_B^{-1} G_X N_L)^{-1},
//! G_X = C^T C - C^T A S_A^{-1} A^T C,   G_Y = D^T D - D^T B S_B^{-1} B^T D,
//! ```
//!
//! by sweeps from `N_R` without its quadratic term, and `T = S_A^{-1}` for short steps along consistent coordinates.
//! The approximation itself is the projection on that space,
//!
//! ```text
//! A' = (W + t Xi) B' (B'^T B')^{-1} = A alpha + C beta,
//! alpha = (B^T B' + t a) (B'^T B')^{-1},   beta = t h (B'^T B')^{-1},
//! Xi B' = C h + A a,   h = S_B^{-1} B^T B',   a = S_A^{-1} (D^T B' + E h),   E = K - A^T C - D^T B.
//! ```
//!
//! That takes three products with tall matrices, and none for the new Gram matrices, which follow from the old ones
//! and those of `C` and `D`; in every eighth step they are taken anew. `Xi B'` is
//! also what the transport needs.

use super::{
    FixedRankPullback, PullbackFrame,
    certificate::{Plan, plan},
    frame::{Grams, Lead},
    link::PullbackLink,
    orthonormal::Orthonormal,
};
use crate::{
    FactorsMut, HealthMut, Order, Ray, Retraction, SvdRetraction, fixed_rank_retractions::flag_imbalance,
    xky::Factored,
};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, Map, Mats, MatsMut, MatsRef, Part, Scope,
};

/// One factor, with the coordinates beside it: `A` and `C`, or `B` and `D`.
struct Half<'a, B: Linalg> {
    x: MatsRef<'a, B>,
    c: MatsRef<'a, B>,
    /// `x^T c`.
    overlap: MatsRef<'a, B>,
    /// `K` as this side sees it.
    middle: MatsRef<'a, B>,
    /// `c^T c`.
    gram: MatsRef<'a, B>,
    /// `x^T x` and its inverse.
    s: MatsRef<'a, B>,
    inverse: MatsRef<'a, B>,
}

fn halves<'a, B: Linalg>(ray: Ray<'a, B, FixedRankPullback>) -> [Half<'a, B>; 2] {
    let direction = ray.direction;
    let half = |i: usize, x, c| Half {
        x,
        c,
        overlap: direction.overlaps()[i],
        middle: direction.middles()[i],
        gram: direction.grams()[i],
        s: ray.at.frame.sides[i].gram.as_ref(),
        inverse: ray.at.frame.sides[i].inverse.as_ref(),
    };
    [half(0, ray.at.x.left, ray.tangent.left), half(1, ray.at.x.right, ray.tangent.right)]
}

/// Follows the ray by the graph iteration. `false`, with `to` and `next` unspecified, for steps that are too long,
/// points that are too ill-conditioned or out of balance, and on devices that would have to stall to tell.
pub(super) fn follow<B: Linalg>(
    b: &B,
    ray: Ray<'_, B, FixedRankPullback>,
    t: Coef<'_, B>,
    floor: f64,
    to: FactorsMut<'_, B>,
    next: &mut PullbackFrame<B>,
    scope: &Scope<'_, B>,
) -> bool {
    next.link.forget();
    if !ray.at.frame.is_well(b) {
        return false;
    }
    let (Some((lead, grams)), Some(plan)) = (ray.at.frame.turn(b), plan(b, ray, t, floor, scope)) else {
        return false;
    };
    let (l, o) = lead.order();
    let (halves, to) = (halves(ray), [to.left, to.right]);
    let (leading, other) = (&halves[l], &halves[o]);
    let [mut to_leading, mut to_other] = match lead {
        Lead::Left => to,
        Lead::Right => {
            let [left, right] = to;
            [right, left]
        }
    };
    let PullbackFrame { sides, link, .. } = next;
    let ([h, a], [own, cross]) = (&mut link.coefficients, &mut link.overlaps);
    let small = leading.s.dims();
    let sound = scope.nest(|scope| {
        let mut broken = scope.status(small.batch);
        let take = || scope.take(small);
        let (mut tilt, mut along, mut crossed) = (take(), take(), take());
        let (mut alpha, mut beta, mut part) = (take(), take(), take());

        // B', with B^T B', D^T B' and B'^T B'.
        tilted(b, [leading, other], t, plan, [tilt.as_mut(), part.as_mut()], broken.as_mut(), scope);
        let tilt = tilt.as_ref();
        b.gemm(1.0, leading.c.n(), tilt.n(), Add(1.0, leading.x), to_leading.as_mut());
        b.gemm(1.0, leading.overlap.n(), tilt.n(), Add(1.0, leading.s), along.as_mut());
        b.copy(leading.overlap.t(), crossed.as_mut());
        b.gemm(1.0, leading.gram.n(), tilt.n(), Scale(1.0), crossed.as_mut());
        let mut gram = sides[l].gram.as_mut();
        match grams {
            Grams::Anew => b.gemm(1.0, to_leading.as_ref().t(), to_leading.as_ref().n(), Overwrite, gram),
            Grams::Continued => {
                b.gemm(1.0, tilt.t(), crossed.as_ref().n(), Add(1.0, along.as_ref()), gram.as_mut());
                b.take_part(Part::Sym, gram);
            }
        }
        sides[l].complete(b, broken.as_mut(), scope);
        let inverse = sides[l].inverse.as_ref();

        // Xi B' = C h + A a.
        b.gemm(1.0, leading.inverse.n(), along.as_ref().n(), Overwrite, h.as_mut());
        disagreement(b, [other, leading], part.as_mut());
        b.gemm(1.0, part.as_ref().n(), h.as_ref().n(), Scale(1.0), crossed.as_mut());
        b.gemm(1.0, other.inverse.n(), crossed.as_ref().n(), Overwrite, a.as_mut());

        // A' = A alpha + C beta, with A^T A', C^T A' and A'^T A'.
        b.axpby(t, a.as_ref(), 1.0, along.as_mut());
        b.gemm(1.0, along.as_ref().n(), inverse.n(), Overwrite, alpha.as_mut());
        b.axpby(t, h.as_ref(), 0.0, along.as_mut());
        b.gemm(1.0, along.as_ref().n(), inverse.n(), Overwrite, beta.as_mut());
        let (alpha, beta) = (alpha.as_ref(), beta.as_ref());
        b.gemm(1.0, other.x.n(), alpha.n(), Overwrite, to_other.as_mut());
        b.gemm(1.0, other.c.n(), beta.n(), Scale(1.0), to_other.as_mut());
        match plan {
            Plan::Coherent => b.copy(other.s.n(), own.as_mut()),
            Plan::Sweeps(_) => {
                b.gemm(1.0, other.s.n(), alpha.n(), Overwrite, own.as_mut());
                b.gemm(1.0, other.overlap.n(), beta.n(), Scale(1.0), own.as_mut());
            }
        }
        b.gemm(1.0, other.overlap.t(), alpha.n(), Overwrite, cross.as_mut());
        b.gemm(1.0, other.gram.n(), beta.n(), Scale(1.0), cross.as_mut());
        let mut gram = sides[o].gram.as_mut();
        match grams {
            Grams::Anew => b.gemm(1.0, to_other.as_ref().t(), to_other.as_ref().n(), Overwrite, gram),
            Grams::Continued => {
                b.gemm(1.0, alpha.t(), own.as_ref().n(), Overwrite, gram.as_mut());
                b.gemm(1.0, beta.t(), cross.as_ref().n(), Scale(1.0), gram.as_mut());
                b.take_part(Part::Sym, gram);
            }
        }
        sides[o].complete(b, broken.as_mut(), scope);
        flag_imbalance(b, sides.each_ref().map(|side| side.gram.as_ref()), broken.as_mut(), scope);
        b.glance(broken.as_ref()) == Some(0.0)
    });
    if sound {
        next.link.hold(lead, plan);
        next.age_from(b, ray.at.frame, grams);
    }
    sound
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

/// `E = K - A^T C - D^T B`, as the first of the two sees it.
fn disagreement<B: Linalg>(b: &B, [own, other]: [&Half<'_, B>; 2], mut out: MatsMut<'_, B>) {
    b.copy(other.overlap.t(), out.as_mut());
    b.axpby(Coef::Host(-1.0), own.overlap, -1.0, out.as_mut());
    b.axpby(Coef::Host(1.0), own.middle, 1.0, out);
}

/// `t T` of the leading factor; `part` is room.
fn tilted<B: Linalg>(
    b: &B,
    [leading, other]: [&Half<'_, B>; 2],
    t: Coef<'_, B>,
    plan: Plan,
    [out, mut part]: [MatsMut<'_, B>; 2],
    mut broken: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let sweeps = match plan {
        Plan::Coherent => {
            b.axpby(t, other.inverse, 0.0, out);
            return;
        }
        Plan::Sweeps(sweeps) => sweeps,
    };
    scope.nest(|scope| {
        let take = || scope.take(out.dims());
        let (mut first, mut second) = (take(), take());
        linear(b, [leading, other], t, leading.middle, second.as_mut(), part.as_mut());
        if sweeps > 0 {
            let (mut nl, mut nr, mut gx, mut gy) = (take(), take(), take(), take());
            linear(b, [other, leading], t, other.middle, first.as_mut(), part.as_mut());
            quadratic(b, [other, leading], t, gx.as_mut(), scope);
            quadratic(b, [leading, other], t, gy.as_mut(), scope);
            b.copy(second.as_ref().n(), nr.as_mut());
            for _ in 0..sweeps {
                b.invert(nr.as_mut(), broken.as_mut());
                b.gemm(1.0, gy.as_ref().n(), nr.as_ref().n(), Add(1.0, first.as_ref()), nl.as_mut());
                b.invert(nl.as_mut(), broken.as_mut());
                b.gemm(1.0, gx.as_ref().n(), nl.as_ref().n(), Add(1.0, second.as_ref()), nr.as_mut());
            }
            b.copy(nr.as_ref().n(), second.as_mut());
        }
        // T^{-1} = N_R^{-1} - t S_B^{-1} B^T D.
        b.axpby(t, leading.overlap, 0.0, part.as_mut());
        b.gemm(-1.0, leading.inverse.n(), part.as_ref().n(), Scale(1.0), second.as_mut());
        b.invert(second.as_mut(), broken);
        b.axpby(t, second.as_ref(), 0.0, out);
    });
}

/// `out = S_other + t S_own^{-1} middle`; `part` is room.
fn linear<B: Linalg>(
    b: &B,
    [own, other]: [&Half<'_, B>; 2],
    t: Coef<'_, B>,
    middle: MatsRef<'_, B>,
    out: MatsMut<'_, B>,
    mut part: MatsMut<'_, B>,
) {
    b.axpby(t, middle, 0.0, part.as_mut());
    b.gemm(1.0, own.inverse.n(), part.as_ref().n(), Add(1.0, other.s), out);
}

/// `out = t^2 S_other^{-1} G`, `G = c^T c - c^T x S^{-1} x^T c` of the first of the two.
fn quadratic<B: Linalg>(
    b: &B,
    [own, other]: [&Half<'_, B>; 2],
    t: Coef<'_, B>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let (mut g, mut half) = (scope.take(out.dims()), scope.take(out.dims()));
        b.gemm(1.0, own.inverse.n(), own.overlap.n(), Overwrite, half.as_mut());
        b.gemm(-1.0, own.overlap.t(), half.as_ref().n(), Add(1.0, own.gram), g.as_mut());
        b.axpby(t, g.as_ref(), 0.0, half.as_mut());
        b.axpby(t, half.as_ref(), 0.0, g.as_mut());
        b.gemm(1.0, other.inverse.n(), g.as_ref().n(), Overwrite, out.as_mut());
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
}
