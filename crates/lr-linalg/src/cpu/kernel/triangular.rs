//! Solutions `Y T = X` for a triangle `T`, block by block of columns. With the inverses `D` of the blocks on the
//! diagonal, `Y_j = X_j D_j - Y_solved (T_solved,j D_j)` is one product of columns side by side with a factor that
//! is prepared once: inverses of small blocks are well conditioned where that of the triangle may not be.

use super::{
    cholesky::BLOCK,
    gemm::{Gemm, Strided},
    simd::{Kernel, Simd},
};
use crate::{Scalar, Triangle};

/// Largest condition number `|D^-1| |D|`, in Frobenius norms, of a block that is inverted: the product with its
/// inverse is off by so many roundings at most, where a solve adapts to its right side.
const LARGEST_CONDITION: f64 = 1024.0;

/// Writes the factors of the solution for all blocks of columns of the triangle `t`, whose rows and columns are
/// padded to `stride`, a multiple of [`BLOCK`], with those of the identity. What is on the other side of the
/// diagonal is not read outside the blocks on it, and zero inside. The factor of block `j` has rows of [`BLOCK`]
/// elements, of which row `i` starts at `factors[(j * stride + i) * BLOCK]`; the rows are those of the block and
/// of the blocks solved before.
#[derive(Clone, Copy)]
pub(super) struct SolutionFactors<T> {
    pub triangle: Triangle,
    pub stride: usize,
    pub t: *const T,
    pub factors: *mut T,
}

impl<T: Scalar> Kernel<T> for SolutionFactors<T> {
    /// Whether all blocks are well conditioned and the factors finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) -> bool {
        let Self { triangle, stride, t, factors } = self;
        for j in (0..stride).step_by(BLOCK) {
            // SAFETY: blocks lie within the rows and columns.
            unsafe {
                let (block, factor) = (t.add(j * stride + j), factors.add(j * stride));
                let inverse = factor.add(j * BLOCK);
                invert::<T, S>(triangle, block, stride, inverse);
                let sizes = sum_of_squares::<T, S>(BLOCK, block, stride)
                    * sum_of_squares::<T, S>(BLOCK, inverse.cast_const(), BLOCK);
                let well_conditioned = sizes.to_f64() <= LARGEST_CONDITION * LARGEST_CONDITION;
                if !well_conditioned {
                    return false;
                }
                let (first, rows) = match triangle {
                    Triangle::Upper => (0, j),
                    Triangle::Lower => (j + BLOCK, stride - j - BLOCK),
                };
                if rows == 0 {
                    continue;
                }
                let c = factor.add(first * BLOCK);
                S::vectorize(Gemm {
                    m: rows,
                    n: BLOCK,
                    k: BLOCK,
                    alpha: -T::ONE,
                    a: Strided { data: t.add(first * stride + j), row_stride: stride, col_stride: 1 },
                    b: Strided { data: inverse, row_stride: BLOCK, col_stride: 1 },
                    added: None,
                    c,
                    c_stride: BLOCK,
                });
                if !Scalar::is_finite(sum_of_squares::<T, S>(rows, c.cast_const(), BLOCK)) {
                    return false;
                }
            }
        }
        true
    }
}

/// Rows of a right side solved at a time: they stay in the first-level cache.
pub(super) const ROWS: usize = 64;

/// Solves `Y T = X` in place of `x`, of `m` rows and `n` columns, by the factors of a triangle of order `n`.
/// `solved` holds [`ROWS`] rows of [`BLOCK`] elements.
#[derive(Clone, Copy)]
pub(super) struct SolveRight<T> {
    pub triangle: Triangle,
    pub n: usize,
    pub stride: usize,
    pub factors: *const T,
    pub m: usize,
    pub x: *mut T,
    pub x_stride: usize,
    pub solved: *mut T,
}

