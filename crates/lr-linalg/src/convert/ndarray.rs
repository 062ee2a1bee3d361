//! [`Mats`] from and to `ndarray` arrays (feature `ndarray`): `[rows, cols]` or `[batch, rows, cols]`.

use crate::{Backend, DeviceError, Dims, Mats};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};

impl<B: Backend> Mats<B> {
    /// A batch from an array `[batch, rows, cols]` of any strides.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn from_array3(backend: &B, array: ArrayView3<'_, B::Elem>) -> Result<Self, DeviceError> {
        let (batch, rows, cols) = array.dim();
        let values: Vec<B::Elem> = array.iter().copied().collect();
        Self::from_slice(backend, Dims::new(batch, rows, cols), &values)
    }

    /// A batch of one from an array `[rows, cols]` of any strides.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn from_array2(backend: &B, array: ArrayView2<'_, B::Elem>) -> Result<Self, DeviceError> {
        Self::from_array3(backend, array.insert_axis(Axis(0)))
    }

    /// The batch as an array `[batch, rows, cols]`.
    ///
    /// # Errors
    /// Any pending [`DeviceError`].
    pub fn to_array3(&self, backend: &B) -> Result<Array3<B::Elem>, DeviceError> {
        let (d, values) = (self.dims(), self.to_vec(backend)?);
        Ok(Array3::from_shape_fn((d.batch, d.rows, d.cols), |(p, i, j)| {
            values[(p * d.rows + i) * d.cols + j]
        }))
    }

    /// Matrix `problem` of the batch as an array `[rows, cols]`.
    ///
    /// # Errors
    /// Any pending [`DeviceError`].
    ///
    /// # Panics
    /// If there is no such matrix.
    #[track_caller]
    pub fn to_array2(&self, backend: &B, problem: usize) -> Result<Array2<B::Elem>, DeviceError> {
        let values = backend.download(self.as_ref().problem(problem))?;
        let d = self.dims();
        Ok(Array2::from_shape_fn((d.rows, d.cols), |(i, j)| values[i * d.cols + j]))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cpu, Mats};
    use ndarray::Array3;

    #[test]
    fn arrays_come_back_whatever_their_strides() {
        let b = Cpu::<f32>::new();
        let array = Array3::from_shape_fn((2, 3, 4), |(p, i, j)| (p * 100 + i * 10 + j) as f32);
        let mats = Mats::from_array3(&b, array.view()).unwrap();
        assert_eq!(mats.to_array3(&b).unwrap(), array);
        let turned = array.view().permuted_axes([0, 2, 1]);
        let mats = Mats::from_array3(&b, turned).unwrap();
        assert_eq!(mats.to_array2(&b, 1).unwrap(), turned.index_axis(ndarray::Axis(0), 1));
        let single = Mats::from_array2(&b, array.index_axis(ndarray::Axis(1), 2)).unwrap();
        assert_eq!(single.to_array3(&b).unwrap()[[0, 1, 3]], 123.0);
    }
}
