//! Sparse matrices on a fixed pattern, for problems that see few entries of a large `m x n` matrix.
//!
//! A [`SparseMask`] holds the pattern twice, by row and by column, so that products with the matrix and with
//! its transpose are both row-wise gathers: no scattered writes, every output row is summed by one thread in
//! a fixed order, and results are the same bits whatever the number of threads. [`SparseMatrix`] adds values.
//!
//! | operation | equation | function |
//! |---|---|---|
//! | sampled product | `d_e = <l_i, r_j>` for every stored `e = (i, j)` | [`SparseMask::sample`], [`SparseMask::sampled_sums`] |
//! | products | `S R` and `S^T L` | [`SparseMatrix::times`], [`SparseMatrix::transposed_times`] |
//! | residual and its products | `d_e = <l_i, r_j> - a_e`, `D R`, `D^T L`, `sum d_e^2` | [`SparseMask::residual`], [`SparseMask::residual_product`] |
//! | curvature products | `d_e = <[k_i h_i], [v_j w_j]>`, `(D V, E W)`, `(E^T K, D^T H)` | [`SparseMask::curvature`] |
//!
//! The last two recompute the sampled product in either orientation instead of permuting it: a gather of the
//! factors costs less than one of the values. Factors are copied into [`Table`]s, rows padded to whole
//! vectors.

mod build;
mod kernels;
mod table;

use crate::{Panel, PanelMut, Scalar, Threads};
use kernels::Pass;
use std::sync::Arc;

pub use build::SparseError;
pub use table::Table;

/// One orientation of a pattern: which indices every line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Entries of line `i` are `offsets[i]..offsets[i + 1]`.
    pub offsets: Vec<usize>,
    /// The other index of every entry, ascending within a line.
    pub indices: Vec<u32>,
}

impl Lines {
    pub fn count(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// The pattern of a sparse `rows x cols` matrix, by row and by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMask {
    by_row: Lines,
    by_col: Lines,
    /// Where the entries by column stand in the order by row.
    origin: Vec<u32>,
}

/// Which way a pattern is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// Row after row.
    Rows,
    /// Column after column.
    Columns,
}

/// Two halves of a row of tables, each with its weight in [`SparseMask::curvature`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// The first half is weighed by the sampled product, the second by the given values.
    SampledFirst,
    /// The other way round.
    SampledSecond,
}

