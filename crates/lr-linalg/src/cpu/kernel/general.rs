//! The inverse of a general matrix: Gauss-Jordan elimination with partial pivoting (Golub and Van Loan
//! 2013, section 3.4), by blocks of columns. A block is eliminated in a transposed copy, where pivots are
//! searched and columns updated along vectors; that leaves in it the columns `t` of the transformation
//! by which the other columns `x` then become `x' = x + t x_block`, the block's rows of `x` taken as zero.

use super::{
    cholesky::BLOCK,
    gemm::{Added, Gemm, Strided},
    simd::{Kernel, Simd},
};
use crate::Scalar;

/// Replaces `a` by the inverse of `a` with permuted rows. Rows are `stride` apart, a multiple of
/// [`BLOCK`], and padded with zeros; `columns` and `rows` hold [`BLOCK`] rows of the same stride;
/// `pivots[k]` becomes the row exchanged with row `k`.
#[derive(Clone, Copy)]
pub(super) struct InvertGeneral<T> {
    pub n: usize,
    pub a: *mut T,
    pub stride: usize,
    pub columns: *mut T,
    pub rows: *mut T,
    pub pivots: *mut usize,
}

impl<T: Scalar> Kernel<T> for InvertGeneral<T> {
    /// Whether every pivot was a number other than zero.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) -> bool {
        let Self { n, a, stride, columns, rows, pivots } = self;
        for k0 in (0..n).step_by(BLOCK) {
            let size = (n - k0).min(BLOCK);
            // SAFETY: rows lie below `n`, columns below the stride.
            unsafe {
                for i in 0..n {
                    for j in 0..size {
                        *columns.add(j * stride + i) = *a.add(i * stride + k0 + j);
                    }
                }
                if !self.eliminate::<S>(k0, size) {
                    return false;
                }
                for (k, pivot) in (k0..k0 + size).map(|k| (k, *pivots.add(k))).filter(|(k, p)| k != p) {
                    std::ptr::swap_nonoverlapping(a.add(k * stride), a.add(pivot * stride), stride);
                }
                for k in 0..size {
                    let from = a.add((k0 + k) * stride);
                    std::ptr::copy_nonoverlapping(from, rows.add(k * stride), stride);
                    std::ptr::write_bytes(from, 0, stride);
                }
                S::vectorize(Gemm {
                    m: n,
                    n: stride,
                    k: size,
                    alpha: T::ONE,
                    a: Strided { data: columns, row_stride: 1, col_stride: stride },
                    b: Strided { data: rows, row_stride: stride, col_stride: 1 },
                    added: Some(Added { beta: T::ONE, data: a, row_stride: stride }),
                    c: a,
                    c_stride: stride,
                });
                for i in 0..n {
                    for j in 0..size {
                        *a.add(i * stride + k0 + j) = *columns.add(j * stride + i);
                    }
                }
            }
        }
        true
    }
}

impl<T: Scalar> InvertGeneral<T> {
    /// Eliminates columns `k0..k0 + size` in their transposed copy.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn eliminate<S: Simd<T>>(&self, k0: usize, size: usize) -> bool {
        let Self { n, stride, columns, pivots, .. } = *self;
        for k in 0..size {
            // SAFETY: columns of the block have `stride` elements, of which the last are zero.
            unsafe {
                let (own, row) = (columns.add(k * stride), k0 + k);
                let (mut largest, mut pivot) = (T::ZERO, row);
                for i in row..n {
                    let magnitude = Scalar::abs(*own.add(i));
                    if magnitude > largest {
                        (largest, pivot) = (magnitude, i);
                    }
                }
                if largest == T::ZERO {
                    return false;
                }
                *pivots.add(row) = pivot;
                for j in 0..size {
                    std::ptr::swap(columns.add(j * stride + row), columns.add(j * stride + pivot));
                }
                let factor = T::ONE / *own.add(row);
                // The transformation's column: minus the multiples of the pivot row, its own inverse.
                *own.add(row) = -T::ONE;
                let minus = S::splat(-factor);
                for i in (0..stride).step_by(S::LANES) {
                    S::store(S::mul(minus, S::load(own.add(i))), own.add(i));
                }
                for j in (0..size).filter(|&j| j != k) {
                    let other = columns.add(j * stride);
                    let value = *other.add(row);
                    *other.add(row) = T::ZERO;
                    let value = S::splat(value);
                    for i in (0..stride).step_by(S::LANES) {
                        let sum = S::mul_add(value, S::load(own.add(i)), S::load(other.add(i)));
                        S::store(sum, other.add(i));
                    }
                }
            }
        }
        true
    }
}
