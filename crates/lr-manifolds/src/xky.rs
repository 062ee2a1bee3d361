//! CD- and XKY-coordinates, shared by the two embedded geometries.
//!
//! With orthonormal bases `U` (m x r) and `V` (n x r) of a point, a tangent matrix is
//! `Xi = U K V^T + X V^T + U Y^T`, `X^T U = 0`, `Y^T V = 0`, kept as
//! `(C, D) = (Xi V, Xi^T U) = (U K + X, V K^T + Y)` (paper sections 3.2 and 4.2). To be measured and followed
//! it needs `K` and the Gram matrices of `X` and `Y` only ([`direction`], [`graph`]); the exact path, which
//! is the oracle and the way out, factors `Xi = [U Q_X] [[K, R_Y^T], [R_X, 0]] [V Q_Y]^T` ([`factored`]).
//!
//! Coordinates that do not belong to a tangent matrix have two different middles, `K_C = U^T C` and
//! `K_D = D^T V`. Everywhere here `X = C - U K_C` and `Y = D - V K_D^T` take each side's own, and the
//! middle is their average: exactly the least-squares repair of paper B.3, at no extra cost.

mod direction;
mod factored;
mod graph;
mod link;

use crate::{FactorsMut, FactorsRef, manifold::take_pair};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, MatsMut, MatsRef, Part, Scope,
};

pub use direction::Xky;
pub(crate) use direction::spectral_norm;
pub(crate) use factored::Factored;
pub(crate) use graph::{Core, Ends, Reach, Step, follow};
pub use link::Link;
pub(crate) use link::Measured;
use link::Overlaps;

/// What kind of middle block `K` a geometry admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Middle {
    /// Any `r x r` matrix (fixed rank).
    General,
    /// `K^T = -K` (partial isometries).
    Skew,
}

/// Orthonormal bases of the column and row spaces at a point.
pub(crate) struct Bases<'a, B: Linalg> {
    pub u: MatsRef<'a, B>,
    pub v: MatsRef<'a, B>,
}

impl<B: Linalg> Clone for Bases<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Linalg> Copy for Bases<'_, B> {}

/// `K_C = U^T C` and `K_D = D^T V`.
pub(crate) fn overlaps<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    v: FactorsRef<'_, B>,
    kc: &mut MatsMut<'_, B>,
    kd: &mut MatsMut<'_, B>,
) {
    b.gemm(1.0, at.u.t(), v.left.n(), Overwrite, kc.as_mut());
    b.gemm(1.0, v.right.t(), at.v.n(), Overwrite, kd.as_mut());
}

/// `K = (K_C + K_D)/2`, or its skew part.
pub(crate) fn average<B: Linalg>(
    b: &B,
    middle: Middle,
    kc: MatsRef<'_, B>,
    kd: MatsRef<'_, B>,
    mut k: MatsMut<'_, B>,
) {
    b.axpby(Coef::Host(0.5), kc, 0.0, k.as_mut());
    b.axpby(Coef::Host(0.5), kd, 1.0, k.as_mut());
    if middle == Middle::Skew {
        b.take_part(Part::Skew, k);
    }
}

/// `C - U (K_C - K)`, `D - V (K_D - K)^T` with the average `K`: the nearest tangent vector.
pub(crate) fn project<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    middle: Middle,
    v: FactorsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let choose = |[kc, kd]: [MatsRef<'_, B>; 2], k: MatsMut<'_, B>, _: &Scope<'_, B>| {
        average(b, middle, kc, kd, k);
    };
    replace_middle(b, at, choose, v, scope);
}

