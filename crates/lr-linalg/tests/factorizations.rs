//! Factorizations of every backend: what defines them (orthonormality, reconstruction, order, signs),
//! agreement with the textbook in `f64`, hard and bad input.

mod common;

use common::{close, download, eps, random, upload, values};
use lr_linalg::{Blas, Dims, Epilogue, Linalg, Mats, MatsRef, PivotGuard, Reference, Scalar};

on_every_backend!(
    qr_of_all_kinds,
    qr_agrees_with_the_textbook,
    qr_of_columns_ever_more_alike,
    svd_of_all_kinds,
    cores_with_coinciding_values,
    eigh_of_all_kinds,
    cholesky_factors,
    cholesky_reports_the_bad_pivot,
    cholesky_shifts,
    factorizations_of_strided_blocks,
    inverses_of_all_kinds,
    inverses_agree_with_the_textbook,
    singular_matrices_are_reported,
    what_is_not_finite_is_reported,
    empty_factorizations,
);

const SHAPES: [(usize, usize); 9] =
    [(1, 1), (3, 1), (3, 3), (17, 3), (64, 17), (64, 64), (65, 64), (65, 65), (200, 33)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Random,
    RankDeficient,
    ZeroColumn,
    Zero,
    /// Singular values from 1 to 1e-6.
    IllConditioned,
    Tiny,
    Huge,
    Identity,
}

const KINDS: [Kind; 8] = [
    Kind::Random,
    Kind::RankDeficient,
    Kind::ZeroColumn,
    Kind::Zero,
    Kind::IllConditioned,
    Kind::Tiny,
    Kind::Huge,
    Kind::Identity,
];

/// Row-major `[batch, m, n]`.
fn matrices(kind: Kind, batch: usize, m: usize, n: usize) -> Vec<f64> {
    let mut x = values(m as u64 * 100 + n as u64, batch * m * n);
    for (index, x) in x.iter_mut().enumerate() {
        let (i, j) = (index / n % m, index % n);
        *x *= match kind {
            Kind::ZeroColumn if j == n / 2 => 0.0,
            Kind::Zero => 0.0,
            Kind::IllConditioned => 1e-6f64.powf(j as f64 / n.max(2) as f64),
            Kind::Tiny => 1e-30,
            Kind::Huge => 1e30,
            _ => 1.0,
        };
        if kind == Kind::Identity {
            *x = f64::from(u8::from(i == j));
        }
    }
    if kind == Kind::RankDeficient {
        // Every column from the middle on repeats an earlier one.
        for row in x.chunks_exact_mut(n) {
            (n.div_ceil(2)..n).for_each(|j| row[j] = row[j - n.div_ceil(2)]);
        }
    }
    x
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m: f64, x| if x.abs() > m || x.is_nan() { x.abs() } else { m })
}

/// `|Q^T Q - I|` in the largest entry.
fn defect<B: Linalg>(b: &B, q: MatsRef<'_, B>) -> f64 {
    let d = q.dims();
    let mut gram = Mats::zeros(b, Dims::square(d.batch, d.cols)).unwrap();
    b.gemm(1.0, q.t(), q.n(), Epilogue::Overwrite, gram.as_mut());
    b.add_diagonal(-1.0, gram.as_mut());
    largest(&download(b, gram.as_ref()))
}

/// `|x y - a|` relative to `|a|`, in the largest entries, in `f64` on the host.
fn residual(a: &[f64], x: &[f64], y: &[f64], d: Dims) -> f64 {
    let r = Reference::<f64>::new();
    let inner = x.len() / (d.batch * d.rows).max(1);
    let (x, y) =
        (upload(&r, Dims::new(d.batch, d.rows, inner), x), upload(&r, Dims::new(d.batch, inner, d.cols), y));
    let mut e = upload(&r, d, a);
    r.gemm(1.0, x.as_ref().n(), y.as_ref().n(), Epilogue::Scale(-1.0), e.as_mut());
    largest(&download(&r, e.as_ref())) / largest(a).max(f64::MIN_POSITIVE)
}

