//! The inverse of a general matrix: Gauss-Jordan elimination with partial pivoting (Golub and Van Loan
//! 2013, section 3.4), by blocks of columns. A block is eliminated in a transposed copy, where pivots are
//! searched and columns updated along vectors; that leaves in it the columns `t` of the transformation
//! by which the other columns `x` then become `x' = x + t x_block`, the block's rows of `x` taken as zero.

use super::{
    cholesky::BLOCK,
    gemm::{Added, Gemm, Strided},
    simd::{Kernel, Simd},
    transpose::transpose,
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
                transpose(n, BLOCK, a.add(k0), stride, columns, stride);
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
                transpose(size, n, columns, stride, a.add(k0), stride);
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
                let Some(pivot) = find_pivot(std::slice::from_raw_parts(own, n), row) else { return false };
                *pivots.add(row) = pivot;
                let inverse = T::ONE / *own.add(pivot);
                // The pivot row's place is written last, in every column: a vector that is read just after
                // one of its elements was written has to wait.
                let mut values = [T::ZERO; BLOCK];
                for (j, value) in values.iter_mut().enumerate().take(size) {
                    *value = *columns.add(j * stride + pivot);
                }
                let minus = S::splat(-inverse);
                for i in (0..stride).step_by(S::LANES) {
                    S::store(S::mul(minus, S::load(own.add(i))), own.add(i));
                }
                for j in (0..size).filter(|&j| j != k) {
                    let (other, value) = (columns.add(j * stride), S::splat(values[j]));
                    for i in (0..stride).step_by(S::LANES) {
                        let sum = S::mul_add(value, S::load(own.add(i)), S::load(other.add(i)));
                        S::store(sum, other.add(i));
                    }
                }
                // The exchange of rows, of which one is the pivot row's new self.
                for (j, &value) in values.iter().enumerate().take(size) {
                    let column = columns.add(j * stride);
                    *column.add(pivot) = *column.add(row);
                    *column.add(row) = if j == k { inverse } else { value * inverse };
                }
            }
        }
        true
    }
}

/// Elements compared at once.
const LANES: usize = 32;

/// The first place, from `start` on, of the element largest in size; nothing if all are zero.
#[inline(always)]
fn find_pivot<T: Scalar>(column: &[T], start: usize) -> Option<usize> {
    let candidates = &column[start..];
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut largest = [T::ZERO; LANES];
    let chunks = candidates.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = larger(largest[lane], Scalar::abs(chunk[lane]));
        }
    }
    for (largest, &x) in largest.iter_mut().zip(rest) {
        *largest = larger(*largest, Scalar::abs(x));
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            largest[lane] = larger(largest[lane], largest[lane + half]);
        }
        half /= 2;
    }
    let largest = largest[0];
    if largest == T::ZERO {
        return None;
    }
    candidates.iter().position(|&x| Scalar::abs(x) == largest).map(|place| start + place)
}