impl SparseMask {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.by_row.count()
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.by_col.count()
    }

    /// Number of stored entries.
    pub fn len(&self) -> usize {
        self.by_row.indices.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row and column of every entry, row by row.
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let lines = &self.by_row;
        (0..lines.count()).flat_map(move |i| {
            lines.indices[lines.offsets[i]..lines.offsets[i + 1]].iter().map(move |&j| (i, j as usize))
        })
    }

    /// The first row without an entry.
    pub fn empty_row(&self) -> Option<usize> {
        self.by_row.offsets.windows(2).position(|pair| pair[0] == pair[1])
    }

    /// The first column without an entry.
    pub fn empty_col(&self) -> Option<usize> {
        self.by_col.offsets.windows(2).position(|pair| pair[0] == pair[1])
    }

    /// Values by row in the order by column.
    ///
    /// # Panics
    /// If `by_row` has not one value for each entry.
    pub fn reorder<T: Scalar>(&self, by_row: &[T]) -> Vec<T> {
        let mut by_col = vec![T::ZERO; self.len()];
        self.reorder_into(by_row, &mut by_col);
        by_col
    }

    /// The same into a slice.
    ///
    /// # Panics
    /// If the slices have not one value for each entry.
    pub fn reorder_into<T: Scalar>(&self, by_row: &[T], by_col: &mut [T]) {
        assert_eq!([by_row.len(), by_col.len()], [self.len(); 2], "one value for each stored entry");
        by_col.iter_mut().zip(&self.origin).for_each(|(x, &e)| *x = by_row[e as usize]);
    }

    pub(crate) fn lines(&self, orientation: Orientation) -> &Lines {
        match orientation {
            Orientation::Rows => &self.by_row,
            Orientation::Columns => &self.by_col,
        }
    }

    /// `d_e = <l_i, r_j>` for every entry, row by row; returns `(<d, d>, <d, other>)`.
    ///
    /// # Panics
    /// If shapes differ.
    pub fn sample<T: Scalar>(
        &self,
        threads: Threads,
        [left, right]: [&Table<T>; 2],
        other: &[T],
        d: &mut [T],
    ) -> (f64, f64) {
        let sums = kernels::run(
            threads,
            self.pass(Orientation::Rows, [left, right], other),
            d,
            &mut [],
            Work::Sample,
        );
        (sums[0], sums[1])
    }

    /// `(<d, d>, <d, other>)` alone of [`SparseMask::sample`].
    ///
    /// # Panics
    /// If shapes differ.
    pub fn sampled_sums<T: Scalar>(
        &self,
        threads: Threads,
        tables: [&Table<T>; 2],
        other: &[T],
    ) -> (f64, f64) {
        let pass = self.pass(Orientation::Rows, tables, other);
        let [square, mixed] = kernels::run(threads, pass, &mut [], &mut [], Work::Sums);
        (square, mixed)
    }

    /// The residual `d_e = <own_i, other_j> - data_e` of an orientation and its product with the other table,
    /// into `product` (padded as the tables); returns `sum d_e^2`. `data` is in the order of the orientation.
    ///
    /// # Panics
    /// If shapes differ.
    pub fn residual<T: Scalar>(
        &self,
        threads: Threads,
        orientation: Orientation,
        tables: [&Table<T>; 2],
        data: &[T],
        d: &mut [T],
        product: &mut Table<T>,
    ) -> f64 {
        let pass = self.pass(orientation, tables, data);
        product.reshape_like(pass.own);
        kernels::run(threads, pass, d, product.data_mut(), Work::Residual)[0]
    }

    /// The product alone of [`SparseMask::residual`].
    ///
    /// # Panics
    /// If shapes differ.
    pub fn residual_product<T: Scalar>(
        &self,
        threads: Threads,
        orientation: Orientation,
        tables: [&Table<T>; 2],
        data: &[T],
        product: &mut Table<T>,
    ) {
        let pass = self.pass(orientation, tables, data);
        product.reshape_like(pass.own);
        kernels::run(threads, pass, &mut [], product.data_mut(), Work::Product);
    }

    /// With the sampled product `d_e` of the two tables (two halves each) and the given values `e_e`: the
    /// weighted sums of the other table's rows, each half with its weight.
    ///
    /// # Panics
    /// If shapes differ.
    pub fn curvature<T: Scalar>(
        &self,
        threads: Threads,
        orientation: Orientation,
        tables: [&Table<T>; 2],
        halves: Halves,
        given: &[T],
        product: &mut Table<T>,
    ) {
        let pass = self.pass(orientation, tables, given);
        product.reshape_like(pass.own);
        kernels::run(threads, pass, &mut [], product.data_mut(), Work::Curvature(halves));
    }

    fn pass<'a, T: Scalar>(
        &'a self,
        orientation: Orientation,
        [left, right]: [&'a Table<T>; 2],
        values: &'a [T],
    ) -> Pass<'a, T> {
        assert_eq!((left.rows(), right.rows()), (self.rows(), self.cols()), "tables of another shape");
        assert_eq!(left.width(), right.width(), "tables of different widths");
        assert_eq!(values.len(), self.len(), "one value for each stored entry");
        let (own, other) = match orientation {
            Orientation::Rows => (left, right),
            Orientation::Columns => (right, left),
        };
        Pass { lines: self.lines(orientation), own, other, values }
    }
}

/// What a pass over the entries does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Sample,
    Sums,
    Residual,
    Product,
    Curvature(Halves),
}

/// A sparse matrix: a shared pattern, and values in both orders.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseMatrix<T> {
    mask: Arc<SparseMask>,
    by_row: Vec<T>,
    by_col: Vec<T>,
}

impl<T: Scalar> SparseMatrix<T> {
    /// The pattern.
    pub fn mask(&self) -> &Arc<SparseMask> {
        &self.mask
    }

    /// Values in the order of an orientation.
    pub fn values(&self, orientation: Orientation) -> &[T] {
        match orientation {
            Orientation::Rows => &self.by_row,
            Orientation::Columns => &self.by_col,
        }
    }

    /// `out = S x`, `x` with as many rows as the matrix has columns.
    ///
    /// # Panics
    /// If shapes differ.
    pub fn times(&self, threads: Threads, x: Panel<'_, T>, out: PanelMut<'_, T>) {
        self.product(threads, Orientation::Rows, x, out);
    }

    /// `out = S^T x`.
    ///
    /// # Panics
    /// If shapes differ.
    pub fn transposed_times(&self, threads: Threads, x: Panel<'_, T>, out: PanelMut<'_, T>) {
        self.product(threads, Orientation::Columns, x, out);
    }

    fn product(&self, threads: Threads, orientation: Orientation, x: Panel<'_, T>, out: PanelMut<'_, T>) {
        let lines = self.mask.lines(orientation);
        let other_count = self.mask.rows() + self.mask.cols() - lines.count();
        assert_eq!(
            (x.rows(), out.rows(), out.cols()),
            (other_count, lines.count(), x.cols()),
            "S x has another shape"
        );
        kernels::multiply(threads, lines, self.values(orientation), x, out);
    }
}

#[cfg(test)]
mod tests;
