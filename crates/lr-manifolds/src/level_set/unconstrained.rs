//! No constraint: `M_h` is then a smooth parametrization of the matrices of rank at most r.

use super::{LevelSet, LevelSetShape};
use crate::{HealthMut, ShapeError};
use lr_linalg::{Linalg, MatsMut, MatsRef, Scope};

/// All matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unconstrained;

impl LevelSetShape for Unconstrained {
    fn name(&self) -> &'static str {
        "none"
    }

    fn admit(&self, _: usize, _: usize) -> Result<(), ShapeError> {
        Ok(())
    }

    fn codimension(&self, _: usize) -> usize {
        0
    }
}

impl<B: Linalg> LevelSet<B> for Unconstrained {
    fn project_point(&self, _: &B, _: MatsMut<'_, B>, _: HealthMut<'_, B>, _: &Scope<'_, B>) {
        // Every matrix is a point.
    }

    fn project_tangent(&self, _: &B, _: MatsRef<'_, B>, _: MatsMut<'_, B>, _: &Scope<'_, B>) {
        // Every matrix is tangent.
    }

    fn add_curvature(
        &self,
        _: &B,
        _: MatsRef<'_, B>,
        _: MatsRef<'_, B>,
        _: MatsRef<'_, B>,
        _: MatsMut<'_, B>,
        _: &Scope<'_, B>,
    ) {
        // The tangent space does not turn.
    }
}
