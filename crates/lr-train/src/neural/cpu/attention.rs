//! Causal attention in blocks of rows, one problem (a head of a window) a task.
//!
//! A block of [`BLOCK`] queries sees only the keys up to its last row; its scores live in the worker's
//! piece of workspace and nowhere else. Products run on the serial handle of the slice.

use super::{
    exponential::Real,
    kernels::{RowsBackward, causal_softmax, causal_softmax_backward},
};
use crate::neural::{Accumulation, Attended, Neural, ProjectionGradients, Projections};
use Epilogue::{Overwrite, Scale};
use lr_linalg::{Backend, DeviceError, Dims, Epilogue, HostBuffer, Mats, MatsMut};
use std::ops::Range;

/// Queries in a block: the scores of a block and the panels of its problem stay in a core's cache.
const BLOCK: usize = 128;

/// Added to the length of a row of scores, so that a column does not fall into one cache set.
const PADDING: usize = 16;

/// Two blocks of scores for each worker.
pub fn workspace<B: Backend>(b: &B, problems: usize, sequence: usize) -> Result<Vec<Mats<B>>, DeviceError> {
    let dims = Dims::new(2, BLOCK.min(sequence), sequence + PADDING);
    (0..b.slicing(problems).workers).map(|_| Mats::zeros(b, dims)).collect()
}

/// Rows of the blocks of a sequence, last block first. A block sees the keys before its end.
fn blocks(sequence: usize) -> impl Iterator<Item = Range<usize>> {
    (0..sequence).step_by(BLOCK).rev().map(move |first| first..(first + BLOCK).min(sequence))
}

/// Block `index` of a workspace piece, cut to `rows x keys`.
fn scores<B: Backend>(workspace: &mut Mats<B>, index: usize, rows: usize, keys: usize) -> MatsMut<'_, B> {
    workspace.as_mut().problem(index).block(0..rows, 0..keys)
}

fn scale(head_dim: usize) -> f64 {
    1.0 / (head_dim as f64).sqrt()
}

/// [`Neural::causal_attention`].
pub fn forward<T: Real, B>(
    b: &B,
    x: Projections<'_, B>,
    o: MatsMut<'_, B>,
    lse: MatsMut<'_, B>,
    workspace: &mut [Mats<B>],
) where
    B: Neural + Backend<Elem = T, Buffer = HostBuffer<T>>,
{
    let d = x.q.dims();
    let problems = o.chunks(1).zip(lse.chunks(1)).enumerate();
    b.for_each_slice(problems, workspace, |b, (p, (mut o, lse)), workspace| {
        let (q, k, v) = (x.q.problem(p), x.k.problem(p), x.v.problem(p));
        let lse = lse.into_slice();
        for rows in blocks(d.rows) {
            let keys = 0..rows.end;
            let mut p = scores(workspace, 0, rows.len(), rows.end);
            let (q, k, v) = (q.rows(rows.clone()), k.rows(keys.clone()), v.rows(keys));
            b.gemm(scale(d.cols), q.n(), k.t(), Overwrite, p.as_mut());
            causal_softmax(rows.start, &mut p.panel_mut(0), &mut lse[rows.clone()]);
            b.gemm(1.0, p.as_ref().n(), v.n(), Overwrite, o.as_mut().rows(rows));
        }
    });
}

/// [`Neural::causal_attention_backward`].
pub fn backward<T: Real, B>(
    b: &B,
    x: Projections<'_, B>,
    attended: Attended<'_, B>,
    d_o: lr_linalg::MatsRef<'_, B>,
    gradients: ProjectionGradients<'_, B>,
    workspace: &mut [Mats<B>],
) where
    B: Neural + Backend<Elem = T, Buffer = HostBuffer<T>>,
{
    let d = x.q.dims();
    let scale = scale(d.cols);
    let ProjectionGradients { q, k, v, shared } = gradients;
    let problems = q.chunks(1).zip(k.chunks(1)).zip(v.chunks(1)).enumerate();
    b.for_each_slice(problems, workspace, |b, (index, ((mut dq, mut dk), mut dv)), workspace| {
        let (q, k, v) = (x.q.problem(index), x.k.problem(index), x.v.problem(index));
        let (o, d_o, lse) =
            (attended.o.problem(index), d_o.problem(index), attended.lse.problem(index).as_slice());
        for rows in blocks(d.rows) {
            let keys = 0..rows.end;
            let (q, o, d_o) = (q.rows(rows.clone()), o.rows(rows.clone()), d_o.rows(rows.clone()));
            let (k, v) = (k.rows(keys.clone()), v.rows(keys.clone()));
            let mut pieces = workspace.as_mut().chunks(1).map(|w| w.block(0..rows.len(), keys.clone()));
            let (Some(mut p), Some(mut d_s)) = (pieces.next(), pieces.next()) else {
                unreachable!("a workspace holds two blocks")
            };
            b.gemm(scale, q.n(), k.t(), Overwrite, p.as_mut());
            b.gemm(1.0, d_o.n(), v.t(), Overwrite, d_s.as_mut());
            let block =
                RowsBackward { first: rows.start, lse: &lse[rows.clone()], o: o.panel(0), d_o: d_o.panel(0) };
            causal_softmax_backward(block, &mut p.panel_mut(0), &mut d_s.panel_mut(0));
            // The last block comes first and reaches every key, so it alone may overwrite.
            let over = match shared {
                Accumulation::Overwrite if rows.end == d.rows => || Overwrite,
                _ => || Scale(1.0),
            };
            b.gemm(1.0, p.as_ref().t(), d_o.n(), over(), dv.as_mut().rows(keys.clone()));
            b.gemm(scale, d_s.as_ref().t(), q.n(), over(), dk.as_mut().rows(keys));
            b.gemm(scale, d_s.as_ref().n(), k.n(), Overwrite, dq.as_mut().rows(rows));
        }
    });
}
