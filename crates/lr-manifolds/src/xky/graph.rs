//! The dominant subspaces of `W + t Xi` without any QR or SVD: the graph iteration.
//!
//! In the bases `[U .]`, `[V .]` the core is `[[P, t Y^T], [t X, 0]]`, `P = S + t K`. Its dominant subspaces are
//! graphs over the old ones, `Z_U = U + t X N_L` and `Z_V = V + t Y N_R`, whose coefficients solve a Riccati
//! equation, here by fixed-point sweeps on r x r matrices:
//!
//! ```text
//! N_L <- (P + t^2 G_Y N_R)^{-1},   N_R <- (P^T + t^2 G_X N_L)^{-1},   G_X = X^T X, G_Y = Y^T Y.
//! ```
//!
//! The start `N_L = P^{-1}`, `N_R = P^{-T}` alone is the orthographic retraction (Absil and Malick 2012). `X` and
//! `Y` are never formed: the same column spaces are spanned by
//!
//! ```text
//! U + t C T_L,   T_L = (S + t (K - K_C) + t^2 G_Y N_R)^{-1},
//! V + t D T_R,   T_R = (S^T + t (K - K_D)^T + t^2 G_X N_L)^{-1},
//! ```
//!
//! made orthonormal by Cholesky factors `L_U`, `L_V` of their Gram matrices. The core in the new bases is
//! `H = L_U^T T_L^{-1} N_R^{-1} T_R L_V^{-T}`, and `L_U^T T_L^{-1} P^{-1} T_R^{-T} L_V` without a sweep.
//!
//! **Certificate.** With the *reach* `rho = t max(|X|_F, |Y|_F) |P^{-1}|_2` the start is off by at most `rho^3` of
//! `sigma_r(P)`, each sweep takes off a factor `rho^4`, and up to 1/2 the subspaces found are the dominant ones.
//! `|P^{-1}|_2` is bounded by `|P^{-T} P^{-1}|_F^{1/2}`, and Frobenius norms stand for spectral ones; so the true
//! reach is several times smaller. The number of sweeps follows; where it would be large the step is left to
//! [`super::Factored`].

use super::{Bases, Link, Measured, Xky};
use crate::{FactorsMut, FactorsRef, stiefel::tilted_gram};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, Map, MatsMut, MatsRef, PivotGuard, PolarMethod, Scalar, Scope, Side, Triangle,
};

/// How far a step goes compared with the least singular value of the point: `rho` above.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach(pub f64);

impl Reach {
    /// Reach up to which the graph is that of the dominant subspaces.
    pub const LONGEST: f64 = 0.5;

    /// Sweeps that cost less than the exact path.
    const MOST_SWEEPS: usize = 6;

    /// Sweeps after which the subspaces of a step of this reach are good to a few roundings.
    pub fn sweeps<T: Scalar>(self) -> Option<usize> {
        let within = (0.0..=Self::LONGEST).contains(&self.0);
        (0..=Self::MOST_SWEEPS).find(|&k| within && self.0.powi(3 + 4 * k as i32) <= 16.0 * T::EPSILON)
    }

    /// Whether the two sides, `apart` in their claims of `t K` relative to the least singular value, may be taken to
    /// agree: that tilts the new basis by the product of the two.
    pub fn forgives<T: Scalar>(self, apart: f64) -> bool {
        self.0 * apart <= T::EPSILON
    }
}

/// The core `S` of a point `U S V^T`.
pub(crate) enum Core<'a, B: Linalg> {
    /// `I`, for partial isometries.
    Identity,
    /// `S` and its inverse, `[problems, r, r]`.
    Given {
        /// `S`.
        s: MatsRef<'a, B>,
        /// `S^{-1}`.
        inverse: MatsRef<'a, B>,
    },
}

impl<B: Linalg> Core<'_, B> {
    /// `out = S`.
    fn write(&self, b: &B, mut out: MatsMut<'_, B>) {
        match self {
            Self::Identity => {
                b.fill(0.0, out.as_mut());
                b.add_diagonal(1.0, out);
            }
            Self::Given { s, .. } => b.copy(s.n(), out),
        }
    }
}

