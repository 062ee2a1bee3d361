//! [`IsometryFrame`]: how a point came about, and how long ago its orthonormality was last seen to.

use crate::{
    Grid, State,
    age::Age,
    xky::{Link, Measured},
};
use lr_linalg::{DeviceError, Linalg, Mats};

/// What is kept with a point `U V^T`. The link does not outlive the step, and a checkpoint is taken between steps.
#[derive(Debug)]
pub struct IsometryFrame<B: Linalg> {
    pub(super) link: Link<B>,
    /// Since the Gram matrices of the factors were taken: those of the coordinates tell nothing of orthonormality.
    age: Age<B>,
}

impl<B: Linalg> State<B> for IsometryFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        vec![("age", &self.age.0)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        vec![("age", &mut self.age.0)]
    }
}

impl<B: Linalg> IsometryFrame<B> {
    pub(super) fn new(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        Ok(Self { link: Link::new(b, grid, problems)?, age: Age::zero(b, problems)? })
    }

    /// At factors that have just been made orthonormal.
    pub(super) fn renew(&mut self, b: &B) {
        self.link.forget();
        self.age.renew(b);
    }

    /// What a step from here whose tangent vector is transported may measure, on devices that can tell.
    pub(super) fn allows(&self, b: &B) -> Measured {
        if self.age.is_young(b) { Measured::Coordinates } else { Measured::Factors }
    }

    /// The frame is that of a step from `from` that left this link.
    pub(super) fn age_from(&mut self, b: &B, from: &Self) {
        match self.link.measured() {
            Measured::Factors => self.age.renew(b),
            Measured::Coordinates => self.age.grow_from(b, &from.age),
        }
    }
}
