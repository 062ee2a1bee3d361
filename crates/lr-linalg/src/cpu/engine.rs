//! [`Engine`]: what a CPU library must provide, single-threaded, on single matrices. Threading,
//! batching, broadcasting, statuses and the handling of bad input stand above it, once for all engines.

use crate::{Op, Panel, PanelMut, Scalar, Side, Triangle};
use std::fmt::Debug;

/// A readable panel and whether it is read transposed.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, T> {
    /// The stored matrix.
    pub panel: Panel<'a, T>,
    /// How it is read.
    pub op: Op,
}

impl<T: Scalar> Source<'_, T> {
    /// Rows after the transposition.
    pub fn rows(&self) -> usize {
        match self.op {
            Op::None => self.panel.rows(),
            Op::Transpose => self.panel.cols(),
        }
    }

    /// Columns after the transposition.
    pub fn cols(&self) -> usize {
        match self.op {
            Op::None => self.panel.cols(),
            Op::Transpose => self.panel.rows(),
        }
    }

    /// The same matrix read the other way.
    pub fn transposed(self) -> Self {
        let op = match self.op {
            Op::None => Op::Transpose,
            Op::Transpose => Op::None,
        };
        Self { op, ..self }
    }

    /// The rows above `at` and the rest, after the transposition.
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        let (above, below) = match self.op {
            Op::None => self.panel.split_rows(at),
            Op::Transpose => self.panel.split_cols(at),
        };
        (Self { panel: above, ..self }, Self { panel: below, ..self })
    }

    /// The columns before `at` and the rest, after the transposition.
    pub fn split_cols(self, at: usize) -> (Self, Self) {
        let (left, right) = match self.op {
            Op::None => self.panel.split_cols(at),
            Op::Transpose => self.panel.split_rows(at),
        };
        (Self { panel: left, ..self }, Self { panel: right, ..self })
    }
}

/// An iteration did not converge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotConverged;

/// Single-threaded kernels on single matrices of `T`, with shapes checked by the caller, no dimension
/// zero. Factorizations get finite matrices with entries of moderate size. Nothing allocates once the
/// calling thread has seen the shape.
pub trait Engine<T: Scalar>: Copy + Debug + Default + Send + Sync + 'static {
    /// Name of the backend that runs on this engine.
    const NAME: &'static str;

    /// `c = alpha a b + beta c`; with `beta = 0`, `c` is not read.
    fn gemm(alpha: T, a: Source<'_, T>, b: Source<'_, T>, beta: T, c: PanelMut<'_, T>);

    /// Solves `op(T) Y = X` or `Y op(T) = X` in place of `x`; `triangle` tells where the stored matrix
    /// has its entries.
    fn trsm(side: Side, triangle: Triangle, t: Source<'_, T>, x: PanelMut<'_, T>);

    /// Lower Cholesky factor of `a + shift I`, zeros above; reads the lower triangle.
    ///
    /// # Errors
    /// The 0-based index of a bad pivot; `a` is then as it was.
    fn cholesky(shift: T, a: PanelMut<'_, T>) -> Result<(), usize>;

    /// Thin Householder QR of a tall `a`: `Q` in place, `r` upper triangular, diagonal not negative.
    fn qr(a: PanelMut<'_, T>, r: PanelMut<'_, T>);

    /// Thin SVD of a tall `a`: `U` in place, `s` (one row) descending, `v` square.
    ///
    /// # Errors
    /// [`NotConverged`]; the outputs are then unspecified.
    fn svd(a: PanelMut<'_, T>, s: &mut [T], v: PanelMut<'_, T>) -> Result<(), NotConverged>;

    /// Eigenvectors in place of a symmetric `a`, eigenvalues ascending in `w`.
    ///
    /// # Errors
    /// [`NotConverged`]; the outputs are then unspecified.
    fn eigh(a: PanelMut<'_, T>, w: &mut [T]) -> Result<(), NotConverged>;
}