fn transposed(x: &[f64], batch: usize, n: usize) -> Vec<f64> {
    (0..batch * n * n).map(|k| x[(k / (n * n) * n + k % n) * n + k / n % n]).collect()
}

fn no_status<B: Linalg>(b: &B, status: &Mats<B>) {
    assert!(download(b, status.as_ref()).iter().all(|&s| s == 0.0));
}

fn qr<B: Linalg>(b: &B, d: Dims, a: &[f64]) -> (Mats<B>, Mats<B>) {
    let mut q = upload(b, d, a);
    let mut r = upload(b, Dims::square(d.batch, d.cols), &vec![f64::NAN; d.batch * d.cols * d.cols]);
    let mut status = Mats::zeros(b, Dims::scalars(d.batch)).unwrap();
    b.qr(q.as_mut(), r.as_mut(), status.as_mut());
    no_status(b, &status);
    (q, r)
}

fn qr_of_all_kinds<B: Linalg>(b: &B) {
    for (m, n) in SHAPES {
        for kind in KINDS {
            let what = format!("qr of {kind:?} {m} x {n}");
            let d = Dims::new(3, m, n);
            let a = matrices(kind, 3, m, n);
            let (q, r) = qr(b, d, &a);
            let bound = (20.0 + (m + n) as f64) * eps::<B>();
            assert!(defect(b, q.as_ref()) <= bound, "{what}: defect {:.1e}", defect(b, q.as_ref()));
            let r = download(b, r.as_ref());
            let error = residual(&a, &download(b, q.as_ref()), &r, d);
            assert!(error <= 2.0 * bound, "{what}: residual {error:.1e}");
            for (k, &x) in r.iter().enumerate() {
                let (i, j) = (k / n % n, k % n);
                assert!(if i > j { x == 0.0 } else { i < j || x >= 0.0 }, "{what}: R[{i}, {j}] = {x}");
            }
        }
    }
}

