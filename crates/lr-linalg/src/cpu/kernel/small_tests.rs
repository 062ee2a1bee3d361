//! The kernels for small matrices on every instruction set of this processor: what defines their results,
//! in `f64`, inside larger matrices of which nothing else may be read or written.

use super::*;
use crate::{Panel, PanelMut, Triangle};

const ORDERS: [usize; 14] = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100, 128];

/// Elements between the rows of a matrix and the next, filled with NaN.
const GAP: usize = 3;

/// `rows x cols` values with a frame of NaN beside them.
fn framed<T: Scalar>(rows: usize, cols: usize, value: impl Fn(usize, usize) -> f64) -> Vec<T> {
    let stride = cols + GAP;
    let at = |k: usize| if k % stride < cols { value(k / stride, k % stride) } else { f64::NAN };
    (0..rows * stride).map(|k| T::from_f64(at(k))).collect()
}

fn panel<T: Scalar>(data: &[T], rows: usize) -> Panel<'_, T> {
    let stride = data.len() / rows;
    Panel::from_slice(data, rows, stride).split_cols(stride - GAP).0
}

fn panel_mut<T: Scalar>(data: &mut [T], rows: usize) -> PanelMut<'_, T> {
    let stride = data.len() / rows;
    PanelMut::from_slice(data, rows, stride).split_cols(stride - GAP).0
}

fn assert_same_bits<T: Scalar>(x: &[T], y: &[T]) {
    assert!(x.iter().zip(y).all(|(x, y)| x.to_f64().to_bits() == y.to_f64().to_bits()));
}

fn assert_frame<T: Scalar>(data: &[T], rows: usize) {
    let stride = data.len() / rows;
    assert!(data.chunks(stride).all(|row| row[stride - GAP..].iter().all(|x| x.to_f64().is_nan())));
}

/// Something like random numbers in `[-1, 1]`.
fn value(i: usize, j: usize) -> f64 {
    f64::from(((i * 37 + j * 101 + i * j * 7 + 11) as f32 * 1.37).sin())
}

fn cholesky_factors<T: Scalar>(isa: Isa) {
    for n in ORDERS {
        let symmetric = |i: usize, j: usize| {
            value(i.max(j), i.min(j)) + if i == j { 2.0 * (n as f64).sqrt() + 2.0 } else { 0.0 }
        };
        // The upper triangle may not be read.
        let lower = |i: usize, j: usize| if j <= i { symmetric(i, j) } else { f64::NAN };
        let mut a = framed::<T>(n, n, lower);
        cholesky(isa, T::from_f64(0.5), panel_mut(&mut a, n)).unwrap();
        assert_frame(&a, n);
        let l = |i: usize, j: usize| panel(&a, n).row(i)[j].to_f64();
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            assert!(j <= i || l(i, j) == 0.0, "{isa:?} {n}: above the diagonal at ({i}, {j})");
            let product: f64 = (0..=i.min(j)).map(|k| l(i, k) * l(j, k)).sum();
            let expected = symmetric(i, j) + if i == j { 0.5 } else { 0.0 };
            let bound = (n as f64 + 20.0) * T::EPSILON * symmetric(0, 0);
            assert!((product - expected).abs() <= bound, "{isa:?} {n}: {product} for {expected}");
        }
        // A bad pivot is named, and nothing changed.
        for (bad, at) in [(-1.0, n - 1), (0.0, n / 2), (f64::NAN, 0), (f64::INFINITY, n / 3)] {
            let broken = |i: usize, j: usize| match (i == j, i == at) {
                (true, true) => bad,
                (true, false) => 1.0,
                _ if j < i => 0.0,
                _ => f64::NAN,
            };
            let before = framed::<T>(n, n, broken);
            let mut a = before.clone();
            assert_eq!(cholesky(isa, T::ZERO, panel_mut(&mut a, n)), Err(at));
            assert_same_bits(&a, &before);
        }
    }
}

