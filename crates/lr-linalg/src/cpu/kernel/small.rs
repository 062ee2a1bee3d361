//! Factorizations and inverses of small matrices: panels in, padded copies in the thread's scratch, the
//! kernels, panels out.

use super::{
    Isa,
    cholesky::{BLOCK, Cholesky},
    gemm::{Gemm, Strided},
    general::{InvertGeneral, Window},
    simd::{Kernel, Simd, run_on},
    transpose::transpose,
    triangular::InvertUpper,
};
use crate::{
    Op, Panel, PanelMut, Scalar, Triangle,
    cpu::{
        Source, elementwise,
        workspace::{array_of, carve, with_stack},
    },
};

/// Writes the lower triangle of `a` transposed, to rows `stride` apart. Blocks on the diagonal are written
/// whole.
struct LoadLower<'a, T> {
    a: Panel<'a, T>,
    to: *mut T,
    stride: usize,
}

impl<T: Scalar> Kernel<T> for LoadLower<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) {
        let (n, from, from_stride) = (self.a.rows(), self.a.as_ptr(), self.a.row_stride());
        for i in (0..n).step_by(BLOCK) {
            let rows = (n - i).min(BLOCK);
            // SAFETY: rows and columns below `n`; the caller vouches for `to`.
            unsafe {
                transpose(rows, i, from.add(i * from_stride), from_stride, self.to.add(i), self.stride);
                for row in i..i + rows {
                    for column in i..=row {
                        *self.to.add(column * self.stride + row) = *from.add(row * from_stride + column);
                    }
                }
            }
        }
    }
}

/// Writes the upper triangle at `from`, rows `stride` apart, transposed into `a`, zeros above its diagonal.
struct StoreLower<'a, T> {
    from: *const T,
    stride: usize,
    a: PanelMut<'a, T>,
}

