//! The dual certificate of global optimality.
//!
//! With `Lambda_j = sym((C H)_j H_j^T)` and `S = C - blockdiag(Lambda)`, every feasible `Y` has `<C, Y Y^T> =
//! <S, Y Y^T> + sum tr Lambda_j >= -shift |Y|^2 + f(X)` where `S + shift I` is positive semidefinite, and
//! `|Y|^2` is the number of rows: a Cholesky factorization that succeeds proves the cost within `3 n shift`
//! of the optimum. It is exact linear algebra, unlike an estimate of the least eigenvalue.

use super::Synchronization;
use crate::{dense::Host, error::AppError};
use lr_linalg::{Dims, Factor, Mats, MatsRef, PivotGuard, sparse::Orientation};
use serde::Serialize;

/// Relative gap at which a point counts as globally optimal.
pub const TOLERANCE: f64 = 1e-6;

/// Cameras beyond which the dense factorization would not fit.
pub const MOST_CAMERAS: usize = 3000;

/// What is proved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// Least tried shift that makes the dual matrix positive definite; absent when none up to the norm of
    /// `C` did.
    pub shift: Option<f64>,
    /// Proved bound of `f(X) - optimum`, relative to `|f(X)|`.
    pub relative_gap: Option<f64>,
}

impl Certificate {
    /// Whether the point is proved optimal up to [`TOLERANCE`].
    pub fn is_optimal(&self) -> bool {
        self.relative_gap.is_some_and(|gap| gap <= TOLERANCE)
    }

    /// In words.
    pub fn verdict(&self) -> String {
        match self.relative_gap {
            Some(gap) if self.is_optimal() => {
                format!("Certified: the cost is within {gap:.1e} (relative) of the global optimum.")
            }
            Some(gap) => format!(
                "Not certified: the proved gap to the global optimum is {gap:.1e} \
                (relative)."
            ),
            None => "Not certified: the dual matrix has negative eigenvalues as large as C itself, or is \
                too large to \
                     factor."
                .to_owned(),
        }
    }
}

/// Certifies the point with stacked blocks `h`.
///
/// # Errors
/// [`AppError`] when the memory cannot be had.
pub fn certify(b: &Host, problem: &Synchronization, h: MatsRef<'_, Host>) -> Result<Certificate, AppError> {
    let n = h.dims().rows;
    if n > 3 * MOST_CAMERAS {
        return Ok(Certificate { shift: None, relative_gap: None });
    }
    let (c, cost) = (problem.matrix(), problem.value(b, h)?);
    let image = problem.times(b, 1.0, h)?;
    let mut s = vec![0.0; n * n];
    for ((i, j), value) in c.mask().entries().zip(c.values(Orientation::Rows)) {
        s[i * n + j] += value;
    }
    let (image, h) = (image.as_ref().panel(0), h.panel(0));
    for block in 0..n / 3 {
        let dot = |i: usize, j: usize| -> f64 {
            image.row(3 * block + i).iter().zip(h.row(3 * block + j)).map(|(a, c)| a * c).sum()
        };
        for (i, j) in (0..9).map(|k| (k / 3, k % 3)) {
            s[(3 * block + i) * n + 3 * block + j] -= 0.5 * (dot(i, j) + dot(j, i));
        }
    }
    let scale =
        (0..n).map(|i| s[i * n..(i + 1) * n].iter().map(|x| x.abs()).sum::<f64>()).fold(0.0, f64::max);
    let (mut l, mut status) = (Mats::zeros(b, Dims::square(1, n))?, Mats::zeros(b, Dims::scalars(1))?);
    for exponent in -13..=0 {
        let shift = scale * 10f64.powi(exponent);
        let mut shifted = s.clone();
        (0..n).for_each(|i| shifted[i * n + i] += shift);
        l = Mats::from_slice(b, l.dims(), &shifted)?;
        status = Mats::from_slice(b, status.dims(), &[0.0])?;
        b.cholesky(PivotGuard::Report, l.as_mut(), status.as_mut());
        if status.to_vec(b)?[0] == 0.0 {
            let relative_gap = Some(n as f64 * shift / cost.abs().max(f64::MIN_POSITIVE));
            return Ok(Certificate { shift: Some(shift), relative_gap });
        }
    }
    Ok(Certificate { shift: None, relative_gap: None })
}
