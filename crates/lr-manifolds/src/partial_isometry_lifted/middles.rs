//! The middles `K_i = U_i^T M_i` of the blocks of one side, stacked: `[problems, I r, r]`.

use crate::grid::{Blocks, Pass};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Add, Overwrite, Scale},
    Linalg, MatsMut, MatsRef,
};

/// Shape of the stack over `blocks`, where one middle of each problem has shape `small`.
pub(super) fn dims(blocks: &Blocks, small: Dims) -> Dims {
    Dims { rows: blocks.count() * small.rows, ..small }
}

/// Shape in which the middles of the pass number `index` stand in the stack, one matrix a block.
fn window(pass: &Pass, index: usize, stack: Dims) -> (std::ops::Range<usize>, Dims) {
    let r = stack.cols;
    match pass {
        Pass::Together { blocks, .. } => (0..stack.rows, Dims::square(stack.batch * blocks, r)),
        Pass::One(_) => (index * r..(index + 1) * r, Dims::square(stack.batch, r)),
    }
}

/// The middles of a pass; packed only where it holds all blocks.
pub(super) fn view<'a, B: Linalg>(pass: &Pass, index: usize, stack: MatsRef<'a, B>) -> MatsRef<'a, B> {
    let (rows, each) = window(pass, index, stack.dims());
    match pass {
        Pass::Together { .. } => stack.reshape(each),
        Pass::One(_) => stack.rows(rows),
    }
}

/// The middles of a pass, writable.
pub(super) fn view_mut<'a, B: Linalg>(pass: &Pass, index: usize, stack: MatsMut<'a, B>) -> MatsMut<'a, B> {
    let (rows, each) = window(pass, index, stack.dims());
    match pass {
        Pass::Together { .. } => stack.reshape(each),
        Pass::One(_) => stack.rows(rows),
    }
}

/// `out_i = u_i^T m_i`.
pub(super) fn of<B: Linalg>(
    b: &B,
    blocks: &Blocks,
    u: MatsRef<'_, B>,
    m: MatsRef<'_, B>,
    mut out: MatsMut<'_, B>,
) {
    for (index, pass) in blocks.passes().enumerate() {
        b.gemm(1.0, pass.of(u).t(), pass.of(m).n(), Overwrite, view_mut(&pass, index, out.as_mut()));
    }
}

/// `m_i = m_i - u_i k_i`.
pub(super) fn subtract<B: Linalg>(
    b: &B,
    blocks: &Blocks,
    u: MatsRef<'_, B>,
    k: MatsRef<'_, B>,
    mut m: MatsMut<'_, B>,
) {
    for (index, pass) in blocks.passes().enumerate() {
        let k = view(&pass, index, k);
        b.gemm(-1.0, pass.of(u).n(), k.n(), Scale(1.0), pass.of_mut(m.as_mut()));
    }
}

/// `out_i = share g_i - u_i k_i`.
pub(super) fn difference<B: Linalg>(
    b: &B,
    blocks: &Blocks,
    (share, g): (f64, MatsRef<'_, B>),
    u: MatsRef<'_, B>,
    k: MatsRef<'_, B>,
    mut out: MatsMut<'_, B>,
) {
    for (index, pass) in blocks.passes().enumerate() {
        let k = view(&pass, index, k);
        b.gemm(-1.0, pass.of(u).n(), k.n(), Add(share, pass.of(g)), pass.of_mut(out.as_mut()));
    }
}

/// `out = weight sum_i k_i`, `[problems, r, r]`.
pub(super) fn sum<B: Linalg>(b: &B, weight: f64, k: MatsRef<'_, B>, mut out: MatsMut<'_, B>) {
    let r = k.dims().cols;
    for first in (0..k.dims().rows).step_by(r) {
        let beta = if first == 0 { 0.0 } else { 1.0 };
        b.axpby(Coef::Host(weight), k.rows(first..first + r), beta, out.as_mut());
    }
}
