//! What a step along a ray makes of the factors: coefficients and Gram matrices from r x r products alone. One factor
//! finds its column space, the other is projected on it.
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
    frame::{FactorFrame, Grams, Lead},
};
use crate::{FactorsMut, Ray, fixed_rank_retractions::flag_imbalance};
use lr_linalg::{
    Coef,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, Mats, MatsMut, MatsRef, Part, Scope,
};

/// One factor, with the coordinates beside it: `A` and `C`, or `B` and `D`.
pub(super) struct Half<'a, B: Linalg> {
    pub x: MatsRef<'a, B>,
    pub c: MatsRef<'a, B>,
    /// `x^T c`.
    pub overlap: MatsRef<'a, B>,
    /// `K` as this side sees it.
    pub middle: MatsRef<'a, B>,
    /// `c^T c`.
    pub gram: MatsRef<'a, B>,
    /// `x^T x` and its inverse.
    pub s: MatsRef<'a, B>,
    pub inverse: MatsRef<'a, B>,
}

pub(super) fn halves<'a, B: Linalg>(ray: Ray<'a, B, FixedRankPullback>) -> [Half<'a, B>; 2] {
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

/// Which way the graph iteration goes.
struct Course<'a, B: Linalg> {
    t: Coef<'a, B>,
    plan: Plan,
    grams: Grams,
    leading: Half<'a, B>,
    other: Half<'a, B>,
}

/// What the new factors are made of: `B' = B + D tilt`, `A' = A alpha + C beta`.
pub(super) struct Solution<'s, B: Linalg> {
    pub lead: Lead,
    pub grams: Grams,
    pub tilt: MatsMut<'s, B>,
    pub alpha: MatsMut<'s, B>,
    pub beta: MatsMut<'s, B>,
}

/// The coefficients of the new factors, with their frame; where Gram matrices are taken anew, the factors themselves
/// in `to`, which is room otherwise.
pub(super) fn solve<'s, B: Linalg>(
    b: &B,
    ray: Ray<'_, B, FixedRankPullback>,
    t: Coef<'_, B>,
    floor: f64,
    to: FactorsMut<'_, B>,
    next: &mut PullbackFrame<B>,
    scope: &'s Scope<'_, B>,
) -> Option<Solution<'s, B>> {
    next.link.forget();
    if !ray.at.frame.is_well(b) {
        return None;
    }
    let (lead, grams) = ray.at.frame.turn(b)?;
    let plan = plan(b, ray, t, floor, scope)?;
    let [leading, other] = lead.sort_sides(halves(ray));
    let small = leading.s.dims();
    let course = Course { t, plan, grams, leading, other };
    let [mut tilt, mut alpha, mut beta] = [(); 3].map(|()| scope.take(small));
    let sound = scope.nest(|scope| {
        let mut broken = scope.status(small.batch);
        let [to_leading, to_other] = lead.sort(to);
        let (l, o) = lead.order();
        let PullbackFrame { sides, link, .. } = next;
        let made = [tilt.as_mut(), alpha.as_mut(), beta.as_mut()];
        let beside = link.coefficients.each_mut().map(Mats::as_mut);
        course.lead(b, &mut sides[l], made, beside, to_leading, broken.as_mut(), scope);
        let made = [alpha.as_ref(), beta.as_ref()];
        let overlaps = link.overlaps.each_mut().map(Mats::as_mut);
        course.project(b, &mut sides[o], made, overlaps, to_other, broken.as_mut(), scope);
        flag_imbalance(b, sides.each_ref().map(|side| side.gram.as_ref()), broken.as_mut(), scope);
        b.glance(broken.as_ref()) == Some(0.0)
    });
    if !sound {
        return None;
    }
    next.link.hold(lead, plan);
    next.age_from(b, ray.at.frame, grams);
    Some(Solution { lead, grams, tilt, alpha, beta })
}

impl<B: Linalg> Half<'_, B> {
    /// `to = x + c tilt`.
    pub fn tilt(&self, b: &B, tilt: MatsRef<'_, B>, to: MatsMut<'_, B>) {
        b.gemm(1.0, self.c.n(), tilt.n(), Add(1.0, self.x), to);
    }

    /// `to = x alpha + c beta`.
    pub fn combine(&self, b: &B, [alpha, beta]: [MatsRef<'_, B>; 2], mut to: MatsMut<'_, B>) {
        b.gemm(1.0, self.x.n(), alpha.n(), Overwrite, to.as_mut());
        b.gemm(1.0, self.c.n(), beta.n(), Scale(1.0), to);
    }
}

