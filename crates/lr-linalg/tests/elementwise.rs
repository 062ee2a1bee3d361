//! Element-wise operations and reductions of every backend against the naive loops in `f64`.

mod common;

use common::{close, download, eps, random, upload, values};
use lr_linalg::{AdamWCoefficients, Coef, Dims, Linalg, Map, Mats, Part, Reference};

on_every_backend!(
    copies,
    selected_copies,
    fills_and_diagonals,
    sums,
    scaled_sums,
    parts,
    column_scaling,
    element_products,
    maps,
    inner_products,
    largest_entries,
    flags,
    adamw_steps,
    bf16_rounding,
    empty_batches,
);

/// Small and odd, large enough to be cut into pieces with a rest, and single rows.
const SHAPES: [Dims; 6] = [
    Dims::new(1, 1, 1),
    Dims::new(5, 3, 17),
    Dims::new(48, 16, 16),
    Dims::new(2, 65, 64),
    Dims::new(3, 130, 200),
    Dims::new(1, 1, 50_001),
];

fn copies<B: Linalg>(b: &B) {
    for d in SHAPES {
        let x = random(b, 1, d);
        let (mut same, mut turned) = (Mats::zeros(b, d).unwrap(), Mats::zeros(b, d.transposed()).unwrap());
        b.copy(x.as_ref().n(), same.as_mut());
        b.copy(x.as_ref().t(), turned.as_mut());
        let (x, turned) = (download(b, x.as_ref()), download(b, turned.as_ref()));
        assert_eq!(download(b, same.as_ref()), x);
        for (index, value) in turned.into_iter().enumerate() {
            let (p, i, j) = (index / (d.rows * d.cols), index / d.rows % d.cols, index % d.rows);
            assert_eq!(value, x[(p * d.rows + j) * d.cols + i], "{d:?}");
        }
    }
    // From a block into a block, broadcast.
    let x = random(b, 1, Dims::new(2, 9, 9));
    let mut y = Mats::zeros(b, Dims::new(4, 8, 8)).unwrap();
    b.copy(x.as_ref().block(1..4, 2..7).t(), y.as_mut().block(0..5, 3..6));
    let (x, y) = (download(b, x.as_ref()), download(b, y.as_ref()));
    for p in 0..4 {
        for i in 0..8 {
            for j in 0..8 {
                let inside = i < 5 && (3..6).contains(&j);
                let expected = if inside { x[((p / 2) * 9 + j - 3 + 1) * 9 + i + 2] } else { 0.0 };
                assert_eq!(y[(p * 8 + i) * 8 + j], expected);
            }
        }
    }
}

fn selected_copies<B: Linalg>(b: &B) {
    let status = upload(b, Dims::scalars(4), &[0.0, 1.0, -1.0, 0.0]);
    let source = upload(b, Dims::new(1, 1, 2), &[7.0, 8.0]);
    let mut target = Mats::zeros(b, Dims::new(4, 1, 2)).unwrap();
    b.copy_where(status.as_ref(), source.as_ref(), target.as_mut());
    assert_eq!(download(b, target.as_ref()), [0.0, 0.0, 7.0, 8.0, 7.0, 8.0, 0.0, 0.0]);
}

fn fills_and_diagonals<B: Linalg>(b: &B) {
    let mut x = random(b, 1, Dims::new(3, 130, 200));
    b.fill(2.5, x.as_mut());
    b.fill(1.0, x.as_mut().block(1..3, 0..2));
    b.add_diagonal(-0.5, x.as_mut());
    for (index, value) in download(b, x.as_ref()).into_iter().enumerate() {
        let (i, j) = (index / 200 % 130, index % 200);
        let base = if (1..3).contains(&i) && j < 2 { 1.0 } else { 2.5 };
        assert_eq!(value, if i == j { base - 0.5 } else { base });
    }
}

