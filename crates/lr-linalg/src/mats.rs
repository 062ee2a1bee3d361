//! Batches of matrices: owned [`Mats`], shared views [`MatsRef`], exclusive views [`MatsMut`], and
//! [`Operand`]s, views with a transposition.
//!
//! A view borrows the buffer's owner: shared views may overlap one another, an exclusive view overlaps
//! no other live view. Backends rely on that when they write through [`MatsMut`].

use crate::{Backend, DeviceError, Dims, Layout};
use std::{marker::PhantomData, ops::Range};

/// An owned, packed batch of matrices on a backend.
#[derive(Debug)]
pub struct Mats<B: Backend> {
    buffer: B::Buffer,
    dims: Dims,
}

impl<B: Backend> Mats<B> {
    /// Zeros of shape `dims`.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn zeros(backend: &B, dims: Dims) -> Result<Self, DeviceError> {
        Ok(Self { buffer: backend.alloc(dims.len())?, dims })
    }

    /// Copies `values` (row-major, `dims.len()` of them) onto the backend.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    ///
    /// # Panics
    /// If `values` has another length.
    #[track_caller]
    pub fn from_slice(backend: &B, dims: Dims, values: &[B::Elem]) -> Result<Self, DeviceError> {
        let mut mats = Self::zeros(backend, dims)?;
        backend.upload(values, mats.as_mut());
        Ok(mats)
    }

    /// Shape.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Shared view of everything.
    pub fn as_ref(&self) -> MatsRef<'_, B> {
        MatsRef { buffer: &self.buffer, layout: Layout::packed(0, self.dims) }
    }

    /// Exclusive view of everything.
    pub fn as_mut(&mut self) -> MatsMut<'_, B> {
        MatsMut::from_raw(&self.buffer, Layout::packed(0, self.dims))
    }

    /// Downloads all elements, row-major.
    ///
    /// # Errors
    /// Any pending [`DeviceError`].
    pub fn to_vec(&self, backend: &B) -> Result<Vec<B::Elem>, DeviceError> {
        backend.download(self.as_ref())
    }
}

/// A shared view of a batch of matrices.
#[derive(Debug)]
pub struct MatsRef<'a, B: Backend> {
    buffer: &'a B::Buffer,
    layout: Layout,
}

impl<B: Backend> Clone for MatsRef<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for MatsRef<'_, B> {}

impl<'a, B: Backend> MatsRef<'a, B> {
    /// Shape.
    pub fn dims(&self) -> Dims {
        self.layout.dims
    }

    /// Shape and strides.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The buffer seen; for backends.
    pub fn buffer(&self) -> &'a B::Buffer {
        self.buffer
    }

    /// Sub-matrices of every matrix; see [`Layout::block`].
    ///
    /// # Panics
    /// If a range leaves the matrix.
    #[track_caller]
    pub fn block(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        Self { layout: self.layout.block(rows, cols), ..self }
    }

    /// Rows of every matrix.
    ///
    /// # Panics
    /// If the range leaves the matrix.
    #[track_caller]
    pub fn rows(self, rows: Range<usize>) -> Self {
        let cols = 0..self.dims().cols;
        self.block(rows, cols)
    }

    /// A range of the batch.
    ///
    /// # Panics
    /// If the range leaves the batch.
    #[track_caller]
    pub fn problems(self, problems: Range<usize>) -> Self {
        Self { layout: self.layout.problems(problems), ..self }
    }

    /// One matrix of the batch, as a batch of one.
    ///
    /// # Panics
    /// If there is no such matrix.
    #[track_caller]
    pub fn problem(self, problem: usize) -> Self {
        self.problems(problem..problem + 1)
    }

    /// The same elements under another shape; see [`Layout::reshape`].
    ///
    /// # Panics
    /// If the view has gaps or the lengths differ.
    #[track_caller]
    pub fn reshape(self, dims: Dims) -> Self {
        Self { layout: self.layout.reshape(dims), ..self }
    }

    /// Consecutive groups of `size` matrices; the last may be smaller.
    pub fn chunks(self, size: usize) -> impl Iterator<Item = MatsRef<'a, B>> + Send {
        let batch = self.dims().batch;
        (0..batch).step_by(size.max(1)).map(move |p| self.problems(p..(p + size).min(batch)))
    }

    /// As an operand, not transposed.
    pub fn n(self) -> Operand<'a, B> {
        Operand { view: self, op: Op::None }
    }

    /// As an operand, transposed.
    pub fn t(self) -> Operand<'a, B> {
        Operand { view: self, op: Op::Transpose }
    }
}

/// An exclusive view of a batch of matrices.
#[derive(Debug)]
pub struct MatsMut<'a, B: Backend> {
    buffer: &'a B::Buffer,
    layout: Layout,
    exclusive: PhantomData<&'a mut ()>,
}

