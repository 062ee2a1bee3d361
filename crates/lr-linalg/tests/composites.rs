//! Composed operations of every backend against their exact forms and the textbook: polar factor,
//! Cholesky-QR with its fallback, truncated SVD, spectral norm, Sylvester equation.

mod common;

use common::{close, download, eps, random, upload, values};
use lr_linalg::{Coef, Dims, Epilogue, Linalg, Mats, MatsRef, PolarMethod, Reference, Scalar, Scratch};

on_every_backend!(
    polar_methods_agree,
    the_polar_factor_is_the_nearest,
    polar_reports_what_is_not_finite,
    gram_methods_report_rank_deficiency,
    cholesky_qr_equals_householder,
    cholesky_qr_falls_back,
    cholesky_qr_of_rank_deficient_matrices,
    truncated_svd_leads,
    spectral_norms,
    sylvester_equations,
    sylvester_equations_that_leave_directions_open,
);

fn defect<B: Linalg>(b: &B, q: MatsRef<'_, B>) -> f64 {
    let d = q.dims();
    let mut gram = Mats::zeros(b, Dims::square(d.batch, d.cols)).unwrap();
    b.gemm(1.0, q.t(), q.n(), Epilogue::Overwrite, gram.as_mut());
    b.add_diagonal(-1.0, gram.as_mut());
    download(b, gram.as_ref()).iter().fold(0.0, |m: f64, x| if x.abs() <= m { m } else { x.abs() })
}

/// `[I; 0]` plus a multiple of random numbers: singular values within `[1 - size', 1 + size']`.
fn near_orthonormal<B: Linalg>(b: &B, d: Dims, size: f64) -> Mats<B> {
    let noise = random(b, 3, d);
    let mut z = Mats::zeros(b, d).unwrap();
    b.add_diagonal(1.0, z.as_mut());
    b.axpby(Coef::Host(size / (d.rows as f64).sqrt()), noise.as_ref(), 1.0, z.as_mut());
    z
}

fn polar<B: Linalg>(b: &B, method: PolarMethod, z: &mut Mats<B>) -> Vec<f64> {
    let batch = z.dims().batch;
    let mut status = Mats::zeros(b, Dims::scalars(batch)).unwrap();
    Scratch::new(b).unwrap().scope(|s| b.polar(method, z.as_mut(), status.as_mut(), s));
    download(b, status.as_ref())
}

fn polar_methods_agree<B: Linalg>(b: &B) {
    for d in [Dims::new(1, 1, 1), Dims::new(5, 17, 3), Dims::new(3, 65, 65), Dims::new(2, 100, 33)] {
        let reference = Reference::<f64>::new();
        let mut exact = near_orthonormal(&reference, d, 0.3);
        polar(&reference, PolarMethod::Svd, &mut exact);
        let exact = download(&reference, exact.as_ref());
        for method in [
            PolarMethod::Svd,
            PolarMethod::Polynomial,
            PolarMethod::GramEigen,
            PolarMethod::NewtonSchulz { iterations: 10 },
        ] {
            let mut z = near_orthonormal(b, d, 0.3);
            let status = polar(b, method, &mut z);
            assert!(status.iter().all(|&s| s == 0.0));
            let what = format!("{method:?} {d:?}");
            close(&what, &download(b, z.as_ref()), &exact, (60.0 + 2.0 * d.rows as f64) * eps::<B>());
            assert!(defect(b, z.as_ref()) <= (60.0 + 2.0 * d.rows as f64) * eps::<B>(), "{what}");
        }
    }
}