/// `C - U (K_C - K)`, `D - V (K_D - K)^T` with the `K` that `choose` makes of `K_C` and `K_D`.
pub(crate) fn replace_middle<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    choose: impl FnOnce([MatsRef<'_, B>; 2], MatsMut<'_, B>, &Scope<'_, B>),
    v: FactorsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let small = Dims::square(at.u.dims().batch, at.u.dims().cols);
        let (mut kc, mut kd, mut k) = (scope.take(small), scope.take(small), scope.take(small));
        overlaps(b, at, v.as_ref(), &mut kc, &mut kd);
        scope.nest(|scope| choose([kc.as_ref(), kd.as_ref()], k.as_mut(), scope));
        b.axpby(Coef::Host(-1.0), k.as_ref(), 1.0, kc.as_mut());
        b.axpby(Coef::Host(-1.0), k.as_ref(), 1.0, kd.as_mut());
        b.gemm(-1.0, at.u.n(), kc.as_ref().n(), Scale(1.0), v.left);
        b.gemm(-1.0, at.v.n(), kd.as_ref().t(), Scale(1.0), v.right);
    });
}

/// `<Xi, H> = <C, C'> + <D, D'> - <K, K'>`.
pub(crate) fn inner<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    middle: Middle,
    x: FactorsRef<'_, B>,
    y: FactorsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    b.dot(1.0, x.left, y.left, 0.0, out.as_mut());
    b.dot(1.0, x.right, y.right, 1.0, out.as_mut());
    scope.nest(|scope| {
        let small = Dims::square(at.u.dims().batch, at.u.dims().cols);
        let (mut kc, mut kd) = (scope.take(small), scope.take(small));
        let (mut k, mut l) = (scope.take(small), scope.take(small));
        overlaps(b, at, x, &mut kc, &mut kd);
        average(b, middle, kc.as_ref(), kd.as_ref(), k.as_mut());
        overlaps(b, at, y, &mut kc, &mut kd);
        average(b, middle, kc.as_ref(), kd.as_ref(), l.as_mut());
        b.dot(-1.0, k.as_ref(), l.as_ref(), 1.0, out);
    });
}

/// `Xi = (C - U (K_C - K)) V^T + U (D - V K_D^T)^T`, dense.
pub(crate) fn to_ambient<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    middle: Middle,
    v: FactorsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let small = Dims::square(at.u.dims().batch, at.u.dims().cols);
        let (mut kc, mut kd, mut k) = (scope.take(small), scope.take(small), scope.take(small));
        let mut p = take_pair(scope, v);
        p.copy_from(b, v);
        overlaps(b, at, v, &mut kc, &mut kd);
        average(b, middle, kc.as_ref(), kd.as_ref(), k.as_mut());
        b.axpby(Coef::Host(-1.0), k.as_ref(), 1.0, kc.as_mut());
        b.gemm(-1.0, at.u.n(), kc.as_ref().n(), Scale(1.0), p.left.as_mut());
        b.gemm(-1.0, at.v.n(), kd.as_ref().t(), Scale(1.0), p.right.as_mut());
        b.gemm(1.0, p.left.as_ref().n(), at.v.t(), Overwrite, out.as_mut());
        b.gemm(1.0, at.u.n(), p.right.as_ref().t(), Scale(1.0), out);
    });
}

/// Projects the tangent matrix with coordinates `v` at `from` onto the tangent space at `to`.
pub(crate) fn transport<B: Linalg>(
    b: &B,
    from: Bases<'_, B>,
    to: Bases<'_, B>,
    middle: Middle,
    mut v: FactorsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let small = Dims::square(from.u.dims().batch, from.u.dims().cols);
        let (mut kc, mut kd, mut k) = (scope.take(small), scope.take(small), scope.take(small));
        overlaps(b, from, v.as_ref(), &mut kc, &mut kd);
        average(b, middle, kc.as_ref(), kd.as_ref(), k.as_mut());
        let mut moved = take_pair(scope, v.as_ref());
        let middles = [k.as_ref(), kc.as_ref(), kd.as_ref()];
        carry(b, from, to, None, middle, v.as_ref(), middles, moved.as_mut(), scope);
        v.copy_from(b, moved.as_ref());
    });
}

