//! Element-wise kernels on single panels. Each loop is compiled for every vector width that `pulp`
//! knows and dispatched at run time. No fused multiply-add: results are the same bits on every machine.

use super::kernel::transpose::transpose as transpose_tile;
use crate::{AdamWCoefficients, Map, Panel, PanelMut, Part, Scalar};
use pulp::Arch;

/// Side of the square tiles in which matrices are transposed: a cache line of `f32`.
const TILE: usize = 16;

/// Accumulators of a sum: four AVX registers of `f32`.
const LANES: usize = 32;

/// Calls `f` on long rows: one if there are no gaps.
#[inline(always)]
fn rows<T: Scalar>(y: PanelMut<'_, T>, mut f: impl FnMut(&mut [T])) {
    let mut y = if y.is_packed() { y.flat() } else { y };
    for i in 0..y.rows() {
        f(y.row_mut(i));
    }
}

/// The same on two panels of one shape.
#[inline(always)]
fn row_pairs<T: Scalar>(x: Panel<'_, T>, y: PanelMut<'_, T>, mut f: impl FnMut(&[T], &mut [T])) {
    let packed = x.is_packed() && y.is_packed();
    let (x, mut y) = if packed { (x.flat(), y.flat()) } else { (x, y) };
    for i in 0..y.rows() {
        f(x.row(i), y.row_mut(i));
    }
}

pub(super) fn fill<T: Scalar>(value: T, y: PanelMut<'_, T>) {
    rows(y, |y| y.fill(value));
}

pub(super) fn add_diagonal<T: Scalar>(value: T, mut y: PanelMut<'_, T>) {
    for i in 0..y.rows().min(y.cols()) {
        y.row_mut(i)[i] += value;
    }
}

pub(super) fn copy<T: Scalar>(x: Panel<'_, T>, y: PanelMut<'_, T>) {
    row_pairs(x, y, |x, y| y.copy_from_slice(x));
}

/// `y = x^T`, tile by tile so that both sides stay in the first-level cache.
pub(super) fn transpose<T: Scalar>(x: Panel<'_, T>, mut y: PanelMut<'_, T>) {
    let (rows, cols) = (y.cols(), y.rows());
    assert!((x.rows(), x.cols()) == (rows, cols), "transposed shapes");
    let (from, from_stride, to_stride) = (x.as_ptr(), x.row_stride(), y.row_stride());
    let to = y.as_mut_ptr();
    Arch::new().dispatch(|| {
        for i in (0..rows).step_by(TILE) {
            for j in (0..cols).step_by(TILE) {
                let (rows, cols) = ((rows - i).min(TILE), (cols - j).min(TILE));
                // SAFETY: tiles lie within the panels, of which one is exclusive.
                unsafe {
                    let (from, to) = (from.add(i * from_stride + j), to.add(j * to_stride + i));
                    transpose_tile(rows, cols, from, from_stride, to, to_stride);
                }
            }
        }
    });
}

/// `y = alpha x + beta y`; `y` is not read for `beta = 0`.
pub(super) fn axpby<T: Scalar>(alpha: T, x: Panel<'_, T>, beta: T, y: PanelMut<'_, T>) {
    Arch::new().dispatch(|| {
        if beta == T::ZERO {
            row_pairs(x, y, |x, y| y.iter_mut().zip(x).for_each(|(y, &x)| *y = alpha * x));
        } else if beta == T::ONE {
            row_pairs(x, y, |x, y| y.iter_mut().zip(x).for_each(|(y, &x)| *y += alpha * x));
        } else {
            row_pairs(x, y, |x, y| y.iter_mut().zip(x).for_each(|(y, &x)| *y = alpha * x + beta * *y));
        }
    });
}

/// `out = x + alpha y`.
pub(super) fn add_scaled<T: Scalar>(x: Panel<'_, T>, alpha: T, y: Panel<'_, T>, out: PanelMut<'_, T>) {
    let packed = x.is_packed() && y.is_packed() && out.is_packed();
    let (x, y, mut out) = if packed { (x.flat(), y.flat(), out.flat()) } else { (x, y, out) };
    Arch::new().dispatch(|| {
        for i in 0..out.rows() {
            let terms = x.row(i).iter().zip(y.row(i));
            out.row_mut(i).iter_mut().zip(terms).for_each(|(out, (&x, &y))| *out = x + alpha * y);
        }
    });
}

/// `y = beta y`; zeros for `beta = 0` whatever `y` held.
pub(super) fn scale<T: Scalar>(beta: T, y: PanelMut<'_, T>) {
    if beta == T::ZERO {
        fill(T::ZERO, y);
    } else if beta != T::ONE {
        Arch::new().dispatch(|| rows(y, |y| y.iter_mut().for_each(|y| *y *= beta)));
    }
}

