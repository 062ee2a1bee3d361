//! [`Factors`]: a pair of factor stacks for a bank of problems, and its views.
//!
//! One type serves the weights `(A, B)`, their pulled-back Euclidean gradients
//! `(G_A, G_B) = (G_W B, G_W^T A)`, and tangent vectors, which in all geometries here have coordinates
//! of the same two shapes: CD-coordinates `(C, D) = (Xi V, Xi^T U)` or horizontal lifts `(M_A, M_B)`.

use crate::Grid;
use lr_linalg::{Backend, Blas, Coef, DeviceError, Map, Mats, MatsMut, MatsRef};

/// Owned pair: `left` is `[problems, m, r]`, `right` is `[problems, n, r]`, blocks of a grid stacked.
#[derive(Debug)]
pub struct Factors<B: Backend> {
    /// `A`, or what lives on its side.
    pub left: Mats<B>,
    /// `B`, or what lives on its side.
    pub right: Mats<B>,
}

/// Shared view of [`Factors`].
#[derive(Debug)]
pub struct FactorsRef<'a, B: Backend> {
    /// View of the left stack.
    pub left: MatsRef<'a, B>,
    /// View of the right stack.
    pub right: MatsRef<'a, B>,
}

impl<B: Backend> Clone for FactorsRef<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for FactorsRef<'_, B> {}

/// Exclusive view of [`Factors`].
#[derive(Debug)]
pub struct FactorsMut<'a, B: Backend> {
    /// View of the left stack.
    pub left: MatsMut<'a, B>,
    /// View of the right stack.
    pub right: MatsMut<'a, B>,
}

impl<B: Backend> Factors<B> {
    /// Zeros for `problems` problems of shape `grid`.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn zeros(b: &B, grid: &Grid, problems: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            left: Mats::zeros(b, grid.left_dims(problems))?,
            right: Mats::zeros(b, grid.right_dims(problems))?,
        })
    }

    /// Number of problems.
    pub fn problems(&self) -> usize {
        self.left.dims().batch
    }

    /// Shared view.
    pub fn as_ref(&self) -> FactorsRef<'_, B> {
        FactorsRef { left: self.left.as_ref(), right: self.right.as_ref() }
    }

    /// Exclusive view.
    pub fn as_mut(&mut self) -> FactorsMut<'_, B> {
        FactorsMut { left: self.left.as_mut(), right: self.right.as_mut() }
    }
}

impl<'a, B: Backend> FactorsRef<'a, B> {
    /// Number of problems.
    pub fn problems(&self) -> usize {
        self.left.dims().batch
    }

    /// Consecutive groups of `size` problems.
    pub fn chunks(self, size: usize) -> impl Iterator<Item = FactorsRef<'a, B>> + Send {
        self.left.chunks(size).zip(self.right.chunks(size)).map(|(left, right)| FactorsRef { left, right })
    }
}

impl<'a, B: Backend> FactorsMut<'a, B> {
    /// Number of problems.
    pub fn problems(&self) -> usize {
        self.left.dims().batch
    }

    /// Shared view of the same elements.
    pub fn as_ref(&self) -> FactorsRef<'_, B> {
        FactorsRef { left: self.left.as_ref(), right: self.right.as_ref() }
    }

    /// Reborrows.
    pub fn as_mut(&mut self) -> FactorsMut<'_, B> {
        FactorsMut { left: self.left.as_mut(), right: self.right.as_mut() }
    }

    /// Consecutive groups of `size` problems, exclusive and disjoint.
    pub fn chunks(self, size: usize) -> impl Iterator<Item = FactorsMut<'a, B>> + Send {
        self.left.chunks(size).zip(self.right.chunks(size)).map(|(left, right)| FactorsMut { left, right })
    }
}

impl<B: Blas> FactorsMut<'_, B> {
    /// `self = alpha x + beta self`, the linear structure of tangent vectors.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn axpby(&mut self, b: &B, alpha: Coef<'_, B>, x: FactorsRef<'_, B>, beta: f64) {
        b.axpby(alpha, x.left, beta, self.left.as_mut());
        b.axpby(alpha, x.right, beta, self.right.as_mut());
    }

    /// `self = factor self`.
    pub fn scale(&mut self, b: &B, factor: f64) {
        b.map(Map::Scale(factor), self.left.as_mut());
        b.map(Map::Scale(factor), self.right.as_mut());
    }

    /// `self = x`.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn copy_from(&mut self, b: &B, x: FactorsRef<'_, B>) {
        b.copy(x.left.n(), self.left.as_mut());
        b.copy(x.right.n(), self.right.as_mut());
    }
}
