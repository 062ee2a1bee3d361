//! The kernels on every instruction set of this processor against sums in `f64`, for ragged shapes,
//! strides, transpositions and epilogues.

use super::*;
use crate::{Panel, PanelMut};

const OPS: [Op; 2] = [Op::None, Op::Transpose];

/// A matrix inside a larger one, whose other elements are NaN.
struct Framed<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<T: Scalar> Framed<T> {
    fn new(seed: usize, rows: usize, cols: usize, gap: usize) -> Self {
        let stride = cols + gap;
        let mut data = vec![T::from_f64(f64::NAN); rows * stride];
        for (k, x) in data.iter_mut().enumerate().filter(|(k, _)| k % stride < cols) {
            let value = ((k * 7 + seed * 131) as f64 * 0.7).sin();
            *x = T::from_f64(value);
        }
        Self { data, rows, cols, stride }
    }

    /// As read by `op`, a matrix of this shape.
    fn source(seed: usize, rows: usize, cols: usize, gap: usize, op: Op) -> Self {
        match op {
            Op::None => Self::new(seed, rows, cols, gap),
            Op::Transpose => Self::new(seed, cols, rows, gap),
        }
    }

    fn panel(&self) -> Panel<'_, T> {
        let whole = Panel::from_slice(&self.data, self.rows, self.stride);
        whole.split_cols(self.cols).0
    }

    fn panel_mut(&mut self) -> PanelMut<'_, T> {
        let whole = PanelMut::from_slice(&mut self.data, self.rows, self.stride);
        whole.split_cols(self.cols).0
    }

    fn get(&self, op: Op, i: usize, j: usize) -> f64 {
        let (i, j) = if op == Op::None { (i, j) } else { (j, i) };
        self.panel().row(i)[j].to_f64()
    }

    /// Fails if something outside the matrix was written.
    fn assert_frame(&self, what: &str) {
        let mut frame = self.data.iter().enumerate().filter(|(k, _)| k % self.stride >= self.cols);
        assert!(frame.all(|(_, x)| x.to_f64().is_nan()), "{what}: wrote beside the matrix");
    }
}

/// A sum, and what twice its roundings in `T` may come to.
fn sum_and_bound<T: Scalar>(terms: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let size: f64 = terms.clone().map(f64::abs).sum();
    let roundings = 8.0 + 2.0 * (terms.len() as f64).sqrt();
    (terms.sum(), roundings * T::EPSILON * (1.0 + 2.0 * size))
}

fn products<T: Scalar>(isa: Isa) {
    let sizes = [1, 2, 3, 5, 8, 16, 17, 33, 67];
    let terms = [1, 31, 129, 260];
    let mut kind = 0;
    for m in sizes.into_iter().chain([100]) {
        for n in sizes.into_iter().chain([64, 131]) {
            for k in terms {
                for (op_a, op_b) in OPS.into_iter().flat_map(|a| OPS.map(|b| (a, b))) {
                    kind += 1;
                    let gap = kind % 3;
                    let what = format!("{isa:?} {m} x {n} x {k} {op_a:?} {op_b:?} kind {}", kind % 4);
                    let (a, b) =
                        (Framed::<T>::source(1, m, k, gap, op_a), Framed::<T>::source(2, k, n, gap, op_b));
                    let (d, old) = (Framed::<T>::new(3, m, n, gap + 1), Framed::<T>::new(4, m, n, gap));
                    let mut c = Framed::<T>::new(4, m, n, gap);
                    if kind % 4 < 2 {
                        c.data.fill(T::from_f64(f64::NAN));
                    }
                    let (beta, rest) = match kind % 4 {
                        0 => (0.0, Rest::Own(T::ZERO)),
                        1 => (-2.0, Rest::Other(T::from_f64(-2.0), d.panel())),
                        2 => (0.5, Rest::Own(T::from_f64(0.5))),
                        _ => (1.0, Rest::Own(T::ONE)),
                    };
                    let (x, y) =
                        (Source { panel: a.panel(), op: op_a }, Source { panel: b.panel(), op: op_b });
                    gemm(isa, T::from_f64(-1.5), x, y, rest, c.panel_mut());
                    c.assert_frame(&what);
                    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                        let terms = (0..k).map(|p| a.get(op_a, i, p) * b.get(op_b, p, j));
                        let (sum, bound) = sum_and_bound::<T>(terms);
                        let added = if kind % 4 == 1 { &d } else { &old };
                        let rest = if beta == 0.0 { 0.0 } else { beta * added.get(Op::None, i, j) };
                        let error = (c.get(Op::None, i, j) - (-1.5 * sum + rest)).abs();
                        assert!(error <= bound, "{what}: ({i}, {j}) is off by {error:.1e}");
                    }
                }
            }
        }
    }
}

