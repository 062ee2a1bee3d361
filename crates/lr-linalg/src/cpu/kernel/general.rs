//! The inverse of a general matrix: Gauss-Jordan elimination with partial pivoting (Golub and Van Loan
//! 2013, section 3.4) in place, on the transpose: the pivot is the largest element in the rest of a row and
//! columns are exchanged, so that searches and updates run along vectors. Once the rows `t` of a block are
//! eliminated, every other row `x` becomes `x + x_block t`, the block's columns of `x` taken as zero.
//!
//! Within a block columns stay where they are and single elements are set by vectors from a [`Window`]: a
//! vector that is read just after one of its elements was written has to wait.

use super::{
    cholesky::BLOCK,
    gemm::{Added, Gemm, Strided},
    simd::{Kernel, Simd},
};
use crate::Scalar;
use std::ops::Range;

/// Rows of a block that are eliminated one by one before the others follow.
const STEP: usize = 4;

/// Replaces `a` by the inverse of `a` with its columns in another order. Rows are `stride` apart, a multiple of
/// [`BLOCK`], and padded with zeros, as the matrix is with rows of zeros; `coefficients` holds [`BLOCK`] elements for every row, `free` and
/// `keep` a row.
/// `order`, as long as a row and given as `0, 1, ..`, becomes the columns in their new order.
#[derive(Clone, Copy)]
pub(super) struct InvertGeneral<T> {
    pub n: usize,
    pub a: *mut T,
    pub stride: usize,
    pub coefficients: *mut T,
    pub free: *mut T,
    pub keep: *mut T,
    pub window: Window<T>,
    pub order: *mut usize,
}

/// Rows of zeros with a one somewhere, and the other way round, read from one row of either with the odd element
/// in the middle.
#[derive(Clone, Copy)]
pub(super) struct Window<T> {
    one: *const T,
    zero: *const T,
    middle: usize,
}

impl<T: Scalar> Window<T> {
    /// Elements of memory for rows of `stride`.
    pub fn len(stride: usize) -> usize {
        4 * stride
    }

    /// In memory of that length.
    pub fn new(memory: &mut [T]) -> Self {
        let middle = memory.len() / 4;
        let (one, zero) = memory.split_at_mut(2 * middle);
        one.fill(T::ZERO);
        zero.fill(T::ONE);
        (one[middle], zero[middle]) = (T::ONE, T::ZERO);
        Self { one: one.as_ptr(), zero: zero.as_ptr(), middle }
    }

    /// Elements `j..` of the rows whose odd element is at `place`.
    ///
    /// # Safety
    /// A vector from `j` on and `place` lie within a row.
    #[inline(always)]
    unsafe fn at<S: Simd<T>>(&self, place: usize, j: usize) -> (S::Vector, S::Vector) {
        let offset = self.middle - place + j;
        // SAFETY: the memory has a row on both sides of its middle.
        unsafe { (S::load(self.one.add(offset)), S::load(self.zero.add(offset))) }
    }
}

/// The columns of a block of rows that have pivots, and how the others make room for them.
struct Exchange {
    /// The column of each pivot.
    pivots: [usize; BLOCK],
    /// Where a column of the block without a pivot goes, and which.
    moves: [(usize, usize); BLOCK],
    /// How many go.
    count: usize,
}

impl<T: Scalar> Kernel<T> for InvertGeneral<T> {
    /// Whether every pivot was a number other than zero.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) -> bool {
        let Self { n, a, stride, coefficients, order, .. } = self;
        for k0 in (0..n).step_by(BLOCK) {
            let k1 = (k0 + BLOCK).min(n);
            // SAFETY: rows and columns lie below `n`, of which the ranges are parts.
            unsafe {
                let Some(exchange) = self.eliminate::<S>(k0..k1) else { return false };
                for i in 0..n {
                    self.take_coefficients(&exchange, k0, i);
                }
                for i in k0..k1 {
                    std::ptr::copy_nonoverlapping(coefficients.add(i * BLOCK), a.add(i * stride + k0), BLOCK);
                }
                self.follow::<S>(k0..k1, 0..k0);
                self.follow::<S>(k0..k1, k1..n);
                let chosen = exchange.pivots.map(|pivot| *order.add(pivot));
                for &(to, from) in &exchange.moves[..exchange.count] {
                    *order.add(to) = *order.add(from);
                }
                std::ptr::copy_nonoverlapping(chosen.as_ptr(), order.add(k0), k1 - k0);
            }
        }
        true
    }
}

