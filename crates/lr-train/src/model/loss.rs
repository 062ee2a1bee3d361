//! Unembedding and cross-entropy: `z = n U^T`, `L = mean of logsumexp(z_t) - z_{t, y_t}` over the positions
//! whose target is not ignored.
//!
//! Backward: `dz = (softmax(z) - onehot(y)) / count`, `dn = dz U`, `G_U = dz^T n`. The logits are formed for
//! [`ROWS`] positions at a time, become `dz` in place, and never exist as a whole.

use super::ModelShape;
use crate::neural::Neural;
use lr_linalg::{DeviceError, Dims, Epilogue::Overwrite, Epilogue::Scale, Mats, MatsMut, MatsRef};
use std::ops::Range;
use tracing::trace_span;

/// Positions whose logits exist at the same time.
const ROWS: usize = 512;

/// Targets of a batch on the device, and how many of them count.
#[derive(Debug)]
pub(super) struct Targets<B: Neural> {
    pub(super) tokens: B::Tokens,
    pub(super) counted: usize,
}

/// Working memory of the unembedding and the loss of the last pass.
#[derive(Debug)]
pub(super) struct Loss<B: Neural> {
    logits: Mats<B>,
    losses: Mats<B>,
    ones: Mats<B>,
    mean: Mats<B>,
}

impl<B: Neural> Loss<B> {
    pub(super) fn new(b: &B, shape: &ModelShape) -> Result<Self, DeviceError> {
        let rows = Dims::new(1, shape.tokens(), 1);
        let mut ones = Mats::zeros(b, rows)?;
        b.fill(1.0, ones.as_mut());
        Ok(Self {
            logits: Mats::zeros(b, Dims::new(1, ROWS.min(shape.tokens()), shape.vocabulary))?,
            losses: Mats::zeros(b, rows)?,
            ones,
            mean: Mats::zeros(b, Dims::scalars(1))?,
        })
    }

    /// Mean loss of the last pass, `[1, 1, 1]`.
    pub(super) fn mean(&self) -> MatsRef<'_, B> {
        self.mean.as_ref()
    }

    /// Loss of the outputs `n` (`[1, tokens, d_model]`) under the matrix `u`.
    pub(super) fn forward(&mut self, b: &B, u: MatsRef<'_, B>, targets: &Targets<B>, n: MatsRef<'_, B>) {
        for rows in chunks(n.dims().rows) {
            let mut logits = self.logits.as_mut().rows(0..rows.len());
            unembed(b, u, n.rows(rows.clone()), logits.as_mut());
            let _span = trace_span!("cross_entropy").entered();
            let losses = self.losses.as_mut().rows(rows.clone());
            b.cross_entropy(&targets.tokens, rows.start, logits.as_ref(), losses);
        }
        self.average(b, targets);
    }

    /// [`Loss::forward`] with the gradients of `u` and `n`, overwritten.
    pub(super) fn forward_backward(
        &mut self,
        b: &B,
        u: MatsRef<'_, B>,
        targets: &Targets<B>,
        n: MatsRef<'_, B>,
        mut du: MatsMut<'_, B>,
        mut dn: MatsMut<'_, B>,
    ) {
        for rows in chunks(n.dims().rows) {
            let mut logits = self.logits.as_mut().rows(0..rows.len());
            unembed(b, u, n.rows(rows.clone()), logits.as_mut());
            let span = trace_span!("cross_entropy").entered();
            let losses = self.losses.as_mut().rows(rows.clone());
            b.cross_entropy_backward(weight(targets), &targets.tokens, rows.start, logits.as_mut(), losses);
            drop(span);
            let _span = trace_span!("unembedding_backward").entered();
            let dz = logits.as_ref();
            let over = if rows.start == 0 { Overwrite } else { Scale(1.0) };
            b.gemm(1.0, dz.n(), u.n(), Overwrite, dn.as_mut().rows(rows.clone()));
            b.gemm(1.0, dz.t(), n.rows(rows).n(), over, du.as_mut());
        }
        self.average(b, targets);
    }

    fn average(&mut self, b: &B, targets: &Targets<B>) {
        b.dot(weight(targets), self.losses.as_ref(), self.ones.as_ref(), 0.0, self.mean.as_mut());
    }
}

fn unembed<B: Neural>(b: &B, u: MatsRef<'_, B>, n: MatsRef<'_, B>, logits: MatsMut<'_, B>) {
    let _span = trace_span!("unembedding").entered();
    b.gemm(1.0, n.n(), u.t(), Overwrite, logits);
}

/// One over the number of positions that count; without any, the loss is zero.
fn weight<B: Neural>(targets: &Targets<B>) -> f64 {
    1.0 / targets.counted.max(1) as f64
}

fn chunks(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tokens).step_by(ROWS).map(move |first| first..(first + ROWS).min(tokens))
}
