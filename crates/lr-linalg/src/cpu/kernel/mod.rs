//! Own kernels for the shapes of the optimizers: tall matrices times small ones, Gram matrices, small
//! matrices. They work on row-major matrices as they lie, where a general library packs or converts
//! first, and write scalings and additions with the result.
//!
//! Which products they take ([`takes`]) depends on shapes only. Measured in `f32` on one thread of a Zen 4
//! processor (117 GFLOP/s of fused multiply-adds, which both reach), microseconds own / faer:
//!
//! | m x n x k | NN | NT | TN |
//! |---|---|---|---|
//! | 512 x 64 x 64 | 36.1 / 36.6 | 36.8 / 36.7 | 36.2 / 36.7 |
//! | 512 x 16 x 16 | 2.5 / 3.1 | 2.8 / 3.2 | 2.5 / 3.4 |
//! | 512 x 8 x 8 | 1.5 / 2.4 | 1.6 / 2.5 | 1.5 / 2.3 |
//! | 8192 x 64 x 64 | 579 / 587 | 587 / 588 | 581 / 601 |
//! | 64 x 64 x 512 | | 41.0 / 39.0 | 36.2 / 36.5 |
//! | 64 x 64 x 64 | 4.6 / 4.7 | 4.9 / 4.9 | 4.6 / 4.7 |
//! | 1 x 64 x 512 | 1.3 / 2.4 | 10 / 1.3 | 1.3 / 2.4 |
//! | 512 x 1 x 64 | 9.3 / 1.6 | 9.4 / 1.6 | 9.3 / 1.4 |
//! | 512 x 256 x 256 | 587 / 580 | 592 / 586 | 587 / 583 |
//! | 1024 x 1024 x 1024 | 20500 / 19600 | | 20700 / 19800 |
//!
//! Hence: narrow results are the library's, whose vectors run along the terms; so is a transposed right
//! operand that must be copied for few rows; and so are products large in two of their dimensions, for
//! which packing pays.
//!
//! The instruction set is chosen once, see [`Isa`]; `LR_ISA=portable`, `avx2` or `avx512` in the
//! environment overrides the choice for these kernels (not for the engines' own).

#[cfg(target_arch = "x86_64")]
mod bf16;
mod blocked;
mod cholesky;
mod gemm;
mod general;
mod gram;
mod isa;
mod simd;
mod small;
#[cfg(test)]
mod small_tests;
#[cfg(test)]
mod tests;
pub(super) mod transpose;
mod triangular;

use blocked::Blocked;
use gemm::{Added, Gemm, Strided};
use gram::Gram;
pub(crate) use isa::Isa;
pub(super) use simd::CleanRegisters;
pub use simd::Vectors;
use simd::run_on;
#[cfg(test)]
use small::Singular;
pub(super) use small::{Solved, cholesky, invert, solve_right};

use super::{
    Source, elementwise,
    workspace::{array_of, carve, with_stack},
};
use crate::{Op, Panel, PanelMut, Scalar};

/// Columns of a result below which the library is faster.
const NARROW: usize = 8;

/// Elements of the smaller of the operands beyond which packing pays.
const LARGE: usize = 1 << 15;

/// Largest order of a Gram matrix.
const LARGEST_GRAM: usize = 512;

/// Whether [`gemm`] is the right one for an `m x n` product of `k` terms.
pub(super) fn takes(m: usize, n: usize, k: usize, right: Op) -> bool {
    let copied_for_few = right == Op::Transpose && m < k.max(NARROW);
    k > 0 && n >= NARROW && !copied_for_few && n * m.min(k) <= LARGE
}

/// Elements from the first to the last row of an operand, gaps included, beyond which reading it across its rows
/// misses all caches of a core.
const FAR: usize = 1 << 20;

/// Rows of a result, and columns, that pay for packing.
const PACKED_FROM: (usize, usize) = (64, 32);

