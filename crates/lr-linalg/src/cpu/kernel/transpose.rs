//! Transposition by blocks of four by four, which fit vectors of 128 bits.

use crate::Scalar;

/// Side of a block.
pub(super) const BLOCK: usize = 4;

/// Writes the transpose of `rows x cols` elements at `from` to `to`.
///
/// # Safety
/// Both are valid for the shape and do not overlap.
#[inline(always)]
pub(in crate::cpu) unsafe fn transpose<T: Scalar>(
    rows: usize,
    cols: usize,
    from: *const T,
    from_stride: usize,
    to: *mut T,
    to_stride: usize,
) {
    let (whole_rows, whole_cols) = (rows / BLOCK * BLOCK, cols / BLOCK * BLOCK);
    // SAFETY: blocks and single elements lie within the shape.
    unsafe {
        let single = |i: usize, j: usize| *to.add(j * to_stride + i) = *from.add(i * from_stride + j);
        for i in (0..whole_rows).step_by(BLOCK) {
            for j in (0..whole_cols).step_by(BLOCK) {
                block(from.add(i * from_stride + j), from_stride, to.add(j * to_stride + i), to_stride);
            }
            (whole_cols..cols).for_each(|j| (i..i + BLOCK).for_each(|i| single(i, j)));
        }
        (whole_rows..rows).for_each(|i| (0..cols).for_each(|j| single(i, j)));
    }
}

/// Transposes one block.
///
/// # Safety
/// As [`transpose`].
#[inline(always)]
pub(super) unsafe fn block<T: Scalar>(from: *const T, from_stride: usize, to: *mut T, to_stride: usize) {
    // SAFETY: the caller's; the casts are from `f32` and `f64` to themselves.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if size_of::<T>() == 4 {
            x86::block32(from.cast(), from_stride, to.cast(), to_stride);
        } else {
            x86::block64(from.cast(), from_stride, to.cast(), to_stride);
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let row = |i| from.add(i * from_stride).cast::<[T; BLOCK]>().read_unaligned();
            let rows = [row(0), row(1), row(2), row(3)];
            for j in 0..BLOCK {
                let column = [rows[0][j], rows[1][j], rows[2][j], rows[3][j]];
                to.add(j * to_stride).cast::<[T; BLOCK]>().write_unaligned(column);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Four rows and columns, by vectors that every processor of this kind has.
    #[inline(always)]
    pub unsafe fn block32(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller's.
        unsafe {
            let row = |i| _mm_loadu_ps(from.add(i * from_stride));
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (low0, low1) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
            let (high0, high1) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
            _mm_storeu_ps(to, _mm_movelh_ps(low0, low1));
            _mm_storeu_ps(to.add(to_stride), _mm_movehl_ps(low1, low0));
            _mm_storeu_ps(to.add(2 * to_stride), _mm_movelh_ps(high0, high1));
            _mm_storeu_ps(to.add(3 * to_stride), _mm_movehl_ps(high1, high0));
        }
    }

    /// The same in four blocks of two rows and columns.
    #[inline(always)]
    pub unsafe fn block64(from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize) {
        for (i, j) in [(0, 0), (0, 2), (2, 0), (2, 2)] {
            // SAFETY: the caller's.
            unsafe {
                let row = |k: usize| _mm_loadu_pd(from.add((i + k) * from_stride + j));
                let (a, b) = (row(0), row(1));
                _mm_storeu_pd(to.add(j * to_stride + i), _mm_unpacklo_pd(a, b));
                _mm_storeu_pd(to.add((j + 1) * to_stride + i), _mm_unpackhi_pd(a, b));
            }
        }
    }
}
