//! CD- and XKY-coordinates, shared by the two embedded geometries.
//!
//! With orthonormal bases `U` (m x r) and `V` (n x r) of a point, a tangent matrix is
//! `Xi = U K V^T + X V^T + U Y^T`, `X^T U = 0`, `Y^T V = 0`. At rest it is kept as
//! `(C, D) = (Xi V, Xi^T U) = (U K + X, V K^T + Y)`; to be measured and followed it is factored as
//! `Xi = [U Q_X] [[K, R_Y^T], [R_X, 0]] [V Q_Y]^T` (paper sections 3.2 and 4.2).
//!
//! Coordinates that do not belong to a tangent matrix have two different middles, `K_C = U^T C` and
//! `K_D = D^T V`. Everywhere here `X = C - U K_C` and `Y = D - V K_D^T` take each side's own, and the
//! middle is their average: exactly the least-squares repair of paper B.3, at no extra cost.

use crate::{FactorsMut, FactorsRef, Grid, HealthMut, NormKind, State, manifold::take_pair};
use lr_linalg::{
    Coef, DeviceError, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, Mats, MatsMut, MatsRef, Part, Scope,
};

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

/// A tangent matrix in factored XKY-coordinates.
#[derive(Debug)]
pub struct Xky<B: Linalg> {
    k: Mats<B>,
    qx: Mats<B>,
    rx: Mats<B>,
    qy: Mats<B>,
    ry: Mats<B>,
}

impl<B: Linalg> State<B> for Xky<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        vec![("k", &self.k), ("qx", &self.qx), ("rx", &self.rx), ("qy", &self.qy), ("ry", &self.ry)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { k, qx, rx, qy, ry } = self;
        vec![("k", k), ("qx", qx), ("rx", rx), ("qy", qy), ("ry", ry)]
    }
}

/// `K_C = U^T C` and `K_D = D^T V`.
fn overlaps<B: Linalg>(
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
fn average<B: Linalg>(b: &B, middle: Middle, kc: MatsRef<'_, B>, kd: MatsRef<'_, B>, mut k: MatsMut<'_, B>) {
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

/// Projects the tangent matrix with coordinates `v` at `from` onto the fixed-rank tangent space at `to`:
/// `(C', D') = (Xi V', Xi^T U')`.
///
/// With `E = K - K_C - K_D`, `C' = C (V^T V') + U (E V^T V' + D^T V')` and
/// `D' = D (U^T U') + V (E^T U^T U' + C^T U')`. The overlaps are taken between the bases as they are,
/// so a reorthogonalization that flips signs or rotates is accounted for.
pub(crate) fn transport<B: Linalg>(
    b: &B,
    from: Bases<'_, B>,
    to: Bases<'_, B>,
    middle: Middle,
    v: FactorsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let small = Dims::square(from.u.dims().batch, from.u.dims().cols);
        let (mut kc, mut kd, mut e) = (scope.take(small), scope.take(small), scope.take(small));
        overlaps(b, from, v.as_ref(), &mut kc, &mut kd);
        average(b, middle, kc.as_ref(), kd.as_ref(), e.as_mut());
        b.axpby(Coef::Host(-1.0), kc.as_ref(), 1.0, e.as_mut());
        b.axpby(Coef::Host(-1.0), kd.as_ref(), 1.0, e.as_mut());

        let (mut vv, mut dv) = (scope.take(small), scope.take(small));
        b.gemm(1.0, from.v.t(), to.v.n(), Overwrite, vv.as_mut());
        b.gemm(1.0, v.right.as_ref().t(), to.v.n(), Overwrite, dv.as_mut());
        b.gemm(1.0, e.as_ref().n(), vv.as_ref().n(), Scale(1.0), dv.as_mut());

        let (mut uu, mut cu) = (scope.take(small), scope.take(small));
        b.gemm(1.0, from.u.t(), to.u.n(), Overwrite, uu.as_mut());
        b.gemm(1.0, v.left.as_ref().t(), to.u.n(), Overwrite, cu.as_mut());
        b.gemm(1.0, e.as_ref().t(), uu.as_ref().n(), Scale(1.0), cu.as_mut());

        let mut moved = take_pair(scope, v.as_ref());
        b.gemm(1.0, v.left.as_ref().n(), vv.as_ref().n(), Overwrite, moved.left.as_mut());
        b.gemm(1.0, from.u.n(), dv.as_ref().n(), Scale(1.0), moved.left.as_mut());
        b.gemm(1.0, v.right.as_ref().n(), uu.as_ref().n(), Overwrite, moved.right.as_mut());
        b.gemm(1.0, from.v.n(), cu.as_ref().n(), Scale(1.0), moved.right.as_mut());
        let mut v = v;
        v.copy_from(b, moved.as_ref());
    });
}

impl<B: Linalg> Xky<B> {
    pub(crate) fn zeros(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        let small = grid.small_dims(problems);
        Ok(Self {
            k: Mats::zeros(b, small)?,
            qx: Mats::zeros(b, grid.left_dims(problems))?,
            rx: Mats::zeros(b, small)?,
            qy: Mats::zeros(b, grid.right_dims(problems))?,
            ry: Mats::zeros(b, small)?,
        })
    }

    /// The blocks `K`, `R_X`, `R_Y` of the middle.
    pub(crate) fn middle_blocks(&self) -> [MatsRef<'_, B>; 3] {
        [self.k.as_ref(), self.rx.as_ref(), self.ry.as_ref()]
    }

