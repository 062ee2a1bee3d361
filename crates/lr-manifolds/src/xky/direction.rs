//! [`Xky`]: a tangent matrix in XKY-coordinates, measured.

use super::{Bases, Middle, average, overlaps};
use crate::{FactorsRef, Grid, HealthMut, NormKind, State, stiefel::keeps_orthonormality};
use lr_linalg::{
    Coef, DeviceError, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, Mats, MatsMut, MatsRef, PivotGuard, Scalar, Scope,
};

/// What is known of a tangent matrix beside its coordinates `(C, D)`: the middles `K_C`, `K_D` and `K`,
/// and `|X|^2`, `|Y|^2`.
#[derive(Debug)]
pub struct Xky<B: Linalg> {
    k: Mats<B>,
    kc: Mats<B>,
    kd: Mats<B>,
    /// `[problems, 1, 1]` each.
    squares: [Mats<B>; 2],
    /// `|S|^2` of what was taken off along the point, if it is known.
    taken_off: Mats<B>,
    purpose: Purpose,
}

/// What becomes of a tangent vector that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Nothing that its coordinates are to be prepared for.
    Followed,
    /// It is carried along, and it is known what was taken off to make it tangent.
    Carried,
}

impl<B: Linalg> State<B> for Xky<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        let [x, y] = &self.squares;
        vec![("k", &self.k), ("kc", &self.kc), ("kd", &self.kd), ("xx", x), ("yy", y)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { k, kc, kd, squares: [x, y], .. } = self;
        vec![("k", k), ("kc", kc), ("kd", kd), ("xx", x), ("yy", y)]
    }
}

impl<B: Linalg> Xky<B> {
    pub(crate) fn zeros(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        let (small, scalars) = (grid.small_dims(problems), Dims::scalars(problems));
        Ok(Self {
            k: Mats::zeros(b, small)?,
            kc: Mats::zeros(b, small)?,
            kd: Mats::zeros(b, small)?,
            squares: [Mats::zeros(b, scalars)?, Mats::zeros(b, scalars)?],
            taken_off: Mats::zeros(b, scalars)?,
            purpose: Purpose::Followed,
        })
    }

    /// The middle `K`.
    pub(crate) fn middle(&self) -> MatsRef<'_, B> {
        self.k.as_ref()
    }

    /// `K`, `K_C` and `K_D`.
    pub(crate) fn middles(&self) -> [MatsRef<'_, B>; 3] {
        [self.k.as_ref(), self.kc.as_ref(), self.kd.as_ref()]
    }

    /// The middles that each side claims, `K_C` and `K_D`.
    pub(crate) fn claims(&self) -> [MatsRef<'_, B>; 2] {
        [self.kc.as_ref(), self.kd.as_ref()]
    }

    /// The same, to be filled in before [`Xky::measure`].
    pub(crate) fn claims_mut(&mut self) -> [MatsMut<'_, B>; 2] {
        [self.kc.as_mut(), self.kd.as_mut()]
    }

    /// `|X|^2` and `|Y|^2`.
    pub(crate) fn squares(&self) -> [MatsRef<'_, B>; 2] {
        let [x, y] = &self.squares;
        [x.as_ref(), y.as_ref()]
    }

    /// Measures the tangent vector `v`.
    pub(crate) fn aim(&mut self, b: &B, at: Bases<'_, B>, middle: Middle, v: FactorsRef<'_, B>) {
        overlaps(b, at, v, &mut self.kc.as_mut(), &mut self.kd.as_mut());
        self.measure(b, middle, v);
    }

    /// Whether the tangent vector is to be carried along a step of length `t` after which its Gram matrices tell those of
    /// the factors.
    pub(crate) fn tells_factors(&self, b: &B, t: Coef<'_, B>, scope: &Scope<'_, B>) -> bool {
        self.purpose == Purpose::Carried && keeps_orthonormality(b, t, self.taken_off.as_ref(), scope)
    }

    /// The tangent vector that was measured last will be carried along; `U S` and `V S` were taken off to make it
    /// tangent.
    pub(crate) fn prepare_to_carry(&mut self, b: &B, s: MatsRef<'_, B>) {
        self.purpose = Purpose::Carried;
        b.dot(1.0, s, s, 0.0, self.taken_off.as_mut());
    }

    /// Measures the tangent vector `v`, whose middles are in [`Xky::claims_mut`].
    pub(crate) fn measure(&mut self, b: &B, middle: Middle, v: FactorsRef<'_, B>) {
        self.purpose = Purpose::Followed;
        average(b, middle, self.kc.as_ref(), self.kd.as_ref(), self.k.as_mut());
        let sides = [(v.left, &self.kc), (v.right, &self.kd)];
        for ((side, overlap), square) in sides.into_iter().zip(&mut self.squares) {
            // |C - U K_C|^2, which rounding may take below zero.
            b.dot(1.0, side, side, 0.0, square.as_mut());
            b.dot(-1.0, overlap.as_ref(), overlap.as_ref(), 1.0, square.as_mut());
            b.map(Map::Floor(0.0), square.as_mut());
        }
    }

    /// Metric norm `sqrt(|K|^2 + |X|^2 + |Y|^2)`, or the spectral norm.
    pub(crate) fn norm(
        &self,
        b: &B,
        v: FactorsRef<'_, B>,
        kind: NormKind,
        mut out: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        match kind {
            NormKind::Metric => {
                b.dot(1.0, self.k.as_ref(), self.k.as_ref(), 0.0, out.as_mut());
                for square in &self.squares {
                    b.axpby(Coef::Host(1.0), square.as_ref(), 1.0, out.as_mut());
                }
                b.map(Map::Sqrt, out);
            }
            NormKind::Spectral => {
                spectral_norm(b, self.middles(), self.squares(), v, out, health.breakdown, scope);
            }
        }
    }
}

