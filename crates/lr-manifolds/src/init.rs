//! Initial points: uniform entries, and their orthogonalization (paper section 6.1).

use crate::{FactorsMut, Grid};
use lr_linalg::{Dims, Linalg, MatsMut, Scalar, Scope};
use rand::Rng;

/// Independent entries from the uniform distribution on `[-a, a]`, drawn in storage order.
///
/// # Panics
/// If `a` is negative or not finite.
pub fn uniform<B: Linalg>(b: &B, a: f64, target: MatsMut<'_, B>, rng: &mut impl Rng) {
    let values: Vec<B::Elem> =
        (0..target.dims().len()).map(|_| B::Elem::from_f64(rng.random_range(-a..=a))).collect();
    b.upload(&values, target);
}

/// Replaces every tall matrix by the Q of its QR factorization with non-negative diagonal. The status
/// of a matrix that is not finite becomes 1.
///
/// # Panics
/// If the matrices are wide.
pub fn orthogonalize<B: Linalg>(b: &B, target: MatsMut<'_, B>, status: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    scope.nest(|scope| {
        let d = target.dims();
        let mut r = scope.take(Dims::square(d.batch, d.cols));
        b.qr(target, r.as_mut(), status);
    });
}

/// Uniform entries on `[-a, a]`, `a = 1/sqrt(m_i)` in a block of height `m_i`, orthogonalized block by block:
/// a point of every geometry on `grid`.
///
/// # Panics
/// If a block has fewer rows than the rank.
pub fn orthogonalized_uniform<B: Linalg>(
    b: &B,
    grid: &Grid,
    mut x: FactorsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
    rng: &mut impl Rng,
) {
    for (blocks, mut side) in [(&grid.left, x.left.as_mut()), (&grid.right, x.right.as_mut())] {
        for rows in blocks.ranges() {
            let a = 1.0 / (rows.len() as f64).sqrt();
            let mut block = side.as_mut().rows(rows);
            scope.nest(|scope| {
                // Drawn into memory of its own: a block of a stack is not packed.
                let mut drawn = scope.take(block.dims());
                uniform(b, a, drawn.as_mut(), rng);
                b.copy(drawn.as_ref().n(), block.as_mut());
            });
            orthogonalize(b, block, status.as_mut(), scope);
        }
    }
}
