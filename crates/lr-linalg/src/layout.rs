//! Shapes and strides: [`Dims`] of a batch of matrices, [`Layout`] of a view on one.

use std::ops::Range;

/// Shape of a batch: `batch` row-major matrices of `rows x cols`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Number of matrices.
    pub batch: usize,
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub cols: usize,
}

impl Dims {
    /// `batch` matrices of `rows x cols`.
    pub const fn new(batch: usize, rows: usize, cols: usize) -> Self {
        Self { batch, rows, cols }
    }

    /// `batch` square matrices of order `n`.
    pub const fn square(batch: usize, n: usize) -> Self {
        Self::new(batch, n, n)
    }

    /// One scalar for each of `batch` problems.
    pub const fn scalars(batch: usize) -> Self {
        Self::new(batch, 1, 1)
    }

    /// Number of elements.
    pub const fn len(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    /// Whether there is no element.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of the transposed matrices.
    pub const fn transposed(&self) -> Self {
        Self::new(self.batch, self.cols, self.rows)
    }
}

/// Where the elements of a view lie in its buffer. Columns are always contiguous (row-major).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Index of element `(0, 0, 0)`.
    pub offset: usize,
    /// Shape of the view.
    pub dims: Dims,
    /// Elements from one matrix to the next.
    pub batch_stride: usize,
    /// Elements from one row to the next, at least `dims.cols`.
    pub row_stride: usize,
}

impl Layout {
    /// Contiguous elements from `offset`.
    pub const fn packed(offset: usize, dims: Dims) -> Self {
        Self { offset, dims, batch_stride: dims.rows * dims.cols, row_stride: dims.cols }
    }

    /// Whether the view has no gaps.
    pub const fn is_packed(&self) -> bool {
        let d = self.dims;
        (d.rows <= 1 || self.row_stride == d.cols) && (d.batch <= 1 || self.batch_stride == d.rows * d.cols)
    }

    /// Buffer index of element `(i, j)` of matrix `p`.
    #[inline(always)]
    pub const fn index(&self, p: usize, i: usize, j: usize) -> usize {
        self.offset + p * self.batch_stride + i * self.row_stride + j
    }

    /// The sub-matrices `rows x cols` of every matrix.
    ///
    /// # Panics
    /// If a range leaves the matrix.
    #[track_caller]
    pub fn block(&self, rows: Range<usize>, cols: Range<usize>) -> Self {
        let d = self.dims;
        assert!(
            rows.start <= rows.end && rows.end <= d.rows && cols.start <= cols.end && cols.end <= d.cols,
            "block {rows:?} x {cols:?} leaves a {} x {} matrix",
            d.rows,
            d.cols
        );
        Self {
            offset: self.offset + rows.start * self.row_stride + cols.start,
            dims: Dims::new(d.batch, rows.len(), cols.len()),
            ..*self
        }
    }

    /// The matrices `problems` of the batch.
    ///
    /// # Panics
    /// If the range leaves the batch.
    #[track_caller]
    pub fn problems(&self, problems: Range<usize>) -> Self {
        assert!(
            problems.start <= problems.end && problems.end <= self.dims.batch,
            "problems {problems:?} leave a batch of {}",
            self.dims.batch
        );
        Self {
            offset: self.offset + problems.start * self.batch_stride,
            dims: Dims { batch: problems.len(), ..self.dims },
            ..*self
        }
    }

    /// The same elements under another shape; needs a packed view of equal length.
    ///
    /// # Panics
    /// If the view has gaps or the lengths differ.
    #[track_caller]
    pub fn reshape(&self, dims: Dims) -> Self {
        assert!(
            self.is_packed() && self.dims.len() == dims.len(),
            "cannot see {:?} as {dims:?} without a copy",
            self.dims
        );
        Self::packed(self.offset, dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_problems_index_the_parent() {
        let l = Layout::packed(5, Dims::new(3, 4, 6));
        let b = l.block(1..3, 2..5).problems(1..3);
        assert_eq!(b.dims, Dims::new(2, 2, 3));
        assert_eq!(b.index(1, 1, 2), l.index(2, 2, 4));
        assert!(l.is_packed() && !b.is_packed());
    }

    #[test]
    #[should_panic(expected = "leaves a 4 x 6 matrix")]
    fn a_block_outside_is_refused() {
        Layout::packed(0, Dims::new(1, 4, 6)).block(0..5, 0..1);
    }

    #[test]
    #[should_panic(expected = "without a copy")]
    fn reshaping_a_strided_view_is_refused() {
        Layout::packed(0, Dims::new(1, 4, 6)).block(0..4, 0..3).reshape(Dims::new(1, 3, 4));
    }
}