/// Largest singular value of the tangent matrix `v` with the middles `[K, K_C, K_D]` and `[|X|^2, |Y|^2]`.
pub(crate) fn spectral_norm<B: Linalg>(
    b: &B,
    middles: [MatsRef<'_, B>; 3],
    squares: [MatsRef<'_, B>; 2],
    v: FactorsRef<'_, B>,
    out: MatsMut<'_, B>,
    breakdown: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let middle = take_square_middle(b, middles, squares, v, scope);
        scope.nest(|scope| b.spectral_norm(middle.as_ref(), out, breakdown, scope));
    });
}

/// `[[K, L_Y], [L_X^T, 0]]` with the Cholesky factors of `X^T X` and `Y^T Y`: the singular values of the
/// tangent matrix without any QR.
fn take_square_middle<'s, B: Linalg>(
    b: &B,
    [k, kc, kd]: [MatsRef<'_, B>; 3],
    squares: [MatsRef<'_, B>; 2],
    v: FactorsRef<'_, B>,
    scope: &'s Scope<'_, B>,
) -> MatsMut<'s, B> {
    let Dims { batch, rows: r, .. } = k.dims();
    let mut middle = scope.take(Dims::square(batch, 2 * r));
    b.fill(0.0, middle.as_mut());
    b.copy(k.n(), middle.as_mut().block(0..r, 0..r));
    scope.nest(|scope| {
        // A rounding of |Xi|^2 on the diagonals, below which nothing can be told.
        let (mut least, mut shift) = (scope.take(Dims::scalars(batch)), scope.take(k.dims()));
        let weight = B::Elem::EPSILON / r as f64;
        b.dot(weight, k, k, 0.0, least.as_mut());
        for square in squares {
            b.axpby(Coef::Host(weight), square, 1.0, least.as_mut());
        }
        // More than nothing, so that a vanishing tangent vector has Cholesky factors, too.
        b.map(Map::Floor(B::Elem::MIN_POSITIVE / B::Elem::EPSILON), least.as_mut());
        b.fill(0.0, shift.as_mut());
        b.add_diagonal(1.0, shift.as_mut());
        let (mut l, mut attempts) = (scope.take(k.dims()), scope.status(batch));
        let sides = [(v.left, kc.t(), kc.n()), (v.right, kd.n(), kd.t())];
        for (side, (coordinates, first, second)) in sides.into_iter().enumerate() {
            b.gemm(1.0, coordinates.t(), coordinates.n(), Overwrite, l.as_mut());
            b.gemm(-1.0, first, second, Scale(1.0), l.as_mut());
            b.axpby(Coef::Device(least.as_ref()), shift.as_ref(), 1.0, l.as_mut());
            let guard = PivotGuard::Shift { relative: B::Elem::EPSILON };
            b.cholesky(guard, l.as_mut(), attempts.as_mut());
            let (rows, cols) = if side == 0 { (r..2 * r, 0..r) } else { (0..r, r..2 * r) };
            let factor = if side == 0 { l.as_ref().t() } else { l.as_ref().n() };
            b.copy(factor, middle.as_mut().block(rows, cols));
        }
    });
    middle
}