impl<T: Scalar> Kernel<T> for StoreLower<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(mut self) {
        let (n, to_stride) = (self.a.rows(), self.a.row_stride());
        for i in (0..n).step_by(BLOCK) {
            let rows = (n - i).min(BLOCK);
            let to = self.a.as_mut_ptr();
            // SAFETY: rows and columns below `n`; the caller vouches for `from`.
            unsafe {
                transpose(i, rows, self.from.add(i), self.stride, to.add(i * to_stride), to_stride);
                for row in i..i + rows {
                    for column in i..=row {
                        *to.add(row * to_stride + column) = *self.from.add(column * self.stride + row);
                    }
                }
            }
            (i..i + rows).for_each(|row| self.a.row_mut(row)[row + 1..].fill(T::ZERO));
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
        // SAFETY: `r` has `n` rows of `stride` elements, and `isa` was detected.
        unsafe { run_on(isa, LoadLower { a: a.as_panel(), to: r.as_mut_ptr(), stride }) }
        (0..n).for_each(|i| r[i * stride + i] += shift);
        // SAFETY: `r` has `n` rows of `stride` elements, padded with zeros, and `isa` was detected.
        unsafe { run_on(isa, Cholesky { n, r: r.as_mut_ptr(), stride }) }?;
        // SAFETY: as above.
        unsafe { run_on(isa, StoreLower { from: r.as_ptr(), stride, a }) }
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
    // An infinite pivot would leave a finite result.
    if !elementwise::all_within(f64::MAX, a.as_panel()) {
        return Err(Singular);
    }
    let n = a.rows();
    let stride = n.next_multiple_of(BLOCK);
    let needed = array_of::<T>(stride * stride)
        .and(array_of::<T>(n * BLOCK))
        .and(array_of::<T>(stride))
        .and(array_of::<T>(stride))
        .and(array_of::<T>(Window::<T>::len(stride)))
        .and(array_of::<usize>(stride));
    with_stack(needed, |stack| {
        let (mut x, stack) = carve::<T>(stride * stride, stack);
        let (mut coefficients, stack) = carve::<T>(n * BLOCK, stack);
        let (mut free, stack) = carve::<T>(stride, stack);
        let (mut keep, stack) = carve::<T>(stride, stack);
        let (mut window, stack) = carve::<T>(Window::<T>::len(stride), stack);
        let (mut order, _) = carve::<usize>(stride, stack);
        (0..stride).for_each(|k| order[k] = k);
        elementwise::copy(
            a.as_panel(),
            PanelMut::from_slice(&mut x, stride, stride).split_rows(n).0.split_cols(n).0,
        );
        let kernel = InvertGeneral {
            n,
            a: x.as_mut_ptr(),
            stride,
            coefficients: coefficients.as_mut_ptr(),
            free: free.as_mut_ptr(),
            keep: keep.as_mut_ptr(),
            window: Window::new(&mut window),
            order: order.as_mut_ptr(),
        };
        // SAFETY: all have the lengths that the kernel asks for, and `isa` was detected.
        if !unsafe { run_on(isa, kernel) } {
            return Err(Singular);
        }
        if !elementwise::all_within(f64::MAX, Panel::from_slice(&x, stride, stride)) {
            return Err(Singular);
        }
        for (from, &row) in x.chunks_exact(stride).zip(&*order).take(n) {
            a.row_mut(row).copy_from_slice(&from[..n]);
        }
        Ok(())
    })
}

/// Largest ratio between diagonal elements of a triangle that is worth inverting.
const LARGEST_RATIO: f64 = 64.0;

/// Largest condition number `|T| |T^-1|`, in the norm of column sums, of a triangle that is inverted: the
/// product with the inverse is off by so many roundings at most, where a solve adapts to its right side.
const LARGEST_CONDITION: f64 = 1024.0;

/// Columns of a solution computed together: fewer of the zeros in the inverse are multiplied.
const PANEL: usize = 32;

/// Rows of a right side copied at a time: with the copy of a panel of the inverse they stay in the
/// first-level cache.
const ROWS: usize = 24;

/// Largest sum of sizes in a column of rows `stride` apart; NaN wins.
fn largest_column<T: Scalar>(x: &[T], stride: usize, sums: &mut [T]) -> f64 {
    sums.fill(T::ZERO);
    for row in x.chunks_exact(stride) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += Scalar::abs(x));
    }
    let larger = |largest: f64, sum: f64| if sum <= largest { largest } else { sum };
    sums.iter().map(|x| x.to_f64()).fold(0.0, larger)
}

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
    let needed = array_of::<T>(n * stride)
        .and(array_of::<T>(n * stride))
        .and(array_of::<T>(ROWS * n))
        .and(array_of::<T>(stride));
    with_stack(needed, |stack| {
        let (mut r, stack) = carve::<T>(n * stride, stack);
        let (mut inverse, stack) = carve::<T>(n * stride, stack);
        let (mut block, stack) = carve::<T>(ROWS * n, stack);
        let (mut sums, _) = carve::<T>(stride, stack);
        // The upper triangle of T or T^T.
        match triangle {
            // SAFETY: `r` has `n` rows of `stride` elements, and `isa` was detected.
            Triangle::Lower => unsafe {
                run_on(isa, LoadLower { a: stored, to: r.as_mut_ptr(), stride });
            },
            Triangle::Upper => (0..n).for_each(|i| {
                r[i * stride + i..][..n - i].copy_from_slice(&stored.row(i)[i..]);
            }),
        }
        let kernel = InvertUpper { n, r: r.as_ptr(), x: inverse.as_mut_ptr(), stride };
        // SAFETY: both have `n` rows of `stride` elements and padding, and `isa` was detected.
        unsafe { run_on(isa, kernel) }
        let condition = largest_column(&r, stride, &mut sums) * largest_column(&inverse, stride, &mut sums);
        let well_conditioned = condition <= LARGEST_CONDITION;
        if !well_conditioned {
            return Solved::No;
        }
        let upper = (triangle == Triangle::Upper) == (t.op == Op::None);
        if !upper {
            // `r` held T^T; its inverse is turned back.
            r.fill(T::ZERO);
            let turned = PanelMut::from_slice(&mut r, n, stride).split_cols(n).0;
            // SAFETY: `inverse` has `n` rows of `stride` elements, and `isa` was detected.
            unsafe { run_on(isa, StoreLower { from: inverse.as_ptr(), stride, a: turned }) }
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
