//! Stacked Stiefel blocks: `H` is k blocks of p rows, each with `H_j H_j^T = I_p`.
//!
//! `P_T(Z)_j = Z_j - S_j H_j`, `S_j = sym(Z_j H_j^T)`; `W_H(K, Z)_j = -P_T(S_j K_j)`. The blocks of a problem are
//! seen as a batch `[problems k, p, r]`.

use super::{LevelSet, LevelSetShape};
use crate::{HealthMut, ShapeError};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, MatsMut, MatsRef, Part, PolarMethod, Scope,
};

/// Blocks of `height` rows, each with orthonormal rows; `height` divides the number of rows and is at most
/// the rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackedStiefel {
    /// Rows p of a block.
    pub height: usize,
}

impl StackedStiefel {
    fn blocks(self, d: Dims) -> Dims {
        Dims::new(d.batch * d.rows / self.height, self.height, d.cols)
    }

    /// `out += -S_j x_j`, `S_j = sym(z_j h_j^T)`, all as batches of blocks.
    fn subtract<B: Linalg>(b: &B, [z, h, x]: [MatsRef<'_, B>; 3], out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut s = scope.take(Dims::square(h.dims().batch, h.dims().rows));
            b.gemm(1.0, z.n(), h.t(), Overwrite, s.as_mut());
            b.take_part(Part::Sym, s.as_mut());
            b.gemm(-1.0, s.as_ref().n(), x.n(), Scale(1.0), out);
        });
    }
}

impl LevelSetShape for StackedStiefel {
    fn name(&self) -> &'static str {
        "stacked-stiefel"
    }

    fn admit(&self, m: usize, r: usize) -> Result<(), ShapeError> {
        let p = self.height;
        if p == 0 {
            return Err(ShapeError::Empty { what: "the block height of the stacked Stiefel set" });
        }
        if !m.is_multiple_of(p) {
            return Err(ShapeError::Indivisible { rows: m, height: p });
        }
        if r < p {
            return Err(ShapeError::RankTooSmall { rank: r, height: p });
        }
        Ok(())
    }

    fn codimension(&self, m: usize) -> usize {
        m / self.height * self.height * (self.height + 1) / 2
    }
}

impl<B: Linalg> LevelSet<B> for StackedStiefel {
    fn project_point(&self, b: &B, y: MatsMut<'_, B>, health: HealthMut<'_, B>, scope: &Scope<'_, B>) {
        let d = y.dims();
        let blocks = self.blocks(d);
        scope.nest(|scope| {
            let mut columns = scope.take(blocks.transposed());
            let mut broken = scope.status(blocks.batch);
            let mut y = y.reshape(blocks);
            b.copy(y.as_ref().t(), columns.as_mut());
            b.polar(PolarMethod::Svd, columns.as_mut(), broken.as_mut(), scope);
            b.copy(columns.as_ref().t(), y.as_mut());
            let flags = broken.as_ref().reshape(Dims::new(d.batch, blocks.batch / d.batch.max(1), 1));
            b.flag_above(0.0, flags, health.breakdown);
        });
    }

    fn project_tangent(&self, b: &B, h: MatsRef<'_, B>, z: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        let blocks = self.blocks(h.dims());
        let (h, mut z) = (h.reshape(blocks), z.reshape(blocks));
        scope.nest(|scope| {
            let mut given = scope.take(blocks);
            b.copy(z.as_ref().n(), given.as_mut());
            Self::subtract(b, [given.as_ref(), h, h], z.as_mut(), scope);
        });
    }

    fn add_curvature(
        &self,
        b: &B,
        h: MatsRef<'_, B>,
        k: MatsRef<'_, B>,
        z: MatsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let blocks = self.blocks(h.dims());
        scope.nest(|scope| {
            let mut turned = scope.take(h.dims());
            b.fill(0.0, turned.as_mut());
            let views = [z, h, k].map(|x| x.reshape(blocks));
            Self::subtract(b, views, turned.as_mut().reshape(blocks), scope);
            self.project_tangent(b, h, turned.as_mut(), scope);
            b.axpby(Coef::Host(1.0), turned.as_ref(), 1.0, out);
        });
    }
}
