//! [`PullbackFrame`]: the Gram matrices of both factors, and what r x r algorithms need of them.

use super::link::PullbackLink;
use crate::{FactorsMut, FactorsRef, Grid, State, age::Age};
use lr_linalg::{
    DeviceError, Dims, Epilogue::Overwrite, Linalg, Map, Mats, MatsMut, MatsRef, PivotGuard, Scalar, Scope,
    Side, Triangle,
};

/// Frames of the two factors, their age, and how they came about.
#[derive(Debug)]
pub struct PullbackFrame<B: Linalg> {
    pub(super) sides: [FactorFrame<B>; 2],
    /// Since the Gram matrices were taken anew.
    age: Age<B>,
    pub(super) link: PullbackLink<B>,
}

/// Of one factor `X = Q L^T`, `Q` orthonormal: `S = X^T X = L L^T`, `S^{-1}`, and `L`, lower triangular.
#[derive(Debug)]
pub(super) struct FactorFrame<B: Linalg> {
    pub gram: Mats<B>,
    pub inverse: Mats<B>,
    pub triangle: Mats<B>,
    /// `|S|_F |S^{-1}|_F / r`, `[problems, 1, 1]`: 1 where all singular values are the same.
    condition: Mats<B>,
    /// `|S^{-2}|_F^{1/2}`, at least `|S^{-1}|_2` and at most `r^{1/4}` times that.
    pub weakness: Mats<B>,
}

/// The factor whose column space a step finds first, and with it the middle `K`. They take turns, so that
/// neither outgrows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    Left,
    Right,
}

/// Where the Gram matrices of new factors come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grams {
    /// From the old ones, at the cost of a few roundings.
    Continued,
    /// From the factors.
    Anew,
}

impl Lead {
    /// Indices of the leading factor and of the other one.
    pub fn order(self) -> (usize, usize) {
        match self {
            Self::Left => (0, 1),
            Self::Right => (1, 0),
        }
    }

    /// The leading side of a pair, then the other one.
    pub fn sort_sides<T>(self, [left, right]: [T; 2]) -> [T; 2] {
        match self {
            Self::Left => [left, right],
            Self::Right => [right, left],
        }
    }

    /// The leading factor, then the other one.
    pub fn sort<B: Linalg>(self, FactorsMut { left, right }: FactorsMut<'_, B>) -> [MatsMut<'_, B>; 2] {
        self.sort_sides([left, right])
    }
}

/// Names of the parts, those of the left factor first.
const NAMES: [&str; 11] = [
    "aa",
    "aa_inverse",
    "la",
    "aa_condition",
    "aa_weakness",
    "bb",
    "bb_inverse",
    "lb",
    "bb_condition",
    "bb_weakness",
    "age",
];

impl<B: Linalg> State<B> for PullbackFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        let [a, b] = &self.sides;
        NAMES.into_iter().zip(a.parts().into_iter().chain(b.parts()).chain([&self.age.0])).collect()
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let [a, b] = &mut self.sides;
        NAMES
            .into_iter()
            .zip(a.parts_mut().into_iter().chain(b.parts_mut()).chain([&mut self.age.0]))
            .collect()
    }
}

impl<B: Linalg> FactorFrame<B> {
    fn zeros(b: &B, small: Dims) -> Result<Self, DeviceError> {
        let scalars = Dims::scalars(small.batch);
        Ok(Self {
            gram: Mats::zeros(b, small)?,
            inverse: Mats::zeros(b, small)?,
            triangle: Mats::zeros(b, small)?,
            condition: Mats::zeros(b, scalars)?,
            weakness: Mats::zeros(b, scalars)?,
        })
    }

    fn parts(&self) -> [&Mats<B>; 5] {
        let Self { gram, inverse, triangle, condition, weakness } = self;
        [gram, inverse, triangle, condition, weakness]
    }

    fn parts_mut(&mut self) -> [&mut Mats<B>; 5] {
        let Self { gram, inverse, triangle, condition, weakness } = self;
        [gram, inverse, triangle, condition, weakness]
    }

    /// The rest from the Gram matrix, whose lower triangle is read, by its Cholesky factor.
    pub fn complete(&mut self, b: &B, broken: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        b.copy(self.gram.as_ref().n(), self.triangle.as_mut());
        b.cholesky(PivotGuard::Report, self.triangle.as_mut(), broken);
        self.invert(b, scope);
    }

    /// The rest from `L`: what is said of an ill-conditioned factor is good to rounding in `L` only.
    fn complete_from_triangle(&mut self, b: &B, scope: &Scope<'_, B>) {
        let l = self.triangle.as_ref();
        b.gemm(1.0, l.n(), l.t(), Overwrite, self.gram.as_mut());
        self.invert(b, scope);
    }

