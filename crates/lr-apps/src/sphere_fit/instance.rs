//! [`Instance`]: a hidden matrix with unit rows and its samples, and where solvers [`Start`].
//!
//! With r > r* the start decides which of many completions is found. The rank to spare fits, at no training
//! error, a row or column that is wrong where nobody sampled it: the limit from a random start is usually one
//! of those. The spectral start leaves the columns to spare empty; nothing then draws them away from the
//! hidden matrix.

use super::TRUE_RANK;
use crate::{
    dense::{Dense, Host, Product},
    error::AppError,
    masked::{MaskedData, Sampling},
};
use lr_manifolds::Factors;
use rand::rngs::StdRng;

/// Where a solver starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The leading singular vectors of the samples, as many as stand out, rows scaled to norm 1; columns left
    /// over are zero on the left and random on the right.
    Spectral,
    /// Unit rows and an orthonormal basis, both random.
    Random,
    /// Columns of the hidden matrix, rows scaled to norm 1, and a random orthonormal basis: leaks the answer.
    TrueColumns,
}

impl Start {
    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spectral => "spectral",
            Self::Random => "random",
            Self::TrueColumns => "true columns",
        }
    }
}

/// A hidden matrix `H V^T` with its samples.
#[derive(Debug)]
pub struct Instance {
    h: Dense,
    v: Dense,
    /// Training and test entries.
    pub data: MaskedData,
}

impl Instance {
    /// Unit rows of random direction times a random orthonormal basis.
    ///
    /// # Errors
    /// [`AppError`] when there is no such matrix.
    pub fn spherical(
        b: &Host,
        m: usize,
        n: usize,
        share: Sampling,
        rng: &mut StdRng,
    ) -> Result<Self, AppError> {
        require_rank(TRUE_RANK, m, n)?;
        let h = Dense::normal(m, TRUE_RANK, rng).with_unit_rows();
        let v = Dense::normal(n, TRUE_RANK, rng).orthonormalized(b)?;
        let data = MaskedData::sample(&h, &v, share, rng)?;
        Ok(Self { h, v, data })
    }

    /// A start of rank at most r.
    ///
    /// # Errors
    /// [`AppError::Data`] when the rank exceeds the matrix.
    pub fn start(
        &self,
        b: &Host,
        start: Start,
        rank: usize,
        rng: &mut StdRng,
    ) -> Result<Factors<Host>, AppError> {
        let (m, n) = (self.h.rows, self.v.rows);
        require_rank(rank, m, n)?;
        let (left, right) = match start {
            Start::Spectral => self.spectral(b, rank, rng)?,
            Start::Random => (
                Dense::normal(m, rank, rng).with_unit_rows(),
                Dense::normal(n, rank, rng).orthonormalized(b)?,
            ),
            Start::TrueColumns => {
                let entry =
                    |i: usize, j: usize| self.h.row(i).iter().zip(self.v.row(j)).map(|(a, c)| a * c).sum();
                let columns = Dense::from_fn(m, rank, entry).with_unit_rows();
                // A basis of unit vectors would invite spikes at entries that nobody sampled.
                (columns, Dense::normal(n, rank, rng).orthonormalized(b)?)
            }
        };
        Ok(Factors { left: left.upload(b)?, right: right.upload(b)? })
    }

    /// What the samples alone tell. Columns beyond the rank that they show would be singular vectors of the
    /// noise that sampling makes, concentrated on few rows and columns: from there a solver fits entries that
    /// nobody sampled instead of the matrix.
    fn spectral(&self, b: &Host, rank: usize, rng: &mut StdRng) -> Result<(Dense, Dense), AppError> {
        let (m, n) = (self.h.rows, self.v.rows);
        // One more, to see whether the last one stands out.
        let [u, w] = self.data.leading_triplets(b, (rank + 1).min(m.min(n)), rng)?;
        let found = standing_out(&w, rank);
        let rest = Dense::normal(n, rank, rng);
        let basis = Dense::from_fn(n, rank, |j, k| if k < found { w.at(j, k) } else { rest.at(j, k) });
        let w = Dense::from_fn(n, rank, |j, k| if k < found { w.at(j, k) } else { 0.0 });
        let v = basis.orthonormalized(b)?;
        let h = onto(b, &v, &Dense::from_fn(m, rank, |i, k| u.at(i, k)), &w)?;
        Ok((h.with_unit_rows(), v))
    }
}

/// How much smaller the first singular value of noise is, at least, than the last that stands out.
const LEAST_DROP: f64 = 1.5;

/// How many of the leading columns of `w`, at most `rank`, stand out: those before the largest drop of their
/// norms, or all where none is large.
fn standing_out(w: &Dense, rank: usize) -> usize {
    let norm = |k: usize| (0..w.rows).map(|j| w.at(j, k).powi(2)).sum::<f64>().sqrt();
    let norms: Vec<f64> = (0..w.cols).map(norm).collect();
    let drops = norms.windows(2).take(rank).map(|pair| pair[0] / pair[1].max(f64::MIN_POSITIVE));
    let largest = drops.enumerate().max_by(|(_, a), (_, c)| a.total_cmp(c));
    largest.filter(|(_, drop)| *drop > LEAST_DROP).map_or(rank, |(place, _)| place + 1)
}

/// `u w^T` as `h v^T` with orthonormal `v`.
pub(super) fn orthonormal_right(b: &Host, u: &Dense, w: &Dense) -> Result<(Dense, Dense), AppError> {
    let v = w.orthonormalized(b)?;
    Ok((onto(b, &v, u, w)?, v))
}

/// `h = u w^T v`.
fn onto(b: &Host, v: &Dense, u: &Dense, w: &Dense) -> Result<Dense, AppError> {
    let small = v.product(b, w, Product::FirstTransposed)?;
    Ok(u.product(b, &small, Product::SecondTransposed)?)
}

/// Refuses a rank that no `m x n` matrix has.
///
/// # Errors
/// [`AppError::Data`] naming the two.
pub fn require_rank(rank: usize, m: usize, n: usize) -> Result<(), AppError> {
    if rank == 0 || rank > m.min(n) {
        return Err(AppError::Data(format!(
            "rank {rank} is not between 1 and the smaller side of {m} x {n}"
        )));
    }
    Ok(())
}
