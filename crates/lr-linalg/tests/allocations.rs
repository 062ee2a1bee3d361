//! Once warm, no operation of the CPU backend allocates within a rayon pool.

mod common;
#[path = "../../../tests/support/counting_allocator.rs"]
mod counting_allocator;

use common::random;
use counting_allocator::assert_settles;
use lr_linalg::{
    AdamWCoefficients, Backend, Blas, Coef, Cpu, Dims, Engine, Epilogue, Factor, Faer, Linalg, Map, Mats,
    Part, PivotGuard, PolarMethod, Scratch, Side, Triangle,
};

fn operations<E: Engine<f32>>(b: &Cpu<f32, E>) {
    let mats = |batch, m, n| random(b, 1, Dims::new(batch, m, n));
    // Small, vectors on all sides, middle, and large enough to be cut.
    for (batch, m, n, k) in [
        (3, 2, 3, 4),
        (1, 1, 64, 64),
        (1, 64, 1, 64),
        (1, 64, 64, 1),
        (2, 1, 1, 64),
        (24, 64, 64, 64),
        (24, 512, 64, 64),
        (24, 64, 64, 512),
        (1, 600, 500, 300),
    ] {
        let (x, y, xt, yt) = (mats(batch, m, k), mats(batch, k, n), mats(batch, k, m), mats(batch, n, k));
        let mut c = mats(batch, m, n);
        let d = mats(batch, m, n);
        for (what, a, b_) in [
            ("gemm NN", x.as_ref().n(), y.as_ref().n()),
            ("gemm TN", xt.as_ref().t(), y.as_ref().n()),
            ("gemm NT", x.as_ref().n(), yt.as_ref().t()),
            ("gemm TT", xt.as_ref().t(), yt.as_ref().t()),
        ] {
            assert_settles(&format!("{what} {m} {n} {k}"), || {
                b.gemm(1.0, a, b_, Epilogue::Overwrite, c.as_mut());
                b.gemm(1.0, a, b_, Epilogue::Scale(0.5), c.as_mut());
                b.gemm(1.0, a, b_, Epilogue::Add(2.0, d.as_ref()), c.as_mut());
            });
        }
    }
    let (x, mut y, mut z, mut w) =
        (mats(3, 200, 150), mats(3, 200, 150), mats(3, 200, 150), mats(3, 200, 150));
    let (mut turned, mut square) = (mats(3, 150, 200), mats(24, 65, 65));
    let (mut scalars, diagonal) = (mats(3, 1, 1), mats(3, 1, 150));
    let adamw = AdamWCoefficients {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        bias_correction1: 0.1,
        bias_correction2: 0.01,
    };
    assert_settles("element-wise operations", || {
        b.copy(x.as_ref().n(), y.as_mut());
        b.copy(x.as_ref().t(), turned.as_mut());
        b.fill(0.0, z.as_mut());
        b.add_diagonal(1.0, z.as_mut());
        b.axpby(Coef::Host(1.0), x.as_ref(), 0.5, y.as_mut());
        b.axpby(Coef::Device(scalars.as_ref()), x.as_ref(), 0.5, y.as_mut());
        b.take_part(Part::Skew, square.as_mut());
        b.scale_columns(diagonal.as_ref(), y.as_mut());
        b.map(Map::Floor(0.0), y.as_mut());
        b.dot(1.0, x.as_ref(), y.as_ref(), 0.0, scalars.as_mut());
        b.flag_above(1e9, x.as_ref(), scalars.as_mut());
        b.copy_where(scalars.as_ref(), x.as_ref(), y.as_mut());
        b.adamw(adamw, x.as_ref(), y.as_mut(), z.as_mut(), w.as_mut());
    });

    let (mut tall, mut r, mut s, mut v) =
        (mats(24, 130, 65), mats(24, 65, 65), mats(24, 1, 65), mats(24, 65, 65));
    let source = mats(24, 130, 65);
    let mut status = Mats::zeros(b, Dims::scalars(24)).unwrap();
    assert_settles("qr", || {
        b.copy(source.as_ref().n(), tall.as_mut());
        b.qr(tall.as_mut(), r.as_mut(), status.as_mut());
    });
    assert_settles("trsm", || {
        b.copy(source.as_ref().n(), tall.as_mut());
        b.trsm(Side::Right, Triangle::Upper, r.as_ref().n(), tall.as_mut());
        b.trsm(Side::Left, Triangle::Upper, r.as_ref().t(), v.as_mut());
    });
    assert_settles("svd", || {
        b.copy(source.as_ref().n(), tall.as_mut());
        b.svd(tall.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
        b.copy(source.as_ref().rows(0..65).n(), square.as_mut());
        b.svd(square.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
    });
    assert_settles("invert", || {
        b.copy(source.as_ref().rows(0..65).n(), square.as_mut());
        b.invert(square.as_mut(), status.as_mut());
    });
    assert_settles("eigh and cholesky", || {
        b.gemm(1.0, source.as_ref().t(), source.as_ref().n(), Epilogue::Overwrite, square.as_mut());
        b.eigh(square.as_mut(), s.as_mut(), status.as_mut());
        b.gemm(1.0, source.as_ref().t(), source.as_ref().n(), Epilogue::Overwrite, square.as_mut());
        b.cholesky(PivotGuard::Shift { relative: 1e-6 }, square.as_mut(), status.as_mut());
    });

    // A step as the optimizers take it: one problem a slice, each worker with its scratch.
    let slicing = b.slicing(24);
    let mut workers: Vec<Scratch<Cpu<f32, E>>> =
        (0..slicing.workers).map(|_| Scratch::new(b).unwrap()).collect();
    assert_settles("slices", || {
        b.copy(source.as_ref().n(), tall.as_mut());
        let slices = tall.as_mut().chunks(1).zip(r.as_mut().chunks(1)).zip(status.as_mut().chunks(1));
        b.for_each_slice(slices, &mut workers, |b, ((mut z, mut r), mut status), scratch| {
            scratch.scope(|scope| {
                b.cholesky_qr(z.as_mut(), r.as_mut(), status.as_mut(), scope);
                for method in [
                    PolarMethod::Svd,
                    PolarMethod::Polynomial,
                    PolarMethod::GramEigen,
                    PolarMethod::NewtonSchulz { iterations: 3 },
                ] {
                    b.polar(method, z.as_mut(), status.as_mut(), scope);
                }
            });
        });
    });
}

#[test]
fn warm_operations_allocate_nothing() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| operations(&Cpu::<f32, Faer>::new()));
        #[cfg(feature = "openblas")]
        pool.install(|| operations(&Cpu::<f32, lr_linalg::OpenBlas>::new()));
    }
}
