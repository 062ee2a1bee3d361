//! The exact path: `Xi = [U Q_X] [[K, R_Y^T], [R_X, 0]] [V Q_Y]^T` by Householder QR, followed by the SVD of
//! the 2r x 2r core (paper section 3.3). The oracle of [`super::graph`], and what that falls back on.

use super::Bases;
use crate::FactorsRef;
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, MatsMut, MatsRef, Scope,
};

/// A tangent matrix in factored XKY-coordinates.
pub(crate) struct Factored<'s, B: Linalg> {
    k: MatsRef<'s, B>,
    qx: MatsMut<'s, B>,
    rx: MatsMut<'s, B>,
    qy: MatsMut<'s, B>,
    ry: MatsMut<'s, B>,
}

impl<'s, B: Linalg> Factored<'s, B> {
    /// Factors the tangent vector `v` at the bases `at`, with the middles `[K, K_C, K_D]`.
    pub(crate) fn of(
        b: &B,
        at: Bases<'_, B>,
        [k, kc, kd]: [MatsRef<'s, B>; 3],
        v: FactorsRef<'_, B>,
        mut breakdown: MatsMut<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> Self {
        let mut found = Self {
            k,
            qx: scope.take(v.left.dims()),
            rx: scope.take(k.dims()),
            qy: scope.take(v.right.dims()),
            ry: scope.take(k.dims()),
        };
        let sides = [
            (at.u, v.left, kc.n(), &mut found.qx, &mut found.rx),
            (at.v, v.right, kd.t(), &mut found.qy, &mut found.ry),
        ];
        for (basis, coordinates, overlap, q, r) in sides {
            scope.nest(|scope| {
                let mut x = scope.take(coordinates.dims());
                b.copy(coordinates.n(), x.as_mut());
                b.gemm(-1.0, basis.n(), overlap, Scale(1.0), x.as_mut());
                complement_qr(b, basis, x.as_ref(), q.as_mut(), r.as_mut(), breakdown.as_mut(), scope);
            });
        }
        found
    }

    /// The blocks `K`, `R_X`, `R_Y` of the middle.
    pub(crate) fn middle_blocks(&self) -> [MatsRef<'_, B>; 3] {
        [self.k, self.rx.as_ref(), self.ry.as_ref()]
    }

    /// The bases `Q_X`, `Q_Y` of what leaves the column and row spaces.
    pub(crate) fn complements(&self) -> Bases<'_, B> {
        Bases { u: self.qx.as_ref(), v: self.qy.as_ref() }
    }

    /// `[[K, R_Y^T], [R_X, 0]]`, `[problems, 2r, 2r]`.
    pub(crate) fn take_middle<'t>(&self, b: &B, scope: &'t Scope<'_, B>) -> MatsMut<'t, B> {
        let Dims { batch, rows: r, .. } = self.k.dims();
        let mut middle = scope.take(Dims::square(batch, 2 * r));
        b.fill(0.0, middle.as_mut());
        b.copy(self.k.n(), middle.as_mut().block(0..r, 0..r));
        b.copy(self.ry.as_ref().t(), middle.as_mut().block(0..r, r..2 * r));
        b.copy(self.rx.as_ref().n(), middle.as_mut().block(r..2 * r, 0..r));
        middle
    }

    /// The best rank-`r` approximation of `[U Q_X] [[S + t K, t R_Y^T], [t R_X, 0]] [V Q_Y]^T`: bases
    /// `u`, `v` and singular values `values` (`[problems, 1, r]`).
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn follow(
        &self,
        b: &B,
        at: Bases<'_, B>,
        t: Coef<'_, B>,
        s: MatsRef<'_, B>,
        [u, v]: [MatsMut<'_, B>; 2],
        values: MatsMut<'_, B>,
        breakdown: MatsMut<'_, B>,
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
            b.truncated_svd(core.as_ref(), cu.as_mut(), values, cv.as_mut(), breakdown, scope);
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