/// Scales column `j` by `diagonal[j]`.
pub(super) fn scale_columns<T: Scalar>(diagonal: &[T], mut y: PanelMut<'_, T>) {
    Arch::new().dispatch(|| {
        for i in 0..y.rows() {
            y.row_mut(i).iter_mut().zip(diagonal).for_each(|(y, &d)| *y *= d);
        }
    });
}

/// `y = x y`, element by element.
pub(super) fn multiply<T: Scalar>(x: Panel<'_, T>, mut y: PanelMut<'_, T>) {
    Arch::new().dispatch(|| {
        for i in 0..y.rows() {
            y.row_mut(i).iter_mut().zip(x.row(i)).for_each(|(y, &x)| *y *= x);
        }
    });
}

/// The largest of `start` and the absolute values; NaN wins.
pub(super) fn max_abs_with_nan<T: Scalar>(start: T, x: Panel<'_, T>) -> T {
    if start.to_f64().is_nan() || !all_within(f64::INFINITY, x) {
        return T::from_f64(f64::NAN);
    }
    let largest = max_abs(x);
    if largest > start { largest } else { start }
}

/// The symmetric or skew part of a square panel, two mirrored tiles at a time.
pub(super) fn take_part<T: Scalar>(part: Part, mut y: PanelMut<'_, T>) {
    let sign = match part {
        Part::Sym => T::ONE,
        Part::Skew => -T::ONE,
    };
    let half = T::from_f64(0.5);
    let (n, stride) = (y.rows(), y.row_stride());
    let data = y.as_mut_ptr();
    Arch::new().dispatch(|| {
        for i in (0..n).step_by(TILE) {
            let rows = (n - i).min(TILE);
            for j in (0..=i).step_by(TILE) {
                let cols = (n - j).min(TILE);
                // The upper tile, transposed, becomes that of the part; the lower one follows from it.
                let mut tile = [[T::ZERO; TILE]; TILE];
                // SAFETY: both tiles lie within the panel, which is exclusive.
                unsafe {
                    let (low, high) = (data.add(i * stride + j), data.add(j * stride + i));
                    transpose_tile(cols, rows, high, stride, tile.as_mut_ptr().cast(), TILE);
                    for (row, line) in tile.iter_mut().enumerate().take(rows) {
                        let lower = std::slice::from_raw_parts_mut(low.add(row * stride), cols);
                        for (low, high) in lower.iter_mut().zip(line) {
                            let value = half * (*low + sign * *high);
                            *low = value;
                            *high = sign * value;
                        }
                    }
                    transpose_tile(rows, cols, tile.as_ptr().cast(), TILE, high, stride);
                }
            }
        }
    });
}

/// Copies the strict lower triangle above the diagonal.
pub(super) fn mirror_lower<T: Scalar>(mut y: PanelMut<'_, T>) {
    for i in 0..y.rows() {
        for j in 0..i {
            y.row_mut(j)[i] = y.row(i)[j];
        }
    }
}

/// Ones on the diagonal, zeros elsewhere.
pub(super) fn identity<T: Scalar>(mut y: PanelMut<'_, T>) {
    for i in 0..y.rows() {
        let row = y.row_mut(i);
        row.fill(T::ZERO);
        if let Some(x) = row.get_mut(i) {
            *x = T::ONE;
        }
    }
}

pub(super) fn map<T: Scalar>(map: Map, y: PanelMut<'_, T>) {
    // Comparisons, not `max`: a NaN must survive.
    let at_least = |x: T, floor: T| if x < floor { floor } else { x };
    Arch::new().dispatch(|| match map {
        Map::Sqrt => rows(y, |y| y.iter_mut().for_each(|x| *x = Scalar::sqrt(at_least(*x, T::ZERO)))),
        Map::Floor(floor) => {
            let floor = T::from_f64(floor);
            rows(y, |y| y.iter_mut().for_each(|x| *x = at_least(*x, floor)));
        }
        Map::Ratio { numerator, floor } => {
            let (numerator, floor) = (T::from_f64(numerator), T::from_f64(floor));
            rows(y, |y| y.iter_mut().for_each(|x| *x = numerator / at_least(*x, floor)));
        }
        Map::Scale(factor) => {
            let factor = T::from_f64(factor);
            rows(y, |y| y.iter_mut().for_each(|x| *x *= factor));
        }
        Map::RoundToBf16 => {
            rows(y, |y| y.iter_mut().for_each(|x| *x = T::from_f64(round_to_bf16(x.to_f64() as f32).into())));
        }
    });
}

/// The nearest bfloat16, ties to even: the upper half of the bits, rounded.
#[inline(always)]
fn round_to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    f32::from_bits(if x.is_nan() { bits | 0x0040_0000 } else { rounded })
}