fn blocked_products<T: Scalar>(isa: Isa) {
    let shapes = [(1, 3, 1), (5, 64, 255), (13, 81, 256), (97, 33, 300), (100, 600, 40), (203, 40, 520)];
    for (m, n, k) in shapes {
        for (op_a, op_b) in OPS.into_iter().flat_map(|a| OPS.map(|b| (a, b))) {
            for beta in [0.0, 1.0, -0.5] {
                let what = format!("{isa:?} {m} x {n} x {k} {op_a:?} {op_b:?} beta {beta}");
                let (a, b) = (Framed::<T>::source(1, m, k, 2, op_a), Framed::<T>::source(2, k, n, 1, op_b));
                let (old, mut c) = (Framed::<T>::new(4, m, n, 3), Framed::<T>::new(4, m, n, 3));
                if beta == 0.0 {
                    c.data.fill(T::from_f64(f64::NAN));
                }
                let (x, y) = (Source { panel: a.panel(), op: op_a }, Source { panel: b.panel(), op: op_b });
                gemm_blocked(isa, T::from_f64(1.5), x, y, T::from_f64(beta), c.panel_mut());
                c.assert_frame(&what);
                for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let terms = (0..k).map(|p| a.get(op_a, i, p) * b.get(op_b, p, j));
                    let (sum, bound) = sum_and_bound::<T>(terms);
                    let error = (c.get(Op::None, i, j) - (1.5 * sum + beta * old.get(Op::None, i, j))).abs();
                    assert!(error <= bound, "{what}: ({i}, {j}) is off by {error:.1e}");
                }
            }
        }
    }
}

fn gram_matrices<T: Scalar>(isa: Isa) {
    for n in [1, 3, 8, 15, 16, 17, 31, 40, 64, 65, 130] {
        for (k, op) in [1, 7, 128, 200, 300].into_iter().flat_map(|k| OPS.map(|op| (k, op))) {
            let what = format!("{isa:?} order {n}, {k} terms, {op:?}");
            let a = Framed::<T>::source(5, n, k, n % 2, op);
            let mut c = Framed::<T>::new(6, n, n, 1);
            c.data.fill(T::from_f64(f64::NAN));
            gram(isa, T::from_f64(2.0), Source { panel: a.panel(), op }, c.panel_mut());
            c.assert_frame(&what);
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let (sum, bound) = sum_and_bound::<T>((0..k).map(|p| a.get(op, i, p) * a.get(op, j, p)));
                let error = (c.get(Op::None, i, j) - 2.0 * sum).abs();
                assert!(error <= bound, "{what}: off by {error:.1e}");
                assert!(c.get(Op::None, i, j) == c.get(Op::None, j, i), "{what}: not symmetric");
            }
        }
    }
}

/// What is not a number spreads, even through zeros, and only to its row or column.
fn propagation<T: Scalar>(isa: Isa) {
    for bad in [f64::NAN, f64::INFINITY] {
        let (mut a, mut b) = (Framed::<T>::new(1, 20, 18, 0), Framed::<T>::new(2, 18, 35, 0));
        a.data.fill(T::ZERO);
        b.panel_mut().row_mut(11)[33] = T::from_f64(bad);
        let mut c = Framed::<T>::new(3, 20, 35, 0);
        let (x, y) = (Source { panel: a.panel(), op: Op::None }, Source { panel: b.panel(), op: Op::None });
        gemm(isa, T::ONE, x, y, Rest::Own(T::ZERO), c.panel_mut());
        for i in 0..20 {
            for (j, x) in c.panel().row(i).iter().enumerate() {
                assert_eq!(x.to_f64().is_nan(), j == 33, "{isa:?} ({i}, {j})");
            }
        }
    }
}

macro_rules! on_every_isa {
    ($($test:ident),+ $(,)?) => {
        mod f32_elements {
            $(#[test]
            fn $test() {
                super::Isa::available().for_each(super::$test::<f32>);
            })+
        }
        mod f64_elements {
            $(#[test]
            fn $test() {
                super::Isa::available().for_each(super::$test::<f64>);
            })+
        }
    };
}
/// Rounded to bf16, ties to even.
#[cfg(target_arch = "x86_64")]
fn rounded(x: f64) -> f64 {
    let bits = (x as f32).to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000).into()
}

/// Products by bf16 are those of the rounded operands, up to roundings of `f32`.
#[cfg(target_arch = "x86_64")]
#[test]
fn bf16_products() {
    if !has_bf16() {
        println!("skipped: this processor has no dot products of bf16");
        return;
    }
    let shapes =
        [(1, 1, 1), (1, 3, 2), (5, 64, 255), (13, 81, 64), (97, 33, 513), (100, 600, 41), (203, 40, 1030)];
    for (m, n, k) in shapes {
        for (op_a, op_b) in OPS.into_iter().flat_map(|a| OPS.map(|b| (a, b))) {
            for beta in [0.0, 1.0, -0.5] {
                let what = format!("{m} x {n} x {k} {op_a:?} {op_b:?} beta {beta}");
                let (a, b) =
                    (Framed::<f32>::source(1, m, k, 2, op_a), Framed::<f32>::source(2, k, n, 1, op_b));
                let (old, mut c) = (Framed::<f32>::new(4, m, n, 3), Framed::<f32>::new(4, m, n, 3));
                if beta == 0.0 {
                    c.data.fill(f32::NAN);
                }
                let (x, y) = (Source { panel: a.panel(), op: op_a }, Source { panel: b.panel(), op: op_b });
                gemm_bf16(1.5, x, y, beta as f32, c.panel_mut());
                c.assert_frame(&what);
                for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let terms = (0..k).map(|p| rounded(a.get(op_a, i, p)) * rounded(b.get(op_b, p, j)));
                    let (sum, bound) = sum_and_bound::<f32>(terms);
                    let rest = if beta == 0.0 { 0.0 } else { beta * old.get(Op::None, i, j) };
                    let error = (c.get(Op::None, i, j) - (1.5 * sum + rest)).abs();
                    assert!(error <= bound, "{what}: ({i}, {j}) is off by {error:.1e}");
                }
            }
        }
    }
}

on_every_isa!(products, blocked_products, gram_matrices, propagation);
