//! [`Orthonormal`]: the same point and tangent vector in orthonormal bases, for all that is not the hot path.

use super::FixedRankPullback;
use crate::{
    Base, FactorsMut, FactorsRef,
    xky::{self, Bases, Middle},
};
use lr_linalg::{Dims, Linalg, MatsMut, MatsRef, Scope, Side, Triangle};

/// `A = U R_A`, `B = V R_B`, and CD-coordinates `(C R_B^{-1}, D R_A^{-1})` with their middles.
pub(super) struct Orthonormal<'s, B: Linalg> {
    bases: FactorsMut<'s, B>,
    triangles: [MatsMut<'s, B>; 2],
    coordinates: FactorsMut<'s, B>,
    middles: [MatsMut<'s, B>; 3],
}

impl<'s, B: Linalg> Orthonormal<'s, B> {
    /// By the triangles of the frame: as orthonormal as these are good.
    pub fn at(
        b: &B,
        at: Base<'_, B, FixedRankPullback>,
        v: FactorsRef<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> Self {
        let mut plain = Self::room(at.x, v, scope);
        let Self { bases, triangles, .. } = &mut plain;
        for (((x, basis), triangle), l) in [at.x.left, at.x.right]
            .into_iter()
            .zip([&mut bases.left, &mut bases.right])
            .zip(triangles)
            .zip(at.frame.triangles())
        {
            b.copy(l.t(), triangle.as_mut());
            b.copy(x.n(), basis.as_mut());
            b.trsm(Side::Right, Triangle::Lower, l.t(), basis.as_mut());
        }
        plain.convert(b, v);
        plain
    }

    /// By Householder QR.
    pub fn anew(
        b: &B,
        x: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        mut breakdown: MatsMut<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> Self {
        let mut plain = Self::room(x, v, scope);
        let Self { bases, triangles, .. } = &mut plain;
        let factors = [(x.left, &mut bases.left), (x.right, &mut bases.right)];
        for ((x, basis), r) in factors.into_iter().zip(triangles) {
            b.copy(x.n(), basis.as_mut());
            b.qr(basis.as_mut(), r.as_mut(), breakdown.as_mut());
        }
        plain.convert(b, v);
        plain
    }

    fn room(x: FactorsRef<'_, B>, v: FactorsRef<'_, B>, scope: &'s Scope<'_, B>) -> Self {
        let small = Dims::square(x.problems(), x.left.dims().cols);
        let pair = |like: FactorsRef<'_, B>| FactorsMut {
            left: scope.take(like.left.dims()),
            right: scope.take(like.right.dims()),
        };
        Self {
            bases: pair(x),
            triangles: [(); 2].map(|()| scope.take(small)),
            coordinates: pair(v),
            middles: [(); 3].map(|()| scope.take(small)),
        }
    }

    fn convert(&mut self, b: &B, v: FactorsRef<'_, B>) {
        let Self { bases, triangles: [ra, rb], coordinates, middles: [k, kc, kd] } = self;
        for (from, r, mut to) in [
            (v.left, rb.as_ref(), coordinates.left.as_mut()),
            (v.right, ra.as_ref(), coordinates.right.as_mut()),
        ] {
            b.copy(from.n(), to.as_mut());
            b.trsm(Side::Right, Triangle::Upper, r.n(), to);
        }
        let at = Bases { u: bases.left.as_ref(), v: bases.right.as_ref() };
        xky::overlaps(b, at, coordinates.as_ref(), kc, kd);
        xky::average(b, Middle::General, kc.as_ref(), kd.as_ref(), k.as_mut());
    }

    pub fn bases(&self) -> Bases<'_, B> {
        Bases { u: self.bases.left.as_ref(), v: self.bases.right.as_ref() }
    }

    /// `R_A` and `R_B`.
    pub fn triangles(&self) -> [MatsRef<'_, B>; 2] {
        self.triangles.each_ref().map(MatsMut::as_ref)
    }

    /// `(C R_B^{-1}, D R_A^{-1})`.
    pub fn coordinates(&self) -> FactorsRef<'_, B> {
        self.coordinates.as_ref()
    }

    /// `K`, `K_C` and `K_D`.
    pub fn middles(&self) -> [MatsRef<'_, B>; 3] {
        self.middles.each_ref().map(MatsMut::as_ref)
    }
}
