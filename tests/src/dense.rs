//! Small dense matrices on the host, written out plainly: the tests' own arithmetic, which shares
//! nothing with the code under test.

use lr_linalg::{Dims, Linalg, Mats, MatsRef, Scalar};
use rand::{Rng, rngs::StdRng};

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Entries, row by row.
    pub data: Vec<f64>,
}

impl Dense {
    /// Entries by row and column.
    pub fn from_fn(rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> f64) -> Self {
        let data = (0..rows * cols).map(|k| f(k / cols, k % cols)).collect();
        Self { rows, cols, data }
    }

    /// Independent entries, uniform on `[-1, 1]`.
    pub fn random(rows: usize, cols: usize, rng: &mut StdRng) -> Self {
        Self::from_fn(rows, cols, |_, _| rng.random_range(-1.0..1.0))
    }

    /// One matrix of a view.
    pub fn download<B: Linalg>(b: &B, view: MatsRef<'_, B>) -> Self {
        let d = view.dims();
        assert_eq!(d.batch, 1, "one matrix at a time");
        let data = b.download(view).expect("download").into_iter().map(Scalar::to_f64).collect();
        Self { rows: d.rows, cols: d.cols, data }
    }

    /// As a batch of one on a backend.
    pub fn upload<B: Linalg>(&self, b: &B) -> Mats<B> {
        let values: Vec<_> = self.data.iter().map(|x| B::Elem::from_f64(*x)).collect();
        Mats::from_slice(b, Dims::new(1, self.rows, self.cols), &values).expect("upload")
    }

    /// Entry `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.cols + j]
    }

    /// `self * other`.
    pub fn times(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.rows);
        Self::from_fn(self.rows, other.cols, |i, j| {
            (0..self.cols).map(|k| self.at(i, k) * other.at(k, j)).sum()
        })
    }

    /// The transpose.
    pub fn t(&self) -> Self {
        Self::from_fn(self.cols, self.rows, |i, j| self.at(j, i))
    }

    /// `self + alpha other`.
    pub fn plus(&self, alpha: f64, other: &Self) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols));
        Self::from_fn(self.rows, self.cols, |i, j| self.at(i, j) + alpha * other.at(i, j))
    }

    /// Frobenius inner product.
    pub fn dot(&self, other: &Self) -> f64 {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols));
        self.data.iter().zip(&other.data).map(|(a, b)| a * b).sum()
    }

    /// Frobenius norm.
    pub fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }

    /// `|self - reference| / |reference|`, absolute where the reference vanishes; NaN counts as infinite.
    pub fn relative_error(&self, reference: &Self) -> f64 {
        let error = self.plus(-1.0, reference).norm() / reference.norm().max(1e-300);
        let error = if reference.norm() < 1e-13 { self.norm() } else { error };
        if error.is_nan() { f64::INFINITY } else { error }
    }

    /// Q of the QR factorization by twice-repeated Gram-Schmidt.
    pub fn orthonormalized(&self) -> Self {
        let mut q = self.clone();
        for j in 0..self.cols {
            for _ in 0..2 {
                for k in 0..j {
                    let c: f64 = (0..q.rows).map(|i| q.at(i, k) * q.at(i, j)).sum();
                    for i in 0..q.rows {
                        q.data[i * q.cols + j] -= c * q.at(i, k);
                    }
                }
            }
            let norm = (0..q.rows).map(|i| q.at(i, j).powi(2)).sum::<f64>().sqrt();
            for i in 0..q.rows {
                q.data[i * q.cols + j] /= norm;
            }
        }
        q
    }

    /// Numerical rank: columns that survive pivoted Gram-Schmidt above `tolerance` times the largest.
    pub fn rank(&self, tolerance: f64) -> usize {
        let mut columns: Vec<Vec<f64>> =
            (0..self.cols).map(|j| (0..self.rows).map(|i| self.at(i, j)).collect()).collect();
        let norm = |c: &[f64]| c.iter().map(|x| x * x).sum::<f64>().sqrt();
        let largest = columns.iter().map(|c| norm(c)).fold(0.0, f64::max);
        for rank in 0..columns.len() {
            let Some(best) =
                (rank..columns.len()).max_by(|a, b| norm(&columns[*a]).total_cmp(&norm(&columns[*b])))
            else {
                return rank;
            };
            columns.swap(rank, best);
            let length = norm(&columns[rank]);
            if length <= tolerance * largest {
                return rank;
            }
            let (done, rest) = columns.split_at_mut(rank + 1);
            let pivot = &done[rank];
            for column in rest {
                for _ in 0..2 {
                    let c: f64 =
                        pivot.iter().zip(&*column).map(|(p, x)| p * x).sum::<f64>() / (length * length);
                    column.iter_mut().zip(pivot).for_each(|(x, p)| *x -= c * p);
                }
            }
        }
        columns.len()
    }
}
