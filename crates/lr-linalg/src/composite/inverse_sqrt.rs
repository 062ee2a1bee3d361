//! `G^{-1/2}` of Gram matrices near the identity, by a polynomial: products of small matrices only.
//!
//! With `E = G - I` and `|E|_F <= h = 2^-k` all eigenvalues of `E/h` lie in `[-1, 1]`, where the Chebyshev
//! interpolant of `(1 + h s)^{-1/2}` is as good as its degree: the bound is rigorous, no result needs a check.
//! Degrees are those that Paterson and Stockmeyer's scheme (1973) evaluates with the fewest products,
//!
//! ```text
//! p(E) = B_0 + E^s (B_1 + E^s (B_2 + ...)),   B_j of degree s - 1, the last of degree s.
//! ```

use crate::{Coef, Dims, Epilogue::Overwrite, Epilogue::Scale, Linalg, Map, MatsMut, MatsRef, Scalar, Scope};
use std::{f64::consts::PI, sync::OnceLock};

/// `(s, q)`: degree `s (q + 1)` with `s - 1 + q` products.
const PLANS: [(usize, usize); 7] = [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (4, 2), (4, 3)];

/// Smallest interval with a table entry of its own, `2^-LAST`: there degree 1 serves `f64`.
const LAST: usize = 27;

/// A polynomial in `E/h`.
#[derive(Debug)]
struct Polynomial {
    /// Scheme by which it is evaluated.
    plan: (usize, usize),
    /// Coefficients of the powers of `E/h`, from the constant on.
    coefficients: Vec<f64>,
}

/// Coefficients of the powers of `s` of the Chebyshev interpolant of `(1 + h s)^{-1/2}` on `[-1, 1]`.
fn interpolant(degree: usize, h: f64) -> Vec<f64> {
    let n = degree + 1;
    let node = |k: usize| PI * (k as f64 + 0.5) / n as f64;
    let values: Vec<f64> = (0..n).map(|k| (1.0 + h * node(k).cos()).sqrt().recip()).collect();
    let (mut last, mut current) = (vec![0.0; n], vec![0.0; n]);
    current[0] = 1.0;
    let mut sum = vec![0.0; n];
    for j in 0..n {
        let weight = if j == 0 { 1.0 } else { 2.0 } / n as f64;
        let coefficient: f64 =
            values.iter().enumerate().map(|(k, v)| weight * v * (j as f64 * node(k)).cos()).sum();
        sum.iter_mut().zip(&current).for_each(|(sum, t)| *sum += coefficient * t);
        // T_1 = s, T_{j+1} = 2 s T_j - T_{j-1}.
        let factor = if j == 0 { 1.0 } else { 2.0 };
        let next = (0..n).map(|i| if i == 0 { 0.0 } else { factor * current[i - 1] } - last[i]).collect();
        last = std::mem::replace(&mut current, next);
    }
    sum
}

/// The polynomial for `h = 2^-k`, accurate to a quarter of `epsilon`.
fn polynomial(k: usize, epsilon: f64) -> Polynomial {
    let h = (-(k as f64)).exp2();
    for plan in PLANS {
        let coefficients = interpolant(plan.0 * (plan.1 + 1), h);
        let error = |i: i32| {
            let s = f64::from(i) / 100.0;
            let value = coefficients.iter().rev().fold(0.0, |sum, c| sum * s + c);
            (value * (1.0 + h * s).sqrt() - 1.0).abs()
        };
        // Beyond the roundings of this very evaluation.
        if (-100..=100).all(|i| error(i) <= 0.25 * epsilon + 8.0 * f64::EPSILON) {
            return Polynomial { plan, coefficients };
        }
    }
    let plan = PLANS[PLANS.len() - 1];
    Polynomial { plan, coefficients: interpolant(plan.0 * (plan.1 + 1), h) }
}

/// The table's entry for `|E|_F <= defect`, and `h`; `None` where no polynomial is good enough.
fn choose<T: Scalar>(defect: f64) -> Option<(&'static Polynomial, f64)> {
    static SINGLE: [OnceLock<Polynomial>; LAST + 1] = [const { OnceLock::new() }; LAST + 1];
    static DOUBLE: [OnceLock<Polynomial>; LAST + 1] = [const { OnceLock::new() }; LAST + 1];
    let (table, first) = if T::EPSILON > f64::EPSILON { (&SINGLE, 1) } else { (&DOUBLE, 3) };
    if !(0.0..=0.5f64.powi(first)).contains(&defect) {
        return None;
    }
    let k = (-defect.log2()).floor().min(LAST as f64) as usize;
    Some((table[k].get_or_init(|| polynomial(k, T::EPSILON)), (-(k as f64)).exp2()))
}

