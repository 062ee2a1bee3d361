//! [`Transformer`]: the layers in order, forth and back, on buffers that live as long as the model.
//!
//! One residual stream `x` is updated in place on the way forth and one gradient `dx` on the way back; the
//! layers keep what their backward pass needs.

use super::{
    Choices, FinalNorm, ModelShape, Parameters,
    attention::{Attention, AttentionFlow},
    embedding,
    loss::{Loss, Targets},
    mlp::Mlp,
    norm::Norm,
};
use crate::neural::{Accumulation, IGNORE, Neural};
use lr_linalg::{DeviceError, Dims, Mats, MatsRef};
use tracing::trace_span;

/// One layer's activations.
#[derive(Debug)]
struct Block<B: Neural> {
    attention_norm: Norm<B>,
    attention: Attention<B>,
    mlp_norm: Norm<B>,
    mlp: Mlp<B>,
}

/// Activations and gradient flow of the model for batches of one shape; holds no weights.
///
/// After the first call a pass allocates nothing on the CPU backend, apart from what reading the loss takes.
#[derive(Debug)]
pub struct Transformer<B: Neural> {
    shape: ModelShape,
    tokens: B::Tokens,
    targets: Targets<B>,
    x: Mats<B>,
    blocks: Vec<Block<B>>,
    final_norm: Option<Norm<B>>,
    loss: Loss<B>,
    dx: Mats<B>,
    dn: Mats<B>,
    dh: Mats<B>,
    attention_flow: AttentionFlow<B>,
}

impl<B: Neural> Transformer<B> {
    /// All buffers for batches of `shape`.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    ///
    /// # Panics
    /// As [`Parameters::zeros`], and if an odd `head_dim` is to be rotated.
    #[track_caller]
    pub fn new(b: &B, shape: &ModelShape, choices: &Choices) -> Result<Self, DeviceError> {
        shape.check();
        let stream = |width| Mats::zeros(b, Dims::new(1, shape.tokens(), width));
        let block = || {
            Ok(Block {
                attention_norm: Norm::new(b, shape)?,
                attention: Attention::new(b, shape, choices)?,
                mlp_norm: Norm::new(b, shape)?,
                mlp: Mlp::new(b, shape)?,
            })
        };
        Ok(Self {
            shape: *shape,
            tokens: b.alloc_tokens(shape.tokens())?,
            targets: Targets { tokens: b.alloc_tokens(shape.tokens())?, counted: 0 },
            x: stream(shape.d_model)?,
            blocks: (0..shape.layers).map(|_| block()).collect::<Result<_, DeviceError>>()?,
            final_norm: match choices.final_norm {
                FinalNorm::On => Some(Norm::new(b, shape)?),
                FinalNorm::Off => None,
            },
            loss: Loss::new(b, shape)?,
            dx: stream(shape.d_model)?,
            dn: stream(shape.d_model)?,
            dh: stream(shape.d_ff)?,
            attention_flow: AttentionFlow::new(b, shape, choices)?,
        })
    }

