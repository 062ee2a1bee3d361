//! Serial vectorized kernels on rows of host memory.
//!
//! Plain loops over arrays of lanes that the compiler turns into the widest vectors of the machine: each
//! kernel is compiled for the baseline, AVX2 and AVX-512 and picked at run time. Sums run over a fixed
//! number of lanes, so that a result does not depend on threads.

use super::exponential::Real;
use crate::neural::{Accumulation, Rotation};
use lr_linalg::{Panel, PanelMut, Scalar};

/// Partial sums kept apart: enough to hide the latency of the widest vectors.
const LANES: usize = 64;

/// Runs `work`, inlined into a copy of the code compiled for this machine's vectors.
#[inline(always)]
fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Sum of the lanes, by halves.
#[inline(always)]
fn total<T: Scalar>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            let other = lanes[l + half];
            lanes[l] += other;
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = x.mul_add(*y, *lane);
        }
    }
    total(lanes)
}

#[inline(always)]
fn greatest<T: Scalar>(x: &[T]) -> T {
    let mut lanes = [x[0]; LANES];
    for chunk in x.chunks(LANES) {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.into_iter().fold(x[0], |greatest, x| if x > greatest { x } else { greatest })
}

/// `x = e^(x - shift)`, and the sum of that.
#[inline(always)]
fn exponentials<T: Real>(x: &mut [T], shift: T) -> T {
    let mut lanes = [T::ZERO; LANES];
    for chunk in x.chunks_mut(LANES) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = (*x - shift).exponential();
            *lane += *x;
        }
    }
    total(lanes)
}

/// Sum of `e^(x - shift)`.
#[inline(always)]
fn exponential_sum<T: Real>(x: &[T], shift: T) -> T {
    let mut lanes = [T::ZERO; LANES];
    for chunk in x.chunks(LANES) {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += (x - shift).exponential();
        }
    }
    total(lanes)
}

/// RMS norm of rows of length `width`.
pub fn rms_norm<T: Scalar>(width: usize, epsilon: T, x: &[T], y: &mut [T], inverse_rms: &mut [T]) {
    let count = T::from_f64(width as f64);
    vectorized(
        #[inline(always)]
        || {
            for ((x, y), s) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse_rms) {
                *s = T::ONE / (dot(x, x) / count + epsilon).sqrt();
                for (y, x) in y.iter_mut().zip(x) {
                    *y = *x * *s;
                }
            }
        },
    );
}

/// Backward of [`rms_norm`] from its output.
pub fn rms_norm_backward<T: Scalar>(
    accumulation: Accumulation,
    y: &[T],
    inverse_rms: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    let width = y.len() / inverse_rms.len();
    let count = T::from_f64(width as f64);
    vectorized(
        #[inline(always)]
        || {
            let rows = y.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
            for (((y, dy), dx), &s) in rows.zip(inverse_rms) {
                let mean = dot(y, dy) / count;
                let elements = dx.iter_mut().zip(y).zip(dy);
                match accumulation {
                    Accumulation::Overwrite => elements.for_each(|((dx, y), dy)| *dx = s * (*dy - *y * mean)),
                    Accumulation::Add => elements.for_each(|((dx, y), dy)| *dx += s * (*dy - *y * mean)),
                }
            }
        },
    );
}

/// `max(x, 0)^2` in place; a NaN stays one, so that the loss tells of it.
pub fn squared_relu<T: Scalar>(x: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            for x in x {
                let positive = if *x < T::ZERO { T::ZERO } else { *x };
                *x = positive * positive;
            }
        },
    );
}

/// Backward of [`squared_relu`] from its output.
pub fn squared_relu_backward<T: Scalar>(h: &[T], d: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            for (h, d) in h.iter().zip(d) {
                let root = h.sqrt();
                *d *= root + root;
            }
        },
    );
}

/// Turns the pairs `(c, c + width / 2)` of every row by the cosines and sines in the same row of `angles`.
pub fn rotate<T: Scalar>(rotation: Rotation, width: usize, angles: &[T], x: &mut [T]) {
    let sign = match rotation {
        Rotation::Forward => T::ONE,
        Rotation::Inverse => -T::ONE,
    };
    vectorized(
        #[inline(always)]
        || {
            for (x, angles) in x.chunks_exact_mut(width).zip(angles.chunks_exact(width)) {
                let (first, second) = x.split_at_mut(width / 2);
                let (cosines, sines) = angles.split_at(width / 2);
                for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                    let sin = sign * sin;
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        },
    );
}

/// `y += x`.
pub fn add<T: Scalar>(x: &[T], y: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            for (x, y) in x.iter().zip(y) {
                *y += *x;
            }
        },
    );
}

/// Turns a block of scaled scores, whose first row sees `first + 1` keys, into probabilities.
pub fn causal_softmax<T: Real>(first: usize, scores: &mut PanelMut<'_, T>, lse: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            for (i, lse) in lse.iter_mut().enumerate() {
                let (seen, hidden) = scores.row_mut(i).split_at_mut(first + i + 1);
                let shift = greatest(seen);
                let sum = exponentials(seen, shift);
                *lse = shift + sum.logarithm();
                let inverse = T::ONE / sum;
                for p in seen {
                    *p *= inverse;
                }
                hidden.fill(T::ZERO);
            }
        },
    );
}

/// Operands of [`causal_softmax_backward`] besides the blocks it replaces.
pub struct RowsBackward<'a, T> {
    /// Keys before those of the block's first row.
    pub first: usize,
    /// Log-sum-exp of the block's rows.
    pub lse: &'a [T],
    /// Output of the block's rows.
    pub o: Panel<'a, T>,
    /// Its gradient.
    pub d_o: Panel<'a, T>,
}

/// Turns scaled scores into probabilities `P`, and `do v^T` into `P (do v^T - rowsum(do o))`.
pub fn causal_softmax_backward<T: Real>(
    rows: RowsBackward<'_, T>,
    scores: &mut PanelMut<'_, T>,
    d_p: &mut PanelMut<'_, T>,
) {
    vectorized(
        #[inline(always)]
        || {
            for (i, &lse) in rows.lse.iter().enumerate() {
                let delta = dot(rows.d_o.row(i), rows.o.row(i));
                let (seen, hidden) = scores.row_mut(i).split_at_mut(rows.first + i + 1);
                let (d_seen, d_hidden) = d_p.row_mut(i).split_at_mut(rows.first + i + 1);
                for (p, d) in seen.iter_mut().zip(d_seen) {
                    *p = (*p - lse).exponential();
                    *d = *p * (*d - delta);
                }
                hidden.fill(T::ZERO);
                d_hidden.fill(T::ZERO);
            }
        },
    );
}

/// Loss of one row of logits.
pub fn cross_entropy<T: Real>(logits: &[T], target: usize) -> T {
    vectorized(
        #[inline(always)]
        || {
            let shift = greatest(logits);
            shift - logits[target] + exponential_sum(logits, shift).logarithm()
        },
    )
}

/// Loss of one row of logits, which become the gradient `weight (softmax - onehot(target))`.
pub fn cross_entropy_backward<T: Real>(weight: T, logits: &mut [T], target: usize) -> T {
    vectorized(
        #[inline(always)]
        || {
            let shift = greatest(logits);
            let distance = shift - logits[target];
            let sum = exponentials(logits, shift);
            let factor = weight / sum;
            for x in logits.iter_mut() {
                *x *= factor;
            }
            logits[target] -= weight;
            distance + sum.logarithm()
        },
    )
}
