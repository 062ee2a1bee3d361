//! [`Mats`] from and to `nalgebra::DMatrix` (feature `nalgebra`).

use crate::{Backend, DeviceError, Dims, Mats};
use nalgebra::DMatrix;

impl<B: Backend> Mats<B> {
    /// A batch of one from a dynamically sized matrix.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn from_dmatrix(backend: &B, matrix: &DMatrix<B::Elem>) -> Result<Self, DeviceError> {
        let values: Vec<B::Elem> =
            matrix.row_iter().flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect();
        Self::from_slice(backend, Dims::new(1, matrix.nrows(), matrix.ncols()), &values)
    }

    /// Matrix `problem` of the batch.
    ///
    /// # Errors
    /// Any pending [`DeviceError`].
    ///
    /// # Panics
    /// If there is no such matrix.
    #[track_caller]
    pub fn to_dmatrix(&self, backend: &B, problem: usize) -> Result<DMatrix<B::Elem>, DeviceError> {
        let values = backend.download(self.as_ref().problem(problem))?;
        let (rows, cols) = (self.dims().rows, self.dims().cols);
        Ok(DMatrix::from_fn(rows, cols, |i, j| values[i * cols + j]))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Blas, Cpu, Dims, Epilogue, Mats};
    use nalgebra::DMatrix;

    #[test]
    fn products_agree_with_nalgebra() {
        let b = Cpu::<f64>::new();
        let x = DMatrix::from_fn(3, 4, |i, j| (i * 4 + j) as f64);
        let y = DMatrix::from_fn(4, 2, |i, j| i as f64 - 2.0 * j as f64);
        let (left, right) = (Mats::from_dmatrix(&b, &x).unwrap(), Mats::from_dmatrix(&b, &y).unwrap());
        let mut c = Mats::zeros(&b, Dims::new(1, 3, 2)).unwrap();
        b.gemm(1.0, left.as_ref().n(), right.as_ref().n(), Epilogue::Overwrite, c.as_mut());
        assert_eq!(c.to_dmatrix(&b, 0).unwrap(), x * y);
    }
}
