//! Token embedding: `x_t = E[w_t]`; backward `G_E[w] = sum of g_t over the t with w_t = w`.

use super::Parameters;
use crate::neural::Neural;
use lr_linalg::{MatsMut, MatsRef};

/// Starts the residual stream `x` (`[1, tokens, d_model]`).
pub(super) fn forward<B: Neural>(b: &B, parameters: &Parameters<B>, tokens: &B::Tokens, x: MatsMut<'_, B>) {
    b.embed(parameters.embedding.as_ref(), tokens, x);
}

/// Ends the backward pass: overwrites the gradient of the table with that of the stream.
pub(super) fn backward<B: Neural>(
    b: &B,
    tokens: &B::Tokens,
    gradient: MatsRef<'_, B>,
    gradients: &mut Parameters<B>,
) {
    b.embed_backward(tokens, gradient, gradients.embedding.as_mut());
}