fn sums<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, d: Dims, kind: usize) -> Vec<f64> {
        let x = random(b, 1, d);
        let coefficients = random(b, 5, Dims::scalars(d.batch));
        let mut y = if kind == 0 { upload(b, d, &vec![f64::NAN; d.len()]) } else { random(b, 2, d) };
        match kind {
            0 => b.axpby(Coef::Host(3.0), x.as_ref(), 0.0, y.as_mut()),
            1 => b.axpby(Coef::Host(-3.0), x.as_ref(), 1.0, y.as_mut()),
            2 => b.axpby(Coef::Host(0.5), x.as_ref(), 0.25, y.as_mut()),
            3 => b.axpby(Coef::Device(coefficients.as_ref()), x.as_ref(), -2.0, y.as_mut()),
            _ => b.axpby(Coef::Host(2.0), x.as_ref().problem(0), 1.0, y.as_mut()),
        }
        download(b, y.as_ref())
    }
    for d in SHAPES {
        for kind in 0..5 {
            let expected = run(&Reference::<f64>::new(), d, kind);
            close(&format!("axpby {kind} {d:?}"), &run(b, d, kind), &expected, 8.0 * eps::<B>());
        }
    }
}

fn scaled_sums<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, d: Dims, kind: usize) -> Vec<f64> {
        let (x, y) = (random(b, 1, d), random(b, 2, d));
        let coefficients = random(b, 5, Dims::scalars(d.batch));
        let mut out = upload(b, d, &vec![f64::NAN; d.len()]);
        match kind {
            0 => b.add_scaled(x.as_ref(), Coef::Host(-3.0), y.as_ref(), out.as_mut()),
            1 => b.add_scaled(x.as_ref(), Coef::Device(coefficients.as_ref()), y.as_ref(), out.as_mut()),
            2 => b.add_scaled(x.as_ref(), Coef::Host(2.0), y.as_ref().problem(0), out.as_mut()),
            _ => {
                // Views with gaps.
                let half = 0..d.cols.div_ceil(2);
                let (rows, x, y) = (0..d.rows, x.as_ref(), y.as_ref());
                let (x, y) = (x.block(rows.clone(), half.clone()), y.block(rows.clone(), half.clone()));
                b.fill(0.0, out.as_mut());
                b.add_scaled(x, Coef::Host(0.5), y, out.as_mut().block(rows, half));
            }
        }
        download(b, out.as_ref())
    }
    for d in SHAPES {
        for kind in 0..4 {
            let expected = run(&Reference::<f64>::new(), d, kind);
            close(&format!("add_scaled {kind} {d:?}"), &run(b, d, kind), &expected, 8.0 * eps::<B>());
        }
    }
}

fn parts<B: Linalg>(b: &B) {
    for n in [1, 3, 16, 17, 64, 65] {
        for part in [Part::Sym, Part::Skew] {
            let mut x = random(b, 1, Dims::square(5, n));
            let before = download(b, x.as_ref());
            b.take_part(part, x.as_mut());
            let after = download(b, x.as_ref());
            let sign = if part == Part::Sym { 1.0 } else { -1.0 };
            for p in 0..5 {
                for i in 0..n {
                    for j in 0..n {
                        let at = |m: &[f64], i: usize, j: usize| m[(p * n + i) * n + j];
                        let expected = (at(&before, i, j) + sign * at(&before, j, i)) / 2.0;
                        assert!((at(&after, i, j) - expected).abs() <= eps::<B>());
                        // Symmetric to the last bit.
                        assert_eq!(at(&after, i, j), sign * at(&after, j, i));
                    }
                }
            }
        }
    }
}

fn column_scaling<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B) -> Vec<f64> {
        let mut x = random(b, 1, Dims::new(6, 5, 19));
        let diagonal = random(b, 2, Dims::new(3, 1, 19));
        b.scale_columns(diagonal.as_ref(), x.as_mut());
        download(b, x.as_ref())
    }
    close("scale_columns", &run(b), &run(&Reference::<f64>::new()), eps::<B>());
}