/// A step of length `t` along the tangent vector `v` at `U S V^T`.
pub(crate) struct Step<'a, B: Linalg> {
    /// `U` and `V`.
    pub at: Bases<'a, B>,
    /// `S`.
    pub core: Core<'a, B>,
    /// `(C, D)`.
    pub v: FactorsRef<'a, B>,
    /// What is known of `v`.
    pub direction: &'a Xky<B>,
    /// Length.
    pub t: Coef<'a, B>,
    /// Least singular value that the caller accepts.
    pub floor: f64,
    /// Which Gram matrices are to be taken; where `T` is not a multiple of `I`, those of the factors in any case.
    pub measured: Measured,
}

impl<B: Linalg> Step<'_, B> {
    /// The Gram matrices that are taken if the step goes as `plan` says.
    fn measured_along(&self, plan: Plan) -> Measured {
        match self.core {
            Core::Identity if plan.coherent => self.measured,
            Core::Identity | Core::Given { .. } => Measured::Factors,
        }
    }
}

/// Which point of the new subspaces is meant.
pub(crate) enum Ends<'a, B: Linalg> {
    /// The best approximation `U' H V'^T`; its core `H`.
    Core(MatsMut<'a, B>),
    /// The partial isometry `U' V'^T` nearest to it.
    Isometry,
}

/// Follows `step` to new orthonormal bases `to`, of which `link` tells how they came about. `false`, with both
/// unspecified, for steps that are too long or points too ill-conditioned for the graph iteration, and on
/// devices that would have to stall to tell.
pub(crate) fn follow<B: Linalg>(
    b: &B,
    step: &Step<'_, B>,
    ends: Ends<'_, B>,
    to: FactorsMut<'_, B>,
    link: &mut Link<B>,
    scope: &Scope<'_, B>,
) -> bool {
    let small = step.direction.middle().dims();
    link.forget();
    scope.nest(|scope| {
        let mut broken = scope.status(small.batch);
        let (mut p, mut p_inverse) = (scope.take(small), scope.take(small));
        step.core.write(b, p.as_mut());
        b.axpby(step.t, step.direction.middle(), 1.0, p.as_mut());
        inverse(b, p.as_ref(), p_inverse.as_mut(), broken.as_mut());
        let Some(plan) = plan(b, step, p_inverse.as_ref(), scope) else {
            return false;
        };
        let graph = Graph::solve(b, step, plan, [p.as_ref(), p_inverse.as_ref()], &mut broken, scope);
        // Z_U and, unless it is turned once more, Z_V are written where the new bases will be.
        let FactorsMut { left: mut u, right: mut v } = to;
        let mut apart = scope.take(v.dims());
        let lu = tilted(b, step, plan, Side::Left, &graph, u.as_mut(), link, &mut broken, scope);
        let zv = match ends {
            Ends::Core(_) => v.as_mut(),
            Ends::Isometry => apart.as_mut(),
        };
        let lv = tilted(b, step, plan, Side::Right, &graph, zv, link, &mut broken, scope);
        let mut core = graph.core(b, p_inverse.as_ref(), [lu.as_ref(), lv.as_ref()], scope);
        let [wu, wv] = &mut link.turns;
        for (l, w) in [(&lu, &mut *wu), (&lv, &mut *wv)] {
            b.fill(0.0, w.as_mut());
            b.add_diagonal(1.0, w.as_mut());
            b.trsm(Side::Right, Triangle::Lower, l.as_ref().t(), w.as_mut());
        }
        b.trsm(Side::Right, Triangle::Lower, lu.as_ref().t(), u);
        match ends {
            Ends::Core(out) => {
                b.trsm(Side::Right, Triangle::Lower, lv.as_ref().t(), v);
                b.copy(core.as_ref().n(), out);
            }
            Ends::Isometry => {
                // V' = Z_V L_V^{-T} O^T with the polar factor O of H.
                let mut turned = scope.take(small);
                b.polar(PolarMethod::default(), core.as_mut(), broken.as_mut(), scope);
                b.gemm(1.0, wv.as_ref().n(), core.as_ref().t(), Overwrite, turned.as_mut());
                b.copy(turned.as_ref().n(), wv.as_mut());
                b.gemm(1.0, apart.as_ref().n(), wv.as_ref().n(), Overwrite, v);
            }
        }
        let sound = b.glance(broken.as_ref()) == Some(0.0);
        if sound {
            link.hold(step.measured_along(plan));
        }
        sound
    })
}