/// `<x, y>` of two slices of one length, in fixed order.
pub(super) fn dot<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    Arch::new().dispatch(|| {
        let mut sums = [T::ZERO; LANES];
        let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let rest = xs.remainder().iter().zip(ys.remainder());
        for (x, y) in xs.zip(ys) {
            for lane in 0..LANES {
                sums[lane] += x[lane] * y[lane];
            }
        }
        let rest: f64 = rest.map(|(&x, &y)| x.to_f64() * y.to_f64()).sum();
        sums.iter().map(|s| s.to_f64()).sum::<f64>() + rest
    })
}

/// Whether all `|x|` are at most `bound`; no NaN is.
pub(super) fn all_within<T: Scalar>(bound: f64, x: Panel<'_, T>) -> bool {
    let x = if x.is_packed() { x.flat() } else { x };
    // Nothing lies between the bound and the nearest number, which may be infinite.
    let nearest = T::from_f64(bound);
    let below = nearest.to_f64() > bound;
    Arch::new().dispatch(|| {
        let within = |chunk: &[T]| match below {
            true => chunk.iter().fold(true, |ok, &x| ok & (Scalar::abs(x) < nearest)),
            false => chunk.iter().fold(true, |ok, &x| ok & (Scalar::abs(x) <= nearest)),
        };
        (0..x.rows()).all(|i| x.row(i).chunks(512).all(within))
    })
}

/// Largest absolute value of a panel; NaN entries are passed over.
pub(super) fn max_abs<T: Scalar>(x: Panel<'_, T>) -> T {
    let x = if x.is_packed() { x.flat() } else { x };
    let larger = |largest: T, x: T| if Scalar::abs(x) > largest { Scalar::abs(x) } else { largest };
    Arch::new().dispatch(|| {
        let mut largest = [T::ZERO; LANES];
        for i in 0..x.rows() {
            let chunks = x.row(i).chunks_exact(LANES);
            let rest = chunks.remainder();
            for chunk in chunks {
                for lane in 0..LANES {
                    largest[lane] = larger(largest[lane], chunk[lane]);
                }
            }
            for (largest, &x) in largest.iter_mut().zip(rest) {
                *largest = larger(*largest, x);
            }
        }
        largest.into_iter().fold(T::ZERO, |a, b| if b > a { b } else { a })
    })
}

/// One AdamW update of slices of one length; see [`crate::Blas::adamw`].
pub(super) fn adamw<T: Scalar>(c: AdamWCoefficients, g: &[T], m: &mut [T], v: &mut [T], x: &mut [T]) {
    let of = T::from_f64;
    let (beta1, rest1, beta2, rest2) = (of(c.beta1), of(1.0 - c.beta1), of(c.beta2), of(1.0 - c.beta2));
    let (decay, step) = (of(1.0 - c.lr * c.weight_decay), of(c.lr / c.bias_correction1));
    let (root, epsilon) = (of(c.bias_correction2.sqrt().recip()), of(c.epsilon));
    Arch::new().dispatch(|| {
        for (((&g, m), v), x) in g.iter().zip(m).zip(v).zip(x) {
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * (g * g);
            *x = decay * *x - step * (*m / (Scalar::sqrt(*v) * root + epsilon));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_within_bounds<T: Scalar>() {
        let within = |bound: f64, x: f64| {
            // In the last place of a long row.
            let mut row = vec![T::ZERO; 1000];
            row[999] = T::from_f64(x);
            all_within(bound, Panel::from_slice(&row, 1, 1000))
        };
        for bound in [0.0, 1.0, 1.0 + 0.7 * T::EPSILON, 1.0 + 0.3 * T::EPSILON, f64::MAX, f64::INFINITY] {
            for x in [0.0, 1.0, -1.0, 1.0 + T::EPSILON, -1.0 - T::EPSILON, 2.0, f64::INFINITY, f64::NAN] {
                assert_eq!(within(bound, x), x.abs() <= bound, "{x} within {bound}");
            }
        }
    }

    #[test]
    fn bounds_between_two_numbers_are_kept() {
        all_within_bounds::<f32>();
        all_within_bounds::<f64>();
    }

    #[test]
    fn the_largest_is_found_in_every_place_and_nan_wins() {
        for (len, place) in [1, 31, 32, 33, 100].into_iter().flat_map(|n| [0, n / 2, n - 1].map(|p| (n, p))) {
            let mut x = vec![0.5f32; len];
            x[place] = -2.0;
            let largest = |start: f32, x: &[f32]| max_abs_with_nan(start, Panel::from_slice(x, 1, x.len()));
            assert_eq!((largest(0.0, &x), largest(3.0, &x)), (2.0, 3.0), "{place} of {len}");
            assert!(largest(f32::NAN, &x).is_nan());
            x[place] = f32::NAN;
            assert!(largest(3.0, &x).is_nan(), "{place} of {len}");
        }
    }
}
