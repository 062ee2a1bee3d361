//! [`PullbackDirection`]: a tangent vector in pulled-back coordinates, measured.

use super::{FixedRankPullback, orthonormal::Orthonormal};
use crate::{Base, FactorsRef, Grid, State};
use lr_linalg::{
    Coef, DeviceError, Dims, Epilogue::Overwrite, Linalg, Map, Mats, MatsMut, MatsRef, Scalar, Scope,
};

/// What is known of a tangent vector beside its coordinates `(C, D)`.
#[derive(Debug)]
pub struct PullbackDirection<B: Linalg> {
    /// `A^T C` and `B^T D`: for consistent coordinates each the other's transpose.
    overlaps: [Mats<B>; 2],
    /// Their average `K` as each side sees it: `K` and `K^T`.
    middles: [Mats<B>; 2],
    /// `C^T C` and `D^T D`, at well-conditioned points.
    grams: [Mats<B>; 2],
    /// In orthonormal bases `|K|^2`, `|X|^2`, `|Y|^2`, `[problems, 1, 1]` each.
    squares: [Mats<B>; 3],
    /// At least `|K_C - K_D|^2 / 4` in orthonormal bases.
    disagreement: Mats<B>,
}

/// Names of the parts.
const NAMES: [&str; 10] = ["ac", "bd", "k", "kt", "cc", "dd", "kk", "xx", "yy", "disagreement"];

impl<B: Linalg> State<B> for PullbackDirection<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        let Self { overlaps, middles, grams, squares, disagreement } = self;
        let small = overlaps.iter().chain(middles).chain(grams);
        NAMES.into_iter().zip(small.chain(squares).chain([disagreement])).collect()
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { overlaps, middles, grams, squares, disagreement } = self;
        let small = overlaps.iter_mut().chain(middles).chain(grams);
        NAMES.into_iter().zip(small.chain(squares).chain([disagreement])).collect()
    }
}

impl<B: Linalg> PullbackDirection<B> {
    pub(super) fn zeros(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        let (small, scalar) =
            (|| Mats::zeros(b, grid.small_dims(problems)), || Mats::zeros(b, Dims::scalars(problems)));
        Ok(Self {
            overlaps: [small()?, small()?],
            middles: [small()?, small()?],
            grams: [small()?, small()?],
            squares: [scalar()?, scalar()?, scalar()?],
            disagreement: scalar()?,
        })
    }

    /// `A^T C` and `B^T D`.
    pub(super) fn overlaps(&self) -> [MatsRef<'_, B>; 2] {
        self.overlaps.each_ref().map(Mats::as_ref)
    }

    /// `K` and `K^T`.
    pub(super) fn middles(&self) -> [MatsRef<'_, B>; 2] {
        self.middles.each_ref().map(Mats::as_ref)
    }

    /// `C^T C` and `D^T D`.
    pub(super) fn grams(&self) -> [MatsRef<'_, B>; 2] {
        self.grams.each_ref().map(Mats::as_ref)
    }

    /// `|K|^2`, `|X|^2` and `|Y|^2`.
    pub(super) fn squares(&self) -> [MatsRef<'_, B>; 3] {
        self.squares.each_ref().map(Mats::as_ref)
    }