    /// `S^{-1} = L^{-T} L^{-1}`, and the measures of both.
    fn invert(&mut self, b: &B, scope: &Scope<'_, B>) {
        let Self { gram, inverse, triangle, condition, weakness } = self;
        scope.nest(|scope| {
            let (mut y, mut once) = (scope.take(gram.dims()), scope.take(condition.dims()));
            b.fill(0.0, y.as_mut());
            b.add_diagonal(1.0, y.as_mut());
            b.trsm(Side::Left, Triangle::Lower, triangle.as_ref().n(), y.as_mut());
            b.gemm(1.0, y.as_ref().t(), y.as_ref().n(), Overwrite, inverse.as_mut());
            let rank = (gram.dims().cols as f64).powi(2);
            b.dot(1.0 / rank, gram.as_ref(), gram.as_ref(), 0.0, condition.as_mut());
            b.dot(1.0, inverse.as_ref(), inverse.as_ref(), 0.0, once.as_mut());
            b.multiply(once.as_ref(), condition.as_mut());
            b.map(Map::Sqrt, condition.as_mut());
            b.gemm(1.0, inverse.as_ref().t(), inverse.as_ref().n(), Overwrite, y.as_mut());
            b.dot(1.0, y.as_ref(), y.as_ref(), 0.0, weakness.as_mut());
            b.map(Map::Sqrt, weakness.as_mut());
            b.map(Map::Sqrt, weakness.as_mut());
        });
    }

    /// Whether `r x r` algorithms on `S` are as good as those on orthonormal bases. Relative to the whole of a
    /// tangent vector they lose the digits of the condition; but a step that is not short compared with the least
    /// singular value goes another way anyway.
    fn is_well(&self, b: &B) -> bool {
        b.glance(self.condition.as_ref()).is_some_and(|c| c <= B::Elem::EPSILON.powf(-0.22))
    }
}

impl<B: Linalg> PullbackFrame<B> {
    pub(super) fn zeros(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        let small = grid.small_dims(problems);
        Ok(Self {
            sides: [FactorFrame::zeros(b, small)?, FactorFrame::zeros(b, small)?],
            age: Age::zero(b, problems)?,
            link: PullbackLink::new(b, grid, problems)?,
        })
    }

    /// `L_A` and `L_B`.
    pub(super) fn triangles(&self) -> [MatsRef<'_, B>; 2] {
        self.sides.each_ref().map(|side| side.triangle.as_ref())
    }

    /// Whether both factors are well-conditioned; `false` on devices that would have to stall to tell.
    pub(super) fn is_well(&self, b: &B) -> bool {
        self.sides.iter().all(|side| side.is_well(b))
    }

    /// Who leads the next step and what becomes of the Gram matrices in it, on devices that can tell.
    pub(super) fn turn(&self, b: &B) -> Option<(Lead, Grams)> {
        let age = self.age.steps(b)?;
        let lead = if age % 2.0 == 0.0 { Lead::Left } else { Lead::Right };
        Some((lead, if self.age.is_young(b) { Grams::Continued } else { Grams::Anew }))
    }

    /// The frame is a step older than `from`.
    pub(super) fn age_from(&mut self, b: &B, from: &Self, grams: Grams) {
        match grams {
            Grams::Anew => self.age.renew(b),
            Grams::Continued => self.age.grow_from(b, &from.age),
        }
    }

    /// At a first point, where the left factor leads.
    pub(super) fn factor(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        breakdown: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        self.link.forget();
        self.age.renew(b);
        self.refresh(b, x, breakdown, scope);
    }

    /// By Cholesky factors of Gram matrices, or by Householder QR where those would be too coarse.
    pub(super) fn refresh(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        mut breakdown: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        for (side, x) in self.sides.iter_mut().zip([x.left, x.right]) {
            let sound = scope.nest(|scope| {
                let mut broken = scope.status(x.dims().batch);
                b.gemm(1.0, x.t(), x.n(), Overwrite, side.gram.as_mut());
                side.complete(b, broken.as_mut(), scope);
                b.glance(broken.as_ref()) == Some(0.0) && side.is_well(b)
            });
            if !sound {
                scope.nest(|scope| {
                    let (mut q, mut r) = (scope.take(x.dims()), scope.take(side.gram.dims()));
                    b.copy(x.n(), q.as_mut());
                    b.qr(q.as_mut(), r.as_mut(), breakdown.as_mut());
                    b.copy(r.as_ref().t(), side.triangle.as_mut());
                });
                side.complete_from_triangle(b, scope);
                // Without full rank there is no inverse.
                b.flag_above(f64::MAX, side.inverse.as_ref(), breakdown.as_mut());
            }
        }
    }

    /// Of `A = U D`, `B = V D` with orthonormal `U`, `V` and the diagonal `D` in `roots` (`[problems, 1, r]`); the left
    /// factor leads.
    pub(super) fn balance(&mut self, b: &B, roots: MatsRef<'_, B>, scope: &Scope<'_, B>) {
        self.age.renew(b);
        for side in &mut self.sides {
            b.fill(0.0, side.triangle.as_mut());
            b.add_diagonal(1.0, side.triangle.as_mut());
            b.scale_columns(roots, side.triangle.as_mut());
            side.complete_from_triangle(b, scope);
        }
    }

    /// The frame of `(c^{1/2} A, c^{1/2} B)`.
    pub(super) fn dilate(&mut self, b: &B, c: f64) {
        for FactorFrame { gram, inverse, triangle, weakness, .. } in &mut self.sides {
            for (part, factor) in [(gram, c), (inverse, 1.0 / c), (triangle, c.sqrt()), (weakness, 1.0 / c)] {
                b.map(Map::Scale(factor), part.as_mut());
            }
        }
    }
}
