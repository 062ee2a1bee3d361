//! The paper's decoder-only transformer with a hand-derived backward pass.
//!
//! `x_0 = E[tokens]`; in every layer `x <- x + attention(norm(x))`, `x <- x + mlp(norm(x))`; then
//! cross-entropy of `norm(x) U^T`. No biases, norms without parameters, embedding and unembedding untied; no
//! positional encoding and no norm of queries and keys, unless [`Choices`] say otherwise. Each layer's backward stands beside its forward, on buffers that live as long
//! as the model; gradients are written straight into a second [`Parameters`].
//!
//! | file | what it holds |
//! |---|---|
//! | `parameters` | weights, the attention pairs as banks of factors |
//! | `initialize` | the paper's initial values |
//! | `embedding`, `norm`, `attention`, `mlp`, `loss` | a layer each |
//! | `query_key` | norm and rotation of queries and keys before the scores |
//! | `transformer` | the layers in order, forth and back |

mod attention;
mod embedding;
mod initialize;
mod loss;
mod mlp;
mod norm;
mod parameters;
mod query_key;
mod transformer;

pub use norm::RMS_EPSILON;
pub use parameters::{Group, LayerMut, LayerRef, Parameters, Tensor, TensorMut};
pub use transformer::Transformer;

/// Dimensions of the model and of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Key and value heads of a block, a divisor of `heads`: all of them for multi-head attention, fewer
    /// for grouped-query attention.
    pub kv_heads: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of a head, the rank of every attention pair.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub d_ff: usize,
    /// Tokens of a window.
    pub sequence: usize,
    /// Windows of a batch.
    pub batch: usize,
    /// Number of tokens that the model knows.
    pub vocabulary: usize,
}

impl ModelShape {
    /// Tokens of a batch.
    pub const fn tokens(&self) -> usize {
        self.batch * self.sequence
    }

    /// Query heads that share one key and value head.
    pub const fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// # Panics
    /// If the query heads do not share the key and value heads evenly, or there is nothing of something.
    #[track_caller]
    fn check(&self) {
        let least = [
            self.layers,
            self.heads,
            self.kv_heads,
            self.d_model,
            self.head_dim,
            self.d_ff,
            self.sequence,
            self.batch,
            self.vocabulary,
        ];
        assert!(!least.contains(&0), "a dimension of {self:?} is zero");
        assert!(
            self.heads.is_multiple_of(self.kv_heads) && self.head_dim <= self.d_model,
            "kv_heads must divide heads and head_dim must not exceed d_model: {self:?}"
        );
    }
}

/// What the model does where the paper leaves a choice, or where users leave the paper. The default is the
/// paper's model with a final norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Choices {
    /// Norm before the unembedding.
    pub final_norm: FinalNorm,
    /// How attention knows positions.
    pub position: Position,
    /// Norm of queries and keys.
    pub qk_norm: QkNorm,
}

/// Whether a norm stands between the last layer and the unembedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FinalNorm {
    /// As usual for transformers with norms before the layers.
    #[default]
    On,
    /// Literally the paper's text, which names the norms before attention and feed-forward only.
    Off,
}

/// How attention knows the positions of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Position {
    /// Through the causal mask alone, as in the paper.
    #[default]
    None,
    /// Rotary embedding (Su et al. 2021) of queries and keys, see [`crate::neural::rotary_angles`].
    Rope,
}

/// Whether the rows of queries and keys are normalized before the scores (Henry et al. 2020), by an RMS norm
/// without parameters over each head, and before a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QkNorm {
    /// Scores are those of the projections.
    #[default]
    Off,
    /// Scores are `sqrt(head_dim)` times a cosine.
    On,
}
