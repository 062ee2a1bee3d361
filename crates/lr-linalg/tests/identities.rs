//! Algebraic identities on random shapes and numbers, by proptest, on the pure-Rust CPU backend.

mod common;

use common::{close, download, random};
use lr_linalg::{
    Blas, Coef, Cpu, Dims, Epilogue::Overwrite, Factor, Linalg, Mats, PolarMethod, Scratch, Side, Triangle,
};
use proptest::prelude::*;

type B = Cpu<f64>;
const B: B = Cpu::new();

fn zeros(d: Dims) -> Mats<B> {
    Mats::zeros(&B, d).unwrap()
}

fn all(x: &Mats<B>) -> Vec<f64> {
    download(&B, x.as_ref())
}

fn identity(batch: usize, n: usize) -> Vec<f64> {
    let mut one = zeros(Dims::square(batch, n));
    B.add_diagonal(1.0, one.as_mut());
    all(&one)
}

fn product(x: lr_linalg::Operand<'_, B>, y: lr_linalg::Operand<'_, B>) -> Mats<B> {
    let mut c = zeros(Dims::new(x.dims().batch, x.dims().rows, y.dims().cols));
    B.gemm(1.0, x, y, Overwrite, c.as_mut());
    c
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_transpose_of_a_product(seed in 0u64..1000, batch in 1usize..4, m in 1usize..40, k in 1usize..40, n in 1usize..40) {
        let (a, b) = (random(&B, seed, Dims::new(batch, m, k)), random(&B, seed + 1, Dims::new(batch, k, n)));
        let ab = product(a.as_ref().n(), b.as_ref().n());
        let mut turned = zeros(Dims::new(batch, n, m));
        B.copy(ab.as_ref().t(), turned.as_mut());
        close("(AB)^T", &all(&product(b.as_ref().t(), a.as_ref().t())), &all(&turned), 1e-14 * (k as f64 + 1.0));
    }

    #[test]
    fn products_distribute_over_sums(seed in 0u64..1000, m in 1usize..40, k in 1usize..40, n in 1usize..40) {
        let (a, b) = (random(&B, seed, Dims::new(2, m, k)), random(&B, seed + 1, Dims::new(2, k, n)));
        let mut c = random(&B, seed + 2, Dims::new(2, k, n));
        let mut sum = product(a.as_ref().n(), c.as_ref().n());
        let ab = product(a.as_ref().n(), b.as_ref().n());
        B.axpby(Coef::Host(1.0), ab.as_ref(), 1.0, sum.as_mut());
        B.axpby(Coef::Host(1.0), b.as_ref(), 1.0, c.as_mut());
        close("A(B + C)", &all(&product(a.as_ref().n(), c.as_ref().n())), &all(&sum), 1e-14 * (k as f64 + 1.0));
    }

    #[test]
    fn qr_reconstructs(seed in 0u64..1000, n in 1usize..40, extra in 0usize..40) {
        let d = Dims::new(2, n + extra, n);
        let (a, mut q) = (random(&B, seed, d), random(&B, seed, d));
        let (mut r, mut status) = (zeros(Dims::square(2, n)), zeros(Dims::scalars(2)));
        B.qr(q.as_mut(), r.as_mut(), status.as_mut());
        close("Q R", &all(&product(q.as_ref().n(), r.as_ref().n())), &all(&a), 1e-13);
        close("Q^T Q", &all(&product(q.as_ref().t(), q.as_ref().n())), &identity(2, n), 1e-13);
    }

    #[test]
    fn solving_undoes_multiplying(seed in 0u64..1000, n in 1usize..40, m in 1usize..40) {
        let mut t = random(&B, seed, Dims::square(2, n));
        B.axpby(Coef::Host(0.0), zeros(Dims::square(2, n)).as_ref(), 1.0 / n as f64, t.as_mut());
        B.add_diagonal(2.0, t.as_mut());
        let mut gram = product(t.as_ref().t(), t.as_ref().n());
        let mut status = zeros(Dims::scalars(2));
        B.cholesky(lr_linalg::PivotGuard::Report, gram.as_mut(), status.as_mut());
        let x = random(&B, seed + 1, Dims::new(2, m, n));
        let mut y = product(x.as_ref().n(), gram.as_ref().t());
        B.trsm(Side::Right, Triangle::Lower, gram.as_ref().t(), y.as_mut());
        close("X L^T L^-T", &all(&y), &all(&x), 1e-11);
    }

    #[test]
    fn singular_values_are_ordered_and_orthogonally_invariant(seed in 0u64..1000, n in 1usize..40, extra in 0usize..30) {
        let d = Dims::new(1, n + extra, n);
        let values = |a: &Mats<B>| {
            let (mut u, mut s) = (zeros(d), zeros(Dims::new(1, 1, n)));
            let (mut v, mut status) = (zeros(Dims::square(1, n)), zeros(Dims::scalars(1)));
            B.copy(a.as_ref().n(), u.as_mut());
            B.svd(u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
            all(&s)
        };
        let a = random(&B, seed, d);
        let (mut q, mut r) = (random(&B, seed + 9, Dims::square(1, n)), zeros(Dims::square(1, n)));
        B.qr(q.as_mut(), r.as_mut(), zeros(Dims::scalars(1)).as_mut());
        let s = values(&a);
        prop_assert!(s.is_sorted_by(|a, b| a >= b) && s.iter().all(|&s| s >= 0.0));
        close("singular values of A Q", &values(&product(a.as_ref().n(), q.as_ref().n())), &s, 1e-12);
        let squares: f64 = all(&a).iter().map(|x| x * x).sum();
        prop_assert!((s.iter().map(|s| s * s).sum::<f64>() - squares).abs() <= 1e-11 * squares);
    }

    #[test]
    fn the_polar_factor_is_orthonormal_and_idempotent(seed in 0u64..1000, n in 1usize..30, extra in 1usize..30) {
        let d = Dims::new(2, n + extra, n);
        let mut q = random(&B, seed, d);
        let mut status = zeros(Dims::scalars(2));
        let mut scratch = Scratch::new(&B).unwrap();
        scratch.scope(|s| B.polar(PolarMethod::Svd, q.as_mut(), status.as_mut(), s));
        close("Q^T Q", &all(&product(q.as_ref().t(), q.as_ref().n())), &identity(2, n), 1e-12);
        let once = all(&q);
        scratch.scope(|s| B.polar(PolarMethod::GramEigen, q.as_mut(), status.as_mut(), s));
        close("polar(Q)", &all(&q), &once, 1e-12);
    }
}
