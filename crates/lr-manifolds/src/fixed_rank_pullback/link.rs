//! [`PullbackLink`]: how a step made the new factors, so that the transport along it is a product of small matrices
//! with what is there.

use super::{certificate::Plan, frame::Lead};
use crate::Grid;
use lr_linalg::{DeviceError, Linalg, Mats};

/// What the retraction leaves to the transport, as long as it is of the point that it is kept with. Nothing of it
/// outlives the step: a checkpoint is taken between steps.
#[derive(Debug)]
pub struct PullbackLink<B: Linalg> {
    /// `h` and `a` of the coordinates beside the factor that does not lead: `C' = C h + X a`.
    pub(super) coefficients: [Mats<B>; 2],
    /// `X^T X'` and `C^T X'` of that factor.
    pub(super) overlaps: [Mats<B>; 2],
    made: Option<(Lead, Plan)>,
}

impl<B: Linalg> PullbackLink<B> {
    pub(super) fn new(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        let small = || Mats::zeros(b, grid.small_dims(problems));
        Ok(Self { coefficients: [small()?, small()?], overlaps: [small()?, small()?], made: None })
    }

    pub(super) fn forget(&mut self) {
        self.made = None;
    }

    pub(super) fn hold(&mut self, lead: Lead, plan: Plan) {
        self.made = Some((lead, plan));
    }

    /// Who led the step and how, if the link holds.
    pub(super) fn made(&self) -> Option<(Lead, Plan)> {
        self.made
    }
}
