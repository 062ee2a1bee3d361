//! Normed descent on fixed-rank matrices with the embedded metric: the unit tangent vector with the largest
//! inner product with a given one, for two Schatten norms.
//!
//! **Schatten-1.** Tangent matrices have the middle `[[K, R_Y^T], [R_X, 0]]`. By Parrott's theorem the least
//! spectral norm that a normal component can give `Xi` is `max(|Xi V|_2, |Xi^T U|_2) = max(|C|_2, |D|_2)`, and
//! by duality that is the largest `<Xi, T>` over tangent `T` of nuclear norm 1. The maximizer is a leading
//! singular pair: `T = p (V q)^T` from `C q = sigma p`, or `T = (U q) p^T` from `D q = sigma p`, whichever
//! `sigma` is larger. No iteration is needed.
//!
//! **Schatten-infinity.** The largest `<Xi, T>` over tangent `T` with `|T|_2 <= 1`: the polar factor of the
//! middle would solve it, were it not for its lower right block, which must vanish. Alternating directions
//! (Boyd et al. 2011, section 5) between the two constraints,
//!
//! ```text
//! T <- (Z - Y + M) without its lower right block
//! Z <- T + Y with singular values cut at 1
//! Y <- Y + T - Z
//! ```
//!
//! on the middle `M` scaled to the Frobenius norm of an orthogonal matrix. After [`ITERATIONS`] of them `T`
//! is scaled to spectral norm 1, so that it is feasible always and optimal to a few percent.

use crate::{
    FactorsMut, HealthMut,
    xky::{Bases, Factored, Xky},
};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, MatsMut, MatsRef, Scalar, Scope,
};

/// Steps of the alternating directions.
const ITERATIONS: usize = 12;

/// Leading singular triple `x q = sigma p` of tall matrices.
struct Leading<'s, B: Linalg> {
    /// `[problems, rows, 1]`.
    p: MatsMut<'s, B>,
    /// `[problems, 1, 1]`.
    sigma: MatsMut<'s, B>,
    /// `[problems, r, 1]`.
    q: MatsMut<'s, B>,
}

impl<'s, B: Linalg> Leading<'s, B> {
    fn of(b: &B, x: MatsRef<'_, B>, mut status: MatsMut<'_, B>, scope: &'s Scope<'_, B>) -> Self {
        let Dims { batch, rows, cols } = x.dims();
        let mut found = Self {
            p: scope.take(Dims::new(batch, rows, 1)),
            sigma: scope.take(Dims::scalars(batch)),
            q: scope.take(Dims::new(batch, cols, 1)),
        };
        scope.nest(|scope| {
            let (mut u, mut v) = (scope.take(x.dims()), scope.take(Dims::square(batch, cols)));
            let mut s = scope.take(Dims::new(batch, 1, cols));
            b.copy(x.n(), u.as_mut());
            b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
            b.copy(u.as_ref().block(0..rows, 0..1).n(), found.p.as_mut());
            b.copy(v.as_ref().block(0..cols, 0..1).n(), found.q.as_mut());
            b.copy(s.as_ref().block(0..1, 0..1).n(), found.sigma.as_mut());
        });
        found
    }

    /// Coordinates `(p q^T, basis q (own^T p)^T)` of the rank-one tangent matrix `p (basis q)^T`, where `own`
    /// is the basis on the side of `p`.
    fn coordinates(
        &self,
        b: &B,
        [own, basis]: [MatsRef<'_, B>; 2],
        mut same: MatsMut<'_, B>,
        mut other: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let Dims { batch, rows, .. } = basis.dims();
        scope.nest(|scope| {
            let (mut bq, mut up) = (scope.take(Dims::new(batch, rows, 1)), scope.take(self.q.dims()));
            b.gemm(1.0, basis.n(), self.q.as_ref().n(), Overwrite, bq.as_mut());
            b.gemm(1.0, own.t(), self.p.as_ref().n(), Overwrite, up.as_mut());
            b.gemm(1.0, self.p.as_ref().n(), self.q.as_ref().t(), Overwrite, same.as_mut());
            b.gemm(1.0, bq.as_ref().n(), up.as_ref().t(), Overwrite, other.as_mut());
        });
    }
}

/// Scales by 0 where `sigma` is 0 and by 1 elsewhere: zero stays zero.
fn keep_zero<B: Linalg>(b: &B, sigma: MatsRef<'_, B>, v: FactorsMut<'_, B>, scope: &Scope<'_, B>) {
    scope.nest(|scope| {
        let batch = sigma.dims().batch;
        let mut keep = scope.status(batch);
        b.flag_above(0.0, sigma, keep.as_mut());
        for mut side in [v.left, v.right] {
            scope.nest(|scope| {
                let mut zero = scope.take(side.dims());
                b.fill(0.0, zero.as_mut());
                // `side` where kept, zero elsewhere.
                b.copy_where(keep.as_ref(), side.as_ref(), zero.as_mut());
                b.copy(zero.as_ref().n(), side.as_mut());
            });
        }
    });
}

/// The maximizer over the nuclear-norm ball, in place of the coordinates `v`.
pub(crate) fn schatten_one<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    mut v: FactorsMut<'_, B>,
    mut health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let mut c = Leading::of(b, v.left.as_ref(), health.breakdown.as_mut(), scope);
        let d = Leading::of(b, v.right.as_ref(), health.breakdown.as_mut(), scope);
        let (mut left, mut right) = (scope.take(v.left.dims()), scope.take(v.right.dims()));
        d.coordinates(b, [at.v, at.u], right.as_mut(), left.as_mut(), scope);
        c.coordinates(b, [at.u, at.v], v.left.as_mut(), v.right.as_mut(), scope);
        // 1 where D leads.
        let (mut lead, mut which) = (scope.take(c.sigma.dims()), scope.status(c.sigma.dims().batch));
        b.copy(d.sigma.as_ref().n(), lead.as_mut());
        b.axpby(Coef::Host(-1.0), c.sigma.as_ref(), 1.0, lead.as_mut());
        b.map(Map::Floor(0.0), lead.as_mut());
        b.flag_above(0.0, lead.as_ref(), which.as_mut());
        b.copy_where(which.as_ref(), left.as_ref(), v.left.as_mut());
        b.copy_where(which.as_ref(), right.as_ref(), v.right.as_mut());
        b.max_abs(d.sigma.as_ref(), c.sigma.as_mut());
        keep_zero(b, c.sigma.as_ref(), v, scope);
    });
}