/// Whether the rows of an operand that is read across them lie far apart in memory.
pub(super) fn is_far(rows: usize, row_stride: usize) -> bool {
    rows * row_stride >= FAR
}

/// Whether [`gemm_blocked`] is the right one: one operand is read across its rows, far apart. In `f32` on one
/// thread of the processor above, GFLOP/s own / faer:
///
/// | | m x n x k | |
/// |---|---|---|
/// | TN | 50257 x 512 x 512 | 100 / 90 |
/// | TN | 512 x 2048 x 4096 | 100 / 83 |
/// | TN | 512 x 64 x 4096 | 77 / 64 |
/// | NN | 4096 x 512 x 2048 | 103 / 98 |
/// | NN | 512 x 512 x 50257 | 101 / 98 |
/// | NN | 4096 x 2048 x 512 | 101 / 102 |
/// | NT | 4096 x 2048 x 512 | 99 / 102 |
/// | NT | 512 x 50257 x 512 | 97 / 96 |
pub(super) fn takes_blocked<T: Scalar>(isa: Isa, a: Source<'_, T>, b: Source<'_, T>) -> bool {
    let far = |panel: Panel<'_, T>| is_far(panel.rows(), panel.row_stride());
    let spread = match (a.op, b.op) {
        (Op::Transpose, _) => far(a.panel),
        (Op::None, Op::None) => far(b.panel),
        (Op::None, Op::Transpose) => false,
    };
    spread && isa != Isa::Portable && a.rows() >= PACKED_FROM.0 && b.cols() >= PACKED_FROM.1
}

/// Whether [`gram`] is the right one for a Gram matrix of order `n`.
pub(super) fn takes_gram(n: usize, k: usize) -> bool {
    k > 0 && (NARROW..=LARGEST_GRAM).contains(&n)
}

/// Largest order of a matrix that [`cholesky`] takes from the engines.
const LARGEST_SMALL: usize = 256;

/// Largest order of a triangle that is inverted.
const LARGEST_INVERTED: usize = 128;

/// Rows of a right side, in multiples of the order, that pay for the preparation of a triangle.
const TALL: usize = 1;

/// Whether [`cholesky`] is the right one for a matrix of order `n`.
pub(super) fn takes_cholesky(n: usize) -> bool {
    n <= LARGEST_SMALL
}

/// Whether [`solve_right`] is worth trying for `m` right sides of a triangle of order `n`.
pub(super) fn takes_solve(m: usize, n: usize) -> bool {
    (2 * NARROW..=LARGEST_INVERTED).contains(&n) && m >= TALL * n
}

fn strided<T: Scalar>(source: Source<'_, T>) -> Strided<T> {
    let (data, stride) = (source.panel.as_ptr(), source.panel.row_stride());
    match source.op {
        Op::None => Strided { data, row_stride: stride, col_stride: 1 },
        Op::Transpose => Strided { data, row_stride: 1, col_stride: stride },
    }
}

/// What is added to a product.
#[derive(Clone, Copy)]
pub(super) enum Rest<'a, T> {
    /// A multiple of what is overwritten.
    Own(T),
    /// A multiple of another matrix.
    Other(T, Panel<'a, T>),
}

/// `c = alpha a b` plus the rest, no dimension zero.
pub(super) fn gemm<T: Scalar>(
    isa: Isa,
    alpha: T,
    a: Source<'_, T>,
    b: Source<'_, T>,
    rest: Rest<'_, T>,
    c: PanelMut<'_, T>,
) {
    // SAFETY: panels are valid for their shapes, `c` is exclusive, and `isa` was detected.
    unsafe { run_on(isa, product(alpha, a, b, rest, c)) }
}

