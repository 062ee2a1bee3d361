//! Initial points: uniform entries, and their orthogonalization (paper section 6.1).

use crate::FactorsMut;
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

/// Uniform entries on `[-a, a]`, `a = 1/sqrt(m)` on the left and `1/sqrt(n)` on the right, orthogonalized.
pub fn orthogonalized_uniform<B: Linalg>(
    b: &B,
    mut x: FactorsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
    rng: &mut impl Rng,
) {
    for mut side in [x.left.as_mut(), x.right.as_mut()] {
        let a = 1.0 / (side.dims().rows as f64).sqrt();
        uniform(b, a, side.as_mut(), rng);
        orthogonalize(b, side, status.as_mut(), scope);
    }
}