/// The solution of the Riccati equation: `T_L^{-1}`, `T_R^{-1}` and their inverses, and `N_R^{-1}` after sweeps.
struct Graph<'s, B: Linalg> {
    tl_inverse: MatsMut<'s, B>,
    tr_inverse: MatsMut<'s, B>,
    tl: MatsMut<'s, B>,
    tr: MatsMut<'s, B>,
    nr_inverse: Option<MatsMut<'s, B>>,
}

impl<'s, B: Linalg> Graph<'s, B> {
    fn solve(
        b: &B,
        step: &Step<'_, B>,
        plan: Plan,
        [p, p_inverse]: [MatsRef<'_, B>; 2],
        broken: &mut MatsMut<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> Self {
        let (small, [kc, kd]) = (p.dims(), step.direction.claims());
        let take = || scope.take(small);
        let (mut tl_inverse, mut tr_inverse, mut tl, mut tr) = (take(), take(), take(), take());
        // Without the quadratic terms.
        disagree(b, step, kc, tl_inverse.as_mut(), scope);
        scope.nest(|scope| {
            let mut transposed = scope.take(small);
            disagree(b, step, kd, transposed.as_mut(), scope);
            b.copy(transposed.as_ref().t(), tr_inverse.as_mut());
        });
        let nr_inverse = (plan.sweeps > 0).then(|| {
            let mut nr_inverse = scope.take(small);
            scope.nest(|scope| {
                let [gx, gy] = grams(b, step, scope);
                let (mut nl, mut nr) = (scope.take(small), scope.take(small));
                b.copy(p_inverse.t(), nr.as_mut());
                for _ in 0..plan.sweeps {
                    b.gemm(1.0, gy.as_ref().n(), nr.as_ref().n(), Add(1.0, p), nl.as_mut());
                    b.invert(nl.as_mut(), broken.as_mut());
                    b.copy(p.t(), nr_inverse.as_mut());
                    b.gemm(1.0, gx.as_ref().n(), nl.as_ref().n(), Scale(1.0), nr_inverse.as_mut());
                    inverse(b, nr_inverse.as_ref(), nr.as_mut(), broken.as_mut());
                }
                b.gemm(1.0, gy.as_ref().n(), nr.as_ref().n(), Scale(1.0), tl_inverse.as_mut());
                b.gemm(1.0, gx.as_ref().n(), nl.as_ref().n(), Scale(1.0), tr_inverse.as_mut());
            });
            nr_inverse
        });
        match (&step.core, plan.coherent) {
            (Core::Given { inverse, .. }, true) => {
                b.copy(inverse.n(), tl.as_mut());
                b.copy(inverse.t(), tr.as_mut());
            }
            (Core::Identity, true) => {
                for mut t in [tl.as_mut(), tr.as_mut()] {
                    b.fill(0.0, t.as_mut());
                    b.add_diagonal(1.0, t);
                }
            }
            (_, false) => {
                inverse(b, tl_inverse.as_ref(), tl.as_mut(), broken.as_mut());
                inverse(b, tr_inverse.as_ref(), tr.as_mut(), broken.as_mut());
            }
        }
        Self { tl_inverse, tr_inverse, tl, tr, nr_inverse }
    }

    /// The core `H` in the new bases, whose Cholesky factors are `l_u` and `l_v`.
    fn core<'t>(
        &self,
        b: &B,
        p_inverse: MatsRef<'_, B>,
        [lu, lv]: [MatsRef<'_, B>; 2],
        scope: &'t Scope<'_, B>,
    ) -> MatsMut<'t, B> {
        let (mut core, mut half) = (scope.take(lu.dims()), scope.take(lu.dims()));
        b.gemm(1.0, lu.t(), self.tl_inverse.as_ref().n(), Overwrite, half.as_mut());
        match &self.nr_inverse {
            None => {
                b.gemm(1.0, half.as_ref().n(), p_inverse.n(), Overwrite, core.as_mut());
                b.gemm(1.0, core.as_ref().n(), self.tr_inverse.as_ref().t(), Overwrite, half.as_mut());
                b.gemm(1.0, half.as_ref().n(), lv.n(), Overwrite, core.as_mut());
            }
            Some(nr_inverse) => {
                b.gemm(1.0, half.as_ref().n(), nr_inverse.as_ref().n(), Overwrite, core.as_mut());
                b.gemm(1.0, core.as_ref().n(), self.tr.as_ref().n(), Overwrite, half.as_mut());
                b.copy(half.as_ref().n(), core.as_mut());
                b.trsm(Side::Right, Triangle::Lower, lv.t(), core.as_mut());
            }
        }
        core
    }
}

/// Writes `Z = U + t C T_L` or `V + t D T_R`; the Cholesky factor of its Gram matrix. `t T` goes into the link.
#[allow(clippy::too_many_arguments)]
fn tilted<'s, B: Linalg>(
    b: &B,
    step: &Step<'_, B>,
    plan: Plan,
    side: Side,
    graph: &Graph<'_, B>,
    mut z: MatsMut<'_, B>,
    link: &mut Link<B>,
    broken: &mut MatsMut<'_, B>,
    scope: &'s Scope<'_, B>,
) -> MatsMut<'s, B> {
    let ([left, right], [gram_left, gram_right], [kc, kd]) =
        (&mut link.tilts, &mut link.grams, step.direction.claims());
    let (basis, coordinates, overlap, coefficient, tilt, gram) = match side {
        Side::Left => (step.at.u, step.v.left, kc, &graph.tl, left, gram_left),
        Side::Right => (step.at.v, step.v.right, kd, &graph.tr, right, gram_right),
    };
    let mut l = scope.take(coefficient.dims());
    b.axpby(step.t, coefficient.as_ref(), 0.0, tilt.as_mut());
    if plan.coherent && matches!(step.core, Core::Identity) {
        b.add_scaled(basis, step.t, coordinates, z.as_mut());
    } else {
        b.gemm(1.0, coordinates.n(), tilt.as_ref().n(), Add(1.0, basis), z.as_mut());
    }
    match step.measured_along(plan) {
        Measured::Factors => b.gemm(1.0, z.as_ref().t(), z.as_ref().n(), Overwrite, l.as_mut()),
        // The middle of V's side is V^T D = K_D^T: a Gram matrix does not tell.
        Measured::Coordinates => scope.nest(|scope| {
            let mut moved = scope.take(l.dims());
            b.gemm(1.0, coordinates.t(), coordinates.n(), Overwrite, gram.as_mut());
            tilted_gram(b, [overlap, gram.as_ref()], step.t, moved.as_mut(), l.as_mut(), scope);
        }),
    }
    b.cholesky(PivotGuard::Report, l.as_mut(), broken.as_mut());
    l
}

