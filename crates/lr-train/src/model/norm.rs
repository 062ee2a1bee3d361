//! Parameter-free RMS norm: `y = s x`, `s = (mean(x^2) + eps)^{-1/2}` a row. Backward from the output alone:
//! `dx += s (dy - y mean(y dy))`, so the residual stream itself need not be kept.

use super::ModelShape;
use crate::neural::{Accumulation, Neural};
use lr_linalg::{DeviceError, Dims, Mats, MatsMut, MatsRef};

/// Added to the mean square. PyTorch's default for `F.rms_norm` in f32, the machine epsilon; also used in
/// f64, so that both precisions compute the same function.
pub const RMS_EPSILON: f64 = f32::EPSILON as f64;

/// One norm: its output and what its backward pass needs.
#[derive(Debug)]
pub(super) struct Norm<B: Neural> {
    y: Mats<B>,
    inverse_rms: Mats<B>,
}

impl<B: Neural> Norm<B> {
    pub(super) fn new(b: &B, shape: &ModelShape) -> Result<Self, DeviceError> {
        Ok(Self {
            y: Mats::zeros(b, Dims::new(1, shape.tokens(), shape.d_model))?,
            inverse_rms: Mats::zeros(b, Dims::new(1, shape.tokens(), 1))?,
        })
    }

    /// The normalized rows, `[1, tokens, d_model]`.
    pub(super) fn y(&self) -> MatsRef<'_, B> {
        self.y.as_ref()
    }

    pub(super) fn forward(&mut self, b: &B, x: MatsRef<'_, B>) {
        let _span = tracing::trace_span!("norm").entered();
        b.rms_norm(RMS_EPSILON, x, self.y.as_mut(), self.inverse_rms.as_mut());
    }

    pub(super) fn backward(&self, b: &B, dy: MatsRef<'_, B>, over: Accumulation, dx: MatsMut<'_, B>) {
        let _span = tracing::trace_span!("norm_backward").entered();
        b.rms_norm_backward(self.y.as_ref(), self.inverse_rms.as_ref(), dy, over, dx);
    }
}
