//! [`Ambient`]: an `m x n` matrix as what the geometries ask of it, its products with factors, and four ways
//! to keep it.
//!
//! A gradient `E = grad f(X)` or its derivative enters a geometry through `(E R, E^T L)` only, so that it
//! need not be formed:
//!
//! | representation | memory | products |
//! |---|---|---|
//! | [`DenseMatrix`] | `m n` | two dense products |
//! | [`SampledMatrix`] | stored entries | sparse times dense, by row and by column |
//! | [`LowRankMatrix`], `P Q^T` | `(m + n) k` | `P (Q^T R)`, `Q (P^T L)` |
//! | [`OperatorMatrix`] | none | two functions of the caller's |

use crate::{FactorsMut, FactorsRef};
use lr_linalg::{DeviceError, sparse::SparseMatrix};
use lr_linalg::{Dims, Epilogue::Overwrite, HostBuffer, Linalg, Mats, MatsMut, MatsRef, Scalar, Threads};

/// A matrix `E` of one problem, seen through products.
pub trait Ambient<B: Linalg> {
    /// `out = (E W, E^T K)` for the pair `(K, W)`, of any width.
    ///
    /// # Errors
    /// [`DeviceError`] when the device fails.
    ///
    /// # Panics
    /// If shapes do not fit.
    fn pull(&self, b: &B, pair: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), DeviceError>;
}

/// A matrix kept in full, `[1, m, n]`.
#[derive(Debug)]
pub struct DenseMatrix<B: Linalg>(pub Mats<B>);

impl<B: Linalg> Ambient<B> for DenseMatrix<B> {
    fn pull(&self, b: &B, pair: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), DeviceError> {
        b.gemm(1.0, self.0.as_ref().n(), pair.right.n(), Overwrite, out.left);
        b.gemm(1.0, self.0.as_ref().t(), pair.left.n(), Overwrite, out.right);
        Ok(())
    }
}

/// A matrix that is zero outside a mask; host memory only.
#[derive(Clone, Debug)]
pub struct SampledMatrix<T> {
    /// Pattern and values.
    pub entries: SparseMatrix<T>,
    /// Where the products run.
    pub threads: Threads,
}

impl<T: Scalar, B: Linalg<Elem = T, Buffer = HostBuffer<T>>> Ambient<B> for SampledMatrix<T> {
    fn pull(&self, _: &B, pair: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), DeviceError> {
        let FactorsMut { mut left, mut right } = out;
        self.entries.times(self.threads, pair.right.panel(0), left.panel_mut(0));
        self.entries.transposed_times(self.threads, pair.left.panel(0), right.panel_mut(0));
        Ok(())
    }
}

/// `P Q^T` with `P` `[1, m, k]` and `Q` `[1, n, k]`.
#[derive(Debug)]
pub struct LowRankMatrix<B: Linalg> {
    /// `P`.
    pub left: Mats<B>,
    /// `Q`.
    pub right: Mats<B>,
}

impl<B: Linalg> Ambient<B> for LowRankMatrix<B> {
    fn pull(&self, b: &B, pair: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), DeviceError> {
        let (p, q) = (self.left.as_ref(), self.right.as_ref());
        let through =
            |first: MatsRef<'_, B>, second: MatsRef<'_, B>, x: MatsRef<'_, B>, out: MatsMut<'_, B>| {
                let mut overlap = Mats::zeros(b, Dims::new(1, second.dims().cols, x.dims().cols))?;
                b.gemm(1.0, second.t(), x.n(), Overwrite, overlap.as_mut());
                b.gemm(1.0, first.n(), overlap.as_ref().n(), Overwrite, out);
                Ok::<(), DeviceError>(())
            };
        through(p, q, pair.right, out.left)?;
        through(q, p, pair.left, out.right)
    }
}

/// A matrix known by what it does: `times(b, x, out)` writes `E x`, `transposed(b, x, out)` writes `E^T x`.
#[derive(Clone, Debug)]
pub struct OperatorMatrix<F, G> {
    /// `E x`.
    pub times: F,
    /// `E^T x`.
    pub transposed: G,
}

impl<B, F, G> Ambient<B> for OperatorMatrix<F, G>
where
    B: Linalg,
    F: Fn(&B, MatsRef<'_, B>, MatsMut<'_, B>) -> Result<(), DeviceError>,
    G: Fn(&B, MatsRef<'_, B>, MatsMut<'_, B>) -> Result<(), DeviceError>,
{
    fn pull(&self, b: &B, pair: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), DeviceError> {
        (self.times)(b, pair.right, out.left)?;
        (self.transposed)(b, pair.left, out.right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Factors, Grid};
    use lr_linalg::{Blas, Cpu};

    type B = Cpu<f64>;

    /// One matrix in all four representations has the same products.
    #[test]
    fn all_representations_agree() {
        let (b, m, n, r) = (B::new(), 5, 4, 2);
        let numbers =
            |len: usize, seed: f64| (0..len).map(|k| (k as f64 * 1.3 + seed).sin()).collect::<Vec<_>>();
        let mats = |rows, cols, seed| {
            Mats::from_slice(&b, Dims::new(1, rows, cols), &numbers(rows * cols, seed)).unwrap()
        };
        let (p, q) = (mats(m, 3, 0.1), mats(n, 3, 0.7));
        let mut full = Mats::zeros(&b, Dims::new(1, m, n)).unwrap();
        b.gemm(1.0, p.as_ref().n(), q.as_ref().t(), Overwrite, full.as_mut());
        let values = full.to_vec(&b).unwrap();
        let entries: Vec<_> = values.iter().enumerate().map(|(k, &x)| (k / n, k % n, x)).collect();
        let sampled =
            SampledMatrix { entries: SparseMatrix::new(m, n, &entries).unwrap(), threads: Threads::Serial };
        let (e, t) = (mats(m, n, 0.0), mats(m, n, 0.0));
        let (mut e, mut t) = (e, t);
        b.copy(full.as_ref().n(), e.as_mut());
        b.copy(full.as_ref().n(), t.as_mut());
        let operator = OperatorMatrix {
            times: |b: &B, x: MatsRef<'_, B>, out: MatsMut<'_, B>| {
                b.gemm(1.0, e.as_ref().n(), x.n(), Overwrite, out);
                Ok(())
            },
            transposed: |b: &B, x: MatsRef<'_, B>, out: MatsMut<'_, B>| {
                b.gemm(1.0, t.as_ref().t(), x.n(), Overwrite, out);
                Ok(())
            },
        };
        let pair = Factors { left: mats(m, r, 2.0), right: mats(n, r, 3.0) };
        let pulled = |e: &dyn Ambient<B>| {
            let mut out = Factors::zeros(&b, &Grid::singleton(m, n, r), 1).unwrap();
            e.pull(&b, pair.as_ref(), out.as_mut()).unwrap();
            [out.left.to_vec(&b).unwrap(), out.right.to_vec(&b).unwrap()].concat()
        };
        let expected = pulled(&DenseMatrix(full));
        for other in [pulled(&sampled), pulled(&LowRankMatrix { left: p, right: q }), pulled(&operator)] {
            assert!(other.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-14));
        }
    }
}