fn qr_agrees_with_the_textbook<B: Linalg>(b: &B) {
    let (d, a) = (Dims::new(5, 65, 17), matrices(Kind::Random, 5, 65, 17));
    let ((q, r), (q0, r0)) = (qr(b, d, &a), qr(&Reference::<f64>::new(), d, &a));
    let reference = Reference::<f64>::new();
    close("q", &download(b, q.as_ref()), &download(&reference, q0.as_ref()), 200.0 * eps::<B>());
    close("r", &download(b, r.as_ref()), &download(&reference, r0.as_ref()), 200.0 * eps::<B>());
    // sign(0) = +1: the zero matrix has Q = [I; 0].
    let (q, _) = qr(b, Dims::new(1, 3, 2), &[0.0; 6]);
    assert_eq!(download(b, q.as_ref()), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
}

/// What remains of a column shrinks by a rounding with every reflector, down to where squares underflow.
fn qr_of_columns_ever_more_alike<B: Linalg>(b: &B) {
    let (batch, m, n) = (120, 60, 12);
    let (d, mut a) = (Dims::new(batch, m, n), values(6, batch * m * n));
    for (p, matrix) in a.chunks_exact_mut(m * n).enumerate() {
        let difference = 10f64.powf(-(p as f64) / 10.0);
        for row in matrix.chunks_exact_mut(n) {
            (1..n).for_each(|j| row[j] = row[0] + row[j] * difference);
        }
    }
    let (q, r) = qr(b, d, &a);
    assert!(defect(b, q.as_ref()) <= 80.0 * eps::<B>(), "defect {:.1e}", defect(b, q.as_ref()));
    let rounded: Vec<f64> = download(b, upload(b, d, &a).as_ref());
    let error = residual(&rounded, &download(b, q.as_ref()), &download(b, r.as_ref()), d);
    assert!(error <= 80.0 * eps::<B>(), "residual {error:.1e}");
}

fn svd<B: Linalg>(b: &B, d: Dims, a: &[f64]) -> [Mats<B>; 3] {
    let mut u = upload(b, d, a);
    let mut s = Mats::zeros(b, Dims::new(d.batch, 1, d.cols)).unwrap();
    let mut v = Mats::zeros(b, Dims::square(d.batch, d.cols)).unwrap();
    let mut status = Mats::zeros(b, Dims::scalars(d.batch)).unwrap();
    b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
    no_status(b, &status);
    [u, s, v]
}

/// Whether a backend gets fewer of the long cases: on most machines an interpreter runs its kernels.
fn is_slow<B: Linalg>() -> bool {
    B::NAME == "cuda"
}

fn svd_of_all_kinds<B: Linalg>(b: &B) {
    let reference = Reference::<f64>::new();
    for (m, n) in SHAPES {
        for kind in KINDS {
            if is_slow::<B>() && m * n > 2000 && !matches!(kind, Kind::Random | Kind::RankDeficient) {
                continue;
            }
            let what = format!("svd of {kind:?} {m} x {n}");
            let d = Dims::new(2, m, n);
            let a = matrices(kind, 2, m, n);
            let [u, s, v] = svd(b, d, &a);
            let bound = (30.0 + (m + 2 * n) as f64) * eps::<B>();
            let worst = defect(b, u.as_ref()).max(defect(b, v.as_ref()));
            assert!(worst <= bound, "{what}: defect {worst:.1e}");
            let (u, s, v) = (download(b, u.as_ref()), download(b, s.as_ref()), download(b, v.as_ref()));
            let scaled: Vec<f64> =
                u.iter().enumerate().map(|(k, x)| x * s[k / (m * n) * n + k % n]).collect();
            let error = residual(&a, &scaled, &transposed(&v, 2, n), d);
            assert!(error <= 4.0 * bound, "{what}: residual {error:.1e}");
            assert!(s.chunks(n).all(|s| s.is_sorted_by(|a, b| a >= b) && s[n - 1] >= 0.0), "{what}: {s:?}");
            let [_, expected, _] = svd(&reference, d, &a);
            let expected = download(&reference, expected.as_ref());
            let scale = largest(&expected).max(f64::MIN_POSITIVE);
            let relative = |s: &[f64]| s.iter().map(|x| x / scale).collect::<Vec<_>>();
            close(&what, &relative(&s), &relative(&expected), bound);
        }
    }
}

/// `(Q, w)`, with NaN above the diagonal, where nothing may be read.
fn eigh<B: Linalg>(b: &B, batch: usize, n: usize, a: &[f64]) -> [Mats<B>; 2] {
    let lower: Vec<f64> =
        a.iter().enumerate().map(|(k, &x)| if k % n > k / n % n { f64::NAN } else { x }).collect();
    let mut q = upload(b, Dims::square(batch, n), &lower);
    let mut w = Mats::zeros(b, Dims::new(batch, 1, n)).unwrap();
    let mut status = Mats::zeros(b, Dims::scalars(batch)).unwrap();
    b.eigh(q.as_mut(), w.as_mut(), status.as_mut());
    no_status(b, &status);
    [q, w]
}

fn eigh_of_all_kinds<B: Linalg>(b: &B) {
    let reference = Reference::<f64>::new();
    for n in [1, 2, 3, 15, 16, 17, 32, 64, 65] {
        for kind in KINDS {
            let what = format!("eigh of {kind:?} of order {n}");
            let mut a = matrices(kind, 3, n, n);
            let turned = transposed(&a, 3, n);
            a.iter_mut().zip(turned).for_each(|(x, y)| *x = f64::from(((*x + y) / 2.0) as f32));
            let [q, w] = eigh(b, 3, n, &a);
            let bound = (30.0 + 3.0 * n as f64) * eps::<B>();
            assert!(defect(b, q.as_ref()) <= bound, "{what}: defect {:.1e}", defect(b, q.as_ref()));
            let (q, w) = (download(b, q.as_ref()), download(b, w.as_ref()));
            let scaled: Vec<f64> =
                q.iter().enumerate().map(|(k, x)| x * w[k / (n * n) * n + k % n]).collect();
            let error = residual(&a, &scaled, &transposed(&q, 3, n), Dims::square(3, n));
            assert!(error <= 4.0 * bound, "{what}: residual {error:.1e}");
            assert!(w.chunks(n).all(|w| w.is_sorted()), "{what}: {w:?}");
            let [_, expected] = eigh(&reference, 3, n, &a);
            let expected = download(&reference, expected.as_ref());
            let scale = largest(&expected).max(f64::MIN_POSITIVE);
            let relative = |w: &[f64]| w.iter().map(|x| x / scale).collect::<Vec<_>>();
            close(&what, &relative(&w), &relative(&expected), bound);
        }
    }
}

/// Gram matrices of tall matrices, plus a multiple of the identity; NaN above the diagonal.
fn definite(batch: usize, n: usize) -> Vec<f64> {
    let x = values(5, batch * 2 * n * n);
    let entry = |p: usize, i: usize, j: usize| {
        let at = |k: usize, j: usize| x[(p * 2 * n + k) * n + j];
        (0..2 * n).map(|k| at(k, i) * at(k, j)).sum::<f64>() + if i == j { 0.5 } else { 0.0 }
    };
    (0..batch * n * n)
        .map(|k| match (k / n % n, k % n) {
            (i, j) if j > i => f64::NAN,
            (i, j) => f64::from(entry(k / (n * n), i, j) as f32),
        })
        .collect()
}

fn cholesky_factors<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, batch: usize, n: usize) -> Vec<f64> {
        let mut a = upload(b, Dims::square(batch, n), &definite(batch, n));
        let mut status = Mats::zeros(b, Dims::scalars(batch)).unwrap();
        b.cholesky(PivotGuard::Report, a.as_mut(), status.as_mut());
        no_status(b, &status);
        download(b, a.as_ref())
    }
    for (batch, n) in [(1, 1), (5, 3), (48, 17), (2, 64), (2, 65), (1, 200)] {
        let bound = 20.0 * (n as f64 + 4.0) * eps::<B>();
        close(&format!("cholesky {n}"), &run(b, batch, n), &run(&Reference::<f64>::new(), batch, n), bound);
    }
}