fn inverses<T: Scalar>(isa: Isa) {
    for n in ORDERS {
        // Large elements away from the diagonal: every step exchanges rows.
        let general = |i: usize, j: usize| value(i, j) + if i + j + 1 == n { n as f64 } else { 0.0 };
        let mut a = framed::<T>(n, n, general);
        let original = a.clone();
        invert(isa, panel_mut(&mut a, n)).unwrap();
        assert_frame(&a, n);
        let (x, a) = (panel(&a, n), panel(&original, n));
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let one: f64 = (0..n).map(|k| x.row(i)[k].to_f64() * a.row(k)[j].to_f64()).sum();
            let error = (one - f64::from(u8::from(i == j))).abs();
            assert!(error <= 60.0 * T::EPSILON, "{isa:?} {n}: ({i}, {j}) is off by {error:.1e}");
        }
        let refused = |element: &dyn Fn(usize, usize) -> f64| {
            let before = framed::<T>(n, n, element);
            let mut a = before.clone();
            assert_eq!(invert(isa, panel_mut(&mut a, n)), Err(Singular));
            assert_same_bits(&a, &before);
        };
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            refused(&|i, j| if (i, j) == (n - 1, n / 2) { bad } else { value(i, j) });
        }
        refused(&|i, j| if j == n / 2 { 0.0 } else { value(i, j) });
        refused(&|i, j| if i == n / 2 { 0.0 } else { value(i, j) });
        // The inverse overflows.
        refused(&|i, j| if i == j { T::MIN_POSITIVE * T::EPSILON } else { 0.0 });
    }
}

/// Pivots must be searched: no element stands out, the scales of columns differ, diagonals are zero or tiny.
fn inverses_with_pivots<T: Scalar>(isa: Isa) {
    for n in ORDERS {
        let inverse = |element: &dyn Fn(usize, usize) -> f64| {
            let mut a = framed::<T>(n, n, element);
            invert(isa, panel_mut(&mut a, n)).unwrap();
            assert_frame(&a, n);
            a
        };
        // Symmetric and orthogonal.
        let angle = std::f64::consts::PI / (n + 1) as f64;
        let wave = |i: usize, j: usize| {
            (2.0 / (n + 1) as f64).sqrt() * (((i + 1) * (j + 1) % (2 * n + 2)) as f64 * angle).sin()
        };
        let scale = |j: usize| 10f64.powi((j * 7 % 9) as i32 - 4);
        let x = inverse(&|i, j| wave(i, j) * scale(j));
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let error = (panel(&x, n).row(i)[j].to_f64() * scale(i) - wave(i, j)).abs();
            let bound = (n as f64 + 50.0) * 4.0 * T::EPSILON;
            assert!(error <= bound, "{isa:?} {n}: ({i}, {j}) is off by {error:.1e}");
        }
        // A permutation, each element a power of two: every step has one choice, and nothing is rounded.
        let step = if n % 3 == 0 { n - 1 } else { 3 };
        let place = |i: usize| (i * step + 1) % n;
        let size = |i: usize| 2f64.powi((i % 5) as i32 - 2);
        let x = inverse(&|i, j| if place(i) == j { size(i) } else { 0.0 });
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let expected = if place(j) == i { size(j).recip() } else { 0.0 };
            assert_eq!(panel(&x, n).row(i)[j].to_f64(), expected, "{isa:?} {n}: ({i}, {j})");
        }
        // A tiny first pivot beside ones.
        if n > 1 {
            let tiny = T::EPSILON * T::EPSILON;
            let element = |i: usize, j: usize| match (i, j) {
                (0, 0) => tiny,
                (0, 1) | (1, 0) | (1, 1) => 1.0,
                _ => f64::from(u8::from(i == j)),
            };
            let x = inverse(&element);
            for (i, j, expected) in [(0, 0, -1.0), (0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0)] {
                let error = (panel(&x, n).row(i)[j].to_f64() - expected).abs();
                assert!(error <= 4.0 * T::EPSILON, "{isa:?} {n}: ({i}, {j}) is off by {error:.1e}");
            }
        }
    }
}

