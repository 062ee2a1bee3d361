//! Rank guards: how far a step may go before the rank is in danger (paper 5.1, A.1.1 and 4.2).
//!
//! Every guard is stated as a *hazard* `h` of a tangent vector `v`: the step `t v` is safe while `|t| h < 1`.
//!
//! | geometry | safe while | hazard |
//! |---|---|---|
//! | fixed rank, embedded | `|t v|_2 < s S/(s + S)`, `s = min_ij sigma_r(W_ij)`, `S = sigma_r(W)` | `(1/s + 1/S) |v|_2` |
//! | fixed rank, quotient | `|A_i^+ t M_Ai|_2 < 1`, `|B_j^+ t M_Bj|_2 < 1` | the largest of these norms |
//! | partial isometries, embedded | `|t^2 E (I + t K)^{-1} F^T|_2 < sigma_r(I + t K)` | `sqrt(|E|_2 |F|_2 - kappa^2)` |
//! | partial isometries in factor space | always: `(U + t M)^T (U + t M) >= I` | 0 |
//!
//! The third is the sharper condition made explicit: `K` is skew, so that `sigma_r(I + t K)^2 = 1 + t^2 kappa^2`
//! with `kappa` its least singular value, and `|(I + t K)^{-1}|_2` is the inverse of the root of that.

use crate::{FactorsRef, Grid, grid::Blocks};
use lr_linalg::{
    Dims, Epilogue::Overwrite, Linalg, Map, MatsMut, MatsRef, PivotGuard, Scalar, Scope, Side, Triangle,
};

/// Keeps reciprocals of numbers that may vanish finite.
fn smallest<B: Linalg>() -> f64 {
    B::Elem::MIN_POSITIVE / B::Elem::EPSILON
}

/// Least singular value of `a` (`[problems, n, n]`), `[problems, 1, 1]`.
fn least_singular_value<B: Linalg>(
    b: &B,
    a: MatsRef<'_, B>,
    out: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Dims { batch, rows: n, .. } = a.dims();
    scope.nest(|scope| {
        let (mut u, mut v) = (scope.take(a.dims()), scope.take(a.dims()));
        let mut s = scope.take(Dims::new(batch, 1, n));
        b.copy(a.n(), u.as_mut());
        b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status);
        b.copy(s.as_ref().block(0..1, n - 1..n).n(), out);
    });
}