fn cholesky_reports_the_bad_pivot<B: Linalg>(b: &B) {
    let n = 40;
    for bad in [0, 5, 17, 39] {
        for value in [-100.0, f64::NAN] {
            let mut a = definite(3, n);
            a[n * n + bad * n + bad] = value;
            let mut a = upload(b, Dims::square(3, n), &a);
            let mut status = Mats::zeros(b, Dims::scalars(3)).unwrap();
            b.cholesky(PivotGuard::Report, a.as_mut(), status.as_mut());
            assert_eq!(download(b, status.as_ref()), [0.0, bad as f64 + 1.0, 0.0]);
        }
    }
}

fn cholesky_shifts<B: Linalg>(b: &B) {
    let n = 4;
    let square = |f: &dyn Fn(usize, usize) -> f64| (0..n * n).map(|k| f(k / n, k % n)).collect::<Vec<_>>();
    let identity = square(&|i, j| f64::from(u8::from(i == j)));
    let indefinite = square(&|i, j| if i == j { 1.0 } else { -0.5 });
    let zero = square(&|_, _| 0.0);
    let nan = square(&|_, _| f64::NAN);
    let a = [identity.clone(), indefinite.clone(), zero, nan].concat();
    let mut l = upload(b, Dims::square(4, n), &a);
    let mut status = Mats::zeros(b, Dims::scalars(4)).unwrap();
    let relative = 0.2;
    b.cholesky(PivotGuard::Shift { relative }, l.as_mut(), status.as_mut());
    // Least eigenvalue 1 - 3/2: shifts of 0.2, 0.4 and 0.8 are tried.
    assert_eq!(download(b, status.as_ref()), [0.0, 3.0, -1.0, -1.0]);
    let l = download(b, l.as_ref());
    assert_eq!(l[..n * n], identity);
    assert_eq!(l[2 * n * n..], [identity.clone(), identity.clone()].concat());
    let shifted: Vec<f64> = indefinite.iter().zip(&identity).map(|(a, i)| a + 0.8 * i).collect();
    let factor = &l[n * n..2 * n * n];
    let error = residual(&shifted, factor, &transposed(factor, 1, n), Dims::square(1, n));
    assert!(error <= 20.0 * eps::<B>(), "residual {error:.1e}");
}

