//! Causal attention with `g` query heads to each key and value head (multi-head attention: `g = 1`).
//!
//! With `n` the normalized stream, for key and value head `j` and member `i` of its group:
//! `q_ij = n A_ij`, `k_j = n B_j`, `v_j = n C_j`, `o_ij = softmax(q_ij k_j^T / sqrt(r)) v_j`, and the stream
//! gets `x += sum of o_ij D_ij^T`. Backward, from the gradient `g` of the stream: `do_ij = g D_ij`,
//! `G_D = g^T o_ij`; `dq`, `dk`, `dv` by [`Neural::causal_attention_backward`], where the members of a group
//! share `dk` and `dv`; `G_A = n^T dq`, `G_B = n^T dk`, `G_C = n^T dv`: exactly the pulled-back gradients of
//! the pairs; and `dn = sum of dq A^T + dk B^T + dv C^T`. Where queries and keys are normalized or rotated,
//! `query_key` stands between the projections and the scores, forth and back.
//!
//! Activations are `[kv_heads, tokens, head_dim]` a member, so that heads are problems of a batch and the
//! windows of a head lie one after another: the same memory is `[kv_heads windows, sequence, head_dim]`.

use super::{
    Choices, LayerMut, LayerRef, ModelShape,
    query_key::{Projected, QueryKey},
};
use crate::neural::{Accumulation, Attended, Neural, ProjectionGradients, Projections};
use Accumulation::{Add, Overwrite};
use lr_linalg::{DeviceError, Dims, Epilogue, Mats, MatsMut, MatsRef};
use std::ops::Range;
use tracing::trace_span;

/// Rows of the stream that one slice of a sum over heads handles, at most: they stay in a core's cache.
const ROWS: usize = 256;

/// Activations of one attention layer that its backward pass needs.
#[derive(Debug)]
pub(super) struct Attention<B: Neural> {
    sequence: usize,
    q: Projected<Mats<B>>,
    k: Projected<Mats<B>>,
    v: Mats<B>,
    o: Mats<B>,
    lse: Mats<B>,
}

/// What all attention layers share: what happens to queries and keys, and working memory. On the way forth
/// `d_o` is spare.
#[derive(Debug)]
pub(super) struct AttentionFlow<B: Neural> {
    query_key: QueryKey<B>,
    dq: Mats<B>,
    dk: Mats<B>,
    dv: Mats<B>,
    d_o: Mats<B>,
    scores: Vec<Mats<B>>,
}

impl<B: Neural> AttentionFlow<B> {
    pub(super) fn new(b: &B, shape: &ModelShape, choices: &Choices) -> Result<Self, DeviceError> {
        let heads = || Mats::zeros(b, Dims::new(shape.kv_heads, shape.tokens(), shape.head_dim));
        let scores = b.attention_workspace(shape.kv_heads * shape.batch, shape.sequence)?;
        let query_key = QueryKey::new(b, shape, choices)?;
        Ok(Self { query_key, dq: heads()?, dk: heads()?, dv: heads()?, d_o: heads()?, scores })
    }
}

impl<B: Neural> Attention<B> {
    pub(super) fn new(b: &B, shape: &ModelShape, choices: &Choices) -> Result<Self, DeviceError> {
        let activations = |heads| Mats::zeros(b, Dims::new(heads, shape.tokens(), shape.head_dim));
        Ok(Self {
            sequence: shape.sequence,
            q: Projected::new(b, shape, choices, shape.heads)?,
            k: Projected::new(b, shape, choices, shape.kv_heads)?,
            v: activations(shape.kv_heads)?,
            o: activations(shape.heads)?,
            lse: Mats::zeros(b, Dims::new(shape.heads, shape.tokens(), 1))?,
        })
    }

    /// Members of a group: their number in the stacks of `w` and in the activations.
    fn members(&self) -> Range<usize> {
        0..self.o.dims().batch / self.v.dims().batch
    }

    /// Heads of member `i` in the activations.
    fn heads(&self, i: usize) -> Range<usize> {
        let heads = self.v.dims().batch;
        i * heads..(i + 1) * heads
    }

    /// Adds the layer's output for the normalized stream `n` to the stream `x`.
    pub(super) fn forward(
        &mut self,
        b: &B,
        w: &LayerRef<'_, B>,
        n: MatsRef<'_, B>,
        mut x: MatsMut<'_, B>,
        flow: &mut AttentionFlow<B>,
    ) {
        let d = n.dims().cols;
        let span = trace_span!("attention_projections").entered();
        let AttentionFlow { query_key, d_o: spare, scores, .. } = flow;
        query_key.project(b, n, w.k, self.k.heads_mut(self.heads(0)), spare.as_mut());
        b.gemm(1.0, n.n(), w.v.n(), Epilogue::Overwrite, self.v.as_mut());
        for i in self.members() {
            let q = self.q.heads_mut(self.heads(i));
            query_key.project(b, n, w.q.rows(i * d..(i + 1) * d), q, spare.as_mut());
        }
        drop(span);
        for i in self.members() {
            let (heads, sequence) = (self.heads(i), self.sequence);
            let span = trace_span!("attention").entered();
            let x = Projections {
                q: windows(self.q.heads(heads.clone()).rows, sequence),
                k: windows(self.k.rows.as_ref(), sequence),
                v: windows(self.v.as_ref(), sequence),
            };
            let o = windows_mut(self.o.as_mut().problems(heads.clone()), sequence);
            let lse = windows_mut(self.lse.as_mut().problems(heads), sequence);
            b.causal_attention(x, o, lse, scores);
            drop(span);
        }
        let _span = trace_span!("attention_projections").entered();
        for i in self.members() {
            let o = self.o.as_ref().problems(self.heads(i));
            sum_heads(b, o, w.o.rows(i * d..(i + 1) * d), Add, x.as_mut());
        }
    }

