//! From blocks with orthonormal rows to rotations, and how far these are from the truth.
//!
//! The blocks are projected onto the three leading right singular vectors of the stack, then each onto the
//! nearest rotation. Rotations are known up to one of all of them from the right; errors are measured after
//! the best alignment.

use super::graph::{Rotation, determinant, times, transposed};
use crate::{
    cone::svd,
    dense::{Dense, Host, Product},
};
use lr_linalg::DeviceError;

/// The rotations nearest to the blocks of `h`, `3 n x r`.
///
/// # Errors
/// [`DeviceError`] when the memory cannot be had.
pub fn to_rotations(b: &Host, h: &Dense) -> Result<Vec<Rotation>, DeviceError> {
    let (_, _, q) = svd(b, h)?;
    let basis = Dense::from_fn(q.rows, 3, |i, j| q.at(i, j));
    let flat = h.product(b, &basis, Product::Plain)?;
    let blocks: Vec<Rotation> = (0..flat.rows / 3)
        .map(|block| std::array::from_fn(|i| std::array::from_fn(|j| flat.at(3 * block + i, j))))
        .collect();
    // A common reflection is free: the one that most blocks ask for.
    let reflected = blocks.iter().filter(|block| determinant(block) < 0.0).count() * 2 > blocks.len();
    let turn = |mut block: Rotation| {
        if reflected {
            block.iter_mut().for_each(|row| row[2] = -row[2]);
        }
        block
    };
    blocks.into_iter().map(|block| nearest(b, &turn(block))).collect()
}

/// The rotation nearest to a matrix: `U diag(1, 1, det(U V^T)) V^T`.
///
/// # Errors
/// [`DeviceError`] when the memory cannot be had.
pub fn nearest(b: &Host, a: &Rotation) -> Result<Rotation, DeviceError> {
    let (u, _, v) = svd(b, &Dense::from_fn(3, 3, |i, j| a[i][j]))?;
    let with = |sign: f64| -> Rotation {
        let weight = [1.0, 1.0, sign];
        std::array::from_fn(|i| {
            std::array::from_fn(|j| (0..3).map(|k| u.at(i, k) * weight[k] * v.at(j, k)).sum())
        })
    };
    let plain = with(1.0);
    Ok(if determinant(&plain) < 0.0 { with(-1.0) } else { plain })
}

/// Angles between recovered and true rotations.
#[derive(Clone, Debug)]
pub struct PoseErrors {
    /// Mean, degrees.
    pub mean: f64,
    /// Largest, degrees.
    pub largest: f64,
    /// The recovered rotations, aligned.
    pub aligned: Vec<Rotation>,
}

/// Aligns `found` with `truth` and measures.
///
/// # Errors
/// [`DeviceError`] when the memory cannot be had.
pub fn pose_errors(b: &Host, found: &[Rotation], truth: &[Rotation]) -> Result<PoseErrors, DeviceError> {
    let mut overlap = [[0.0; 3]; 3];
    for (found, truth) in found.iter().zip(truth) {
        let product = times(&transposed(found), truth);
        (0..9).for_each(|k| overlap[k / 3][k % 3] += product[k / 3][k % 3]);
    }
    let turn = nearest(b, &overlap)?;
    let aligned: Vec<Rotation> = found.iter().map(|found| times(found, &turn)).collect();
    let angles: Vec<f64> = aligned.iter().zip(truth).map(|(a, t)| angle(a, t).to_degrees()).collect();
    let mean = angles.iter().sum::<f64>() / angles.len().max(1) as f64;
    Ok(PoseErrors { mean, largest: angles.into_iter().fold(0.0, f64::max), aligned })
}

/// Angle between two rotations, radians: `2 asin(|A - B| / sqrt(8))`, accurate for small ones.
fn angle(a: &Rotation, b: &Rotation) -> f64 {
    let square: f64 = (0..9).map(|k| (a[k / 3][k % 3] - b[k / 3][k % 3]).powi(2)).sum();
    2.0 * (square / 8.0).sqrt().min(1.0).asin()
}
