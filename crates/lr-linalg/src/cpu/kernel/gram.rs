//! The Gram kernel: `c = alpha a a^T`, computed in panels of rows from the diagonal to the right and
//! mirrored below it. Some six tenths of the multiplications of a general product, and exactly symmetric.

use super::{
    gemm::{Added, Gemm, STRIP_ROWS, Strided},
    simd::{Kernel, Simd},
    transpose::{BLOCK, block},
};
use crate::Scalar;

/// Rows of a panel: two vectors of 512 bits at most lie below the diagonal in vain.
const PANEL: usize = 16;

/// `c = alpha a a^T`, `c` of order `n`, with `k` terms, all at least one; `c` and `a` do not overlap.
#[derive(Clone, Copy)]
pub(super) struct Gram<T> {
    pub n: usize,
    pub k: usize,
    pub alpha: T,
    pub a: Strided<T>,
    pub c: *mut T,
    pub c_stride: usize,
}

impl<T: Scalar> Kernel<T> for Gram<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) {
        let Self { n, k, alpha, a, c, c_stride } = self;
        let turned = Strided { data: a.data, row_stride: a.col_stride, col_stride: a.row_stride };
        // SAFETY: panels and terms lie within the matrices; what is mirrored was computed.
        unsafe {
            // The terms outside, so that those of all panels stay in the cache.
            for k0 in (0..k).step_by(STRIP_ROWS) {
                for i in (0..n).step_by(PANEL) {
                    let j = i / S::LANES * S::LANES;
                    let c = c.add(i * c_stride + j);
                    let own = Added { beta: T::ONE, data: c.cast_const(), row_stride: c_stride };
                    S::vectorize(Gemm {
                        m: (n - i).min(PANEL),
                        n: n - j,
                        k: (k - k0).min(STRIP_ROWS),
                        alpha,
                        a: a.from(i, k0),
                        b: turned.from(k0, j),
                        added: (k0 > 0).then_some(own),
                        c,
                        c_stride,
                    });
                }
            }
            mirror(n, c, c_stride);
        }
    }
}

/// Copies the upper triangle below the diagonal.
///
/// # Safety
/// `c` is valid for `n` rows and columns.
#[inline(always)]
unsafe fn mirror<T: Scalar>(n: usize, c: *mut T, stride: usize) {
    let whole = n / BLOCK * BLOCK;
    // SAFETY: all indices are below `n`.
    unsafe {
        let single = |i: usize, j: usize| *c.add(i * stride + j) = *c.add(j * stride + i);
        for i in (0..whole).step_by(BLOCK) {
            for j in (i + BLOCK..whole).step_by(BLOCK) {
                block(c.add(i * stride + j), stride, c.add(j * stride + i), stride);
            }
            (i..i + BLOCK).for_each(|row| (i..row).for_each(|column| single(row, column)));
        }
        (whole..n).for_each(|row| (0..row).for_each(|column| single(row, column)));
    }
}
