//! The inverse of a general square matrix, in place: Gauss-Jordan elimination with partial pivoting
//! (Golub and Van Loan 2013, section 3.4), shared by both engines.

use super::{
    elementwise as kernel,
    workspace::{array_of, carve, with_stack},
};
use crate::{PanelMut, Scalar};
use pulp::Arch;

/// A pivot is zero, or something is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Singular;

/// Replaces `a` by its inverse.
///
/// # Errors
/// [`Singular`] if `a` is not finite, a pivot is zero or the inverse overflows; `a` is then unspecified.
pub(super) fn invert<T: Scalar>(mut a: PanelMut<'_, T>) -> Result<(), Singular> {
    let n = a.rows();
    // An infinite pivot would leave a finite result.
    if !kernel::all_within(f64::MAX, a.as_panel()) {
        return Err(Singular);
    }
    with_stack(array_of::<T>(n).and(array_of::<usize>(n)), |stack| {
        let (mut pivot_row, stack) = carve::<T>(n, stack);
        let (mut pivots, _) = carve::<usize>(n, stack);
        Arch::new().dispatch(|| eliminate(a.reborrow(), &mut pivot_row, &mut pivots))?;
        for i in 0..n {
            let row = a.row_mut(i);
            for (k, &pivot) in pivots.iter().enumerate().rev() {
                row.swap(k, pivot);
            }
        }
        kernel::all_within(f64::MAX, a.as_panel()).then_some(()).ok_or(Singular)
    })
}

/// The elimination; row exchanges remain to be undone on the columns, last first.
#[inline(always)]
fn eliminate<T: Scalar>(
    mut a: PanelMut<'_, T>,
    pivot_row: &mut [T],
    pivots: &mut [usize],
) -> Result<(), Singular> {
    let n = a.rows();
    for k in 0..n {
        let (mut largest, mut pivot) = (T::ZERO, k);
        for i in k..n {
            let size = Scalar::abs(a.row(i)[k]);
            if size > largest {
                (largest, pivot) = (size, i);
            }
        }
        if largest == T::ZERO {
            return Err(Singular);
        }
        pivots[k] = pivot;
        pivot_row.copy_from_slice(a.row(pivot));
        if pivot != k {
            let (above, mut below) = a.reborrow().split_rows(pivot);
            below.row_mut(0).copy_from_slice(above.as_panel().row(k));
        }
        let value = pivot_row[k];
        pivot_row[k] = T::ONE;
        pivot_row.iter_mut().for_each(|x| *x = *x / value);
        for i in 0..n {
            let row = a.row_mut(i);
            let factor = row[k];
            row[k] = T::ZERO;
            row.iter_mut().zip(&*pivot_row).for_each(|(x, &p)| *x -= factor * p);
        }
        a.row_mut(k).copy_from_slice(pivot_row);
    }
    Ok(())
}
