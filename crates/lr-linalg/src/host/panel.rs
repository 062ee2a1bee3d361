//! [`Panel`] and [`PanelMut`]: one matrix of a view in host memory, row by row.

use crate::{Backend, HostBuffer, Layout, MatsMut, MatsRef, Scalar};
use std::marker::PhantomData;

/// One readable matrix in host memory: `rows x cols`, rows `row_stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a, T> {
    data: *const T,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrow: PhantomData<&'a T>,
}

// SAFETY: a panel is a shared borrow of plain numbers.
unsafe impl<T: Scalar> Send for Panel<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Scalar> Sync for Panel<'_, T> {}

/// One writable matrix in host memory.
#[derive(Debug)]
pub struct PanelMut<'a, T> {
    data: *mut T,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrow: PhantomData<&'a mut T>,
}

// SAFETY: a panel is an exclusive borrow of plain numbers.
unsafe impl<T: Scalar> Send for PanelMut<'_, T> {}
// SAFETY: shared access to an exclusive panel only reads.
unsafe impl<T: Scalar> Sync for PanelMut<'_, T> {}

/// Offset of matrix `p`, checked to lie within the buffer with all its elements.
#[track_caller]
fn start<T>(buffer: &HostBuffer<T>, layout: Layout, p: usize) -> usize {
    let d = layout.dims;
    assert!(p < d.batch, "problem {p} of a batch of {}", d.batch);
    let first = layout.index(p, 0, 0);
    let end = if d.rows * d.cols == 0 { first } else { layout.index(p, d.rows - 1, d.cols - 1) + 1 };
    assert!(end <= buffer.len(), "a view leaves its buffer");
    first
}

impl<'a, T: Scalar, B: Backend<Elem = T, Buffer = HostBuffer<T>>> MatsRef<'a, B> {
    /// Matrix `p` of the view, readable.
    ///
    /// # Panics
    /// If there is no such matrix.
    #[track_caller]
    pub fn panel(&self, p: usize) -> Panel<'a, T> {
        let (layout, d) = (self.layout(), self.dims());
        let first = start(self.buffer(), layout, p);
        // SAFETY: `start` checked that the matrix lies within the buffer.
        let data = unsafe { self.buffer().data().as_ptr().add(first) };
        Panel { data, rows: d.rows, cols: d.cols, row_stride: layout.row_stride, borrow: PhantomData }
    }

    /// All elements in order.
    ///
    /// # Panics
    /// If the view has gaps.
    #[track_caller]
    pub fn as_slice(&self) -> &'a [T] {
        let len = self.dims().len();
        self.reshape(crate::Dims::new(1, 1, len)).panel(0).row(0)
    }
}

impl<'a, T: Scalar, B: Backend<Elem = T, Buffer = HostBuffer<T>>> MatsMut<'a, B> {
    /// Matrix `p` of the view, writable.
    ///
    /// # Panics
    /// If there is no such matrix.
    #[track_caller]
    pub fn panel_mut(&mut self, p: usize) -> PanelMut<'_, T> {
        let (layout, d) = (self.layout(), self.dims());
        let first = start(self.buffer(), layout, p);
        // SAFETY: `start` checked that the matrix lies within the buffer.
        let data = unsafe { self.buffer().data().as_ptr().add(first) };
        PanelMut { data, rows: d.rows, cols: d.cols, row_stride: layout.row_stride, borrow: PhantomData }
    }

    /// The only matrix of a batch of one, writable.
    ///
    /// # Panics
    /// If the batch is not one.
    #[track_caller]
    pub fn into_panel(mut self) -> PanelMut<'a, T> {
        assert_eq!(self.dims().batch, 1, "into_panel needs a batch of one");
        let panel = self.panel_mut(0);
        PanelMut { borrow: PhantomData, ..panel }
    }

    /// Matrix `p` of the view, readable.
    ///
    /// # Panics
    /// If there is no such matrix.
    #[track_caller]
    pub fn panel(&self, p: usize) -> Panel<'_, T> {
        self.as_ref().panel(p)
    }

    /// All elements in order.
    ///
    /// # Panics
    /// If the view has gaps.
    #[track_caller]
    pub fn into_slice(self) -> &'a mut [T] {
        let len = self.dims().len();
        let mut whole = self.reshape(crate::Dims::new(1, 1, len));
        let data = whole.panel_mut(0).data;
        // SAFETY: the view was exclusive for `'a`, has no gaps, and was checked to lie in the buffer.
        unsafe { std::slice::from_raw_parts_mut(data, len) }
    }
}