fn factorizations_of_strided_blocks<B: Linalg>(b: &B) {
    let (m, n) = (20, 7);
    let big = Dims::new(3, 30, 40);
    let mut a = random(b, 1, big);
    let mut r = random(b, 2, Dims::new(3, 10, 12));
    let mut status = Mats::zeros(b, Dims::scalars(3)).unwrap();
    let original = download(b, a.as_ref().block(4..4 + m, 5..5 + n));
    b.qr(a.as_mut().block(4..4 + m, 5..5 + n), r.as_mut().block(1..1 + n, 2..2 + n), status.as_mut());
    let (q, r) = (a.as_ref().block(4..4 + m, 5..5 + n), r.as_ref().block(1..1 + n, 2..2 + n));
    assert!(defect(b, q) <= 30.0 * eps::<B>());
    let d = Dims::new(3, m, n);
    assert!(residual(&original, &download(b, q), &download(b, r), d) <= 60.0 * eps::<B>());
    // What surrounds the block stays.
    let (before, after) = (values(1, big.len()), download(b, a.as_ref()));
    for (k, (x, y)) in before.iter().zip(&after).enumerate() {
        let (i, j) = (k / 40 % 30, k % 40);
        assert!((4..4 + m).contains(&i) && (5..5 + n).contains(&j) || x == y);
    }

    let mut a = random(b, 1, big);
    let expected = inverse(b, Dims::square(3, m), &download(b, a.as_ref().block(4..4 + m, 5..5 + m)));
    b.invert(a.as_mut().block(4..4 + m, 5..5 + m), status.as_mut());
    assert_eq!(download(b, a.as_ref().block(4..4 + m, 5..5 + m)), expected);
    for (k, (x, y)) in before.iter().zip(&download(b, a.as_ref())).enumerate() {
        let (i, j) = (k / 40 % 30, k % 40);
        assert!((4..4 + m).contains(&i) && (5..5 + m).contains(&j) || x == y);
    }
}

