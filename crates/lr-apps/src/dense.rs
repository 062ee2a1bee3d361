//! Small row-major matrices on the host: what the applications make their data and starts from.

use lr_linalg::{Blas, Cpu, DeviceError, Dims, Epilogue, Factor, Mats};
use rand::{Rng, rngs::StdRng};

/// The backend of the applications.
pub type Host = Cpu<f64>;

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements, row by row.
    pub data: Vec<f64>,
}

impl Dense {
    /// The matrix of `f(row, column)`.
    pub fn from_fn(rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> f64) -> Self {
        let data = (0..rows * cols).map(|k| f(k / cols, k % cols)).collect();
        Self { rows, cols, data }
    }

    /// Zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Independent standard normal entries.
    pub fn normal(rows: usize, cols: usize, rng: &mut StdRng) -> Self {
        Self::from_fn(rows, cols, |_, _| normal(rng))
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..][..self.cols]
    }

    /// Row `i`, writable.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.cols..][..self.cols]
    }

    /// Element.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.cols + j]
    }

    /// Frobenius norm.
    pub fn norm(&self) -> f64 {
        self.data.iter().map(|x| x * x).sum::<f64>().sqrt()
    }

    /// On the backend.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn upload(&self, b: &Host) -> Result<Mats<Host>, DeviceError> {
        Mats::from_slice(b, Dims::new(1, self.rows, self.cols), &self.data)
    }

    /// From the backend: the only matrix of a batch.
    ///
    /// # Errors
    /// Any pending [`DeviceError`].
    pub fn download(b: &Host, x: &Mats<Host>) -> Result<Self, DeviceError> {
        let Dims { rows, cols, .. } = x.dims();
        Ok(Self { rows, cols, data: x.to_vec(b)? })
    }

    /// `self other`, or with the first transposed when `other` has as many rows as `self`.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn product(&self, b: &Host, other: &Self, orientation: Product) -> Result<Self, DeviceError> {
        let (x, y) = (self.upload(b)?, other.upload(b)?);
        let (x, y) = match orientation {
            Product::Plain => (x.as_ref().n(), y.as_ref().n()),
            Product::FirstTransposed => (x.as_ref().t(), y.as_ref().n()),
            Product::SecondTransposed => (x.as_ref().n(), y.as_ref().t()),
        };
        let mut out = Mats::zeros(b, Dims::new(1, x.dims().rows, y.dims().cols))?;
        b.gemm(1.0, x, y, Epilogue::Overwrite, out.as_mut());
        Self::download(b, &out)
    }

    /// The Q of its QR factorization.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn orthonormalized(&self, b: &Host) -> Result<Self, DeviceError> {
        let mut q = self.upload(b)?;
        let mut r = Mats::zeros(b, Dims::square(1, self.cols))?;
        let mut status = Mats::zeros(b, Dims::scalars(1))?;
        b.qr(q.as_mut(), r.as_mut(), status.as_mut());
        Self::download(b, &q)
    }

    /// The same with every row divided by its norm; rows of zeros stay.
    pub fn with_unit_rows(mut self) -> Self {
        for row in self.data.chunks_mut(self.cols.max(1)) {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|x| *x /= norm);
            }
        }
        self
    }
}

/// Which factor of a product is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// `X Y`.
    Plain,
    /// `X^T Y`.
    FirstTransposed,
    /// `X Y^T`.
    SecondTransposed,
}

/// A standard normal number (Box and Muller 1958).
pub fn normal(rng: &mut StdRng) -> f64 {
    // 1 - u lies in (0, 1]: its logarithm is finite.
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