fn solutions<T: Scalar>(isa: Isa) {
    let triangles = [Triangle::Lower, Triangle::Upper];
    let choices = || triangles.into_iter().flat_map(|t| [Op::None, Op::Transpose].map(|op| (t, op)));
    for (n, (triangle, op)) in ORDERS.into_iter().flat_map(|n| choices().map(move |c| (n, c))) {
        let inside = |i: usize, j: usize| if triangle == Triangle::Lower { j <= i } else { i <= j };
        // What lies on the other side may not be read.
        let element = |i: usize, j: usize| match (i == j, inside(i, j)) {
            (true, _) => 2.0 + value(i, j),
            (_, true) => value(i, j) / n as f64,
            _ => f64::NAN,
        };
        let t = framed::<T>(n, n, element);
        for m in [1, 5, 32, 61] {
            let mut x = framed::<T>(m, n, value);
            let source = Source { panel: panel(&t, n), op };
            assert_eq!(solve_right(isa, triangle, source, panel_mut(&mut x, m)), Solved::Yes);
            assert_frame(&x, m);
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let stored = |k: usize| if op == Op::None { (k, j) } else { (j, k) };
                let terms = (0..n).map(|k| (k, stored(k))).filter(|(_, (a, b))| inside(*a, *b));
                let product: f64 = terms
                    .map(|(k, (a, b))| panel(&x, m).row(i)[k].to_f64() * panel(&t, n).row(a)[b].to_f64())
                    .sum();
                let error = (product - value(i, j)).abs();
                assert!(error <= 40.0 * T::EPSILON, "{isa:?} {n} {triangle:?} {op:?}: off by {error:.1e}");
            }
        }
        // Neither an ill-conditioned triangle, nor one with a zero or NaN on the diagonal.
        if n > 1 {
            for bad in [0.0, 1e-3, f64::NAN, f64::INFINITY] {
                let t = framed::<T>(n, n, |i, j| if (i, j) == (1, 1) { bad } else { element(i, j) });
                let (mut x, before) = (framed::<T>(3, n, value), framed::<T>(3, n, value));
                let source = Source { panel: panel(&t, n), op };
                assert_eq!(solve_right(isa, triangle, source, panel_mut(&mut x, 3)), Solved::No);
                assert_same_bits(&x, &before);
            }
        }
        // A condition that the diagonal does not show, within a block.
        if n > 20 {
            let grows = |i: usize, j: usize| if i == j { 1.0 } else { -1.0 };
            let t = framed::<T>(n, n, |i, j| if inside(i, j) { grows(i, j) } else { f64::NAN });
            let mut x = framed::<T>(3, n, value);
            let source = Source { panel: panel(&t, n), op };
            assert_eq!(solve_right(isa, triangle, source, panel_mut(&mut x, 3)), Solved::No);
        }
        // Something that is not finite outside the blocks on the diagonal.
        if n > 32 {
            let corner = if triangle == Triangle::Lower { (n - 1, 0) } else { (0, n - 1) };
            for bad in [f64::NAN, f64::INFINITY] {
                let t = framed::<T>(n, n, |i, j| if (i, j) == corner { bad } else { element(i, j) });
                let (mut x, before) = (framed::<T>(3, n, value), framed::<T>(3, n, value));
                let source = Source { panel: panel(&t, n), op };
                assert_eq!(solve_right(isa, triangle, source, panel_mut(&mut x, 3)), Solved::No);
                assert_same_bits(&x, &before);
            }
        }
    }
}

/// An ill-conditioned triangle of well-conditioned blocks: the solution grows, its residual does not.
fn growing_solutions<T: Scalar>(isa: Isa) {
    let n = 128;
    let element = |i: usize, j: usize| match j as isize - i as isize {
        0 => 1.0,
        16 => -3.0,
        17.. => 0.1 * value(i, j),
        1.. => 0.02 * value(i, j),
        _ => f64::NAN,
    };
    let t = framed::<T>(n, n, element);
    let mut x = framed::<T>(3, n, value);
    let source = Source { panel: panel(&t, n), op: Op::None };
    assert_eq!(solve_right(isa, Triangle::Upper, source, panel_mut(&mut x, 3)), Solved::Yes);
    let (x, t) = (panel(&x, 3), panel(&t, n));
    assert!((0..n).any(|j| x.row(0)[j].to_f64().abs() > 100.0), "the solution grows");
    for (i, j) in (0..3).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let terms = (0..=j).map(|k| x.row(i)[k].to_f64() * t.row(k)[j].to_f64());
        let size: f64 = terms.clone().map(f64::abs).sum();
        let error = (terms.sum::<f64>() - value(i, j)).abs();
        assert!(error <= 40.0 * T::EPSILON * size, "{isa:?}: ({i}, {j}) is off by {error:.1e} of {size:.1e}");
    }
}

macro_rules! on_every_isa {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            use super::Isa;

            #[test]
            fn f32_elements() {
                Isa::available().for_each(super::$test::<f32>);
            }

            #[test]
            fn f64_elements() {
                Isa::available().for_each(super::$test::<f64>);
            }
        })+
    };
}
on_every_isa!(cholesky_factors, inverses, inverses_with_pivots, solutions, growing_solutions);