/// `1/s + 1/S` of the point `A B^T`, `s` over the blocks that are tall and wide enough to have rank `r`.
pub(crate) fn inverse_rank_distance<B: Linalg>(
    b: &B,
    grid: &Grid,
    x: FactorsRef<'_, B>,
    stacked: [MatsRef<'_, B>; 2],
    mut out: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let (problems, r) = (x.problems(), grid.rank);
    scope.nest(|scope| {
        let (mut core, mut value) =
            (scope.take(Dims::square(problems, r)), scope.take(Dims::scalars(problems)));
        let [ra, rb] = stacked;
        b.gemm(1.0, ra.n(), rb.t(), Overwrite, core.as_mut());
        least_singular_value(b, core.as_ref(), value.as_mut(), status.as_mut(), scope);
        b.map(Map::Ratio { numerator: 1.0, floor: smallest::<B>() }, value.as_mut());
        let mut blockwise = scope.status(problems);
        if grid.is_singleton() {
            b.copy(value.as_ref().n(), blockwise.as_mut());
        } else {
            least_block_values(b, grid, x, blockwise.as_mut(), status, scope);
        }
        b.copy(blockwise.as_ref().n(), out.as_mut());
        b.axpby(lr_linalg::Coef::Host(1.0), value.as_ref(), 1.0, out);
    });
}

/// `max_ij 1/sigma_r(A_i B_j^T)`, from the triangular factors of the blocks.
fn least_block_values<B: Linalg>(
    b: &B,
    grid: &Grid,
    x: FactorsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let (problems, r) = (x.problems(), grid.rank);
    let tall = |blocks: &Blocks| blocks.ranges().filter(|rows| rows.len() >= r).count();
    scope.nest(|scope| {
        let mut triangles = [(&grid.left, x.left), (&grid.right, x.right)].map(|(blocks, x)| {
            let mut all = scope.take(Dims::new(problems, tall(blocks) * r, r));
            let rows = blocks.ranges().filter(|rows| rows.len() >= r);
            for (k, rows) in rows.enumerate() {
                scope.nest(|scope| {
                    let mut q = scope.take(Dims::new(problems, rows.len(), r));
                    let mut triangle = scope.take(Dims::square(problems, r));
                    b.copy(x.rows(rows).n(), q.as_mut());
                    b.qr(q.as_mut(), triangle.as_mut(), status.as_mut());
                    b.copy(triangle.as_ref().n(), all.as_mut().rows(k * r..(k + 1) * r));
                });
            }
            all
        });
        let [left, right] = &mut triangles;
        let (left, right) = (left.as_ref(), right.as_ref());
        let (mut core, mut value) =
            (scope.take(Dims::square(problems, r)), scope.take(Dims::scalars(problems)));
        for i in 0..tall(&grid.left) {
            for j in 0..tall(&grid.right) {
                let (ra, rb) = (left.rows(i * r..(i + 1) * r), right.rows(j * r..(j + 1) * r));
                b.gemm(1.0, ra.n(), rb.t(), Overwrite, core.as_mut());
                least_singular_value(b, core.as_ref(), value.as_mut(), status.as_mut(), scope);
                b.map(Map::Ratio { numerator: 1.0, floor: smallest::<B>() }, value.as_mut());
                b.max_abs(value.as_ref(), out.as_mut());
            }
        }
    });
}

/// `out = max(out, max_i |A_i^+ T_i|_2)` over the blocks of one side that have full column rank by height.
pub(crate) fn relative_step<B: Linalg>(
    b: &B,
    blocks: &Blocks,
    x: MatsRef<'_, B>,
    v: MatsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Dims { batch, cols: r, .. } = x.dims();
    for rows in blocks.ranges().filter(|rows| rows.len() >= r) {
        scope.nest(|scope| {
            let (x, v) = (x.rows(rows.clone()), v.rows(rows));
            let (mut l, mut k) = (scope.take(Dims::square(batch, r)), scope.take(Dims::square(batch, r)));
            let (mut shifts, mut value) = (scope.status(batch), scope.take(Dims::scalars(batch)));
            b.gemm(1.0, x.t(), x.n(), Overwrite, l.as_mut());
            b.cholesky(PivotGuard::Shift { relative: B::Elem::EPSILON }, l.as_mut(), shifts.as_mut());
            b.gemm(1.0, x.t(), v.n(), Overwrite, k.as_mut());
            b.trsm(Side::Left, Triangle::Lower, l.as_ref().n(), k.as_mut());
            b.trsm(Side::Left, Triangle::Lower, l.as_ref().t(), k.as_mut());
            b.spectral_norm(k.as_ref(), value.as_mut(), status.as_mut(), scope);
            b.max_abs(value.as_ref(), out.as_mut());
        });
    }
}

/// `sqrt(max(|E|_2 |F|_2 - kappa^2, 0))` of `[[K, F^T], [E, 0]]` with skew `K`.
pub(crate) fn isometry_hazard<B: Linalg>(
    b: &B,
    [k, e, f]: [MatsRef<'_, B>; 3],
    mut out: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let scalars = out.dims();
        let (mut kappa, mut norm) = (scope.take(scalars), scope.take(scalars));
        least_singular_value(b, k, kappa.as_mut(), status.as_mut(), scope);
        b.spectral_norm(e, norm.as_mut(), status.as_mut(), scope);
        b.spectral_norm(f, out.as_mut(), status, scope);
        b.multiply(norm.as_ref(), out.as_mut());
        b.dot(-1.0, kappa.as_ref(), kappa.as_ref(), 1.0, out.as_mut());
        b.map(Map::Sqrt, out);
    });
}
