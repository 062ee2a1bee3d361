//! Stationarity of the original problem, `min f(X)` over `rank X <= r` and `h(X) = 0`, where it is not smooth: the
//! projection of `-E` onto the Bouligand tangent cone.
//!
//! At `X = U Sigma V^T` of rank s, with `H = U Sigma`, the cone is
//! `{K V^T + U J V_perp^T + U_perp R V_perp^T : K in T_H, rank R <= r - s}`, and of `-E` it takes
//!
//! ```text
//! K = -P_T(E V),   J = -U^T E V_perp,   R = best rank-(r - s) approximation of -U_perp^T E V_perp,
//! measure^2 = |K|^2 + |J|^2 + |R|^2.
//! ```
//!
//! Near a drop of the rank the gradient norm on `M_h` under-reports: reports show both. This form takes a dense
//! `E` and is for small problems and tests.

use super::SpaceDecoupling;
use crate::{FactorsRef, LevelSet};
use lr_linalg::{
    Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, MatsMut, MatsRef, Scope,
};

impl<S> SpaceDecoupling<S> {
    /// Writes the projection of `-e` (`[problems, m, n]`) onto the tangent cone at `x` of rank `rank`, and
    /// `|K|^2`, `|J|^2`, `|R|^2` (`[problems, 1, 3]`); the stationarity measure is the root of their sum.
    ///
    /// # Panics
    /// If `rank` exceeds r or shapes differ.
    #[allow(clippy::too_many_arguments)]
    pub fn tangent_cone<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        e: MatsRef<'_, B>,
        rank: usize,
        mut projection: MatsMut<'_, B>,
        mut squares: MatsMut<'_, B>,
        mut status: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) where
        S: LevelSet<B>,
    {
        let (r, s) = (self.grid.rank, rank);
        assert!(s <= r, "rank {s} of a point of rank at most {r}");
        let Dims { batch, rows: m, cols: n } = e.dims();
        scope.nest(|scope| {
            // H = U Sigma Q^T: the leading s columns of U, of H Q = U Sigma and of V Q.
            let (mut u, mut q) = (scope.take(Dims::new(batch, m, r)), scope.take(Dims::square(batch, r)));
            let mut sigma = scope.take(Dims::new(batch, 1, r));
            b.copy(x.left.n(), u.as_mut());
            b.svd(u.as_mut(), sigma.as_mut(), q.as_mut(), status.as_mut());
            let (u, q) = (u.as_ref().block(0..m, 0..s), q.as_ref().block(0..r, 0..s));
            let (mut h, mut v) = (scope.take(Dims::new(batch, m, s)), scope.take(Dims::new(batch, n, s)));
            b.gemm(1.0, x.left.n(), q.n(), Overwrite, h.as_mut());
            b.gemm(1.0, x.right.n(), q.n(), Overwrite, v.as_mut());

            let mut k = scope.take(h.dims());
            b.gemm(-1.0, e.n(), v.as_ref().n(), Overwrite, k.as_mut());
            self.set.project_tangent(b, h.as_ref(), k.as_mut(), scope);
            b.dot(1.0, k.as_ref(), k.as_ref(), 0.0, squares.as_mut().block(0..1, 0..1));
            b.gemm(1.0, k.as_ref().n(), v.as_ref().t(), Overwrite, projection.as_mut());

            // E (I - V V^T), then its parts along U and beside it.
            let (mut rest, mut ev) = (scope.take(e.dims()), scope.take(h.dims()));
            b.copy(e.n(), rest.as_mut());
            b.gemm(1.0, e.n(), v.as_ref().n(), Overwrite, ev.as_mut());
            b.gemm(-1.0, ev.as_ref().n(), v.as_ref().t(), Scale(1.0), rest.as_mut());
            let mut j = scope.take(Dims::new(batch, s, n));
            b.gemm(-1.0, u.t(), rest.as_ref().n(), Overwrite, j.as_mut());
            b.dot(1.0, j.as_ref(), j.as_ref(), 0.0, squares.as_mut().block(0..1, 1..2));
            b.gemm(1.0, u.n(), j.as_ref().n(), Scale(1.0), projection.as_mut());
            b.gemm(1.0, u.n(), j.as_ref().n(), Scale(1.0), rest.as_mut());

            b.fill(0.0, squares.as_mut().block(0..1, 2..3));
            let square = squares.block(0..1, 2..3);
            subtract_best(b, rest.as_ref(), r - s, projection, square, status, scope);
        });
    }
}

/// `out -= ` the best approximation of `a` of rank `k`, whose squared norm goes to `square`.
fn subtract_best<B: Linalg>(
    b: &B,
    a: MatsRef<'_, B>,
    k: usize,
    out: MatsMut<'_, B>,
    square: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Dims { batch, rows, cols } = a.dims();
    let (tall, wide) = (rows.max(cols), rows.min(cols));
    let k = k.min(wide);
    if k == 0 {
        return;
    }
    scope.nest(|scope| {
        let (mut u, mut v) =
            (scope.take(Dims::new(batch, tall, wide)), scope.take(Dims::square(batch, wide)));
        let mut s = scope.take(Dims::new(batch, 1, wide));
        b.copy(if rows >= cols { a.n() } else { a.t() }, u.as_mut());
        b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status);
        b.scale_columns(s.as_ref(), u.as_mut());
        let (left, right) = (u.as_ref().block(0..tall, 0..k), v.as_ref().block(0..wide, 0..k));
        b.dot(1.0, left, left, 0.0, square);
        match rows >= cols {
            true => b.gemm(-1.0, left.n(), right.t(), Scale(1.0), out),
            false => b.gemm(-1.0, right.n(), left.t(), Scale(1.0), out),
        }
    });
}