/// `Z = Q H` with symmetric positive semidefinite `H` is what makes `Q` the nearest.
fn the_polar_factor_is_the_nearest<B: Linalg>(b: &B) {
    let (d, n) = (Dims::new(3, 40, 12), 12);
    let z = random(b, 1, d);
    let mut q = random(b, 1, d);
    polar(b, PolarMethod::Svd, &mut q);
    let mut h = Mats::zeros(b, Dims::square(3, n)).unwrap();
    b.gemm(1.0, q.as_ref().t(), z.as_ref().n(), Epilogue::Overwrite, h.as_mut());
    let entries = download(b, h.as_ref());
    for k in 0..entries.len() {
        let mirrored = entries[k / (n * n) * n * n + k % n * n + k / n % n];
        assert!((entries[k] - mirrored).abs() <= 300.0 * eps::<B>());
    }
    let (mut w, mut status) =
        (Mats::zeros(b, Dims::new(3, 1, n)).unwrap(), Mats::zeros(b, Dims::scalars(3)).unwrap());
    b.eigh(h.as_mut(), w.as_mut(), status.as_mut());
    assert!(download(b, w.as_ref()).iter().all(|&w| w > 0.0));
}

fn polar_reports_what_is_not_finite<B: Linalg>(b: &B) {
    for method in [
        PolarMethod::Svd,
        PolarMethod::Polynomial,
        PolarMethod::GramEigen,
        PolarMethod::NewtonSchulz { iterations: 6 },
    ] {
        let mut z = near_orthonormal(b, Dims::new(3, 9, 4), 0.1);
        b.fill(f64::NAN, z.as_mut().problem(1).rows(2..3));
        let status = polar(b, method, &mut z);
        let flagged: Vec<bool> = status.iter().map(|&s| s != 0.0).collect();
        assert_eq!(flagged, [false, true, false], "{method:?}");
    }
}

/// The exact method completes the basis; the fast ones cannot, and say so.
fn gram_methods_report_rank_deficiency<B: Linalg>(b: &B) {
    let d = Dims::new(3, 9, 4);
    let deficient = |b: &B| {
        let mut z = near_orthonormal(b, d, 0.1);
        let column = download(b, z.as_ref().problem(0).block(0..9, 0..1));
        let column = upload(b, Dims::new(1, 9, 1), &column);
        b.copy(column.as_ref().n(), z.as_mut().problem(0).block(0..9, 2..3));
        b.fill(0.0, z.as_mut().problem(2));
        z
    };
    for method in
        [PolarMethod::Polynomial, PolarMethod::GramEigen, PolarMethod::NewtonSchulz { iterations: 10 }]
    {
        assert_eq!(polar(b, method, &mut deficient(b)), [1.0, 0.0, 1.0], "{method:?}");
    }
    let mut z = deficient(b);
    assert_eq!(polar(b, PolarMethod::Svd, &mut z), [0.0; 3]);
    assert!(defect(b, z.as_ref()) <= 60.0 * eps::<B>());
    // Too few iterations are seen as well.
    let mut z = near_orthonormal(b, d, 0.5);
    assert_eq!(polar(b, PolarMethod::NewtonSchulz { iterations: 1 }, &mut z), [1.0; 3]);
}

fn qr<B: Linalg>(b: &B, d: Dims, a: &[f64]) -> [Vec<f64>; 2] {
    let (mut q, mut r) = (upload(b, d, a), Mats::zeros(b, Dims::square(d.batch, d.cols)).unwrap());
    let mut status = Mats::zeros(b, Dims::scalars(d.batch)).unwrap();
    b.qr(q.as_mut(), r.as_mut(), status.as_mut());
    [q, r].map(|x| download(b, x.as_ref()))
}

struct CholeskyQr {
    q: Vec<f64>,
    r: Vec<f64>,
    defect: f64,
}

fn cholesky_qr<B: Linalg>(b: &B, d: Dims, a: &[f64]) -> CholeskyQr {
    let (mut q, mut r) = (upload(b, d, a), Mats::zeros(b, Dims::square(d.batch, d.cols)).unwrap());
    let mut status = Mats::zeros(b, Dims::scalars(d.batch)).unwrap();
    Scratch::new(b).unwrap().scope(|s| b.cholesky_qr(q.as_mut(), r.as_mut(), status.as_mut(), s));
    assert!(download(b, status.as_ref()).iter().all(|&s| s == 0.0));
    CholeskyQr { defect: defect(b, q.as_ref()), q: download(b, q.as_ref()), r: download(b, r.as_ref()) }
}