/// `c = alpha a b + beta c` with operands packed in blocks, no dimension zero; with `beta = 0`, `c` is not read.
pub(super) fn gemm_blocked<T: Scalar>(
    isa: Isa,
    alpha: T,
    a: Source<'_, T>,
    b: Source<'_, T>,
    beta: T,
    c: PanelMut<'_, T>,
) {
    let (strips, slab) = (blocked::strips::<T>(), blocked::slab(a.op));
    with_stack(array_of::<T>(strips).and(array_of::<T>(slab)), |stack| {
        let (mut strips, stack) = carve::<T>(strips, stack);
        let (mut slab, _) = carve::<T>(slab, stack);
        let product = product(alpha, a, b, Rest::Own(beta), c);
        let kernel = Blocked { product, strips: strips.as_mut_ptr(), slab: slab.as_mut_ptr() };
        // SAFETY: panels are valid for their shapes, `c` is exclusive, and `isa` was detected.
        unsafe { run_on(isa, kernel) }
    });
}

/// Whether products can be taken by dot products of bf16.
pub(super) fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Isa::current() == Isa::Avx512 && bf16::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `c = alpha a b + beta c` with both operands rounded to bf16, no dimension zero; with `beta = 0`, `c` is not read.
///
/// # Panics
/// Unless [`has_bf16`].
#[cfg(target_arch = "x86_64")]
pub(super) fn gemm_bf16(alpha: f32, a: Source<'_, f32>, b: Source<'_, f32>, beta: f32, c: PanelMut<'_, f32>) {
    assert!(has_bf16(), "this processor has no dot products of bf16");
    with_stack(array_of::<u32>(bf16::STRIPS).and(array_of::<u32>(bf16::SLAB)), |stack| {
        let (mut strips, stack) = carve::<u32>(bf16::STRIPS, stack);
        let (mut slab, _) = carve::<u32>(bf16::SLAB, stack);
        let product = product(alpha, a, b, Rest::Own(beta), c);
        // SAFETY: panels are valid for their shapes, `c` is exclusive, and the instructions were detected.
        unsafe { bf16::gemm(product, strips.as_mut_ptr(), slab.as_mut_ptr()) }
    });
}

fn product<T: Scalar>(
    alpha: T,
    a: Source<'_, T>,
    b: Source<'_, T>,
    rest: Rest<'_, T>,
    mut c: PanelMut<'_, T>,
) -> Gemm<T> {
    let added = match rest {
        Rest::Own(beta) | Rest::Other(beta, _) if beta == T::ZERO => None,
        Rest::Own(beta) => {
            Some(Added { beta, data: c.as_mut_ptr().cast_const(), row_stride: c.row_stride() })
        }
        Rest::Other(beta, d) => Some(Added { beta, data: d.as_ptr(), row_stride: d.row_stride() }),
    };
    Gemm {
        m: c.rows(),
        n: c.cols(),
        k: a.cols(),
        alpha,
        a: strided(a),
        b: strided(b),
        added,
        c_stride: c.row_stride(),
        c: c.as_mut_ptr(),
    }
}

/// `c = alpha a a^T`, exactly symmetric, no dimension zero.
pub(super) fn gram<T: Scalar>(isa: Isa, alpha: T, a: Source<'_, T>, mut c: PanelMut<'_, T>) {
    let (n, k) = (c.rows(), a.cols());
    let mut run = |a| {
        let kernel = Gram { n, k, alpha, a, c_stride: c.row_stride(), c: c.as_mut_ptr() };
        // SAFETY: panels are valid for their shapes, `c` is exclusive, and `isa` was detected.
        unsafe { run_on(isa, kernel) }
    };
    match a.op {
        Op::Transpose => run(strided(a)),
        // Transposed once, where the kernel would do it for every panel.
        Op::None => with_stack(array_of::<T>(n * k), |stack| {
            let (mut turned, _) = carve::<T>(n * k, stack);
            elementwise::transpose(a.panel, PanelMut::from_slice(&mut turned, k, n));
            run(Strided { data: turned.as_ptr(), row_stride: 1, col_stride: n });
        }),
    }
}
