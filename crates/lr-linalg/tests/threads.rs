//! Threads of the CPU backend: the same bits whatever the pool, every slice exactly once.

mod common;

use common::{download, random};
use lr_linalg::{
    Backend, Blas, Coef, Cpu, Dims, Engine, Epilogue, Factor, Faer, Mats, Op, Side, Threads, Triangle,
};
use std::sync::atomic::{AtomicUsize, Ordering};

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Results of operations large enough to be spread, both as batches and as single matrices.
fn results<E: Engine<f32>>(b: &Cpu<f32, E>) -> Vec<Vec<f64>> {
    let mut all = Vec::new();
    let shapes =
        [(1, 700, 300, 200), (1, 90, 2000, 150), (1, 2000, 64, 300), (20, 64, 64, 128), (3, 400, 400, 200)];
    for (batch, m, n, k) in shapes {
        for op in [Op::None, Op::Transpose] {
            let x = random(b, 1, Dims::new(batch, m, k));
            let (rows, cols) = if op == Op::None { (k, n) } else { (n, k) };
            let y = random(b, 2, Dims::new(batch, rows, cols));
            let y = if op == Op::None { y.as_ref().n() } else { y.as_ref().t() };
            let mut c = random(b, 3, Dims::new(batch, m, n));
            b.gemm(1.0, x.as_ref().n(), y, Epilogue::Scale(0.5), c.as_mut());
            all.push(download(b, c.as_ref()));
        }
    }
    // Deep, with operands that lie far apart.
    let (x, y) = (random(b, 1, Dims::new(1, 3300, 600)), random(b, 2, Dims::new(1, 3300, 330)));
    let mut c = random(b, 3, Dims::new(1, 600, 330));
    b.gemm(1.0, x.as_ref().t(), y.as_ref().n(), Epilogue::Scale(0.5), c.as_mut());
    all.push(download(b, c.as_ref()));
    let d = Dims::new(1, 900, 500);
    let (x, mut y) = (random(b, 1, d), random(b, 2, d));
    let mut out = Mats::zeros(b, Dims::scalars(1)).unwrap();
    b.axpby(Coef::Host(0.3), x.as_ref(), 1.1, y.as_mut());
    b.dot(1.0, x.as_ref(), y.as_ref(), 0.0, out.as_mut());
    all.push(download(b, y.as_ref()));
    all.push(download(b, out.as_ref()));
    let (mut a, mut r) = (random(b, 5, Dims::new(7, 130, 40)), Mats::zeros(b, Dims::square(7, 40)).unwrap());
    b.qr(a.as_mut(), r.as_mut(), Mats::zeros(b, Dims::scalars(7)).unwrap().as_mut());
    let mut solved = random(b, 6, Dims::new(7, 300, 40));
    b.trsm(Side::Right, Triangle::Upper, r.as_ref().n(), solved.as_mut());
    all.extend([a, r, solved].map(|x| download(b, x.as_ref())));
    all
}

fn same_bits<E: Engine<f32>>() {
    let expected = results(&Cpu::<f32, E>::with_threads(Threads::Serial));
    for threads in [1, 2, 3] {
        let got = pool(threads).install(|| results(&Cpu::<f32, E>::new()));
        assert!(got == expected, "{threads} threads");
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    same_bits::<Faer>();
}

#[cfg(feature = "openblas")]
#[test]
fn results_do_not_depend_on_threads_on_openblas() {
    same_bits::<lr_linalg::OpenBlas>();
}

#[test]
fn every_slice_runs_once_on_a_serial_handle() {
    for threads in [1, 2, 3] {
        pool(threads).install(|| {
            let b = Cpu::<f32>::new();
            let slicing = b.slicing(40);
            assert_eq!((slicing.problems_per_slice, slicing.workers), (1, threads));
            let mut x = Mats::zeros(&b, Dims::new(40, 2, 2)).unwrap();
            let mut workers = vec![0usize; slicing.workers];
            let calls = AtomicUsize::new(0);
            b.for_each_slice(x.as_mut().chunks(1).enumerate(), &mut workers, |b, (p, slice), done| {
                assert_eq!(b.threads(), Threads::Serial);
                b.add_diagonal(p as f64, slice);
                *done += 1;
                calls.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!((calls.into_inner(), workers.iter().sum::<usize>()), (40, 40));
            let expected: Vec<f64> = (0..40).flat_map(|p| [p as f64, 0.0, 0.0, p as f64]).collect();
            assert_eq!(download(&b, x.as_ref()), expected);
        });
    }
}

#[test]
fn a_panic_in_a_slice_reaches_the_caller() {
    let b = Cpu::<f32>::new();
    let outcome = pool(2).install(|| {
        std::panic::catch_unwind(|| {
            b.for_each_slice(0..10, &mut [(), ()], |_, p, ()| assert!(p != 7, "slice seven"));
        })
    });
    assert!(outcome.is_err());
}
