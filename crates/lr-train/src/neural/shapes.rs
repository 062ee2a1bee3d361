//! The shape contracts of [`super::Neural`], checked by every backend in the host's memory.

use super::{Neural, ProjectionGradients, Projections};
use lr_linalg::Dims;

#[track_caller]
fn expect(what: &str, actual: Dims, expected: Dims) {
    assert!(actual == expected, "{what}: {actual:?} where {expected:?} is needed");
}

/// A table and rows gathered from it or scattered into it.
#[track_caller]
pub(super) fn embedding(table: Dims, tokens: usize, rows: Dims) {
    expect("embedding: table", table, Dims::new(1, table.rows, rows.cols));
    expect("embedding: rows", rows, Dims::new(1, tokens, rows.cols));
}

/// `[x, y]` or `[y, dy, dx]` of a norm, and its inverse RMS.
#[track_caller]
pub(super) fn rms_norm<const N: usize>(rows: [Dims; N], inverse_rms: Dims) {
    for dims in rows {
        expect("rms_norm", dims, Dims { batch: 1, ..rows[0] });
    }
    expect("rms_norm: inverse_rms", inverse_rms, Dims::new(1, rows[0].rows, 1));
}

/// Two operands of an element-wise operation.
#[track_caller]
pub(super) fn same(what: &str, x: Dims, y: Dims) {
    expect(what, y, x);
}

/// A table of angles and the rows that it turns.
#[track_caller]
pub(super) fn rotate(angles: Dims, x: Dims) {
    expect("rotate: angles", angles, Dims { batch: 1, ..x });
    assert!(x.cols.is_multiple_of(2), "rotate: {x:?} has an odd number of columns");
}

/// Queries, keys, values, outputs and the log-sum-exp of the rows.
#[track_caller]
pub(super) fn attention<B: Neural>(x: &Projections<'_, B>, o: Dims, lse: Dims) {
    let d = x.q.dims();
    expect("attention: keys", x.k.dims(), d);
    expect("attention: values", x.v.dims(), d);
    expect("attention: output", o, d);
    expect("attention: lse", lse, Dims { cols: 1, ..d });
}

/// The gradients of attention.
#[track_caller]
pub(super) fn attention_backward<B: Neural>(d: Dims, d_o: Dims, gradients: &ProjectionGradients<'_, B>) {
    expect("attention: gradient of the output", d_o, d);
    for gradient in [&gradients.q, &gradients.k, &gradients.v] {
        expect("attention: gradient", gradient.dims(), d);
    }
}

/// Logits of the positions from `first`, and their losses.
#[track_caller]
pub(super) fn cross_entropy(targets: usize, first: usize, logits: Dims, losses: Dims) {
    expect("cross_entropy: logits", logits, Dims { batch: 1, ..logits });
    expect("cross_entropy: losses", losses, Dims::new(1, logits.rows, 1));
    assert!(first + logits.rows <= targets, "cross_entropy: rows from {first} leave {targets} targets");
}