impl<B: Linalg> Course<'_, B> {
    /// The side that leads: `B'` with its frame `side`, `alpha` and `beta` of the other one, and `h` and `a` of
    /// `Xi B' = C h + A a`.
    #[allow(clippy::too_many_arguments)]
    fn lead(
        &self,
        b: &B,
        side: &mut FactorFrame<B>,
        [mut tilt, alpha, beta]: [MatsMut<'_, B>; 3],
        [mut h, mut a]: [MatsMut<'_, B>; 2],
        mut to: MatsMut<'_, B>,
        mut broken: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let Self { t, plan, grams, leading, other } = self;
        scope.nest(|scope| {
            let [mut along, mut crossed, mut part] = [(); 3].map(|()| scope.take(tilt.dims()));
            tilted(b, [leading, other], *t, *plan, [tilt.as_mut(), part.as_mut()], broken.as_mut(), scope);
            let tilt = tilt.as_ref();
            // B^T B', D^T B' and B'^T B'.
            b.gemm(1.0, leading.overlap.n(), tilt.n(), Add(1.0, leading.s), along.as_mut());
            b.copy(leading.overlap.t(), crossed.as_mut());
            b.gemm(1.0, leading.gram.n(), tilt.n(), Scale(1.0), crossed.as_mut());
            let mut gram = side.gram.as_mut();
            match grams {
                Grams::Anew => {
                    leading.tilt(b, tilt, to.as_mut());
                    b.gemm(1.0, to.as_ref().t(), to.as_ref().n(), Overwrite, gram);
                }
                Grams::Continued => {
                    b.gemm(1.0, tilt.t(), crossed.as_ref().n(), Add(1.0, along.as_ref()), gram.as_mut());
                    b.take_part(Part::Sym, gram);
                }
            }
            side.complete(b, broken, scope);
            let inverse = side.inverse.as_ref();
            b.gemm(1.0, leading.inverse.n(), along.as_ref().n(), Overwrite, h.as_mut());
            disagreement(b, [other, leading], part.as_mut());
            b.gemm(1.0, part.as_ref().n(), h.as_ref().n(), Scale(1.0), crossed.as_mut());
            b.gemm(1.0, other.inverse.n(), crossed.as_ref().n(), Overwrite, a.as_mut());
            b.axpby(*t, a.as_ref(), 1.0, along.as_mut());
            b.gemm(1.0, along.as_ref().n(), inverse.n(), Overwrite, alpha);
            b.axpby(*t, h.as_ref(), 0.0, along.as_mut());
            b.gemm(1.0, along.as_ref().n(), inverse.n(), Overwrite, beta);
        });
    }

    /// The other side: the frame of `A'`, and `A^T A'`, `C^T A'`.
    #[allow(clippy::too_many_arguments)]
    fn project(
        &self,
        b: &B,
        side: &mut FactorFrame<B>,
        [alpha, beta]: [MatsRef<'_, B>; 2],
        [mut own, mut cross]: [MatsMut<'_, B>; 2],
        mut to: MatsMut<'_, B>,
        broken: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let Self { plan, grams, other, .. } = self;
        match plan {
            Plan::Coherent => b.copy(other.s.n(), own.as_mut()),
            Plan::Sweeps(_) => {
                b.gemm(1.0, other.s.n(), alpha.n(), Overwrite, own.as_mut());
                b.gemm(1.0, other.overlap.n(), beta.n(), Scale(1.0), own.as_mut());
            }
        }
        b.gemm(1.0, other.overlap.t(), alpha.n(), Overwrite, cross.as_mut());
        b.gemm(1.0, other.gram.n(), beta.n(), Scale(1.0), cross.as_mut());
        let mut gram = side.gram.as_mut();
        match grams {
            Grams::Anew => {
                other.combine(b, [alpha, beta], to.as_mut());
                b.gemm(1.0, to.as_ref().t(), to.as_ref().n(), Overwrite, gram);
            }
            Grams::Continued => {
                b.gemm(1.0, alpha.t(), own.as_ref().n(), Overwrite, gram.as_mut());
                b.gemm(1.0, beta.t(), cross.as_ref().n(), Scale(1.0), gram.as_mut());
                b.take_part(Part::Sym, gram);
            }
        }
        side.complete(b, broken, scope);
    }
}

/// `E = K - A^T C - D^T B`, as the first of the two sees it.
pub(super) fn disagreement<B: Linalg>(b: &B, [own, other]: [&Half<'_, B>; 2], mut out: MatsMut<'_, B>) {
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