/// `|Q R - A|` in the largest entry.
fn reconstruction(q: &[f64], r: &[f64], a: &[f64], d: Dims) -> f64 {
    let n = d.cols;
    (0..a.len()).fold(0.0, |worst: f64, index| {
        let (p, i, j) = (index / (d.rows * n), index / n % d.rows, index % n);
        let sum: f64 = (0..n).map(|k| q[(p * d.rows + i) * n + k] * r[(p * n + k) * n + j]).sum();
        worst.max((sum - a[index]).abs())
    })
}

fn cholesky_qr_equals_householder<B: Linalg>(b: &B) {
    for d in [Dims::new(1, 1, 1), Dims::new(5, 17, 3), Dims::new(2, 130, 33)] {
        let a = values(4, d.len());
        let ([q, r], got) = (qr(&Reference::<f64>::new(), d, &a), cholesky_qr(b, d, &a));
        close("q", &got.q, &q, 400.0 * eps::<B>());
        close("r", &got.r, &r, 400.0 * eps::<B>());
        assert!(got.defect <= 60.0 * eps::<B>());
    }
}

/// Columns ever more alike, up to conditions that leave the Gram matrix without a correct digit: some
/// fail in the first factorization, some in the second, some only in the certificate.
fn cholesky_qr_falls_back<B: Linalg>(b: &B) {
    let (batch, m, n) = (120, 60, 12);
    let d = Dims::new(batch, m, n);
    let mut a = values(6, d.len());
    for (p, matrix) in a.chunks_exact_mut(m * n).enumerate() {
        let difference = 10f64.powf(-(p as f64) / 10.0);
        for row in matrix.chunks_exact_mut(n) {
            (1..n).for_each(|j| row[j] = B::Elem::from_f64(row[0] + row[j] * difference).to_f64());
        }
    }
    let got = cholesky_qr(b, d, &a);
    assert!(got.defect <= 60.0 * eps::<B>(), "defect {:.1e}", got.defect);
    assert!(reconstruction(&got.q, &got.r, &a, d) <= 100.0 * eps::<B>());
}

fn cholesky_qr_of_rank_deficient_matrices<B: Linalg>(b: &B) {
    let d = Dims::new(3, 20, 6);
    let mut a = values(8, d.len());
    a[120..240].chunks_exact_mut(6).for_each(|row| row[4] = row[1]);
    a[240..].fill(0.0);
    let got = cholesky_qr(b, d, &a);
    assert!(got.defect <= 60.0 * eps::<B>(), "defect {:.1e}", got.defect);
    assert!(reconstruction(&got.q, &got.r, &a, d) <= 100.0 * eps::<B>());
    assert!(got.r.iter().all(|x| x.is_finite()));
}

fn truncated_svd_leads<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B) -> [Vec<f64>; 2] {
        let (batch, n, k) = (3, 34, 9);
        let core = random(b, 1, Dims::square(batch, n));
        let zeros = |d| Mats::zeros(b, d).unwrap();
        let (mut u, mut s, mut v) =
            (zeros(Dims::new(batch, n, k)), zeros(Dims::new(batch, 1, k)), zeros(Dims::new(batch, n, k)));
        let mut status = zeros(Dims::scalars(batch));
        Scratch::new(b).unwrap().scope(|scope| {
            b.truncated_svd(core.as_ref(), u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut(), scope);
        });
        assert!(download(b, status.as_ref()).iter().all(|&s| s == 0.0));
        assert!(defect(b, u.as_ref()).max(defect(b, v.as_ref())) <= 200.0 * eps::<B>());
        // The best approximation of rank k, which does not depend on signs.
        let mut best = zeros(Dims::square(batch, n));
        b.scale_columns(s.as_ref(), u.as_mut());
        b.gemm(1.0, u.as_ref().n(), v.as_ref().t(), Epilogue::Overwrite, best.as_mut());
        [s, best].map(|x| download(b, x.as_ref()))
    }
    let (got, expected) = (run(b), run(&Reference::<f64>::new()));
    close("singular values", &got[0], &expected[0], 100.0 * eps::<B>());
    // The approximation's error grows with the inverse gap after the k-th value.
    close("approximation", &got[1], &expected[1], 1e5 * eps::<B>());
}