    /// The bases `Q_X`, `Q_Y` of what leaves the column and row spaces.
    pub(crate) fn complements(&self) -> Bases<'_, B> {
        Bases { u: self.qx.as_ref(), v: self.qy.as_ref() }
    }

    /// Factors the tangent vector `v`.
    pub(crate) fn aim(
        &mut self,
        b: &B,
        at: Bases<'_, B>,
        middle: Middle,
        v: FactorsRef<'_, B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let small = self.k.dims();
            let (mut kc, mut kd) = (scope.take(small), scope.take(small));
            overlaps(b, at, v, &mut kc, &mut kd);
            average(b, middle, kc.as_ref(), kd.as_ref(), self.k.as_mut());
            let sides = [
                (at.u, v.left, kc.as_ref().n(), &mut self.qx, &mut self.rx),
                (at.v, v.right, kd.as_ref().t(), &mut self.qy, &mut self.ry),
            ];
            for (basis, coordinates, overlap, q, r) in sides {
                scope.nest(|scope| {
                    let mut x = scope.take(coordinates.dims());
                    b.copy(coordinates.n(), x.as_mut());
                    b.gemm(-1.0, basis.n(), overlap, Scale(1.0), x.as_mut());
                    let breakdown = health.breakdown.as_mut();
                    complement_qr(b, basis, x.as_ref(), q.as_mut(), r.as_mut(), breakdown, scope);
                });
            }
        });
    }

    /// Metric norm `sqrt(|K|^2 + |R_X|^2 + |R_Y|^2)` or the spectral norm of the middle.
    pub(crate) fn norm(
        &self,
        b: &B,
        kind: NormKind,
        mut out: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        match kind {
            NormKind::Metric => {
                for (part, beta) in [(&self.k, 0.0), (&self.rx, 1.0), (&self.ry, 1.0)] {
                    b.dot(1.0, part.as_ref(), part.as_ref(), beta, out.as_mut());
                }
                b.map(Map::Sqrt, out);
            }
            NormKind::Spectral => scope.nest(|scope| {
                let mut middle = self.take_middle(b, scope);
                b.spectral_norm(middle.as_mut().as_ref(), out, health.breakdown, scope);
            }),
        }
    }

    /// `[[K, R_Y^T], [R_X, 0]]`, `[problems, 2r, 2r]`.
    pub(crate) fn take_middle<'s>(&self, b: &B, scope: &'s Scope<'_, B>) -> MatsMut<'s, B> {
        let Dims { batch, rows: r, .. } = self.k.dims();
        let mut middle = scope.take(Dims::square(batch, 2 * r));
        b.fill(0.0, middle.as_mut());
        b.copy(self.k.as_ref().n(), middle.as_mut().block(0..r, 0..r));
        b.copy(self.ry.as_ref().t(), middle.as_mut().block(0..r, r..2 * r));
        b.copy(self.rx.as_ref().n(), middle.as_mut().block(r..2 * r, 0..r));
        middle
    }

    /// The best rank-`r` approximation of `[U Q_X] [[S + t K, t R_Y^T], [t R_X, 0]] [V Q_Y]^T`: bases
    /// `u`, `v` and singular values `s` (`[problems, 1, r]`).
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn follow(
        &self,
        b: &B,
        at: Bases<'_, B>,
        t: Coef<'_, B>,
        s: MatsRef<'_, B>,
        u: MatsMut<'_, B>,
        values: MatsMut<'_, B>,
        v: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let Dims { batch, rows: r, .. } = self.k.dims();
            let middle = self.take_middle(b, scope);
            let mut core = scope.take(middle.dims());
            b.fill(0.0, core.as_mut());
            b.copy(s.n(), core.as_mut().block(0..r, 0..r));
            b.axpby(t, middle.as_ref(), 1.0, core.as_mut());
            let (mut cu, mut cv) =
                (scope.take(Dims::new(batch, 2 * r, r)), scope.take(Dims::new(batch, 2 * r, r)));
            b.truncated_svd(core.as_ref(), cu.as_mut(), values, cv.as_mut(), health.breakdown, scope);
            for (basis, q, c, mut out) in [(at.u, &self.qx, cu, u), (at.v, &self.qy, cv, v)] {
                b.gemm(1.0, basis.n(), c.as_ref().rows(0..r).n(), Overwrite, out.as_mut());
                b.gemm(1.0, q.as_ref().n(), c.as_ref().rows(r..2 * r).n(), Scale(1.0), out);
            }
        });
    }
}

/// `X = Q R` with the columns of `Q` orthogonal to the basis `U` also where `X` is rank-deficient:
/// Householder QR of `[U X]`, whose trailing columns span the rest whatever `X` is. When `U` leaves
/// fewer than `r` dimensions (`m < 2r`), `Q` has that many columns, then zeros.
fn complement_qr<B: Linalg>(
    b: &B,
    u: MatsRef<'_, B>,
    x: MatsRef<'_, B>,
    mut q: MatsMut<'_, B>,
    r: MatsMut<'_, B>,
    breakdown: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Dims { batch, rows: m, cols: rank } = u.dims();
    let rest = (2 * rank).min(m) - rank;
    scope.nest(|scope| {
        let mut both = scope.take(Dims::new(batch, m, rank + rest));
        let mut triangle = scope.take(Dims::square(batch, rank + rest));
        b.copy(u.n(), both.as_mut().block(0..m, 0..rank));
        b.copy(x.block(0..m, 0..rest).n(), both.as_mut().block(0..m, rank..rank + rest));
        b.qr(both.as_mut(), triangle.as_mut(), breakdown);
        b.fill(0.0, q.as_mut());
        b.copy(both.as_ref().block(0..m, rank..rank + rest).n(), q.as_mut().block(0..m, 0..rest));
        b.gemm(1.0, q.as_ref().t(), x.n(), Overwrite, r);
    });
}