    /// From the gradient `g` of the stream after the layer: the weights' gradients and `dn`.
    pub(super) fn backward(
        &self,
        b: &B,
        w: &LayerRef<'_, B>,
        gradients: &mut LayerMut<'_, B>,
        [n, g]: [MatsRef<'_, B>; 2],
        mut dn: MatsMut<'_, B>,
        flow: &mut AttentionFlow<B>,
    ) {
        let (d, sequence) = (n.dims().cols, self.sequence);
        for i in self.members() {
            let (map, heads) = (i * d..(i + 1) * d, self.heads(i));
            let over = if i == 0 { Overwrite } else { Add };
            let span = trace_span!("attention_projections_backward").entered();
            let o = self.o.as_ref().problems(heads.clone());
            b.gemm(1.0, g.n(), w.o.rows(map.clone()).n(), Epilogue::Overwrite, flow.d_o.as_mut());
            b.gemm(1.0, g.t(), o.n(), Epilogue::Overwrite, gradients.o.as_mut().rows(map.clone()));
            drop(span);
            let span = trace_span!("attention_backward").entered();
            let x = Projections {
                q: windows(self.q.heads(heads.clone()).rows, sequence),
                k: windows(self.k.rows.as_ref(), sequence),
                v: windows(self.v.as_ref(), sequence),
            };
            let attended = Attended {
                o: windows(o, sequence),
                lse: windows(self.lse.as_ref().problems(heads), sequence),
            };
            let projections = ProjectionGradients {
                q: windows_mut(flow.dq.as_mut(), sequence),
                k: windows_mut(flow.dk.as_mut(), sequence),
                v: windows_mut(flow.dv.as_mut(), sequence),
                shared: over,
            };
            let d_o = windows(flow.d_o.as_ref(), sequence);
            b.causal_attention_backward(x, attended, d_o, projections, &mut flow.scores);
            drop(span);
            let _span = trace_span!("attention_projections_backward").entered();
            let q = self.q.heads(self.heads(i));
            let dq = flow.query_key.backward(b, &q, &mut flow.dq, &mut flow.d_o);
            b.gemm(1.0, n.t(), dq.n(), Epilogue::Overwrite, gradients.q.as_mut().rows(map.clone()));
            sum_heads(b, dq, w.q.rows(map), over, dn.as_mut());
        }
        let _span = trace_span!("attention_projections_backward").entered();
        let k = self.k.heads(self.heads(0));
        let dk = flow.query_key.backward(b, &k, &mut flow.dk, &mut flow.d_o);
        b.gemm(1.0, n.t(), dk.n(), Epilogue::Overwrite, gradients.k.as_mut());
        b.gemm(1.0, n.t(), flow.dv.as_ref().n(), Epilogue::Overwrite, gradients.v.as_mut());
        sum_heads(b, dk, w.k, Add, dn.as_mut());
        sum_heads(b, flow.dv.as_ref(), w.v, Add, dn);
    }
}

/// Heads cut into windows: `[heads windows, sequence, ..]`.
fn windows<B: Neural>(heads: MatsRef<'_, B>, sequence: usize) -> MatsRef<'_, B> {
    let d = heads.dims();
    heads.reshape(Dims::new(d.batch * d.rows / sequence, sequence, d.cols))
}

fn windows_mut<B: Neural>(heads: MatsMut<'_, B>, sequence: usize) -> MatsMut<'_, B> {
    let d = heads.dims();
    heads.reshape(Dims::new(d.batch * d.rows / sequence, sequence, d.cols))
}

/// `out (+)= sum over j of heads_j maps_j^T`, block of rows by block of rows, so that a block of `out`
/// stays in cache while the heads are added to it.
fn sum_heads<B: Neural>(
    b: &B,
    heads: MatsRef<'_, B>,
    maps: MatsRef<'_, B>,
    accumulation: Accumulation,
    out: MatsMut<'_, B>,
) {
    let (tokens, d) = (out.dims().rows, out.dims().cols);
    let rows = (1..=ROWS.min(tokens)).rev().find(|&rows| tokens.is_multiple_of(rows)).unwrap_or(1);
    let blocks = tokens / rows;
    let slicing = b.slicing(blocks);
    let size = slicing.problems_per_slice;
    let slices = out.reshape(Dims::new(blocks, rows, d)).chunks(size).enumerate();
    // Workers without state take no memory.
    b.for_each_slice(slices, &mut vec![(); slicing.workers], |b, (index, mut out), ()| {
        let first = index * size;
        for j in 0..heads.dims().batch {
            let head = heads.problem(j).reshape(Dims::new(blocks, rows, heads.dims().cols));
            let over = match accumulation {
                Overwrite if j == 0 => Epilogue::Overwrite,
                _ => Epilogue::Scale(1.0),
            };
            let head = head.problems(first..first + out.dims().batch);
            b.gemm(1.0, head.n(), maps.problem(j).t(), over, out.as_mut());
        }
    });
}
