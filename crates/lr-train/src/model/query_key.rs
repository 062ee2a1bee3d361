//! What stands between the projections and the scores of attention: nothing in the paper, by choice an RMS
//! norm of every row of queries and keys, and then their rotation by position.
//!
//! With `p = n A` a projection, `s` its inverse RMS a row and `R_i` the rotation of position `i`, forward is
//! `y_i = R_i s_i p_i`. Rotations keep lengths and products within a row, so the norm's backward holds between
//! rotated rows as well: from the gradient `g` of `y`, `dp_i = R_i^T s_i (g_i - y_i mean(y_i g_i))`, and `y`
//! and `s` are all that is kept.
//!
//! With either of them the scores are no function of `A B^T` alone: attention is low-rank only almost, and
//! the pulled-back gradients `(G_A, G_B)` are no longer those of a function of the product.

use super::{Choices, ModelShape, Position, QkNorm, norm::RMS_EPSILON};
use crate::neural::{Accumulation, Neural, Rotation, rotary_angles};
use lr_linalg::{DeviceError, Dims, Epilogue, Mats, MatsMut, MatsRef};
use tracing::trace_span;

/// What happens to the queries and keys of all layers: the table of their rotation, if they are rotated.
/// Whether they are normalized shows in [`Projected`].
#[derive(Debug)]
pub(super) struct QueryKey<B: Neural> {
    angles: Option<Mats<B>>,
}

/// A stack of projections and its inverse RMS, where there is one.
#[derive(Debug)]
pub(super) struct Projected<V> {
    /// Rows as the scores see them, `[heads, tokens, head_dim]`.
    pub(super) rows: V,
    /// `[heads, tokens, 1]`, with a norm of queries and keys only.
    pub(super) inverse_rms: Option<V>,
}

impl<B: Neural> Projected<Mats<B>> {
    /// Buffers for `heads` heads.
    pub(super) fn new(
        b: &B,
        shape: &ModelShape,
        choices: &Choices,
        heads: usize,
    ) -> Result<Self, DeviceError> {
        let inverse_rms = match choices.qk_norm {
            QkNorm::Off => None,
            QkNorm::On => Some(Mats::zeros(b, Dims::new(heads, shape.tokens(), 1))?),
        };
        Ok(Self { rows: Mats::zeros(b, Dims::new(heads, shape.tokens(), shape.head_dim))?, inverse_rms })
    }

    /// The heads in `range`.
    pub(super) fn heads(&self, range: std::ops::Range<usize>) -> Projected<MatsRef<'_, B>> {
        Projected {
            rows: self.rows.as_ref().problems(range.clone()),
            inverse_rms: self.inverse_rms.as_ref().map(|s| s.as_ref().problems(range)),
        }
    }

    /// The heads in `range`, writable.
    pub(super) fn heads_mut(&mut self, range: std::ops::Range<usize>) -> Projected<MatsMut<'_, B>> {
        Projected {
            rows: self.rows.as_mut().problems(range.clone()),
            inverse_rms: self.inverse_rms.as_mut().map(|s| s.as_mut().problems(range)),
        }
    }
}

impl<B: Neural> QueryKey<B> {
    pub(super) fn new(b: &B, shape: &ModelShape, choices: &Choices) -> Result<Self, DeviceError> {
        let angles = match choices.position {
            Position::None => None,
            Position::Rope => Some(rotary_angles(b, shape.sequence, shape.head_dim)?),
        };
        Ok(Self { angles })
    }

    /// `y` from the normalized stream `n` and the maps of as many heads. `spare` is working memory of the
    /// shape of `y.rows`.
    pub(super) fn project(
        &self,
        b: &B,
        n: MatsRef<'_, B>,
        maps: MatsRef<'_, B>,
        y: Projected<MatsMut<'_, B>>,
        mut spare: MatsMut<'_, B>,
    ) {
        let Projected { mut rows, inverse_rms } = y;
        match inverse_rms {
            None => b.gemm(1.0, n.n(), maps.n(), Epilogue::Overwrite, rows.as_mut()),
            Some(inverse_rms) => {
                b.gemm(1.0, n.n(), maps.n(), Epilogue::Overwrite, spare.as_mut());
                let _span = trace_span!("query_key_norm").entered();
                let [p, y, s] = [spare.as_ref().dims(), rows.dims(), inverse_rms.dims()].map(flat);
                let (p, y, s) = (spare.as_ref().reshape(p), rows.as_mut().reshape(y), inverse_rms.reshape(s));
                b.rms_norm(RMS_EPSILON, p, y, s);
            }
        }
        self.rotate(b, Rotation::Forward, rows);
    }

    /// The gradient of the projections from that of `y`, which stands in `g`; the result is in one of the two
    /// buffers, and the other one's content is lost.
    pub(super) fn backward<'a>(
        &self,
        b: &B,
        y: &Projected<MatsRef<'_, B>>,
        g: &'a mut Mats<B>,
        spare: &'a mut Mats<B>,
    ) -> MatsRef<'a, B> {
        let projections = match &y.inverse_rms {
            None => g,
            Some(inverse_rms) => {
                let _span = trace_span!("query_key_norm_backward").entered();
                let (rows, s) = (flat(y.rows.dims()), flat(inverse_rms.dims()));
                let (y, s) = (y.rows.reshape(rows), inverse_rms.reshape(s));
                let (g, dp) = (g.as_ref().reshape(rows), spare.as_mut().reshape(rows));
                b.rms_norm_backward(y, s, g, Accumulation::Overwrite, dp);
                spare
            }
        };
        self.rotate(b, Rotation::Inverse, projections.as_mut());
        projections.as_ref()
    }

    /// Turns all rows of `heads` by their positions, if positions turn anything.
    fn rotate(&self, b: &B, rotation: Rotation, heads: MatsMut<'_, B>) {
        if let Some(angles) = &self.angles {
            let _span = trace_span!("rotate").entered();
            let (d, sequence) = (heads.dims(), angles.dims().rows);
            let windows = heads.reshape(Dims::new(d.batch * d.rows / sequence, sequence, d.cols));
            b.rotate(rotation, angles.as_ref(), windows);
        }
    }
}

/// All rows of a stack as one matrix.
fn flat(d: Dims) -> Dims {
    Dims::new(1, d.batch * d.rows, d.cols)
}