    /// Dimensions of the model and of a batch.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Mean loss of a batch, a scalar on the device; download it to read it.
    ///
    /// `tokens` and `targets` hold `batch x sequence` entries, window after window; a target [`IGNORE`] does
    /// not count. Without a target that counts the loss is zero.
    ///
    /// # Panics
    /// If a length is wrong or a token or target is neither below `vocabulary` nor an ignored target.
    #[track_caller]
    pub fn loss(
        &mut self,
        b: &B,
        parameters: &Parameters<B>,
        tokens: &[u32],
        targets: &[u32],
    ) -> MatsRef<'_, B> {
        self.upload(b, tokens, targets);
        self.run(b, parameters);
        let n = self.final_norm.as_ref().map_or(self.x.as_ref(), Norm::y);
        self.loss.forward(b, parameters.unembedding.as_ref(), &self.targets, n);
        self.loss.mean()
    }

    /// [`Transformer::loss`], and its gradient with respect to all weights; `gradients` are overwritten.
    ///
    /// # Panics
    /// As [`Transformer::loss`].
    #[track_caller]
    pub fn forward_backward(
        &mut self,
        b: &B,
        parameters: &Parameters<B>,
        tokens: &[u32],
        targets: &[u32],
        gradients: &mut Parameters<B>,
    ) -> MatsRef<'_, B> {
        self.upload(b, tokens, targets);
        self.run(b, parameters);
        self.unembed(b, parameters, gradients);
        for (l, block) in self.blocks.iter().enumerate().rev() {
            let (w, mut g) = (parameters.layer(l), gradients.layer_mut(l));
            let n = block.mlp_norm.y();
            block.mlp.backward(b, &w, &mut g, [n, self.dx.as_ref()], self.dh.as_mut(), self.dn.as_mut());
            block.mlp_norm.backward(b, self.dn.as_ref(), Accumulation::Add, self.dx.as_mut());
            let (n, flow) = (block.attention_norm.y(), &mut self.attention_flow);
            block.attention.backward(b, &w, &mut g, [n, self.dx.as_ref()], self.dn.as_mut(), flow);
            block.attention_norm.backward(b, self.dn.as_ref(), Accumulation::Add, self.dx.as_mut());
        }
        let _span = trace_span!("embedding_backward").entered();
        embedding::backward(b, &self.tokens, self.dx.as_ref(), gradients);
        self.loss.mean()
    }

    /// The mean loss of the last pass, a scalar on the device.
    pub fn last_loss(&self) -> MatsRef<'_, B> {
        self.loss.mean()
    }

    #[track_caller]
    fn upload(&mut self, b: &B, tokens: &[u32], targets: &[u32]) {
        let expected = self.shape.tokens();
        assert!(
            tokens.len() == expected && targets.len() == expected,
            "{} tokens and {} targets for a batch of {expected}",
            tokens.len(),
            targets.len()
        );
        let known = |w: u32| (w as usize) < self.shape.vocabulary;
        let stranger = tokens.iter().copied().find(|&w| !known(w));
        let stranger = stranger.or_else(|| targets.iter().copied().find(|&w| w != IGNORE && !known(w)));
        assert!(stranger.is_none(), "token {stranger:?} outside a vocabulary of {}", self.shape.vocabulary);
        b.upload_tokens(tokens, &mut self.tokens);
        b.upload_tokens(targets, &mut self.targets.tokens);
        self.targets.counted = targets.iter().filter(|&&w| w != IGNORE).count();
    }

    /// From the tokens to the input of the unembedding.
    fn run(&mut self, b: &B, parameters: &Parameters<B>) {
        let embedding_span = trace_span!("embedding").entered();
        embedding::forward(b, parameters, &self.tokens, self.x.as_mut());
        drop(embedding_span);
        for (l, block) in self.blocks.iter_mut().enumerate() {
            let w = parameters.layer(l);
            block.attention_norm.forward(b, self.x.as_ref());
            let n = block.attention_norm.y();
            block.attention.forward(b, &w, n, self.x.as_mut(), &mut self.attention_flow);
            block.mlp_norm.forward(b, self.x.as_ref());
            block.mlp.forward(b, &w, block.mlp_norm.y(), self.x.as_mut());
        }
        if let Some(norm) = &mut self.final_norm {
            norm.forward(b, self.x.as_ref());
        }
    }

    /// Loss, the gradient of the unembedding, and the gradient of the stream after the last layer.
    fn unembed(&mut self, b: &B, parameters: &Parameters<B>, gradients: &mut Parameters<B>) {
        let (u, du) = (parameters.unembedding.as_ref(), gradients.unembedding.as_mut());
        match &self.final_norm {
            Some(norm) => {
                self.loss.forward_backward(b, u, &self.targets, norm.y(), du, self.dn.as_mut());
                norm.backward(b, self.dn.as_ref(), Accumulation::Overwrite, self.dx.as_mut());
            }
            None => self.loss.forward_backward(b, u, &self.targets, self.x.as_ref(), du, self.dx.as_mut()),
        }
    }
}