/// The maximizer over the spectral-norm ball, in place of the coordinates `v` that `direction` has measured.
pub(crate) fn schatten_infinity<B: Linalg>(
    b: &B,
    at: Bases<'_, B>,
    direction: &Xky<B>,
    v: FactorsMut<'_, B>,
    health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let factored = Factored::of(b, at, direction.middles(), v.as_ref(), health.breakdown, scope);
        let m = factored.take_middle(b, scope);
        let n = m.dims().rows;
        let r = n / 2;
        let mut t = scope.take(m.dims());
        best_of_ball(b, m, t.as_mut(), scope);
        // C = [U Q_X] T_1 with the first r columns of T, D = [V Q_Y] T^T likewise.
        let rest = factored.complements();
        let (k, x, y) =
            (t.as_ref().block(0..r, 0..r), t.as_ref().block(r..n, 0..r), t.as_ref().block(0..r, r..n));
        let FactorsMut { mut left, mut right } = v;
        b.gemm(1.0, at.u.n(), k.n(), Overwrite, left.as_mut());
        b.gemm(1.0, rest.u.n(), x.n(), Scale(1.0), left);
        b.gemm(1.0, at.v.n(), k.t(), Overwrite, right.as_mut());
        b.gemm(1.0, rest.v.n(), y.t(), Scale(1.0), right);
    });
}

/// Maximizes `<m, t>` over `|t|_2 <= 1` with a vanishing lower right block; uses up `m`.
fn best_of_ball<B: Linalg>(b: &B, mut m: MatsMut<'_, B>, mut t: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    let Dims { batch, rows: n, .. } = m.dims();
    let r = n / 2;
    scope.nest(|scope| {
        let mut scale = scope.take(Dims::scalars(batch));
        b.dot(1.0 / n as f64, m.as_ref(), m.as_ref(), 0.0, scale.as_mut());
        b.map(Map::Sqrt, scale.as_mut());
        b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE }, scale.as_mut());
        b.copy(m.as_ref().n(), t.as_mut());
        b.axpby(Coef::Device(scale.as_ref()), t.as_ref(), 0.0, m.as_mut());
        let (mut z, mut y) = (scope.take(t.dims()), scope.take(t.dims()));
        b.fill(0.0, z.as_mut());
        b.fill(0.0, y.as_mut());
        for _ in 0..ITERATIONS {
            b.copy(m.as_ref().n(), t.as_mut());
            b.axpby(Coef::Host(1.0), z.as_ref(), 1.0, t.as_mut());
            b.axpby(Coef::Host(-1.0), y.as_ref(), 1.0, t.as_mut());
            b.fill(0.0, t.as_mut().block(r..n, r..n));
            // Y + T, of which Z keeps what fits into the ball and Y the rest.
            b.axpby(Coef::Host(1.0), t.as_ref(), 1.0, y.as_mut());
            b.copy(y.as_ref().n(), z.as_mut());
            cut_singular_values(b, z.as_mut(), scope);
            b.axpby(Coef::Host(-1.0), z.as_ref(), 1.0, y.as_mut());
        }
        let mut status = scope.status(batch);
        b.spectral_norm(t.as_ref(), scale.as_mut(), status.as_mut(), scope);
        b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE }, scale.as_mut());
        b.copy(t.as_ref().n(), z.as_mut());
        b.axpby(Coef::Device(scale.as_ref()), z.as_ref(), 0.0, t);
    });
}

/// `U min(S, 1) V^T`: the nearest matrix of spectral norm at most 1.
fn cut_singular_values<B: Linalg>(b: &B, z: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    let d = z.dims();
    scope.nest(|scope| {
        let (mut u, mut v) = (scope.take(d), scope.take(d));
        let (mut s, mut status) = (scope.take(Dims::new(d.batch, 1, d.cols)), scope.status(d.batch));
        b.copy(z.as_ref().n(), u.as_mut());
        b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
        // min(s, 1) = -max(-s, -1).
        b.map(Map::Scale(-1.0), s.as_mut());
        b.map(Map::Floor(-1.0), s.as_mut());
        b.map(Map::Scale(-1.0), s.as_mut());
        b.scale_columns(s.as_ref(), u.as_mut());
        b.gemm(1.0, u.as_ref().n(), v.as_ref().t(), Overwrite, z);
    });
}