impl<T: Scalar> InvertGeneral<T> {
    /// Eliminates the rows of a block, the columns in their old order.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn eliminate<S: Simd<T>>(&self, block: Range<usize>) -> Option<Exchange> {
        let Self { stride, free, .. } = *self;
        // Columns beyond the last are their own pivots.
        let mut pivots = std::array::from_fn(|t| block.start + t);
        // SAFETY: rows have `stride` elements, of which the last are zero.
        unsafe {
            for j in (block.start..stride).step_by(S::LANES) {
                S::store(S::splat(T::ONE), free.add(j));
            }
            for s0 in block.clone().step_by(STEP) {
                let step = s0..(s0 + STEP).min(block.end);
                for k in step.clone() {
                    pivots[k - block.start] = self.eliminate_one::<S>(block.start, step.clone(), k)?;
                }
                let pivots = std::array::from_fn(|t| pivots[s0 - block.start + t]);
                // The next rows first, whose pivots are waited for.
                for i in (step.end..block.end).chain(block.start..s0) {
                    self.follow_step::<S>(step.start, &pivots, i);
                }
            }
        }
        let mut exchange = Exchange { pivots, moves: [(0, 0); BLOCK], count: 0 };
        let inside = block.start..block.start + BLOCK;
        let mut left = inside.clone().filter(|column| !pivots.contains(column));
        for pivot in pivots.into_iter().filter(|pivot| !inside.contains(pivot)) {
            exchange.moves[exchange.count] = (pivot, left.next()?);
            exchange.count += 1;
        }
        Some(exchange)
    }

    /// Finds the pivot of row `k` and eliminates the row from those of its step.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn eliminate_one<S: Simd<T>>(&self, start: usize, step: Range<usize>, k: usize) -> Option<usize> {
        let Self { a, stride, free, keep, window, .. } = *self;
        // SAFETY: rows have `stride` elements, of which the last are zero.
        unsafe {
            let own = a.add(k * stride);
            let pivot = self.find_pivot::<S>(start, own)?;
            let inverse = T::ONE / *own.add(pivot);
            let (plus, minus) = (S::splat(inverse), S::splat(-inverse));
            for j in (0..stride).step_by(S::LANES) {
                let (one, zero) = window.at::<S>(pivot, j);
                let others = S::mul(zero, S::mul(minus, S::load(own.add(j))));
                S::store(S::mul_add(plus, one, others), own.add(j));
                S::store(S::mul(zero, S::load(free.add(j))), free.add(j));
                let kept = if k == step.start { zero } else { S::mul(zero, S::load(keep.add(j))) };
                S::store(kept, keep.add(j));
            }
            for i in (k + 1..step.end).chain(step.start..k) {
                let row = a.add(i * stride);
                let value = S::splat(*row.add(pivot));
                for j in (0..stride).step_by(S::LANES) {
                    let (_, zero) = window.at::<S>(pivot, j);
                    let x = S::mul(zero, S::load(row.add(j)));
                    S::store(S::mul_add(value, S::load(own.add(j)), x), row.add(j));
                }
            }
            Some(pivot)
        }
    }

    /// Row `i` after the elimination of the rows from `start` on, which have these pivots. Rows of zeros do nothing.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn follow_step<S: Simd<T>>(&self, start: usize, pivots: &[usize; STEP], i: usize) {
        let Self { a, stride, keep, .. } = *self;
        // SAFETY: rows have `stride` elements, and pivots lie below.
        unsafe {
            let row = a.add(i * stride);
            let mut values = [S::splat(T::ZERO); STEP];
            for (value, &pivot) in values.iter_mut().zip(pivots) {
                *value = S::splat(*row.add(pivot));
            }
            for j in (0..stride).step_by(S::LANES) {
                let mut sum = S::mul(S::load(keep.add(j)), S::load(row.add(j)));
                for (t, &value) in values.iter().enumerate() {
                    sum = S::mul_add(value, S::load(a.add((start + t) * stride + j)), sum);
                }
                S::store(sum, row.add(j));
            }
        }
    }

    /// The place of the element of a row, from `start` on, that is largest in size among those with a one in
    /// `free`, where the others have zeros; nothing if all are zero.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn find_pivot<S: Simd<T>>(&self, start: usize, row: *const T) -> Option<usize> {
        let columns = || (start..self.stride).step_by(S::LANES);
        // SAFETY: whole vectors fit in the row.
        unsafe {
            let candidates = |j: usize| S::mul(S::load(self.free.add(j)), S::load(row.add(j)));
            let mut largest = S::splat(T::ZERO);
            for j in columns() {
                largest = S::max_abs(candidates(j), largest);
            }
            let largest = S::largest(largest);
            if largest == T::ZERO {
                return None;
            }
            let mut place = 0;
            for j in columns().rev() {
                let found = S::where_abs(candidates(j), S::splat(largest));
                place = if found == 0 { place } else { j + found.trailing_zeros() as usize };
            }
            Some(place)
        }
    }

    /// Moves the elements of row `i` in pivot columns to its coefficients, and others to where they were.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn take_coefficients(&self, exchange: &Exchange, start: usize, i: usize) {
        // SAFETY: all columns lie below the stride, and there are [`BLOCK`] coefficients.
        unsafe {
            let (row, to) = (self.a.add(i * self.stride), self.coefficients.add(i * BLOCK));
            for (t, &pivot) in exchange.pivots.iter().enumerate() {
                *to.add(t) = *row.add(pivot);
            }
            for &(to, from) in &exchange.moves[..exchange.count] {
                *row.add(to) = *row.add(from);
            }
            row.add(start).write_bytes(0, BLOCK);
        }
    }

    /// Rows `rows` after the elimination of a block of others.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn follow<S: Simd<T>>(&self, block: Range<usize>, rows: Range<usize>) {
        let Self { a, stride, coefficients, .. } = *self;
        if rows.is_empty() {
            return;
        }
        // SAFETY: rows have `stride` elements and [`BLOCK`] coefficients.
        unsafe {
            let c = a.add(rows.start * stride);
            S::vectorize(Gemm {
                m: rows.len(),
                n: stride,
                k: block.len(),
                alpha: T::ONE,
                a: Strided { data: coefficients.add(rows.start * BLOCK), row_stride: BLOCK, col_stride: 1 },
                b: Strided { data: a.add(block.start * stride), row_stride: stride, col_stride: 1 },
                added: Some(Added { beta: T::ONE, data: c, row_stride: stride }),
                c,
                c_stride: stride,
            });
        }
    }
}