fn element_products<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B) -> Vec<f64> {
        let mut y = random(b, 1, Dims::new(6, 5, 19));
        let x = random(b, 2, Dims::new(3, 9, 30));
        b.multiply(x.as_ref().block(1..6, 2..21), y.as_mut());
        download(b, y.as_ref())
    }
    close("multiply", &run(b), &run(&Reference::<f64>::new()), eps::<B>());
}

fn largest_entries<B: Linalg>(b: &B) {
    let x =
        upload(b, Dims::new(4, 1, 3), &[1.0, -5.0, 2.0, 0.5, 0.0, -0.5, 1.0, f64::NAN, 9.0, 1.0, 2.0, 3.0]);
    let mut out = upload(b, Dims::scalars(4), &[3.0, 3.0, 3.0, f64::NAN]);
    b.max_abs(x.as_ref(), out.as_mut());
    let found = download(b, out.as_ref());
    assert_eq!(found[..2], [5.0, 3.0]);
    assert!(found[2].is_nan() && found[3].is_nan(), "{found:?}");
}

fn maps<B: Linalg>(b: &B) {
    let inputs = [4.0, -1.0, 0.0, 0.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let cases: [(Map, [f64; 7]); 4] = [
        (Map::Scale(-2.0), [-8.0, 2.0, -0.0, -0.5, f64::NEG_INFINITY, f64::INFINITY, f64::NAN]),
        (Map::Sqrt, [2.0, 0.0, 0.0, 0.5, f64::INFINITY, 0.0, f64::NAN]),
        (Map::Floor(0.5), [4.0, 0.5, 0.5, 0.5, f64::INFINITY, 0.5, f64::NAN]),
        (Map::Ratio { numerator: -1.0, floor: 0.5 }, [-0.25, -2.0, -2.0, -2.0, -0.0, -2.0, f64::NAN]),
    ];
    for (map, expected) in cases {
        let mut x = upload(b, Dims::new(1, 1, 7), &inputs);
        b.map(map, x.as_mut());
        for (got, expected) in download(b, x.as_ref()).into_iter().zip(expected) {
            assert!(got == expected || got.is_nan() && expected.is_nan(), "{map:?}: {got} is not {expected}");
        }
    }
    let mut large = random(b, 1, Dims::new(3, 130, 200));
    let before = download(b, large.as_ref());
    b.map(Map::Floor(0.0), large.as_mut());
    let expected: Vec<f64> = before.iter().map(|x| x.max(0.0)).collect();
    assert_eq!(download(b, large.as_ref()), expected);
}

fn bf16_rounding<B: Linalg>(b: &B) {
    // One unit in the last place of bfloat16 at 1 is 2^-7; ties go to even.
    let unit = 2f64.powi(-7);
    let inputs = [1.0, 1.0 + unit / 2.0, 1.0 + 1.5 * unit, 1.0 + 0.51 * unit, -3.3, f64::NAN, f64::INFINITY];
    let expected = [1.0, 1.0, 1.0 + 2.0 * unit, 1.0 + unit, -3.296875, f64::NAN, f64::INFINITY];
    let mut x = upload(b, Dims::new(1, 1, 7), &inputs);
    b.map(Map::RoundToBf16, x.as_mut());
    for (got, expected) in download(b, x.as_ref()).into_iter().zip(expected) {
        assert!(got == expected || got.is_nan() && expected.is_nan(), "{got} is not {expected}");
    }
}

fn inner_products<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, d: Dims) -> Vec<f64> {
        let (x, y) = (random(b, 1, d), random(b, 2, d));
        let mut out = upload(b, Dims::scalars(d.batch), &vec![f64::NAN; d.batch]);
        b.dot(2.0, x.as_ref(), y.as_ref(), 0.0, out.as_mut());
        b.dot(0.5, y.as_ref(), y.as_ref().problem(0), -1.0, out.as_mut());
        download(b, out.as_ref())
    }
    for d in SHAPES {
        let bound = 4.0 * ((d.rows * d.cols) as f64).sqrt() * eps::<B>();
        close(&format!("dot {d:?}"), &run(b, d), &run(&Reference::<f64>::new(), d), bound);
    }
    // A block of rows with gaps.
    let x = upload(b, Dims::new(1, 3, 3), &[1.0, 2.0, 9.0, 3.0, 4.0, 9.0, 9.0, 9.0, 9.0]);
    let mut out = Mats::zeros(b, Dims::scalars(1)).unwrap();
    let block = x.as_ref().block(0..2, 0..2);
    b.dot(1.0, block, block, 0.0, out.as_mut());
    assert_eq!(download(b, out.as_ref()), [30.0]);
}

