//! [`LiftedFrame`] and [`LiftedDirection`]: middles of a momentum, continued from step to step.
//!
//! Along `Z = U + t M` with the polar retraction `U' = Z P`, `P = (Z^T Z)^{-1/2}`, everything follows from the middle
//! `Omega = U^T M` and one Gram matrix, that of `M`:
//!
//! ```text
//! Z^T Z = I + t (Omega + Omega^T + t M^T M),   U'^T M = P (Omega + t M^T M).
//! ```
//!
//! The Gram matrix of `Z` itself would correct what `U^T U` is off from `I`, which grows in such a step by up to
//! `1 + 2 t |K|` if `U K` was taken off to make `M` tangent: the middle is that of `U^T U = I`. So steps with a long
//! `t K` ([`crate::stiefel::KEEPS_ORTHONORMALITY`]), as near a minimum, take that Gram matrix instead, and so does every
//! eighth one; the middles are then measured anew.

use super::{PartialIsometryLifted, middles};
use crate::{State, age::Age, stiefel::keeps_orthonormality};
use lr_linalg::{Coef, DeviceError, Dims, Linalg, Mats, MatsMut, MatsRef, Scope};

/// What a point has in common with the momentum that a retraction brought there.
#[derive(Debug)]
pub struct LiftedFrame<B: Linalg> {
    /// `U_i^T M_i`, stacked, where the age is not zero.
    middles: [Mats<B>; 2],
    /// Since the middles were measured; zero where they are not known.
    age: Age<B>,
}

impl<B: Linalg> State<B> for LiftedFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        let [left, right] = &self.middles;
        vec![("um", left), ("vm", right), ("age", &self.age.0)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { middles: [left, right], age } = self;
        vec![("um", left), ("vm", right), ("age", &mut age.0)]
    }
}

impl<B: Linalg> LiftedFrame<B> {
    pub(super) fn new(b: &B, manifold: &PartialIsometryLifted, problems: usize) -> Result<Self, DeviceError> {
        Ok(Self { middles: manifold.new_middles(b, problems)?, age: Age::zero(b, problems)? })
    }

    /// The middles of the momentum, if they are known, on devices that can tell.
    pub(super) fn middles(&self, b: &B) -> Option<[MatsRef<'_, B>; 2]> {
        let known = self.age.steps(b)? > 0.0;
        known.then(|| self.middles.each_ref().map(Mats::as_ref))
    }

    /// Whether a step from here may continue the middles.
    pub(super) fn is_young(&self, b: &B) -> bool {
        self.age.is_young(b)
    }

    /// Nothing is known.
    pub(super) fn forget(&mut self, b: &B) {
        self.age.renew(b);
    }

    /// The middles, for a step to write those at its end.
    pub(super) fn middles_mut(&mut self) -> [MatsMut<'_, B>; 2] {
        self.middles.each_mut().map(Mats::as_mut)
    }

    /// The middles were continued in a step from `from`.
    pub(super) fn age_from(&mut self, b: &B, from: &Self) {
        self.age.grow_from(b, &from.age);
    }
}

/// What is known of a tangent vector.
#[derive(Debug)]
pub struct LiftedDirection<B: Linalg> {
    /// What distinguishes the square of its norm from the quotient metric's, `[problems, 1, 1]`.
    pub(super) correction: Mats<B>,
    /// `U_i^T M_i`, stacked, where they are known.
    middles: [Mats<B>; 2],
    /// `sum |K_i|^2` of what was taken off along the point, `[problems, 1, 1]`.
    taken_off: Mats<B>,
    known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

impl<B: Linalg> State<B> for LiftedDirection<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        let [left, right] = &self.middles;
        vec![("correction", &self.correction), ("um", left), ("vm", right), ("kk", &self.taken_off)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        let Self { correction, middles: [left, right], taken_off, .. } = self;
        vec![("correction", correction), ("um", left), ("vm", right), ("kk", taken_off)]
    }
}

impl<B: Linalg> LiftedDirection<B> {
    pub(super) fn new(b: &B, manifold: &PartialIsometryLifted, problems: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            correction: Mats::zeros(b, Dims::scalars(problems))?,
            middles: manifold.new_middles(b, problems)?,
            taken_off: Mats::zeros(b, Dims::scalars(problems))?,
            known: Known::No,
        })
    }

    /// The middles, if they are known and good enough for a step of length `t`.
    pub(super) fn middles(&self, b: &B, t: Coef<'_, B>, scope: &Scope<'_, B>) -> Option<[MatsRef<'_, B>; 2]> {
        let good = self.known == Known::Yes && keeps_orthonormality(b, t, self.taken_off.as_ref(), scope);
        good.then(|| self.middles.each_ref().map(Mats::as_ref))
    }

    /// They are these, after `taken_off` was taken off.
    pub(super) fn learn(&mut self, b: &B, middles: &[MatsMut<'_, B>; 2], taken_off: &[MatsMut<'_, B>; 2]) {
        self.known = Known::Yes;
        b.fill(0.0, self.taken_off.as_mut());
        for ((ours, middles), k) in self.middles.iter_mut().zip(middles).zip(taken_off) {
            b.copy(middles.as_ref().n(), ours.as_mut());
            b.dot(1.0, k.as_ref(), k.as_ref(), 1.0, self.taken_off.as_mut());
        }
    }

    /// They are those of another tangent vector.
    pub(super) fn forget(&mut self) {
        self.known = Known::No;
    }
}

impl PartialIsometryLifted {
    fn new_middles<B: Linalg>(&self, b: &B, problems: usize) -> Result<[Mats<B>; 2], DeviceError> {
        let small = self.grid.small_dims(problems);
        let zeros = |blocks| Mats::zeros(b, middles::dims(blocks, small));
        Ok([zeros(&self.grid.left)?, zeros(&self.grid.right)?])
    }
}
