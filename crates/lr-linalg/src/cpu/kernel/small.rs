//! Factorizations and inverses of small matrices: panels in, padded copies in the thread's scratch, the
//! kernels, panels out.

use super::{
    Isa,
    cholesky::{BLOCK, Cholesky},
    gemm::{Gemm, Strided},
    general::InvertGeneral,
    simd::run_on,
    triangular::InvertUpper,
};
use crate::{
    Op, Panel, PanelMut, Scalar, Triangle,
    cpu::{
        Source,
        workspace::{array_of, carve, with_stack},
    },
};

/// Side of the blocks that are transposed at once: they fit vectors of 128 bits.
const TILE: usize = 4;

/// Writes the lower triangle of `a` transposed: `to[j][i] = a[i][j]` for `j <= i`. What is not
/// overwritten stays.
fn load_lower<T: Scalar>(a: Panel<'_, T>, to: &mut [T], stride: usize) {
    let n = a.rows();
    for i0 in (0..n).step_by(TILE) {
        let whole = if i0 + TILE <= n { i0 } else { 0 };
        for j in (0..whole).step_by(TILE) {
            let row = |i: usize| -> [T; TILE] { std::array::from_fn(|k| a.row(i0 + i)[j + k]) };
            let block = [row(0), row(1), row(2), row(3)];
            for k in 0..TILE {
                let column = [block[0][k], block[1][k], block[2][k], block[3][k]];
                to[(j + k) * stride + i0..][..TILE].copy_from_slice(&column);
            }
        }
        for i in i0..(i0 + TILE).min(n) {
            for (j, &x) in a.row(i)[..=i].iter().enumerate().skip(whole) {
                to[j * stride + i] = x;
            }
        }
    }
}

/// Writes the upper triangle of rows `stride` apart transposed into `a`, with zeros above its diagonal.
fn store_lower<T: Scalar>(from: &[T], stride: usize, mut a: PanelMut<'_, T>) {
    let n = a.rows();
    for i0 in (0..n).step_by(TILE) {
        let whole = if i0 + TILE <= n { i0 } else { 0 };
        for j in (0..whole).step_by(TILE) {
            let row = |k: usize| -> [T; TILE] { std::array::from_fn(|i| from[(j + k) * stride + i0 + i]) };
            let block = [row(0), row(1), row(2), row(3)];
            for i in 0..TILE {
                let line = [block[0][i], block[1][i], block[2][i], block[3][i]];
                a.row_mut(i0 + i)[j..j + TILE].copy_from_slice(&line);
            }
        }
        for i in i0..(i0 + TILE).min(n) {
            let row = a.row_mut(i);
            for (j, x) in row[..=i].iter_mut().enumerate().skip(whole) {
                *x = from[j * stride + i];
            }
            row[i + 1..].fill(T::ZERO);
        }
    }
}

/// Lower Cholesky factor of `a + shift I`, zeros above; reads the lower triangle.
///
/// # Errors
/// The 0-based index of a bad pivot; `a` is then as it was.
pub(in crate::cpu) fn cholesky<T: Scalar>(isa: Isa, shift: T, a: PanelMut<'_, T>) -> Result<(), usize> {
    let n = a.rows();
    let stride = n.next_multiple_of(BLOCK);
    with_stack(array_of::<T>(n * stride), |stack| {
        let (mut r, _) = carve::<T>(n * stride, stack);
        load_lower(a.as_panel(), &mut r, stride);
        (0..n).for_each(|i| r[i * stride + i] += shift);
        // SAFETY: `r` has `n` rows of `stride` elements, padded with zeros, and `isa` was detected.
        unsafe { run_on(isa, Cholesky { n, r: r.as_mut_ptr(), stride }) }?;
        store_lower(&r, stride, a);
        Ok(())
    })
}

/// A pivot is zero, or something is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct Singular;

/// Replaces `a` by its inverse.
///
/// # Errors
/// [`Singular`] if `a` is not finite, a pivot is zero or the inverse overflows; `a` is then as it was.
pub(in crate::cpu) fn invert<T: Scalar>(isa: Isa, mut a: PanelMut<'_, T>) -> Result<(), Singular> {
    let n = a.rows();
    let stride = n.next_multiple_of(BLOCK);
    let needed = array_of::<T>(n * stride).and(array_of::<T>(2 * BLOCK * stride)).and(array_of::<usize>(n));
    with_stack(needed, |stack| {
        let (mut x, stack) = carve::<T>(n * stride, stack);
        let (mut buffers, stack) = carve::<T>(2 * BLOCK * stride, stack);
        let (mut pivots, _) = carve::<usize>(n, stack);
        // A sum of what is multiplied by zero: not a number if something is not finite.
        let mut finite = T::ZERO;
        for (to, i) in x.chunks_exact_mut(stride).zip(0..n) {
            to[..n].copy_from_slice(a.row(i));
            to[..n].iter().for_each(|&x| finite += x * T::ZERO);
        }
        if !Scalar::is_finite(finite) {
            return Err(Singular);
        }
        let (columns, rows) = buffers.split_at_mut(BLOCK * stride);
        let kernel = InvertGeneral {
            n,
            a: x.as_mut_ptr(),
            stride,
            columns: columns.as_mut_ptr(),
            rows: rows.as_mut_ptr(),
            pivots: pivots.as_mut_ptr(),
        };
        // SAFETY: all have the lengths that the kernel asks for, and `isa` was detected.
        if !unsafe { run_on(isa, kernel) } {
            return Err(Singular);
        }
        let mut finite = T::ZERO;
        for from in x.chunks_exact_mut(stride) {
            for (k, &pivot) in pivots.iter().enumerate().rev().filter(|(k, p)| k != *p) {
                from.swap(k, pivot);
            }
            from[..n].iter().for_each(|&x| finite += x * T::ZERO);
        }
        if !Scalar::is_finite(finite) {
            return Err(Singular);
        }
        for (i, from) in x.chunks_exact(stride).enumerate() {
            a.row_mut(i).copy_from_slice(&from[..n]);
        }
        Ok(())
    })
}

