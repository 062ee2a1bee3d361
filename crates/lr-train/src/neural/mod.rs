//! [`Neural`]: the operations of a transformer that are not matrix products, one small trait over the HAL.
//!
//! Everything stays a batch of row-major matrices: activations are `[1, tokens, width]`, the heads of a
//! layer are problems, `[heads x windows, sequence, head_dim]`. One file a backend implements the trait:
//! `reference` (naive loops in f64, the oracle), `cpu` (vectorized, spread over threads), `cuda` (PTX kernels) and
//! `wgpu` (WGSL kernels). Products between activations and weights are plain [`lr_linalg::Blas::gemm`] and live
//! with the layers.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod reference;
mod rotary;
mod shapes;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use cpu::Real;
use lr_linalg::{DeviceError, Linalg, Mats, MatsMut, MatsRef};
pub use rotary::{ROTARY_BASE, Rotation, rotary_angles};
use std::fmt::Debug;

/// Target of a position that contributes neither loss nor gradient.
pub const IGNORE: u32 = u32::MAX;

/// What a gradient is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulation {
    /// The old value is not read.
    Overwrite,
    /// The result is added to the old value.
    Add,
}

/// Queries, keys and values of independent attention problems, each `[problems, sequence, head_dim]`.
#[derive(Debug)]
pub struct Projections<'a, B: Neural> {
    /// Queries.
    pub q: MatsRef<'a, B>,
    /// Keys.
    pub k: MatsRef<'a, B>,
    /// Values.
    pub v: MatsRef<'a, B>,
}

impl<B: Neural> Clone for Projections<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Neural> Copy for Projections<'_, B> {}

/// What the forward pass of attention leaves for its backward pass.
#[derive(Debug)]
pub struct Attended<'a, B: Neural> {
    /// Output `[problems, sequence, head_dim]`.
    pub o: MatsRef<'a, B>,
    /// Logarithm of the sum of exponentials of every row of scores, `[problems, sequence, 1]`.
    pub lse: MatsRef<'a, B>,
}

/// Gradients with respect to queries, keys and values, shaped like [`Projections`].
#[derive(Debug)]
pub struct ProjectionGradients<'a, B: Neural> {
    /// Of the queries, overwritten.
    pub q: MatsMut<'a, B>,
    /// Of the keys.
    pub k: MatsMut<'a, B>,
    /// Of the values.
    pub v: MatsMut<'a, B>,
    /// What `k` and `v` are written over: the query heads of a group share them.
    pub shared: Accumulation,
}

/// Neural operations over batches of matrices.
///
/// Every method panics, at the caller's line, when shapes do not fit: a broken contract, not data.
/// Views must be packed. All operations run to completion in the order of their calls.
pub trait Neural: Linalg {
    /// Token identifiers on the device.
    type Tokens: Debug + Send + Sync + 'static;

    /// Memory for `len` tokens.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    fn alloc_tokens(&self, len: usize) -> Result<Self::Tokens, DeviceError>;

    /// Copies tokens to the device; `target` must have been allocated with the same length.
    fn upload_tokens(&self, source: &[u32], target: &mut Self::Tokens);

    /// `out[t] = table[tokens[t]]`; `table` is `[1, vocabulary, width]`, `out` `[1, tokens, width]`.
    fn embed(&self, table: MatsRef<'_, Self>, tokens: &Self::Tokens, out: MatsMut<'_, Self>);

    /// `table[w] = sum of gradient[t] over the t with tokens[t] = w`, in the order of `t`; rows of tokens
    /// that do not occur become zero.
    fn embed_backward(&self, tokens: &Self::Tokens, gradient: MatsRef<'_, Self>, table: MatsMut<'_, Self>);

    /// `y = x s` with `s = (mean(x^2) + epsilon)^{-1/2}` a row; `inverse_rms` (`[1, rows, 1]`) receives `s`.
    fn rms_norm(
        &self,
        epsilon: f64,
        x: MatsRef<'_, Self>,
        y: MatsMut<'_, Self>,
        inverse_rms: MatsMut<'_, Self>,
    );

    /// Backward of [`Neural::rms_norm`] from its output `y` alone:
    /// `dx (+)= s (dy - y mean(y dy))` a row.
    fn rms_norm_backward(
        &self,
        y: MatsRef<'_, Self>,
        inverse_rms: MatsRef<'_, Self>,
        dy: MatsRef<'_, Self>,
        accumulation: Accumulation,
        dx: MatsMut<'_, Self>,
    );

    /// `x = max(x, 0)^2` in place.
    fn squared_relu(&self, x: MatsMut<'_, Self>);

    /// Backward of [`Neural::squared_relu`] from its output `h`: `d = 2 sqrt(h) d`, since
    /// `sqrt(h) = max(x, 0)`.
    fn squared_relu_backward(&self, h: MatsRef<'_, Self>, d: MatsMut<'_, Self>);

    /// Turns row `i` of every problem of `x`, `[problems, sequence, head_dim]`, by the angles `theta` of row
    /// `i` of the table `angles` (see [`rotary_angles`]), in place. Column `c` of the first half is paired with
    /// column `c + head_dim / 2`: `(a, b)` becomes `(a cos - b sin, b cos + a sin)`.
    fn rotate(&self, rotation: Rotation, angles: MatsRef<'_, Self>, x: MatsMut<'_, Self>);

    /// Working memory for attention at this `sequence` length: one piece for each slice that may run at
    /// the same time, never a whole matrix of scores.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    fn attention_workspace(&self, problems: usize, sequence: usize) -> Result<Vec<Mats<Self>>, DeviceError>;

    /// Causal softmax attention: `o = P v`, `P = softmax(q k^T / sqrt(head_dim))` over the keys `j <= i`.
    fn causal_attention(
        &self,
        x: Projections<'_, Self>,
        o: MatsMut<'_, Self>,
        lse: MatsMut<'_, Self>,
        workspace: &mut [Mats<Self>],
    );

    /// Backward of [`Neural::causal_attention`] (Dao et al. 2022, algorithm 4): probabilities come back as
    /// `P = exp(q k^T / sqrt(head_dim) - lse)`, then `dv = P^T do`,
    /// `dS = P (do v^T - rowsum(do o)) / sqrt(head_dim)`, `dq = dS k`, `dk = dS^T q`.
    fn causal_attention_backward(
        &self,
        x: Projections<'_, Self>,
        attended: Attended<'_, Self>,
        d_o: MatsRef<'_, Self>,
        gradients: ProjectionGradients<'_, Self>,
        workspace: &mut [Mats<Self>],
    );

    /// `losses[i] = logsumexp(logits[i]) - logits[i, y_i]` with `y_i = targets[first + i]`, zero where that
    /// is [`IGNORE`]; `logits` is `[1, rows, vocabulary]`, `losses` `[1, rows, 1]`.
    fn cross_entropy(
        &self,
        targets: &Self::Tokens,
        first: usize,
        logits: MatsRef<'_, Self>,
        losses: MatsMut<'_, Self>,
    );

    /// [`Neural::cross_entropy`], and `logits` become its gradient `weight (softmax - onehot(y))`, zero in
    /// ignored rows.
    fn cross_entropy_backward(
        &self,
        weight: f64,
        targets: &Self::Tokens,
        first: usize,
        logits: MatsMut<'_, Self>,
        losses: MatsMut<'_, Self>,
    );
}
