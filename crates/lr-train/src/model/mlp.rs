//! Feed-forward layer with squared ReLU: `u = n U^T`, `h = max(u, 0)^2`, `x += h D^T`.
//!
//! Backward: `dh = g D`, `G_D = g^T h`, `du = 2 max(u, 0) dh = 2 sqrt(h) dh`, `dn = du U`, `G_U = du^T n`.
//! Only `h` is kept.

use super::{LayerMut, LayerRef, ModelShape};
use crate::neural::Neural;
use lr_linalg::{DeviceError, Dims, Epilogue::Overwrite, Epilogue::Scale, Mats, MatsMut, MatsRef};
use tracing::trace_span;

/// One feed-forward layer: its hidden activations.
#[derive(Debug)]
pub(super) struct Mlp<B: Neural> {
    h: Mats<B>,
}

impl<B: Neural> Mlp<B> {
    pub(super) fn new(b: &B, shape: &ModelShape) -> Result<Self, DeviceError> {
        Ok(Self { h: Mats::zeros(b, Dims::new(1, shape.tokens(), shape.d_ff))? })
    }

    /// Adds the layer's output for the normalized stream `n` to the stream `x`.
    pub(super) fn forward(&mut self, b: &B, w: &LayerRef<'_, B>, n: MatsRef<'_, B>, x: MatsMut<'_, B>) {
        let products = trace_span!("mlp").entered();
        b.gemm(1.0, n.n(), w.up.t(), Overwrite, self.h.as_mut());
        drop(products);
        let activation = trace_span!("squared_relu").entered();
        b.squared_relu(self.h.as_mut());
        drop(activation);
        let _products = trace_span!("mlp").entered();
        b.gemm(1.0, self.h.as_ref().n(), w.down.t(), Scale(1.0), x);
    }

    /// From the gradient `g` of the stream after the layer: the weights' gradients and `dn`. `dh` is
    /// working memory of the size of `h`.
    pub(super) fn backward(
        &self,
        b: &B,
        w: &LayerRef<'_, B>,
        gradients: &mut LayerMut<'_, B>,
        [n, g]: [MatsRef<'_, B>; 2],
        mut dh: MatsMut<'_, B>,
        dn: MatsMut<'_, B>,
    ) {
        let h = self.h.as_ref();
        let products = trace_span!("mlp_backward").entered();
        b.gemm(1.0, g.t(), h.n(), Overwrite, gradients.down.as_mut());
        b.gemm(1.0, g.n(), w.down.n(), Overwrite, dh.as_mut());
        drop(products);
        let activation = trace_span!("squared_relu_backward").entered();
        b.squared_relu_backward(h, dh.as_mut());
        drop(activation);
        let _products = trace_span!("mlp_backward").entered();
        b.gemm(1.0, dh.as_ref().t(), n.n(), Overwrite, gradients.up.as_mut());
        b.gemm(1.0, dh.as_ref().n(), w.up.n(), Overwrite, dn);
    }
}
