//! [`IsometryFrame`]: how a point came about, and how long ago its orthonormality was last seen to.

use crate::{
    Grid, State,
    xky::{Link, Measured},
};
use lr_linalg::{Coef, DeviceError, Dims, Linalg, Mats};

/// Steps in a row that may take their Gram matrices of the coordinates, which tell nothing of the orthonormality of
/// the factors.
const LONGEST_LIFE: f64 = 8.0;

/// What is kept with a point `U V^T`. The link does not outlive the step, and a checkpoint is taken between steps.
#[derive(Debug)]
pub struct IsometryFrame<B: Linalg> {
    pub(super) link: Link<B>,
    /// Steps since the Gram matrices of the factors were taken, `[problems, 1, 1]`.
    age: Mats<B>,
}

impl<B: Linalg> State<B> for IsometryFrame<B> {
    fn parts(&self) -> Vec<(&'static str, &Mats<B>)> {
        vec![("age", &self.age)]
    }
    fn parts_mut(&mut self) -> Vec<(&'static str, &mut Mats<B>)> {
        vec![("age", &mut self.age)]
    }
}

impl<B: Linalg> IsometryFrame<B> {
    pub(super) fn new(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        Ok(Self { link: Link::new(b, grid, problems)?, age: Mats::zeros(b, Dims::scalars(problems))? })
    }

    /// At factors that have just been made orthonormal.
    pub(super) fn renew(&mut self, b: &B) {
        self.link.forget();
        b.fill(0.0, self.age.as_mut());
    }

    /// What a step from here whose tangent vector is transported may measure, on devices that can tell.
    pub(super) fn allows(&self, b: &B) -> Measured {
        match b.glance(self.age.as_ref()) {
            Some(age) if age + 1.0 < LONGEST_LIFE => Measured::Coordinates,
            _ => Measured::Factors,
        }
    }

    /// The frame is that of a step from `from` that left this link.
    pub(super) fn age_from(&mut self, b: &B, from: &Self) {
        match self.link.measured() {
            Measured::Factors => b.fill(0.0, self.age.as_mut()),
            Measured::Coordinates => {
                b.fill(1.0, self.age.as_mut());
                b.axpby(Coef::Host(1.0), from.age.as_ref(), 1.0, self.age.as_mut());
            }
        }
    }
}
