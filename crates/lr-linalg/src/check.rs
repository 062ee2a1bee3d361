//! The contracts of [`crate::Blas`] and [`crate::Factor`]: shapes and broadcasting, checked alike by
//! every backend. Each check panics at the line that called the operation.

use crate::{Backend, Coef, Dims, Epilogue, Operand, Side};

/// Problem of an input with `batch` matrices that problem `p` of `out` reads; see [`crate::Blas`].
#[inline]
pub(crate) fn source(p: usize, batch: usize, out: usize) -> usize {
    p * batch / out
}

/// An input of batch `input` may be read by an output of batch `out`.
#[track_caller]
fn broadcasts(what: &str, input: usize, out: usize) {
    let divides = if input == 0 { out == 0 } else { out.is_multiple_of(input) };
    assert!(divides, "{what}: a batch of {input} cannot be broadcast over {out} problems");
}

/// `input` has the shape of `out`, up to broadcasting.
#[track_caller]
pub(crate) fn fits(what: &str, input: Dims, out: Dims) {
    assert!(
        (input.rows, input.cols) == (out.rows, out.cols),
        "{what}: {} x {} matrices where {} x {} are needed",
        input.rows,
        input.cols,
        out.rows,
        out.cols
    );
    broadcasts(what, input.batch, out.batch);
}

/// `dims` is exactly `needed`.
#[track_caller]
pub(crate) fn is(what: &str, dims: Dims, needed: Dims) {
    assert!(dims == needed, "{what}: {dims:?} where {needed:?} is needed");
}

/// The matrices are square.
#[track_caller]
pub(crate) fn square(what: &str, dims: Dims) {
    assert!(dims.rows == dims.cols, "{what}: {} x {} matrices are not square", dims.rows, dims.cols);
}

/// The matrices are at least as tall as wide.
#[track_caller]
pub(crate) fn tall(what: &str, dims: Dims) {
    assert!(dims.rows >= dims.cols, "{what}: {} x {} matrices are wide", dims.rows, dims.cols);
}

/// A device coefficient has one scalar for each problem, up to broadcasting.
#[track_caller]
pub(crate) fn coef<B: Backend>(what: &str, coef: &Coef<'_, B>, batch: usize) {
    if let Coef::Device(scalars) = coef {
        fits(what, scalars.dims(), Dims::scalars(batch));
    }
}

/// The shapes of `c = a b + epilogue`.
#[track_caller]
pub(crate) fn gemm<B: Backend>(a: &Operand<'_, B>, b: &Operand<'_, B>, epilogue: &Epilogue<'_, B>, c: Dims) {
    let (da, db) = (a.dims(), b.dims());
    assert!(
        da.rows == c.rows && da.cols == db.rows && db.cols == c.cols,
        "gemm: ({} x {}) ({} x {}) is not {} x {}",
        da.rows,
        da.cols,
        db.rows,
        db.cols,
        c.rows,
        c.cols
    );
    broadcasts("gemm: left operand", da.batch, c.batch);
    broadcasts("gemm: right operand", db.batch, c.batch);
    if let Epilogue::Add(_, d) = epilogue {
        fits("gemm: epilogue", d.dims(), c);
    }
}

/// The shapes of a triangular solve.
#[track_caller]
pub(crate) fn trsm(side: Side, t: Dims, x: Dims) {
    square("trsm: triangle", t);
    let order = match side {
        Side::Left => x.rows,
        Side::Right => x.cols,
    };
    assert!(t.rows == order, "trsm: a triangle of order {} where {order} is needed", t.rows);
    broadcasts("trsm: triangle", t.batch, x.batch);
}

/// One status for each problem.
#[track_caller]
pub(crate) fn status(what: &str, status: Dims, batch: usize) {
    is(what, status, Dims::scalars(batch));
}