/// Largest ratio between diagonal elements of a triangle that is worth inverting.
const LARGEST_RATIO: f64 = 64.0;

/// Largest condition number `|T| |T^-1|`, in the norm of row sums, of a triangle that is inverted: the
/// product with the inverse is off by so many roundings at most, where a solve adapts to its right side.
const LARGEST_CONDITION: f64 = 1024.0;

/// Columns of a solution computed together: fewer of the zeros in the inverse are multiplied.
const PANEL: usize = 32;

/// Rows of a right side copied at a time: with the copy of a panel of the inverse they stay in the
/// first-level cache.
const ROWS: usize = 24;

/// What became of [`solve_right`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) enum Solved {
    /// The right side holds the solution.
    Yes,
    /// The triangle may be ill-conditioned or is not finite; nothing was changed.
    No,
}

/// Solves `Y op(T) = X` in place of `x` by the inverse of a well-conditioned triangle.
pub(in crate::cpu) fn solve_right<T: Scalar>(
    isa: Isa,
    triangle: Triangle,
    t: Source<'_, T>,
    mut x: PanelMut<'_, T>,
) -> Solved {
    let (n, m, stored) = (x.cols(), x.rows(), t.panel);
    let stride = n.next_multiple_of(BLOCK);
    let diagonal = || (0..n).map(|i| stored.row(i)[i].to_f64().abs());
    let (smallest, largest) =
        diagonal().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), x| (low.min(x), high.max(x)));
    if !(largest <= LARGEST_RATIO * smallest && largest > 0.0 && largest < f64::INFINITY) {
        return Solved::No;
    }
    let needed = array_of::<T>(n * stride).and(array_of::<T>(n * stride)).and(array_of::<T>(ROWS * n));
    with_stack(needed, |stack| {
        let (mut r, stack) = carve::<T>(n * stride, stack);
        let (mut inverse, stack) = carve::<T>(n * stride, stack);
        let (mut block, _) = carve::<T>(ROWS * n, stack);
        // The upper triangle of T or T^T.
        match triangle {
            Triangle::Lower => load_lower(stored, &mut r, stride),
            Triangle::Upper => (0..n).for_each(|i| {
                r[i * stride + i..][..n - i].copy_from_slice(&stored.row(i)[i..]);
            }),
        }
        let kernel = InvertUpper { n, r: r.as_ptr(), x: inverse.as_mut_ptr(), stride };
        // SAFETY: both have `n` rows of `stride` elements and padding, and `isa` was detected.
        unsafe { run_on(isa, kernel) }
        let norm = |x: &[T]| {
            let rows =
                x.chunks_exact(stride).map(|row| row.iter().fold(T::ZERO, |sum, &x| sum + Scalar::abs(x)));
            // `f64::max` prefers a number to NaN.
            rows.fold(0.0, |largest: f64, sum| if sum.to_f64() <= largest { largest } else { sum.to_f64() })
        };
        let condition = norm(&r) * norm(&inverse);
        if !(condition <= LARGEST_CONDITION) {
            return Solved::No;
        }
        let upper = (triangle == Triangle::Upper) == (t.op == Op::None);
        if !upper {
            // `r` held T^T; its inverse is turned back.
            r.fill(T::ZERO);
            let turned = PanelMut::from_slice(&mut r, n, stride).split_cols(n).0;
            store_lower(&inverse, stride, turned);
        }
        let inverse = if upper { &*inverse } else { &*r };
        for i0 in (0..m).step_by(ROWS) {
            let rows = (m - i0).min(ROWS);
            for (i, to) in block.chunks_exact_mut(n).take(rows).enumerate() {
                to.copy_from_slice(x.row(i0 + i));
            }
            for j in (0..n).step_by(PANEL) {
                let columns = (n - j).min(PANEL);
                let terms = if upper { 0..j + columns } else { j..n };
                let kernel = Gemm {
                    m: rows,
                    n: columns,
                    k: terms.len(),
                    alpha: T::ONE,
                    a: Strided { data: block[terms.start..].as_ptr(), row_stride: n, col_stride: 1 },
                    b: Strided {
                        data: inverse[terms.start * stride + j..].as_ptr(),
                        row_stride: stride,
                        col_stride: 1,
                    },
                    added: None,
                    c: x.row_mut(i0)[j..].as_mut_ptr(),
                    c_stride: x.row_stride(),
                };
                // SAFETY: the block has `rows` rows, the inverse these terms and columns, `x` is
                // exclusive, and `isa` was detected.
                unsafe { run_on(isa, kernel) }
            }
        }
        Solved::Yes
    })
}
