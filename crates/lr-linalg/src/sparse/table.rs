//! [`Table`]: factors side by side, every row padded to whole vectors.

use crate::{Panel, PanelMut, Scalar};

/// Elements to which every part of a row is padded.
pub(super) const LANES: usize = 4;

/// Rows of one or several factors side by side, each padded with zeros to a multiple of four columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table<T> {
    data: Vec<T>,
    rows: usize,
    width: usize,
}

impl<T: Scalar> Table<T> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row, padding included.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(super) fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.width..][..self.width]
    }

    /// Rows of `C` vectors each.
    pub(super) fn vectors<const C: usize>(&self) -> &[[[T; LANES]; C]] {
        assert_eq!(self.width, C * LANES, "rows of another width");
        let (vectors, _) = self.data.as_chunks::<LANES>();
        vectors.as_chunks::<C>().0
    }

    pub(super) fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Takes another table's shape; contents are unspecified.
    pub(super) fn reshape_like(&mut self, other: &Self) {
        self.reshape(other.rows, other.width);
    }

    fn reshape(&mut self, rows: usize, width: usize) {
        (self.rows, self.width) = (rows, width);
        self.data.resize(rows * width, T::ZERO);
    }

    /// Copies the parts, all with the same number of rows, into the table; allocates only while it grows.
    ///
    /// # Panics
    /// If there is no part or their rows differ.
    pub fn fill(&mut self, parts: &[Panel<'_, T>]) {
        self.lay(parts, |part| part.cols().next_multiple_of(LANES));
    }

    /// The same with parts next to each other and padding only at the end: narrower, for products of whole rows;
    /// [`Table::extract`] does not find the parts again.
    ///
    /// # Panics
    /// If there is no part or their rows differ.
    pub fn fill_packed(&mut self, parts: &[Panel<'_, T>]) {
        self.lay(parts, |part| part.cols());
    }

    fn lay(&mut self, parts: &[Panel<'_, T>], place: impl Fn(&Panel<'_, T>) -> usize) {
        let rows = parts.first().map(Panel::rows).expect("a table has at least one part");
        assert!(parts.iter().all(|part| part.rows() == rows), "parts of a table with different rows");
        let used: usize = parts.iter().map(&place).sum();
        self.reshape(rows, used.next_multiple_of(LANES));
        let mut offset = 0;
        for (index, part) in parts.iter().enumerate() {
            // The last part's padding reaches to the end of the row.
            let end = if index + 1 == parts.len() { self.width } else { offset + place(part) };
            for i in 0..rows {
                let target = &mut self.data[i * self.width..][offset..end];
                let (values, zeros) = target.split_at_mut(part.cols());
                values.copy_from_slice(part.row(i));
                zeros.fill(T::ZERO);
            }
            offset = end;
        }
    }

    /// Whether the table holds exactly this one part.
    pub fn holds(&self, part: Panel<'_, T>) -> bool {
        self.rows == part.rows()
            && self.width == part.cols().next_multiple_of(LANES)
            && (0..self.rows).all(|i| self.row(i)[..part.cols()] == *part.row(i))
    }

    /// Copies the part that starts at the `part`-th of `parts` equal divisions of the width into `out`.
    ///
    /// # Panics
    /// If shapes do not fit.
    pub fn extract(&self, [part, parts]: [usize; 2], mut out: PanelMut<'_, T>) {
        let padded = self.width / parts;
        assert!(part < parts && out.cols() <= padded && out.rows() == self.rows, "part {part} of {parts}");
        for i in 0..self.rows {
            let cols = out.cols();
            out.row_mut(i).copy_from_slice(&self.row(i)[part * padded..][..cols]);
        }
    }
}
