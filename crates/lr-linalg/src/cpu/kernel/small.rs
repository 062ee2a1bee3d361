//! Factorizations and inverses of small matrices: panels in, padded copies in the thread's scratch, the
//! kernels, panels out.

use super::{
    Isa,
    cholesky::{BLOCK, Cholesky},
    general::{InvertGeneral, Window},
    simd::{Kernel, Simd, run_on},
    transpose::{BLOCK as TILE, transpose},
    triangular::{ROWS, SolutionFactors, SolveRight},
};
use crate::{
    Op, Panel, PanelMut, Scalar, Triangle,
    cpu::{
        Source, elementwise,
        workspace::{array_of, carve, with_stack},
    },
};

/// Writes the lower triangle of `a` transposed, to rows `stride` apart; nothing below the diagonal.
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
        for i in (0..n).step_by(TILE) {
            let rows = (n - i).min(TILE);
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
        for i in (0..n).step_by(TILE) {
            let rows = (n - i).min(TILE);
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

/// What became of [`solve_right`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) enum Solved {
    /// The right side holds the solution.
    Yes,
    /// The triangle may be ill-conditioned or is not finite; nothing was changed.
    No,
}

/// Solves `Y op(T) = X` in place of `x` by the inverses of well-conditioned blocks on the diagonal of a triangle.
pub(in crate::cpu) fn solve_right<T: Scalar>(
    isa: Isa,
    triangle: Triangle,
    t: Source<'_, T>,
    mut x: PanelMut<'_, T>,
) -> Solved {
    let (n, stored) = (x.cols(), t.panel);
    let stride = n.next_multiple_of(BLOCK);
    let needed =
        array_of::<T>(stride * stride).and(array_of::<T>(stride * stride)).and(array_of::<T>(ROWS * BLOCK));
    with_stack(needed, |stack| {
        let (mut read, stack) = carve::<T>(stride * stride, stack);
        let (mut factors, stack) = carve::<T>(stride * stride, stack);
        let (mut solved, _) = carve::<T>(ROWS * BLOCK, stack);
        (n..stride).for_each(|i| read[i * stride + i] = T::ONE);
        let read_as = match (triangle, t.op) {
            (Triangle::Lower, Op::None) => {
                (0..n).for_each(|i| read[i * stride..][..=i].copy_from_slice(&stored.row(i)[..=i]));
                Triangle::Lower
            }
            (Triangle::Lower, Op::Transpose) => {
                // SAFETY: there are `n` rows of `stride` elements, and `isa` was detected.
                unsafe { run_on(isa, LoadLower { a: stored, to: read.as_mut_ptr(), stride }) }
                Triangle::Upper
            }
            (Triangle::Upper, Op::None) => {
                (0..n).for_each(|i| read[i * stride + i..][..n - i].copy_from_slice(&stored.row(i)[i..]));
                Triangle::Upper
            }
            (Triangle::Upper, Op::Transpose) => {
                let a = PanelMut::from_slice(&mut read[..n * stride], n, stride).split_cols(n).0;
                // SAFETY: the panel is valid for its shape, and `isa` was detected.
                unsafe {
                    run_on(isa, StoreLower { from: stored.as_ptr(), stride: stored.row_stride(), a });
                }
                Triangle::Lower
            }
        };
        let kernel =
            SolutionFactors { triangle: read_as, stride, t: read.as_ptr(), factors: factors.as_mut_ptr() };
        // SAFETY: both have `stride` rows of `stride` elements, and `isa` was detected.
        if !unsafe { run_on(isa, kernel) } {
            return Solved::No;
        }
        let kernel = SolveRight {
            triangle: read_as,
            n,
            stride,
            factors: factors.as_ptr(),
            m: x.rows(),
            x_stride: x.row_stride(),
            x: x.as_mut_ptr(),
            solved: solved.as_mut_ptr(),
        };
        // SAFETY: the factors were written, `x` is exclusive, and `isa` was detected.
        unsafe { run_on(isa, kernel) }
        Solved::Yes
    })
}
