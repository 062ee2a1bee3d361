//! Largest singular value by Golub-Kahan-Lanczos bidiagonalization with full reorthogonalization.
//!
//! From a start `v_1`, `A V_k = U_k B_k` and `A^T U_k = V_k B_k^T + beta_k v_{k+1} e_k^T` with an upper bidiagonal `B_k`
//! (alphas on, betas above the diagonal). Its leading triplet `(p, sigma, q)` gives one of `A` up to the residual
//! `beta_k |p_k|`, which is the certificate.

use crate::{
    Dims, Epilogue::Overwrite, Epilogue::Scale, Linalg, Map, MatsMut, MatsRef, Operand, Scalar, Scope,
};

/// Most steps: beyond, the SVD costs as much.
const MOST_STEPS: usize = 32;

/// Steps between two looks at the residual.
const STRIDE: usize = 4;

/// Residual, relative to the singular value, at which that is good to the precision of `T`: the error goes with
/// the residual's square.
fn tolerance<T: Scalar>() -> f64 {
    if T::EPSILON > f64::EPSILON { (-15f64).exp2() } else { (-40f64).exp2() }
}

/// Largest singular value of a single matrix `a` (`[1, m, n]`); [`None`] where the steps do not suffice, something
/// is not finite, and on devices that would have to stall to tell.
pub(super) fn largest_singular_value<B: Linalg>(
    b: &B,
    a: MatsRef<'_, B>,
    scope: &Scope<'_, B>,
) -> Option<f64> {
    let Dims { batch, rows: m, cols: n } = a.dims();
    let steps = MOST_STEPS.min(n);
    if batch != 1 {
        return None;
    }
    scope.nest(|scope| {
        let (mut us, mut vs) = (scope.take(Dims::new(1, steps, m)), scope.take(Dims::new(1, steps + 1, n)));
        // No symmetry of the matrix leaves this start alone.
        for j in 0..n {
            b.fill((1.7 * j as f64 + 0.3).sin(), vs.as_mut().block(0..1, j..j + 1));
        }
        normalize(b, vs.as_mut().rows(0..1), scope)?;
        let (mut alphas, mut betas) = ([0.0; MOST_STEPS], [0.0; MOST_STEPS]);
        for k in 0..steps {
            alphas[k] = next(b, vs.as_ref().rows(k..k + 1), a.t(), us.as_mut(), k, scope)?;
            betas[k] = next(b, us.as_ref().rows(k..k + 1), a.n(), vs.as_mut(), k + 1, scope)?;
            if (k + 1) % STRIDE == 0 || k + 1 == steps {
                let (square, last) = leading_pair(&alphas[..=k], &betas[..=k]);
                let sigma = square.sqrt();
                if betas[k] * last <= tolerance::<B::Elem>() * sigma || k + 1 == n {
                    return sigma.is_finite().then_some(sigma);
                }
            }
        }
        None
    })
}

/// Row `k` of `rows` becomes `x a`, orthogonal to the rows before and of norm 1; the norm before that.
fn next<B: Linalg>(
    b: &B,
    x: MatsRef<'_, B>,
    a: Operand<'_, B>,
    rows: MatsMut<'_, B>,
    k: usize,
    scope: &Scope<'_, B>,
) -> Option<f64> {
    let (before, rest) = rows.split_rows(k);
    let mut row = rest.rows(0..1);
    b.gemm(1.0, x.n(), a, Overwrite, row.as_mut());
    if k > 0 {
        scope.nest(|scope| {
            let (before, mut overlaps) = (before.as_ref(), scope.take(Dims::new(1, 1, k)));
            b.gemm(1.0, row.as_ref().n(), before.t(), Overwrite, overlaps.as_mut());
            b.gemm(-1.0, overlaps.as_ref().n(), before.n(), Scale(1.0), row.as_mut());
        });
    }
    normalize(b, row, scope)
}

/// Divides a row by its norm, which it returns; a row that vanishes stays.
fn normalize<B: Linalg>(b: &B, mut row: MatsMut<'_, B>, scope: &Scope<'_, B>) -> Option<f64> {
    let norm = scope.nest(|scope| {
        let mut square = scope.take(Dims::scalars(1));
        b.dot(1.0, row.as_ref(), row.as_ref(), 0.0, square.as_mut());
        b.glance(square.as_ref())
    })?;
    let norm = norm.sqrt();
    if !norm.is_finite() {
        return None;
    }
    if norm > 0.0 {
        b.map(Map::Scale(1.0 / norm), row.as_mut());
    }
    Some(norm)
}

/// Largest eigenvalue of `B B^T` for the bidiagonal `B` of order `k`, and the last component of its unit
/// eigenvector, absolute.
fn leading_pair(alphas: &[f64], betas: &[f64]) -> (f64, f64) {
    let k = alphas.len();
    let above = |i: usize| if i + 1 < k { betas[i] } else { 0.0 };
    let diagonal = |i: usize| alphas[i].powi(2) + above(i).powi(2);
    let off = |i: usize| above(i) * alphas[i + 1];
    let reach = |i: usize| {
        let left = if i > 0 { off(i - 1) } else { 0.0 };
        diagonal(i) + left + if i + 1 < k { off(i) } else { 0.0 }
    };
    // Bisection on the sign of the last pivot sequence: no eigenvalue above x while all of T - x are negative.
    let (mut low, mut high) = (0.0, (0..k).map(reach).fold(0.0, f64::max));
    for _ in 0..100 {
        let x = 0.5 * (low + high);
        let mut pivot = diagonal(0) - x;
        let mut negative = pivot < 0.0;
        for i in 1..k {
            pivot =
                diagonal(i) - x - off(i - 1).powi(2) / if pivot == 0.0 { f64::MIN_POSITIVE } else { pivot };
            negative &= pivot < 0.0;
        }
        if negative { high = x } else { low = x }
    }
    // (T - lambda) p = 0 from the last row up: p_{i-1} follows from p_i and p_{i+1}.
    let lambda = high;
    let (mut next, mut current, mut square) = (0.0, 1.0, 1.0);
    for i in (1..k).rev() {
        let right = if i + 1 < k { off(i) * next } else { 0.0 };
        let above = off(i - 1);
        if above == 0.0 {
            break;
        }
        let previous: f64 = ((lambda - diagonal(i)) * current - right) / above;
        (next, current) = (current, previous);
        square += previous * previous;
    }
    (lambda, square.sqrt().recip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leading_pair_of_a_bidiagonal_matrix() {
        // B = [[3, 1], [0, 2]]: B B^T = [[10, 2], [2, 4]].
        let (square, last) = leading_pair(&[3.0, 2.0], &[1.0, 5.0]);
        let expected = 7.0 + 13f64.sqrt();
        assert!((square - expected).abs() < 1e-13);
        // (10 - lambda) p_1 + 2 p_2 = 0.
        let ratio = (expected - 10.0) / 2.0;
        assert!((last - ratio / (1.0 + ratio * ratio).sqrt()).abs() < 1e-12);
        assert_eq!(leading_pair(&[2.0], &[1.0]), (4.0, 1.0));
        assert_eq!(leading_pair(&[0.0], &[0.0]).0, 0.0);
    }
}