fn what_is_not_finite_is_reported<B: Linalg>(b: &B) {
    let (m, n) = (9, 5);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut a = matrices(Kind::Random, 3, m, n);
        a[m * n + 7] = bad;
        let d = Dims::new(3, m, n);
        let square = Dims::square(3, n);
        let expected = [0.0, 1.0, 0.0];
        let fresh = || Mats::zeros(b, Dims::scalars(3)).unwrap();
        let finite = |x: &Mats<B>| download(b, x.as_ref()).iter().all(|x| x.is_finite());

        let (mut q, mut r, mut status) = (upload(b, d, &a), Mats::zeros(b, square).unwrap(), fresh());
        b.qr(q.as_mut(), r.as_mut(), status.as_mut());
        assert_eq!(download(b, status.as_ref()), expected);
        assert!(finite(&q) && finite(&r) && defect(b, q.as_ref()) <= 30.0 * eps::<B>());

        let (mut u, mut v, mut status) = (upload(b, d, &a), Mats::zeros(b, square).unwrap(), fresh());
        let mut s = Mats::zeros(b, Dims::new(3, 1, n)).unwrap();
        b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
        assert_eq!(download(b, status.as_ref()), expected);
        assert!(finite(&u) && finite(&s) && finite(&v));

        let mut symmetric = definite(3, n);
        symmetric[n * n + 2 * n + 1] = bad;
        let (mut q, mut w, mut status) =
            (upload(b, square, &symmetric), Mats::zeros(b, s.dims()).unwrap(), fresh());
        b.eigh(q.as_mut(), w.as_mut(), status.as_mut());
        assert_eq!(download(b, status.as_ref()), expected);
        assert!(finite(&q) && finite(&w));

        let mut general = matrices(Kind::Random, 3, n, n);
        general[n * n + 7] = bad;
        let (mut x, mut status) = (upload(b, square, &general), fresh());
        b.invert(x.as_mut(), status.as_mut());
        assert_eq!(download(b, status.as_ref()), expected);
        assert!(finite(&x));
    }
}

fn empty_factorizations<B: Linalg>(b: &B) {
    for d in [Dims::new(0, 4, 3), Dims::new(2, 4, 0), Dims::new(2, 0, 0)] {
        let (mut a, mut r) = (random(b, 1, d), random(b, 2, Dims::square(d.batch, d.cols)));
        let (mut s, mut status) =
            (random(b, 3, Dims::new(d.batch, 1, d.cols)), Mats::zeros(b, Dims::scalars(d.batch)).unwrap());
        b.qr(a.as_mut(), r.as_mut(), status.as_mut());
        b.svd(a.as_mut(), s.as_mut(), r.as_mut(), status.as_mut());
        b.eigh(r.as_mut(), s.as_mut(), status.as_mut());
        b.cholesky(PivotGuard::Shift { relative: 1e-6 }, r.as_mut(), status.as_mut());
        b.invert(r.as_mut(), status.as_mut());
        no_status(b, &status);
    }
}

/// Cores of an SVD retraction, `[S K; R 0]` with equal entries in `S`: many coinciding singular values,
/// on which divide and conquer in the libraries goes wrong.
fn cores_with_coinciding_values<B: Linalg>(b: &B) {
    for r in [12, 20, 32, 48, 64] {
        for seed in 0..if is_slow::<B>() { 1 } else { 4 } {
            let (n, x) = (2 * r, values(seed, 4 * r * r));
            let a: Vec<f64> = (0..n * n)
                .map(|k| match (k / n, k % n) {
                    (i, j) if i < r && j < r => f64::from(u8::from(i == j)),
                    (i, j) if (i >= r) != (j >= r) && (i.max(j) - r) <= i.min(j) => {
                        f64::from((0.01 * x[k]) as f32)
                    }
                    _ => 0.0,
                })
                .collect();
            let d = Dims::square(1, n);
            let [u, s, v] = svd(b, d, &a);
            let bound = (30.0 + 2.0 * (n as f64)) * eps::<B>();
            let worst = defect(b, u.as_ref()).max(defect(b, v.as_ref()));
            assert!(worst <= bound, "core of order {n}, seed {seed}: defect {worst:.1e}");
            let (u, s, v) = (download(b, u.as_ref()), download(b, s.as_ref()), download(b, v.as_ref()));
            let scaled: Vec<f64> = u.iter().enumerate().map(|(k, x)| x * s[k % n]).collect();
            let error = residual(&a, &scaled, &transposed(&v, 1, n), d);
            assert!(error <= 2.0 * bound, "core of order {n}, seed {seed}: residual {error:.1e}");
        }
    }
}

fn inverse<B: Linalg>(b: &B, d: Dims, a: &[f64]) -> Vec<f64> {
    let (mut x, mut status) = (upload(b, d, a), Mats::zeros(b, Dims::scalars(d.batch)).unwrap());
    b.invert(x.as_mut(), status.as_mut());
    no_status(b, &status);
    download(b, x.as_ref())
}

