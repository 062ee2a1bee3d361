//! Copies between views and plain slices, for every backend whose memory is the host's.

use crate::{Backend, HostBuffer, MatsMut, MatsRef, Scalar};

/// Copies row-major `source` into `target`.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub(crate) fn upload<T: Scalar, B>(source: &[T], mut target: MatsMut<'_, B>)
where
    B: Backend<Elem = T, Buffer = HostBuffer<T>>,
{
    let d = target.dims();
    assert!(source.len() == d.len(), "upload: {} values for {} elements", source.len(), d.len());
    if d.is_empty() {
        return;
    }
    for (p, matrix) in source.chunks_exact(d.rows * d.cols).enumerate() {
        let mut panel = target.panel_mut(p);
        for (i, row) in matrix.chunks_exact(d.cols).enumerate() {
            panel.row_mut(i).copy_from_slice(row);
        }
    }
}

/// The elements of `source`, row-major.
pub(crate) fn download<T: Scalar, B>(source: MatsRef<'_, B>) -> Vec<T>
where
    B: Backend<Elem = T, Buffer = HostBuffer<T>>,
{
    let d = source.dims();
    let mut values = Vec::with_capacity(d.len());
    for p in 0..d.batch {
        let panel = source.panel(p);
        (0..d.rows).for_each(|i| values.extend_from_slice(panel.row(i)));
    }
    values
}

/// The largest of the first elements of all matrices; NaN when one is NaN.
pub(crate) fn largest<T: Scalar, B>(source: MatsRef<'_, B>) -> f64
where
    B: Backend<Elem = T, Buffer = HostBuffer<T>>,
{
    let values = (0..source.dims().batch).map(|p| source.panel(p).row(0)[0].to_f64());
    // Neither smaller nor equal: larger, or not a number.
    values.fold(f64::NEG_INFINITY, |a, x| if x <= a || a.is_nan() { a } else { x })
}
