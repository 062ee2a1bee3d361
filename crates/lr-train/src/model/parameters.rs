//! [`Parameters`]: all weights of the model, or their gradients, or optimizer moments of equal shape.
//!
//! The attention pairs of all layers are two banks of [`Factors`]. With `g = heads / kv_heads` query heads
//! to a key and value head, problem `l kv_heads + j` of the QK bank has `left` the stack of the `g` query
//! maps (`[g d, r]`) and `right` the key map (`[d, r]`) of head `j` in layer `l`; of the VO bank `left` is
//! the value map (`[d, r]`) and `right` the stack of the `g` output maps (`[g d, r]`). Multi-head attention
//! is `g = 1`. With `W_QK = A_Q B_K^T` and `W_VO = A_V B_O^T` the scores are `x W_QK x^T / sqrt(r)` and
//! attention adds `P x W_VO`.

use super::ModelShape;
use lr_linalg::{Backend, Blas, DeviceError, Dims, Map, Mats, MatsMut, MatsRef};
use lr_manifolds::Factors;

/// Weights of the model; see the file's head for the layout of the banks.
#[derive(Debug)]
pub struct Parameters<B: Backend> {
    /// Token embedding, `[1, vocabulary, d_model]`.
    pub embedding: Mats<B>,
    /// Output matrix, `[1, vocabulary, d_model]`.
    pub unembedding: Mats<B>,
    /// Query and key pairs.
    pub qk: Factors<B>,
    /// Value and output pairs.
    pub vo: Factors<B>,
    /// First feed-forward matrices, `[layers, d_ff, d_model]`.
    pub up: Mats<B>,
    /// Second feed-forward matrices, `[layers, d_model, d_ff]`.
    pub down: Mats<B>,
}

/// Which optimizer a tensor is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A side of an attention pair.
    AttentionPair,
    /// Anything else.
    Other,
}

/// A named tensor of [`Parameters`].
#[derive(Debug)]
pub struct Tensor<'a, B: Backend> {
    /// Unique name, stable over versions: checkpoints use it.
    pub name: &'static str,
    /// Which optimizer it is meant for.
    pub group: Group,
    /// The elements.
    pub mats: MatsRef<'a, B>,
}

/// A named tensor of [`Parameters`], writable.
#[derive(Debug)]
pub struct TensorMut<'a, B: Backend> {
    /// Unique name, stable over versions: checkpoints use it.
    pub name: &'static str,
    /// Which optimizer it is meant for.
    pub group: Group,
    /// The elements.
    pub mats: MatsMut<'a, B>,
}

/// The weights of one layer: stacks of `kv_heads` problems, as in [`Parameters`].
#[derive(Clone, Copy, Debug)]
pub struct LayerRef<'a, B: Backend> {
    /// Query maps, `[kv_heads, group d_model, head_dim]`.
    pub q: MatsRef<'a, B>,
    /// Key maps, `[kv_heads, d_model, head_dim]`.
    pub k: MatsRef<'a, B>,
    /// Value maps, `[kv_heads, d_model, head_dim]`.
    pub v: MatsRef<'a, B>,
    /// Output maps, `[kv_heads, group d_model, head_dim]`.
    pub o: MatsRef<'a, B>,
    /// `[1, d_ff, d_model]`.
    pub up: MatsRef<'a, B>,
    /// `[1, d_model, d_ff]`.
    pub down: MatsRef<'a, B>,
}

/// Writable form of [`LayerRef`].
#[derive(Debug)]
pub struct LayerMut<'a, B: Backend> {
    /// Query maps.
    pub q: MatsMut<'a, B>,
    /// Key maps.
    pub k: MatsMut<'a, B>,
    /// Value maps.
    pub v: MatsMut<'a, B>,
    /// Output maps.
    pub o: MatsMut<'a, B>,
    /// First feed-forward matrix.
    pub up: MatsMut<'a, B>,
    /// Second feed-forward matrix.
    pub down: MatsMut<'a, B>,
}

/// Names and groups of the tensors, in the order of [`Parameters::tensors`].
const TENSORS: [(&str, Group); 8] = [
    ("embedding", Group::Other),
    ("unembedding", Group::Other),
    ("attention.q", Group::AttentionPair),
    ("attention.k", Group::AttentionPair),
    ("attention.v", Group::AttentionPair),
    ("attention.o", Group::AttentionPair),
    ("mlp.up", Group::Other),
    ("mlp.down", Group::Other),
];