const ORDERS: [usize; 12] = [1, 2, 3, 8, 15, 16, 17, 33, 64, 65, 100, 130];

/// `|x a - 1|` is bounded by the roundings of `|x| |a|`, row by column.
fn inverses_of_all_kinds<B: Linalg>(b: &B) {
    for n in ORDERS {
        for kind in [Kind::Random, Kind::IllConditioned, Kind::Tiny, Kind::Huge, Kind::Identity] {
            let d = Dims::square(2, n);
            let r = Reference::<B::Elem>::new();
            // What the backend sees, rounded to its elements.
            let a = download(&r, upload(&r, d, &matrices(kind, 2, n, n)).as_ref());
            let x = inverse(b, d, &a);
            for p in 0..2 {
                let (a, x) = (&a[p * n * n..][..n * n], &x[p * n * n..][..n * n]);
                for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let terms = (0..n).map(|k| x[i * n + k] * a[k * n + j]);
                    let size: f64 = terms.clone().map(f64::abs).sum();
                    let error = (terms.sum::<f64>() - f64::from(u8::from(i == j))).abs();
                    // Growth of the pivots enters: a factor of n covers what occurs.
                    let bound = (n * n + 8) as f64 * eps::<B>() * size;
                    assert!(error <= bound, "{kind:?} {n}: ({i}, {j}) is off by {error:.1e} > {bound:.1e}");
                }
            }
        }
    }
}

fn inverses_agree_with_the_textbook<B: Linalg>(b: &B) {
    for n in ORDERS {
        // Rows in reverse: every pivot lies elsewhere.
        let mut a = values(n as u64, n * n);
        (0..n).for_each(|i| a[i * n + n - 1 - i] += n as f64);
        let d = Dims::square(1, n);
        let expected = inverse(&Reference::<f64>::new(), d, &a);
        close(&format!("order {n}"), &inverse(b, d, &a), &expected, 40.0 * eps::<B>());
    }
    // A permutation is inverted exactly.
    let n = 37;
    let permutation = |k: usize| (5 * k + 3) % n;
    let a: Vec<f64> = (0..n * n).map(|k| f64::from(u8::from(permutation(k / n) == k % n))).collect();
    assert_eq!(inverse(b, Dims::square(1, n), &a), transposed(&a, 1, n));
}

fn singular_matrices_are_reported<B: Linalg>(b: &B) {
    for n in [1, 2, 17, 64] {
        let d = Dims::square(3, n);
        let mut a = values(5, d.len());
        for p in [0, 2] {
            (0..n).for_each(|i| a[(p * n + i) * n + i] += 2.0 * n as f64);
        }
        // The second: a zero column.
        (0..n).for_each(|i| a[(n + i) * n + n / 2] = 0.0);
        let (mut x, mut status) = (upload(b, d, &a), Mats::zeros(b, Dims::scalars(3)).unwrap());
        b.invert(x.as_mut(), status.as_mut());
        assert_eq!(download(b, status.as_ref()), [0.0, 1.0, 0.0]);
        let x = download(b, x.as_ref());
        let identity: Vec<f64> = (0..n * n).map(|k| f64::from(u8::from(k / n == k % n))).collect();
        assert_eq!(x[n * n..2 * n * n], identity);
        assert_eq!(x[..n * n], inverse(b, Dims::square(1, n), &a[..n * n]));
    }
    // The inverse overflows.
    let mut x = upload(b, Dims::scalars(1), &[B::Elem::MIN_POSITIVE * B::Elem::EPSILON]);
    let mut status = Mats::zeros(b, Dims::scalars(1)).unwrap();
    b.invert(x.as_mut(), status.as_mut());
    assert_eq!((download(b, x.as_ref()), download(b, status.as_ref())), (vec![1.0], vec![1.0]));
}
