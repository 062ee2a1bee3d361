//! The stationarity measure of the original problem for gradients that are never formed.
//!
//! At `X = U Sigma V^T` of rank s (singular values below a share of the largest count as zero) the projection
//! of `-E` onto the tangent cone has
//!
//! ```text
//! measure^2 = |P_T(E V)|^2 + |U^T E (I - V V^T)|^2 + sum over i <= r - s of sigma_i^2((I - U U^T) E (I - V
//! V^T)),
//! ```
//!
//! the last by subspace iteration on products with `E`. [`lr_manifolds::space_decoupling::tangent_cone`] is
//! the same for dense gradients.

use crate::dense::{Dense, Host, Product};
use lr_linalg::{DeviceError, Dims, Factor, Mats, Scratch};
use lr_manifolds::{Ambient, Factors, LevelSet};
use rand::{SeedableRng, rngs::StdRng};

/// Singular values below this share of the largest count as zero.
pub const RANK_TOLERANCE: f64 = 1e-8;

/// Subspace iterations for the singular values of the normal part.
const ITERATIONS: usize = 30;

/// The measure at `H V^T`, `H` in `set` and `V` orthonormal, for the bound `r` = number of columns.
///
/// # Errors
/// [`DeviceError`] when the memory cannot be had.
pub fn measure<S: LevelSet<Host>>(
    b: &Host,
    set: &S,
    x: &Factors<Host>,
    e: &dyn Ambient<Host>,
) -> Result<f64, DeviceError> {
    let (h, v) = (Dense::download(b, &x.left)?, Dense::download(b, &x.right)?);
    let r = h.cols;
    let (u, sigma, q) = svd(b, &h)?;
    let s = sigma.iter().take_while(|value| **value > RANK_TOLERANCE * sigma[0]).count();
    let (u, h, v) = (
        columns(&u, s),
        h.product(b, &columns(&q, s), Product::Plain)?,
        v.product(b, &columns(&q, s), Product::Plain)?,
    );

    let [ev, etu] = pull(b, e, &u, &v)?;
    let (mut k, at) = (ev.upload(b)?, h.upload(b)?);
    Scratch::new(b)?.scope(|scope| set.project_tangent(b, at.as_ref(), k.as_mut(), scope));
    let k = Dense::download(b, &k)?;
    let j = without(b, &v, etu)?;
    let mut square = k.norm().powi(2) + j.norm().powi(2);
    if s < r {
        let wide = (r - s + 2).min(h.rows).min(v.rows);
        let mut rng = StdRng::seed_from_u64(0);
        let mut right = without(b, &v, Dense::normal(v.rows, wide, &mut rng))?;
        let mut left = Dense::zeros(h.rows, wide);
        for _ in 0..ITERATIONS {
            right = right.orthonormalized(b)?;
            left = without(b, &u, pull(b, e, &left, &right)?.into_iter().next().unwrap_or(left))?;
            let basis = left.orthonormalized(b)?;
            let [_, again] = pull(b, e, &basis, &right)?;
            right = without(b, &v, again)?;
        }
        let (_, values, _) = svd(b, &right)?;
        square += values.iter().take(r - s).map(|value| value * value).sum::<f64>();
    }
    Ok(square.sqrt())
}

/// `(E W, E^T K)`.
fn pull(b: &Host, e: &dyn Ambient<Host>, k: &Dense, w: &Dense) -> Result<[Dense; 2], DeviceError> {
    let pair = Factors { left: k.upload(b)?, right: w.upload(b)? };
    let mut out = Factors {
        left: Mats::zeros(b, Dims::new(1, k.rows, w.cols))?,
        right: Mats::zeros(b, Dims::new(1, w.rows, k.cols))?,
    };
    e.pull(b, pair.as_ref(), out.as_mut())?;
    Ok([Dense::download(b, &out.left)?, Dense::download(b, &out.right)?])
}

/// `(I - Q Q^T) x`.
fn without(b: &Host, q: &Dense, mut x: Dense) -> Result<Dense, DeviceError> {
    let overlap = q.product(b, &x, Product::FirstTransposed)?;
    let inside = q.product(b, &overlap, Product::Plain)?;
    x.data.iter_mut().zip(&inside.data).for_each(|(x, y)| *x -= y);
    Ok(x)
}

fn columns(x: &Dense, count: usize) -> Dense {
    Dense::from_fn(x.rows, count, |i, j| x.at(i, j))
}

/// `x = u diag(sigma) q^T` of a tall matrix.
///
/// # Errors
/// [`DeviceError`] when the memory cannot be had.
pub fn svd(b: &Host, x: &Dense) -> Result<(Dense, Vec<f64>, Dense), DeviceError> {
    let mut u = x.upload(b)?;
    let mut sigma = Mats::zeros(b, Dims::new(1, 1, x.cols))?;
    let mut q = Mats::zeros(b, Dims::square(1, x.cols))?;
    let mut status = Mats::zeros(b, Dims::scalars(1))?;
    b.svd(u.as_mut(), sigma.as_mut(), q.as_mut(), status.as_mut());
    Ok((Dense::download(b, &u)?, sigma.to_vec(b)?, Dense::download(b, &q)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lr_linalg::MatsMut;
    use lr_manifolds::{DenseMatrix, SpaceDecoupling, level_set::Unconstrained};

    #[test]
    fn the_measure_is_that_of_the_dense_projection_at_every_rank() {
        let (b, mut rng) = (Host::new(), StdRng::seed_from_u64(3));
        let (m, n, r) = (9, 8, 4);
        let manifold = SpaceDecoupling::new(m, n, r, Unconstrained, 0.5).unwrap();
        for rank in [2, 4] {
            let mut h = Dense::normal(m, r, &mut rng);
            for i in 0..m {
                // The last columns repeat the first: rank 2.
                let row = h.row_mut(i);
                (rank..r).for_each(|j| row[j] = row[j - rank]);
            }
            let v = Dense::normal(n, r, &mut rng).orthonormalized(&b).unwrap();
            let e = Dense::normal(m, n, &mut rng);
            let x = Factors { left: h.upload(&b).unwrap(), right: v.upload(&b).unwrap() };
            let ours = measure(&b, &Unconstrained, &x, &DenseMatrix(e.upload(&b).unwrap())).unwrap();
            let zeros = |rows, cols| Mats::zeros(&b, Dims::new(1, rows, cols)).unwrap();
            let (mut projection, mut squares, mut status) = (zeros(m, n), zeros(1, 3), zeros(1, 1));
            let full = e.upload(&b).unwrap();
            let room: MatsMut<'_, Host> = projection.as_mut();
            Scratch::new(&b).unwrap().scope(|scope| {
                let (squares, status) = (squares.as_mut(), status.as_mut());
                manifold.tangent_cone(&b, x.as_ref(), full.as_ref(), rank, room, squares, status, scope);
            });
            let expected = squares.to_vec(&b).unwrap().iter().sum::<f64>().sqrt();
            assert!((ours - expected).abs() < 1e-6 * expected, "rank {rank}: {ours} {expected}");
        }
    }
}