impl<B: Backend> Parameters<B> {
    /// Zeros.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    ///
    /// # Panics
    /// If `kv_heads` does not divide `heads`, `head_dim` exceeds `d_model`, or a dimension is zero.
    #[track_caller]
    pub fn zeros(b: &B, shape: &ModelShape) -> Result<Self, DeviceError> {
        shape.check();
        let (d, pairs) = (shape.d_model, shape.layers * shape.kv_heads);
        let zeros = |batch, rows, cols| Mats::zeros(b, Dims::new(batch, rows, cols));
        let one = || zeros(pairs, d, shape.head_dim);
        let stacked = || zeros(pairs, shape.group() * d, shape.head_dim);
        Ok(Self {
            embedding: zeros(1, shape.vocabulary, d)?,
            unembedding: zeros(1, shape.vocabulary, d)?,
            qk: Factors { left: stacked()?, right: one()? },
            vo: Factors { left: one()?, right: stacked()? },
            up: zeros(shape.layers, shape.d_ff, d)?,
            down: zeros(shape.layers, d, shape.d_ff)?,
        })
    }

    /// All tensors, in a fixed order.
    pub fn tensors(&self) -> [Tensor<'_, B>; 8] {
        let mats = [
            &self.embedding,
            &self.unembedding,
            &self.qk.left,
            &self.qk.right,
            &self.vo.left,
            &self.vo.right,
            &self.up,
            &self.down,
        ];
        std::array::from_fn(|i| Tensor { name: TENSORS[i].0, group: TENSORS[i].1, mats: mats[i].as_ref() })
    }

    /// All tensors, writable, in the order of [`Parameters::tensors`].
    pub fn tensors_mut(&mut self) -> [TensorMut<'_, B>; 8] {
        let mut names = TENSORS.into_iter();
        [
            &mut self.embedding,
            &mut self.unembedding,
            &mut self.qk.left,
            &mut self.qk.right,
            &mut self.vo.left,
            &mut self.vo.right,
            &mut self.up,
            &mut self.down,
        ]
        .map(|mats| {
            let (name, group) = names.next().unwrap_or_else(|| unreachable!("as many names as tensors"));
            TensorMut { name, group, mats: mats.as_mut() }
        })
    }

    /// The weights of layer `l`.
    ///
    /// # Panics
    /// If there is no such layer.
    #[track_caller]
    pub fn layer(&self, l: usize) -> LayerRef<'_, B> {
        let heads = self.qk.problems() / self.up.dims().batch;
        let pairs = l * heads..(l + 1) * heads;
        LayerRef {
            q: self.qk.left.as_ref().problems(pairs.clone()),
            k: self.qk.right.as_ref().problems(pairs.clone()),
            v: self.vo.left.as_ref().problems(pairs.clone()),
            o: self.vo.right.as_ref().problems(pairs),
            up: self.up.as_ref().problem(l),
            down: self.down.as_ref().problem(l),
        }
    }

    /// The weights of layer `l`, writable.
    ///
    /// # Panics
    /// If there is no such layer.
    #[track_caller]
    pub fn layer_mut(&mut self, l: usize) -> LayerMut<'_, B> {
        let heads = self.qk.problems() / self.up.dims().batch;
        let pairs = l * heads..(l + 1) * heads;
        LayerMut {
            q: self.qk.left.as_mut().problems(pairs.clone()),
            k: self.qk.right.as_mut().problems(pairs.clone()),
            v: self.vo.left.as_mut().problems(pairs.clone()),
            o: self.vo.right.as_mut().problems(pairs),
            up: self.up.as_mut().problem(l),
            down: self.down.as_mut().problem(l),
        }
    }
}

impl<B: Blas> Parameters<B> {
    /// Becomes `masters` rounded to bfloat16 (to nearest, ties to even): the working copy of training with
    /// low-precision weights and full-precision masters.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn round_to_bf16_from(&mut self, b: &B, masters: &Self) {
        for (mut rounded, master) in self.tensors_mut().into_iter().zip(masters.tensors()) {
            b.copy(master.mats.n(), rounded.mats.as_mut());
            b.map(Map::RoundToBf16, rounded.mats);
        }
    }
}
