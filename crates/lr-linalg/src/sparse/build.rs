//! Patterns and matrices from lists of entries, checked.

use super::{Lines, SparseMask, SparseMatrix};
use crate::Scalar;
use std::sync::Arc;

/// A list of entries that makes no sparse matrix.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SparseError {
    /// Indices are 32-bit.
    #[error(
        "a sparse {rows} x {cols} matrix with {entries} entries is beyond the 2^32 that indices can tell \
         apart"
    )]
    TooLarge {
        /// Rows.
        rows: usize,
        /// Columns.
        cols: usize,
        /// Entries.
        entries: usize,
    },
    /// An entry beyond the matrix.
    #[error("entry {entry} at ({row}, {col}) lies outside a {rows} x {cols} matrix; indices count from 0")]
    Outside {
        /// Its place in the list.
        entry: usize,
        /// Its row.
        row: usize,
        /// Its column.
        col: usize,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// Two entries at one place.
    #[error("row {row}, column {col} is given twice; add the two up or drop one")]
    Twice {
        /// The row.
        row: usize,
        /// The column.
        col: usize,
    },
    /// NaN or infinity.
    #[error("the value at row {row}, column {col} is {value}; data must be finite")]
    NotFinite {
        /// The row.
        row: usize,
        /// The column.
        col: usize,
        /// The value.
        value: f64,
    },
    /// A row of the mask without an entry.
    #[error(
        "row {row} of the mask is empty: nothing determines row {row} of the matrix; remove it or sample it"
    )]
    EmptyRow {
        /// The row.
        row: usize,
    },
    /// A column of the mask without an entry.
    #[error(
        "column {col} of the mask is empty: nothing determines column {col} of the matrix; remove it or \
         sample it"
    )]
    EmptyColumn {
        /// The column.
        col: usize,
    },
}

impl SparseMask {
    /// The pattern of `entries` (row, column), in any order; the second result says where each entry of the
    /// pattern, row by row, stands in the list.
    ///
    /// # Errors
    /// [`SparseError`] naming the entry that lies outside or stands twice.
    pub fn new(
        rows: usize,
        cols: usize,
        entries: impl ExactSizeIterator<Item = (usize, usize)> + Clone,
    ) -> Result<(Self, Vec<u32>), SparseError> {
        let count = entries.len();
        if [rows, cols, count].into_iter().any(|n| n >= u32::MAX as usize) {
            return Err(SparseError::TooLarge { rows, cols, entries: count });
        }
        if let Some((entry, (row, col))) =
            entries.clone().enumerate().find(|(_, (row, col))| *row >= rows || *col >= cols)
        {
            return Err(SparseError::Outside { entry, row, col, rows, cols });
        }
        // Two stable counting sorts: by column, then by row.
        let (_, by_column) = sorted(cols, entries.clone().map(|(_, col)| col));
        let places: Vec<(usize, usize)> = entries.collect();
        let (offsets, order) = sorted(rows, by_column.iter().map(|&e| places[e as usize].0));
        let order: Vec<u32> = order.iter().map(|&e| by_column[e as usize]).collect();
        let indices: Vec<u32> = order.iter().map(|&e| places[e as usize].1 as u32).collect();
        for row in 0..rows {
            let line = &indices[offsets[row]..offsets[row + 1]];
            if let Some(pair) = line.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(SparseError::Twice { row, col: pair[0] as usize });
            }
        }
        let (col_offsets, origin) = sorted(cols, indices.iter().map(|&j| j as usize));
        let row_of: Vec<u32> =
            (0..rows).flat_map(|i| std::iter::repeat_n(i as u32, offsets[i + 1] - offsets[i])).collect();
        let by_col =
            Lines { offsets: col_offsets, indices: origin.iter().map(|&e| row_of[e as usize]).collect() };
        Ok((Self { by_row: Lines { offsets, indices }, by_col, origin }, order))
    }

    /// Refuses a pattern that leaves a row or a column of a low-rank matrix undetermined.
    ///
    /// # Errors
    /// [`SparseError::EmptyRow`] or [`SparseError::EmptyColumn`].
    pub fn require_covering(&self) -> Result<(), SparseError> {
        match (self.empty_row(), self.empty_col()) {
            (Some(row), _) => Err(SparseError::EmptyRow { row }),
            (None, Some(col)) => Err(SparseError::EmptyColumn { col }),
            (None, None) => Ok(()),
        }
    }
}

/// Stable counting sort: where each of `keys` begins, and the order of the entries.
fn sorted(count: usize, keys: impl Iterator<Item = usize> + Clone) -> (Vec<usize>, Vec<u32>) {
    let mut offsets = vec![0; count + 1];
    keys.clone().for_each(|key| offsets[key + 1] += 1);
    (0..count).for_each(|key| offsets[key + 1] += offsets[key]);
    let (mut next, mut order) = (offsets.clone(), vec![0; offsets[count]]);
    for (entry, key) in keys.enumerate() {
        order[next[key]] = entry as u32;
        next[key] += 1;
    }
    (offsets, order)
}

impl<T: Scalar> SparseMatrix<T> {
    /// The matrix with the given entries (row, column, value), in any order.
    ///
    /// # Errors
    /// [`SparseError`] naming the entry that lies outside, stands twice or is not finite.
    pub fn new(rows: usize, cols: usize, entries: &[(usize, usize, T)]) -> Result<Self, SparseError> {
        if let Some((row, col, value)) = entries.iter().find(|(.., value)| !value.is_finite()) {
            return Err(SparseError::NotFinite { row: *row, col: *col, value: value.to_f64() });
        }
        let (mask, order) = SparseMask::new(rows, cols, entries.iter().map(|(row, col, _)| (*row, *col)))?;
        let by_row = order.iter().map(|&e| entries[e as usize].2).collect();
        Self::with_mask(Arc::new(mask), by_row)
    }

    /// Values, row by row, on a shared pattern.
    ///
    /// # Errors
    /// [`SparseError::NotFinite`].
    ///
    /// # Panics
    /// If there is not one value for each entry.
    pub fn with_mask(mask: Arc<SparseMask>, by_row: Vec<T>) -> Result<Self, SparseError> {
        let by_col = mask.reorder(&by_row);
        if let Some(place) = by_row.iter().position(|value| !value.is_finite()) {
            let value = by_row[place].to_f64();
            let (row, col) = mask.entries().nth(place).unwrap_or_default();
            return Err(SparseError::NotFinite { row, col, value });
        }
        Ok(Self { mask, by_row, by_col })
    }
}