impl<T: Scalar> Kernel<T> for SolveRight<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) {
        let Self { triangle, n, stride, factors, m, x, x_stride, solved } = self;
        for i0 in (0..m).step_by(ROWS) {
            let rows = (m - i0).min(ROWS);
            for step in 0..stride / BLOCK {
                let (j, first, end) = match triangle {
                    Triangle::Upper => (step * BLOCK, 0, ((step + 1) * BLOCK).min(n)),
                    Triangle::Lower => (stride - (step + 1) * BLOCK, stride - (step + 1) * BLOCK, n),
                };
                let columns = (n - j).min(BLOCK);
                // A tile reads all of its rows before it writes them; two side by side would not.
                let one_tile = columns < S::LANES || columns.is_multiple_of(S::LANES);
                let in_place = one_tile && columns <= S::WIDTH * S::LANES;
                // SAFETY: the right side has these rows and columns, the factor these terms and columns.
                unsafe {
                    let right_side = x.add(i0 * x_stride);
                    let to = right_side.add(j);
                    let (c, c_stride) = if in_place { (to, x_stride) } else { (solved, BLOCK) };
                    S::vectorize(Gemm {
                        m: rows,
                        n: columns,
                        k: end - first,
                        alpha: T::ONE,
                        a: Strided { data: right_side.add(first), row_stride: x_stride, col_stride: 1 },
                        b: Strided {
                            data: factors.add(j * stride + first * BLOCK),
                            row_stride: BLOCK,
                            col_stride: 1,
                        },
                        added: None,
                        c,
                        c_stride,
                    });
                    if !in_place {
                        for i in 0..rows {
                            let from = solved.add(i * BLOCK);
                            std::ptr::copy_nonoverlapping(from, to.add(i * x_stride), columns);
                        }
                    }
                }
            }
        }
    }
}

/// The inverse of a block on the diagonal, row by row from the one that stands alone.
///
/// # Safety
/// `block` has [`BLOCK`] rows `stride` apart, `inverse` as many without gaps.
#[inline(always)]
unsafe fn invert<T: Scalar, S: Simd<T>>(triangle: Triangle, block: *const T, stride: usize, inverse: *mut T) {
    let row = |step: usize| match triangle {
        Triangle::Upper => BLOCK - 1 - step,
        Triangle::Lower => step,
    };
    // SAFETY: the caller's; rows are whole vectors.
    unsafe {
        inverse.write_bytes(0, BLOCK * BLOCK);
        for i in 0..BLOCK {
            *inverse.add(i * BLOCK + i) = T::ONE;
        }
        for step in 0..BLOCK {
            let (from, to) = (block.add(row(step) * stride), inverse.add(row(step) * BLOCK));
            let factor = S::splat(T::ONE / *from.add(row(step)));
            for j in (0..BLOCK).step_by(S::LANES) {
                let mut sum = S::load(to.add(j));
                // The row that was finished last comes last.
                for before in 0..step {
                    let value = S::splat(-*from.add(row(before)));
                    sum = S::mul_add(value, S::load(inverse.add(row(before) * BLOCK + j)), sum);
                }
                S::store(S::mul(factor, sum), to.add(j));
            }
        }
    }
}

/// The sum of the squares of rows of [`BLOCK`] elements.
///
/// # Safety
/// There are so many rows, `stride` apart.
#[inline(always)]
unsafe fn sum_of_squares<T: Scalar, S: Simd<T>>(rows: usize, x: *const T, stride: usize) -> T {
    // SAFETY: the caller's; rows are whole vectors.
    unsafe {
        let mut sums = S::splat(T::ZERO);
        for i in 0..rows {
            for j in (0..BLOCK).step_by(S::LANES) {
                let x = S::load(x.add(i * stride + j));
                sums = S::mul_add(x, x, sums);
            }
        }
        let mut lanes = [T::ZERO; BLOCK];
        S::store(sums, lanes.as_mut_ptr());
        let mut sum = T::ZERO;
        for x in lanes {
            sum += x;
        }
        sum
    }
}