/// [`transport`] of a tangent vector whose middles `[K, K_C, K_D]` are known, into `out`:
/// `(C', D') = (Xi V', Xi^T U')`, less `(U' S, V' S)` with `S = sym(U'^T C' + V'^T D')/2` where middles are skew.
///
/// With `E = K - K_C - K_D`, `C' = C (V^T V') + U (E V^T V' + D^T V')` and
/// `D' = D (U^T U') + V (E^T U^T U' + C^T U')`. Without a link the overlaps are taken between the bases as they
/// are, so that a reorthogonalization that flips signs or rotates is accounted for.
#[allow(clippy::too_many_arguments)]
pub(crate) fn carry<B: Linalg>(
    b: &B,
    from: Bases<'_, B>,
    to: Bases<'_, B>,
    link: Option<&Link<B>>,
    middle: Middle,
    v: FactorsRef<'_, B>,
    [k, kc, kd]: [MatsRef<'_, B>; 3],
    mut out: FactorsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let take = || scope.take(k.dims());
        let mut parts = [take(), take()];
        let Overlaps { mut uu, cu, mut vv, dv } = match link {
            Some(link) => {
                Overlaps::linked(b, link, v, [kc, kd], parts.each_mut().map(MatsMut::as_mut), scope)
            }
            None => Overlaps::measured(b, from, to, v, k.dims(), scope),
        };
        let mut e = take();
        b.copy(k.n(), e.as_mut());
        b.axpby(Coef::Host(-1.0), kc, 1.0, e.as_mut());
        b.axpby(Coef::Host(-1.0), kd, 1.0, e.as_mut());
        let (mut dv_full, mut cu_full) = (take(), take());
        b.gemm(1.0, e.as_ref().n(), vv.as_ref().n(), Add(1.0, dv.as_ref()), dv_full.as_mut());
        b.gemm(1.0, e.as_ref().t(), uu.as_ref().n(), Add(1.0, cu.as_ref()), cu_full.as_mut());

        // Of U'^T C' + V'^T D' only the symmetric part is wanted, in which a product may stand for its transpose: that
        // of (V^T V')^T (C^T U' + its full form) + (U^T U')^T (D^T V' + its full form).
        let mut s = e;
        if middle == Middle::Skew {
            let [mut cu, mut dv] = [cu, dv];
            b.axpby(Coef::Host(1.0), cu_full.as_ref(), 1.0, cu.as_mut());
            b.axpby(Coef::Host(1.0), dv_full.as_ref(), 1.0, dv.as_mut());
            b.gemm(0.5, vv.as_ref().t(), cu.as_ref().n(), Overwrite, s.as_mut());
            b.gemm(0.5, uu.as_ref().t(), dv.as_ref().n(), Scale(1.0), s.as_mut());
            b.take_part(Part::Sym, s.as_mut());
        }
        if let (Middle::Skew, Some(link)) = (middle, link) {
            // U' = U W_U + C t T_L W_U, so that U' S goes into the coefficients of U and C.
            let [pu, pv] = &parts;
            let [wu, wv] = link.turns();
            for (known, coefficient) in
                [(pu.as_ref(), &mut vv), (wu, &mut dv_full), (pv.as_ref(), &mut uu), (wv, &mut cu_full)]
            {
                b.gemm(-1.0, known.n(), s.as_ref().n(), Scale(1.0), coefficient.as_mut());
            }
        }
        b.gemm(1.0, v.left.n(), vv.as_ref().n(), Overwrite, out.left.as_mut());
        b.gemm(1.0, from.u.n(), dv_full.as_ref().n(), Scale(1.0), out.left.as_mut());
        b.gemm(1.0, v.right.n(), uu.as_ref().n(), Overwrite, out.right.as_mut());
        b.gemm(1.0, from.v.n(), cu_full.as_ref().n(), Scale(1.0), out.right.as_mut());
        if let (Middle::Skew, None) = (middle, link) {
            b.gemm(-1.0, to.u.n(), s.as_ref().n(), Scale(1.0), out.left);
            b.gemm(-1.0, to.v.n(), s.as_ref().n(), Scale(1.0), out.right);
        }
    });
}