fn flags<B: Linalg>(b: &B) {
    let d = Dims::new(6, 1, 3);
    let rows = [
        [0.0, 0.5, -0.5],
        [0.0, 0.0, f64::NAN],
        [f64::NEG_INFINITY, 0.0, 0.0],
        [0.0, -0.75, 0.0],
        [0.0, 0.0, 0.0],
        [1e30, 0.0, 0.0],
    ];
    let x = upload(b, d, &rows.concat());
    let mut out = upload(b, Dims::scalars(6), &[0.0, 0.0, 0.0, 0.0, 5.0, 0.0]);
    b.flag_above(f64::MAX, x.as_ref(), out.as_mut());
    assert_eq!(download(b, out.as_ref()), [0.0, 1.0, 1.0, 0.0, 5.0, 0.0]);
    b.flag_above(0.5, x.as_ref(), out.as_mut());
    assert_eq!(download(b, out.as_ref()), [0.0, 1.0, 1.0, 1.0, 5.0, 1.0]);
    // The last element of a long row.
    let mut long = values(1, 5000);
    long[4999] = 2.0;
    let long = upload(b, Dims::new(1, 1, 5000), &long);
    let mut out = Mats::zeros(b, Dims::scalars(1)).unwrap();
    b.flag_above(1.0, long.as_ref(), out.as_mut());
    assert_eq!(download(b, out.as_ref()), [1.0]);
}

fn adamw_steps<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, d: Dims) -> [Vec<f64>; 3] {
        let (mut m, mut v) = (Mats::zeros(b, d).unwrap(), Mats::zeros(b, d).unwrap());
        let mut x = random(b, 9, d);
        for t in 1..4 {
            let coefficients = AdamWCoefficients {
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.1,
                bias_correction1: 1.0 - 0.9f64.powi(t),
                bias_correction2: 1.0 - 0.999f64.powi(t),
            };
            let g = random(b, t as u64, d);
            b.adamw(coefficients, g.as_ref(), m.as_mut(), v.as_mut(), x.as_mut());
        }
        [m, v, x].map(|mats| download(b, mats.as_ref()))
    }
    for d in SHAPES {
        let (got, expected) = (run(b, d), run(&Reference::<f64>::new(), d));
        for (what, (got, expected)) in ["m", "v", "x"].into_iter().zip(got.iter().zip(&expected)) {
            close(&format!("adamw {what} {d:?}"), got, expected, 20.0 * eps::<B>());
        }
    }
}

fn empty_batches<B: Linalg>(b: &B) {
    let d = Dims::new(0, 4, 4);
    let (x, none) = (random(b, 1, d), Dims::scalars(0));
    let (mut y, mut out) = (random(b, 2, d), random(b, 3, none));
    b.copy(x.as_ref().t(), y.as_mut());
    b.axpby(Coef::Device(out.as_ref()), x.as_ref(), 1.0, y.as_mut());
    b.take_part(Part::Sym, y.as_mut());
    b.map(Map::Sqrt, y.as_mut());
    b.dot(1.0, x.as_ref(), y.as_ref(), 0.0, out.as_mut());
    b.flag_above(1.0, x.as_ref(), out.as_mut());
    assert!(download(b, y.as_ref()).is_empty());
}