/// `out = a^{-1}`.
fn inverse<B: Linalg>(b: &B, a: MatsRef<'_, B>, mut out: MatsMut<'_, B>, status: MatsMut<'_, B>) {
    b.copy(a.n(), out.as_mut());
    b.invert(out, status);
}

/// `out = S + t (K - claim)`.
fn disagree<B: Linalg>(
    b: &B,
    step: &Step<'_, B>,
    claim: MatsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let mut difference = scope.take(claim.dims());
        b.copy(step.direction.middle().n(), difference.as_mut());
        b.axpby(Coef::Host(-1.0), claim, 1.0, difference.as_mut());
        step.core.write(b, out.as_mut());
        b.axpby(step.t, difference.as_ref(), 1.0, out);
    });
}

/// `t^2 G_X` and `t^2 G_Y`: `C^T C - K_C^T K_C` and `D^T D - K_D K_D^T`.
fn grams<'s, B: Linalg>(b: &B, step: &Step<'_, B>, scope: &'s Scope<'_, B>) -> [MatsMut<'s, B>; 2] {
    let [kc, kd] = step.direction.claims();
    [(step.v.left, kc.t(), kc.n()), (step.v.right, kd.n(), kd.t())].map(|(c, first, second)| {
        let mut gram = scope.take(kc.dims());
        scope.nest(|scope| {
            let mut once = scope.take(kc.dims());
            b.gemm(1.0, c.t(), c.n(), Overwrite, gram.as_mut());
            b.gemm(-1.0, first, second, Scale(1.0), gram.as_mut());
            b.axpby(step.t, gram.as_ref(), 0.0, once.as_mut());
            b.axpby(step.t, once.as_ref(), 0.0, gram.as_mut());
        });
        gram
    })
}