    /// At least `|K_C - K_D|^2 / 4`.
    pub(super) fn disagreement(&self) -> MatsRef<'_, B> {
        self.disagreement.as_ref()
    }

    /// `|Xi| = sqrt(|K|^2 + |X|^2 + |Y|^2)`.
    pub(super) fn norm(&self, b: &B, mut out: MatsMut<'_, B>) {
        b.fill(0.0, out.as_mut());
        for square in &self.squares {
            b.axpby(Coef::Host(1.0), square.as_ref(), 1.0, out.as_mut());
        }
        b.map(Map::Sqrt, out);
    }

    /// Measures `v`.
    pub(super) fn aim(
        &mut self,
        b: &B,
        at: Base<'_, B, FixedRankPullback>,
        v: FactorsRef<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let [mut kc, mut kd] = self.overlaps.each_mut().map(Mats::as_mut);
        b.gemm(1.0, at.x.left.t(), v.left.n(), Overwrite, kc.as_mut());
        b.gemm(1.0, at.x.right.t(), v.right.n(), Overwrite, kd.as_mut());
        average(b, self.overlaps.each_ref().map(Mats::as_ref), self.middles.each_mut().map(Mats::as_mut));
        if at.frame.is_well(b) {
            self.measure(b, at, v, scope);
        } else {
            self.measure_exactly(b, at, v, scope);
        }
    }

    /// Traces of r x r products: `|K|^2 = <K, S_A^{-1} K S_B^{-1}>`, `|C L_B^{-T}|^2 = <C^T C, S_B^{-1}>`.
    fn measure(
        &mut self,
        b: &B,
        at: Base<'_, B, FixedRankPullback>,
        v: FactorsRef<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let Self { overlaps, middles, grams: [cc, dd], squares: [kk, xx, yy], disagreement } = self;
        let [left, right] = &at.frame.sides;
        let [ia, ib] = [left.inverse.as_ref(), right.inverse.as_ref()];
        let [kc, kd] = overlaps.each_ref().map(Mats::as_ref);
        let (k, small) = (middles[0].as_ref(), kc.dims());
        scope.nest(|scope| {
            let take = || scope.take(small);
            let (mut half, mut whitened, mut other) = (take(), take(), take());
            b.gemm(1.0, ia.n(), k.n(), Overwrite, half.as_mut());
            b.gemm(1.0, half.as_ref().n(), ib.n(), Overwrite, whitened.as_mut());
            b.dot(1.0, k, whitened.as_ref(), 0.0, kk.as_mut());

            // Delta = K_C - K = K - K_D, which a gradient has to rounding only.
            let mut delta = take();
            b.copy(kc.n(), delta.as_mut());
            b.axpby(Coef::Host(-1.0), k, 1.0, delta.as_mut());
            b.dot(1.0, delta.as_ref(), delta.as_ref(), 0.0, disagreement.as_mut());
            b.multiply(left.weakness.as_ref(), disagreement.as_mut());
            b.multiply(right.weakness.as_ref(), disagreement.as_mut());
            let negligible = match (b.glance(disagreement.as_ref()), b.glance(kk.as_ref())) {
                (Some(delta), Some(k)) => delta <= B::Elem::EPSILON * k,
                _ => false,
            };
            if negligible {
                b.fill(0.0, other.as_mut());
            } else {
                b.gemm(1.0, ia.n(), delta.as_ref().n(), Overwrite, half.as_mut());
                b.gemm(1.0, half.as_ref().n(), ib.n(), Overwrite, other.as_mut());
            }
            // |K_C|^2 = <K_C, W + W_Delta> and |K_D|^2 = <K_D, W - W_Delta> for whitened W, W_Delta.
            let sides = [(v.left, cc, ib, kc.n(), 1.0, xx), (v.right, dd, ia, kd.t(), -1.0, yy)];
            for (coordinates, gram, inverse, claim, sign, square) in sides {
                b.gemm(1.0, coordinates.t(), coordinates.n(), Overwrite, gram.as_mut());
                b.dot(1.0, gram.as_ref(), inverse, 0.0, square.as_mut());
                b.copy(claim, half.as_mut());
                b.dot(-1.0, half.as_ref(), whitened.as_ref(), 1.0, square.as_mut());
                b.dot(-sign, half.as_ref(), other.as_ref(), 1.0, square.as_mut());
                b.map(Map::Floor(0.0), square.as_mut());
            }
        });
    }

    /// In orthonormal bases.
    fn measure_exactly(
        &mut self,
        b: &B,
        at: Base<'_, B, FixedRankPullback>,
        v: FactorsRef<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let Self { squares: [kk, xx, yy], .. } = self;
        scope.nest(|scope| {
            let plain = Orthonormal::at(b, at, v, scope);
            let [k, kc, kd] = plain.middles();
            b.dot(1.0, k, k, 0.0, kk.as_mut());
            let FactorsRef { left, right } = plain.coordinates();
            for (side, claim, square) in [(left, kc, xx), (right, kd, yy)] {
                b.dot(1.0, side, side, 0.0, square.as_mut());
                b.dot(-1.0, claim, claim, 1.0, square.as_mut());
                b.map(Map::Floor(0.0), square.as_mut());
            }
        });
    }
}

/// `K = (A^T C + (B^T D)^T)/2` and its transpose.
pub(super) fn average<B: Linalg>(b: &B, [kc, kd]: [MatsRef<'_, B>; 2], [mut k, kt]: [MatsMut<'_, B>; 2]) {
    b.copy(kd.t(), k.as_mut());
    b.axpby(Coef::Host(0.5), kc, 0.5, k.as_mut());
    b.copy(k.as_ref().t(), kt);
}