impl<'a, B: Backend> MatsMut<'a, B> {
    /// The caller vouches that no other live view overlaps `layout`.
    pub(crate) fn from_raw(buffer: &'a B::Buffer, layout: Layout) -> Self {
        Self { buffer, layout, exclusive: PhantomData }
    }

    /// Shape.
    pub fn dims(&self) -> Dims {
        self.layout.dims
    }

    /// Shape and strides.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The buffer seen; for backends.
    pub fn buffer(&self) -> &'a B::Buffer {
        self.buffer
    }

    /// Shared view of the same elements.
    pub fn as_ref(&self) -> MatsRef<'_, B> {
        MatsRef { buffer: self.buffer, layout: self.layout }
    }

    /// Reborrows: the view comes back when the result is dropped.
    pub fn as_mut(&mut self) -> MatsMut<'_, B> {
        MatsMut::from_raw(self.buffer, self.layout)
    }

    /// Sub-matrices of every matrix; see [`Layout::block`].
    ///
    /// # Panics
    /// If a range leaves the matrix.
    #[track_caller]
    pub fn block(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        Self::from_raw(self.buffer, self.layout.block(rows, cols))
    }

    /// Rows of every matrix.
    ///
    /// # Panics
    /// If the range leaves the matrix.
    #[track_caller]
    pub fn rows(self, rows: Range<usize>) -> Self {
        let cols = 0..self.dims().cols;
        self.block(rows, cols)
    }

    /// A range of the batch.
    ///
    /// # Panics
    /// If the range leaves the batch.
    #[track_caller]
    pub fn problems(self, problems: Range<usize>) -> Self {
        Self::from_raw(self.buffer, self.layout.problems(problems))
    }

    /// One matrix of the batch, as a batch of one.
    ///
    /// # Panics
    /// If there is no such matrix.
    #[track_caller]
    pub fn problem(self, problem: usize) -> Self {
        self.problems(problem..problem + 1)
    }

    /// The first `at` matrices of the batch and the rest, disjoint.
    ///
    /// # Panics
    /// If `at` exceeds the batch.
    #[track_caller]
    pub fn split_problems(self, at: usize) -> (Self, Self) {
        let (buffer, layout) = (self.buffer, self.layout);
        let rest = layout.problems(at..layout.dims.batch);
        (Self::from_raw(buffer, layout.problems(0..at)), Self::from_raw(buffer, rest))
    }

    /// The columns before `at` and the rest, disjoint.
    ///
    /// # Panics
    /// If `at` exceeds the number of columns.
    #[track_caller]
    pub fn split_cols(self, at: usize) -> (Self, Self) {
        let (buffer, layout) = (self.buffer, self.layout);
        let Dims { rows, cols, .. } = layout.dims;
        let right = layout.block(0..rows, at..cols);
        (Self::from_raw(buffer, layout.block(0..rows, 0..at)), Self::from_raw(buffer, right))
    }

    /// The rows above `at` and the rest, disjoint.
    ///
    /// # Panics
    /// If `at` exceeds the number of rows.
    #[track_caller]
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        let (buffer, layout) = (self.buffer, self.layout);
        let Dims { rows, cols, .. } = layout.dims;
        let below = layout.block(at..rows, 0..cols);
        (Self::from_raw(buffer, layout.block(0..at, 0..cols)), Self::from_raw(buffer, below))
    }

    /// The same elements under another shape; see [`Layout::reshape`].
    ///
    /// # Panics
    /// If the view has gaps or the lengths differ.
    #[track_caller]
    pub fn reshape(self, dims: Dims) -> Self {
        Self::from_raw(self.buffer, self.layout.reshape(dims))
    }

    /// Consecutive groups of `size` matrices, exclusive and disjoint; the last may be smaller.
    pub fn chunks(self, size: usize) -> impl Iterator<Item = MatsMut<'a, B>> + Send {
        let (buffer, layout, batch) = (self.buffer, self.layout, self.layout.dims.batch);
        (0..batch)
            .step_by(size.max(1))
            .map(move |p| MatsMut::from_raw(buffer, layout.problems(p..(p + size).min(batch))))
    }
}

/// Whether an operand is read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// As stored.
    None,
    /// Transposed.
    Transpose,
}

/// A shared view and how to read it.
#[derive(Debug)]
pub struct Operand<'a, B: Backend> {
    /// The elements.
    pub view: MatsRef<'a, B>,
    /// How they are read.
    pub op: Op,
}

impl<B: Backend> Clone for Operand<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Operand<'_, B> {}

impl<B: Backend> Operand<'_, B> {
    /// Shape after the transposition.
    pub fn dims(&self) -> Dims {
        match self.op {
            Op::None => self.view.dims(),
            Op::Transpose => self.view.dims().transposed(),
        }
    }
}