/// `out = (I + defect)^{-1/2}` for symmetric `defect` (`[batch, n, n]`), whose Frobenius norms are at most
/// `norm`; uses up `defect`. `false`, and nothing done, where that is too far from the identity.
pub(super) fn inverse_sqrt<B: Linalg>(
    b: &B,
    mut defect: MatsMut<'_, B>,
    norm: f64,
    out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) -> bool {
    let Some((polynomial, h)) = choose::<B::Elem>(norm) else {
        return false;
    };
    b.map(Map::Scale(1.0 / h), defect.as_mut());
    evaluate(b, polynomial, defect.as_ref(), out, scope);
    true
}

/// `out = p(x)`.
fn evaluate<B: Linalg>(
    b: &B,
    polynomial: &Polynomial,
    x: MatsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let (d, (s, q)) = (x.dims(), polynomial.plan);
    scope.nest(|scope| {
        let mut powers = scope.take(Dims { batch: s * d.batch, ..d });
        let power = |i: usize| (i - 1) * d.batch..i * d.batch;
        b.copy(x.n(), powers.as_mut().problems(power(1)));
        for i in 2..=s {
            let (known, next) = powers.as_mut().split_problems((i - 1) * d.batch);
            let last = known.as_ref().problems(power(i - 1));
            b.gemm(1.0, last.n(), x.n(), Overwrite, next.problems(0..d.batch));
        }
        let powers = powers.as_ref();
        let block = |j: usize, terms: usize, mut out: MatsMut<'_, B>| {
            let c = &polynomial.coefficients[j * s..];
            for (i, &c) in c.iter().enumerate().take(terms + 1).skip(1) {
                let beta = if i == 1 { 0.0 } else { 1.0 };
                b.axpby(Coef::Host(c), powers.problems(power(i)), beta, out.as_mut());
            }
            if terms == 0 {
                b.fill(0.0, out.as_mut());
            }
            b.add_diagonal(c[0], out);
        };
        let mut sum = scope.take(d);
        block(q, s, out.as_mut());
        for j in (0..q).rev() {
            block(j, s - 1, sum.as_mut());
            b.gemm(1.0, out.as_ref().n(), powers.problems(power(s)).n(), Scale(1.0), sum.as_mut());
            b.copy(sum.as_ref().n(), out.as_mut());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every entry of both tables reaches the accuracy it is for, at the ends of its interval, too.
    #[test]
    fn polynomials_are_accurate() {
        for (first, epsilon) in [(1, f64::from(f32::EPSILON)), (3, f64::EPSILON)] {
            for k in first..=LAST {
                let (p, h) = (polynomial(k, epsilon), (-(k as f64)).exp2());
                for s in [-1.0, -0.7, 0.01, 0.9, 1.0] {
                    let value = p.coefficients.iter().rev().fold(0.0, |sum, c| sum * s + c);
                    let error = (value * f64::sqrt(1.0 + h * s) - 1.0).abs();
                    assert!(error <= 0.3 * epsilon + 20.0 * f64::EPSILON, "2^-{k}: {error:.1e} at {s}");
                }
            }
        }
    }

    #[test]
    fn small_steps_need_few_products() {
        let products = |k, epsilon| {
            let (s, q) = polynomial(k, epsilon).plan;
            s - 1 + q
        };
        let single = f64::from(f32::EPSILON);
        assert_eq!([14, 6, 3, 1].map(|k| products(k, single)), [0, 2, 3, 5]);
        assert_eq!(products(27, f64::EPSILON), 0);
    }

    #[test]
    fn nothing_is_chosen_too_far_from_the_identity() {
        assert!(choose::<f32>(0.51).is_none() && choose::<f32>(f64::NAN).is_none());
        assert!(choose::<f64>(0.13).is_none());
        assert_eq!(choose::<f32>(0.5).unwrap().1, 0.5);
        assert_eq!(choose::<f32>(0.0).unwrap().1, (-(LAST as f64)).exp2());
    }
}
