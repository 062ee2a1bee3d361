//! [`Link`]: how new bases came about, so that overlaps of old and new ones are products of small matrices.
//!
//! The graph iteration ends in `U' = (U + t C T_L) W_U = U W_U + C (t T_L W_U)`, and likewise in `V'`. With what is
//! known of the tangent vector, `U^T C = K_C` and `D^T V = K_D`, all overlaps follow:
//!
//! ```text
//! U^T U' = W_U + K_C t T_L W_U,   C^T U' = K_C^T W_U + (C^T C) t T_L W_U.
//! ```

use super::Bases;
use crate::{FactorsRef, Grid};
use lr_linalg::{
    DeviceError, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, Mats, MatsMut, MatsRef, Scope,
};

/// `t T` and `W` of both sides, as long as they are those of the point they are kept with.
#[derive(Debug)]
pub struct Link<B: Linalg> {
    pub(super) tilts: [Mats<B>; 2],
    pub(super) turns: [Mats<B>; 2],
    /// `C^T C` and `D^T D`, where the step needed them.
    pub(super) grams: [Mats<B>; 2],
    measured: Measured,
    holds: Holds,
}

/// Which Gram matrices a step takes of tall matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Those of the new factors: what the old ones are off from orthonormality is corrected.
    Factors,
    /// Those of the coordinates, which a transport needs as well: those of the factors follow.
    Coordinates,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
}

impl<B: Linalg> Link<B> {
    pub(crate) fn new(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        let small = || Mats::zeros(b, grid.small_dims(problems));
        Ok(Self {
            tilts: [small()?, small()?],
            turns: [small()?, small()?],
            grams: [small()?, small()?],
            measured: Measured::Factors,
            holds: Holds::No,
        })
    }

    /// The bases are no longer, or not yet, those of the link.
    pub(crate) fn forget(&mut self) {
        self.holds = Holds::No;
    }

    pub(super) fn hold(&mut self, measured: Measured) {
        (self.holds, self.measured) = (Holds::Yes, measured);
    }

    /// What the step measured.
    pub(crate) fn measured(&self) -> Measured {
        self.measured
    }

    /// `W` of both sides.
    pub(super) fn turns(&self) -> [MatsRef<'_, B>; 2] {
        self.turns.each_ref().map(Mats::as_ref)
    }

    /// The link, if it holds.
    pub(crate) fn holding(&self) -> Option<&Self> {
        (self.holds == Holds::Yes).then_some(self)
    }
}

/// Overlaps of a tangent vector and its bases with new bases: `U^T U'`, `C^T U'`, `V^T V'`, `D^T V'`.
pub(super) struct Overlaps<'s, B: Linalg> {
    pub uu: MatsMut<'s, B>,
    pub cu: MatsMut<'s, B>,
    pub vv: MatsMut<'s, B>,
    pub dv: MatsMut<'s, B>,
}

impl<'s, B: Linalg> Overlaps<'s, B> {
    fn room(small: Dims, scope: &'s Scope<'_, B>) -> Self {
        let take = || scope.take(small);
        Self { uu: take(), cu: take(), vv: take(), dv: take() }
    }

    /// Of any two pairs of bases.
    pub fn measured(
        b: &B,
        from: Bases<'_, B>,
        to: Bases<'_, B>,
        v: FactorsRef<'_, B>,
        small: Dims,
        scope: &'s Scope<'_, B>,
    ) -> Self {
        let mut found = Self::room(small, scope);
        b.gemm(1.0, from.u.t(), to.u.n(), Overwrite, found.uu.as_mut());
        b.gemm(1.0, v.left.t(), to.u.n(), Overwrite, found.cu.as_mut());
        b.gemm(1.0, from.v.t(), to.v.n(), Overwrite, found.vv.as_mut());
        b.gemm(1.0, v.right.t(), to.v.n(), Overwrite, found.dv.as_mut());
        found
    }

    /// Of bases that `link` leads to along `v`. `parts` receives `t T W` of both sides: what the new bases have of
    /// `C` and `D`.
    pub fn linked(
        b: &B,
        link: &Link<B>,
        v: FactorsRef<'_, B>,
        [kc, kd]: [MatsRef<'_, B>; 2],
        parts: [MatsMut<'_, B>; 2],
        scope: &'s Scope<'_, B>,
    ) -> Self {
        let mut found = Self::room(kc.dims(), scope);
        let sides = [
            (v.left, kc.n(), kc.t(), &mut found.uu, &mut found.cu),
            (v.right, kd.t(), kd.n(), &mut found.vv, &mut found.dv),
        ];
        for ((k, side), mut part) in sides.into_iter().enumerate().zip(parts) {
            let (coordinates, overlap, other, basis_overlap, coordinate_overlap) = side;
            let (tilt, turn) = (link.tilts[k].as_ref(), link.turns[k].as_ref());
            scope.nest(|scope| {
                let mut gram = scope.take(kc.dims());
                b.gemm(1.0, tilt.n(), turn.n(), Overwrite, part.as_mut());
                b.gemm(1.0, overlap, part.as_ref().n(), Add(1.0, turn), basis_overlap.as_mut());
                let gram = match link.measured {
                    Measured::Coordinates => link.grams[k].as_ref(),
                    Measured::Factors => {
                        b.gemm(1.0, coordinates.t(), coordinates.n(), Overwrite, gram.as_mut());
                        gram.as_ref()
                    }
                };
                b.gemm(1.0, gram.n(), part.as_ref().n(), Overwrite, coordinate_overlap.as_mut());
                b.gemm(1.0, other, turn.n(), Scale(1.0), coordinate_overlap.as_mut());
            });
        }
        found
    }
}