fn spectral_norms<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, d: Dims) -> Vec<f64> {
        let a = random(b, 1, d);
        let (mut out, mut status) = (
            Mats::zeros(b, Dims::scalars(d.batch)).unwrap(),
            Mats::zeros(b, Dims::scalars(d.batch)).unwrap(),
        );
        Scratch::new(b).unwrap().scope(|s| b.spectral_norm(a.as_ref(), out.as_mut(), status.as_mut(), s));
        download(b, out.as_ref())
    }
    for d in [Dims::new(1, 1, 1), Dims::new(4, 17, 3), Dims::new(2, 64, 64)] {
        close("spectral norm", &run(b, d), &run(&Reference::<f64>::new(), d), 100.0 * eps::<B>());
    }
    let diagonal = upload(b, Dims::square(1, 2), &[3.0, 0.0, 0.0, -4.0]);
    let (mut out, mut status) =
        (Mats::zeros(b, Dims::scalars(1)).unwrap(), Mats::zeros(b, Dims::scalars(1)).unwrap());
    Scratch::new(b).unwrap().scope(|s| b.spectral_norm(diagonal.as_ref(), out.as_mut(), status.as_mut(), s));
    assert!((download(b, out.as_ref())[0] - 4.0).abs() <= 4.0 * B::Elem::EPSILON);
}

/// `S K + K T` for Gram matrices `S = X^T X`, `T = Y^T Y` of `height x n` matrices, solved for `K` again.
fn sylvester_round_trip<B: Linalg>(b: &B, n: usize, height: usize) -> (Vec<f64>, Vec<f64>) {
    let (d, batch) = (Dims::square(3, n), 3);
    let gram = |seed| {
        let x = random(b, seed, Dims::new(batch, height, n));
        let mut s = Mats::zeros(b, d).unwrap();
        b.gemm(1.0, x.as_ref().t(), x.as_ref().n(), Epilogue::Overwrite, s.as_mut());
        s
    };
    let (s, t, k) = (gram(1), gram(2), random(b, 3, d));
    let apply = |k: MatsRef<'_, B>| {
        let mut c = Mats::zeros(b, d).unwrap();
        b.gemm(1.0, s.as_ref().n(), k.n(), Epilogue::Overwrite, c.as_mut());
        b.gemm(1.0, k.n(), t.as_ref().n(), Epilogue::Scale(1.0), c.as_mut());
        c
    };
    let (mut solved, mut status) = (apply(k.as_ref()), Mats::zeros(b, Dims::scalars(batch)).unwrap());
    let right = download(b, solved.as_ref());
    Scratch::new(b).unwrap().scope(|scope| {
        b.sylvester(s.as_ref(), t.as_ref(), solved.as_mut(), status.as_mut(), scope);
    });
    assert!(download(b, status.as_ref()).iter().all(|&s| s == 0.0));
    (download(b, apply(solved.as_ref()).as_ref()), right)
}

fn sylvester_equations<B: Linalg>(b: &B) {
    for n in [1, 2, 9] {
        let (found, expected) = sylvester_round_trip(b, n, 3 * n + 2);
        close(&format!("sylvester {n}"), &found, &expected, 300.0 * eps::<B>());
    }
}

/// Rank-deficient coefficients: the solution is not unique, the residual is still zero.
fn sylvester_equations_that_leave_directions_open<B: Linalg>(b: &B) {
    let (found, expected) = sylvester_round_trip(b, 6, 3);
    close("singular sylvester", &found, &expected, 1e3 * eps::<B>());
}