impl<'a, T: Scalar> Panel<'a, T> {
    /// Row-major `data` as a matrix without gaps.
    ///
    /// # Panics
    /// If `data` has another length than `rows * cols`.
    #[track_caller]
    pub fn from_slice(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "{rows} x {cols} matrix");
        Self { data: data.as_ptr(), rows, cols, row_stride: cols, borrow: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row to the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Element `(0, 0)`.
    pub fn as_ptr(&self) -> *const T {
        self.data
    }

    /// Whether rows follow one another without gaps.
    pub fn is_packed(&self) -> bool {
        self.rows <= 1 || self.row_stride == self.cols
    }

    /// The same elements as one row.
    ///
    /// # Panics
    /// If there are gaps between the rows.
    #[track_caller]
    pub fn flat(self) -> Self {
        assert!(self.is_packed(), "rows with gaps cannot be seen as one row");
        Self { rows: 1, cols: self.rows * self.cols, row_stride: self.rows * self.cols, ..self }
    }

    /// The rows above `at` and the rest.
    ///
    /// # Panics
    /// If `at` exceeds the number of rows.
    #[track_caller]
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "split at {at} of {} rows", self.rows);
        let below = if at == self.rows {
            self.data
        } else {
            // SAFETY: row `at` exists.
            unsafe { self.data.add(at * self.row_stride) }
        };
        (Self { rows: at, ..self }, Self { data: below, rows: self.rows - at, ..self })
    }

    /// The columns before `at` and the rest.
    ///
    /// # Panics
    /// If `at` exceeds the number of columns.
    #[track_caller]
    pub fn split_cols(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols, "split at {at} of {} columns", self.cols);
        let right = if at == self.cols || self.rows == 0 {
            self.data
        } else {
            // SAFETY: column `at` of the first row exists.
            unsafe { self.data.add(at) }
        };
        (Self { cols: at, ..self }, Self { data: right, cols: self.cols - at, ..self })
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    #[track_caller]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: in bounds by construction; no exclusive view overlaps a shared one.
        unsafe { std::slice::from_raw_parts(self.data.add(i * self.row_stride), self.cols) }
    }
}

impl<'a, T: Scalar> PanelMut<'a, T> {
    /// Row-major `data` as a matrix without gaps.
    ///
    /// # Panics
    /// If `data` has another length than `rows * cols`.
    #[track_caller]
    pub fn from_slice(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "{rows} x {cols} matrix");
        Self { data: data.as_mut_ptr(), rows, cols, row_stride: cols, borrow: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row to the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Element `(0, 0)`.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.data
    }

    /// The same matrix, lent for a while.
    pub fn reborrow(&mut self) -> PanelMut<'_, T> {
        PanelMut { borrow: PhantomData, ..*self }
    }

    /// The same matrix, readable.
    pub fn as_panel(&self) -> Panel<'_, T> {
        Panel {
            data: self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            borrow: PhantomData,
        }
    }

    /// Row `i`, readable.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    #[track_caller]
    pub fn row(&self, i: usize) -> &[T] {
        self.as_panel().row(i)
    }

    /// Row `i`, writable.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    #[track_caller]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: in bounds by construction; the panel is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row_stride), self.cols) }
    }

    /// Whether rows follow one another without gaps.
    pub fn is_packed(&self) -> bool {
        self.as_panel().is_packed()
    }

    /// The same elements as one row.
    ///
    /// # Panics
    /// If there are gaps between the rows.
    #[track_caller]
    pub fn flat(self) -> Self {
        assert!(self.is_packed(), "rows with gaps cannot be seen as one row");
        Self { rows: 1, cols: self.rows * self.cols, row_stride: self.rows * self.cols, ..self }
    }

    /// Splits into the columns before `at` and the rest, two disjoint panels.
    ///
    /// # Panics
    /// If `at` exceeds the number of columns.
    #[track_caller]
    pub fn split_cols(self, at: usize) -> (PanelMut<'a, T>, PanelMut<'a, T>) {
        assert!(at <= self.cols, "split at {at} of {} columns", self.cols);
        let right = if at == self.cols || self.rows == 0 {
            self.data
        } else {
            // SAFETY: column `at` of the first row exists.
            unsafe { self.data.add(at) }
        };
        (PanelMut { cols: at, ..self }, PanelMut { data: right, cols: self.cols - at, ..self })
    }

    /// Splits into the rows above `at` and the rest, two disjoint panels.
    ///
    /// # Panics
    /// If `at` exceeds the number of rows.
    #[track_caller]
    pub fn split_rows(self, at: usize) -> (PanelMut<'a, T>, PanelMut<'a, T>) {
        assert!(at <= self.rows, "split at {at} of {} rows", self.rows);
        let below = if at == self.rows {
            self.data
        } else {
            // SAFETY: row `at` exists.
            unsafe { self.data.add(at * self.row_stride) }
        };
        (PanelMut { rows: at, ..self }, PanelMut { data: below, rows: self.rows - at, ..self })
    }
}