/// What the certificate allows.
#[derive(Clone, Copy)]
struct Plan {
    sweeps: usize,
    /// Whether the two sides agree on the middle so well that, without sweeps, `T_L = T_R^T = S^{-1}` will do.
    coherent: bool,
}

/// How the step may go this way, if it may.
fn plan<B: Linalg>(
    b: &B,
    step: &Step<'_, B>,
    p_inverse: MatsRef<'_, B>,
    scope: &Scope<'_, B>,
) -> Option<Plan> {
    scope.nest(|scope| {
        let scalars = Dims::scalars(p_inverse.dims().batch);
        let (mut bound, mut length, mut once) =
            (scope.take(scalars), scope.take(scalars), scope.status(scalars.batch));
        inverse_bound(b, p_inverse, bound.as_mut(), scope);
        let [x, y] = step.direction.squares();
        b.max_abs(x, once.as_mut());
        b.max_abs(y, once.as_mut());
        b.axpby(step.t, once.as_ref(), 0.0, length.as_mut());
        b.axpby(step.t, length.as_ref(), 0.0, once.as_mut());
        b.multiply(bound.as_ref(), once.as_mut());
        let least = b.glance(bound.as_ref())?.sqrt().recip();
        // The new point's least singular value is at least a quarter of that of P.
        if least < 4.0 * step.floor {
            return None;
        }
        let reach = b.glance(once.as_ref())?.sqrt();
        let sweeps = Reach(reach).sweeps::<B::Elem>()?;
        // T_L = S^{-1} instead of (S + t (K - K_C))^{-1} tilts the new basis by reach times what t (K - K_C) is
        // relative to S.
        let [kc, kd] = step.direction.claims();
        let mut difference = scope.take(kc.dims());
        b.copy(kc.n(), difference.as_mut());
        b.axpby(Coef::Host(-1.0), kd, 1.0, difference.as_mut());
        b.dot(1.0, difference.as_ref(), difference.as_ref(), 0.0, once.as_mut());
        b.axpby(step.t, once.as_ref(), 0.0, length.as_mut());
        b.axpby(step.t, length.as_ref(), 0.0, once.as_mut());
        b.multiply(bound.as_ref(), once.as_mut());
        let disagreement = b.glance(once.as_ref())?.sqrt();
        Some(Plan { sweeps, coherent: sweeps == 0 && Reach(reach).forgives::<B::Elem>(disagreement) })
    })
}

/// `out >= |a|_2^2`, by less than a factor `r^{1/2}`: `|a^T a|_F`, of `a` divided by its norm so that no power
/// over- or underflows.
fn inverse_bound<B: Linalg>(b: &B, a: MatsRef<'_, B>, mut out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    scope.nest(|scope| {
        let (mut unit, mut gram) = (scope.take(a.dims()), scope.take(a.dims()));
        let (mut square, mut scale) = (scope.take(out.dims()), scope.take(out.dims()));
        b.dot(1.0, a, a, 0.0, square.as_mut());
        b.copy(square.as_ref().n(), scale.as_mut());
        b.map(Map::Sqrt, scale.as_mut());
        b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE }, scale.as_mut());
        b.axpby(Coef::Device(scale.as_ref()), a, 0.0, unit.as_mut());
        b.gemm(1.0, unit.as_ref().t(), unit.as_ref().n(), Overwrite, gram.as_mut());
        b.dot(1.0, gram.as_ref(), gram.as_ref(), 0.0, out.as_mut());
        b.map(Map::Sqrt, out.as_mut());
        b.multiply(square.as_ref(), out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_steps_need_no_sweep_and_long_ones_the_exact_path() {
        let eighth = |k: i32| f64::from(k).exp2();
        let single = |x: f64| Reach(x).sweeps::<f32>();
        let double = |x: f64| Reach(x).sweeps::<f64>();
        assert_eq!([-8, -5, -3, -1].map(|k| single(eighth(k))), [Some(0), Some(1), Some(1), Some(4)]);
        assert_eq!([-17, -8, -3, -1].map(|k| double(eighth(k))), [Some(0), Some(1), Some(4), None]);
        assert_eq!([0.51, f64::NAN, f64::INFINITY].map(single), [None; 3]);
    }
}
