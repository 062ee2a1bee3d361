//! Products, factorizations and the polar factor on the CPU engines, in `f32`: the shapes of one
//! 512 x 64 pair, batches of pairs, and the two large products of the transformer.
//!
//! `cargo bench -p lr-benches --features openblas --bench linalg`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lr_linalg::{Blas, Cpu, Dims, Engine, Epilogue, Factor, Faer, Linalg, Mats, Op, PolarMethod, Scratch};

fn wave<E: Engine<f32>>(b: &Cpu<f32, E>, dims: Dims) -> Mats<Cpu<f32, E>> {
    let values: Vec<f32> = (0..dims.len()).map(|k| ((k as f32) * 12.9898).sin()).collect();
    Mats::from_slice(b, dims, &values).expect("memory for a bench")
}

fn gemm<E: Engine<f32>>(c: &mut Criterion, b: Cpu<f32, E>) {
    let mut group = c.benchmark_group("gemm");
    group.sample_size(10);
    for (name, batch, m, n, k, op) in [
        ("feed-forward 4096x512x2048", 1, 4096, 2048, 512, Op::None),
        ("unembedding 512x512x50257", 1, 512, 50257, 512, Op::Transpose),
        ("96 pairs 512x64x64", 96, 512, 64, 64, Op::None),
    ] {
        let x = wave(&b, Dims::new(batch, m, k));
        let y = wave(&b, if op == Op::None { Dims::new(batch, k, n) } else { Dims::new(batch, n, k) });
        let y = if op == Op::None { y.as_ref().n() } else { y.as_ref().t() };
        let mut z = Mats::zeros(&b, Dims::new(batch, m, n)).expect("memory for a bench");
        group.throughput(Throughput::Elements((2 * batch * m * n * k) as u64));
        group.bench_function(BenchmarkId::new(name, E::NAME), |bench| {
            bench.iter(|| b.gemm(1.0, x.as_ref().n(), y, Epilogue::Overwrite, z.as_mut()));
        });
    }
    group.finish();
}

fn factorizations<E: Engine<f32>>(c: &mut Criterion, b: Cpu<f32, E>) {
    let mut group = c.benchmark_group("factorizations");
    for (m, n) in [(512, 64), (128, 128)] {
        let d = Dims::new(1, m, n);
        let source = wave(&b, d);
        let mut a = wave(&b, d);
        let square = || Mats::zeros(&b, Dims::square(1, n)).expect("memory for a bench");
        let (mut r, mut v) = (square(), square());
        let mut s = Mats::zeros(&b, Dims::new(1, 1, n)).expect("memory for a bench");
        let mut status = Mats::zeros(&b, Dims::scalars(1)).expect("memory for a bench");
        let mut scratch = Scratch::new(&b).expect("memory for a bench");
        let shape = format!("{m}x{n}");
        group.bench_function(BenchmarkId::new(format!("qr {shape}"), E::NAME), |bench| {
            bench.iter(|| {
                b.copy(source.as_ref().n(), a.as_mut());
                b.qr(a.as_mut(), r.as_mut(), status.as_mut());
            });
        });
        group.bench_function(BenchmarkId::new(format!("svd {shape}"), E::NAME), |bench| {
            bench.iter(|| {
                b.copy(source.as_ref().n(), a.as_mut());
                b.svd(a.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
            });
        });
        for method in [
            PolarMethod::Svd,
            PolarMethod::Polynomial,
            PolarMethod::GramEigen,
            PolarMethod::NewtonSchulz { iterations: 6 },
        ] {
            group.bench_function(BenchmarkId::new(format!("polar {method:?} {shape}"), E::NAME), |bench| {
                bench.iter(|| {
                    b.copy(source.as_ref().n(), a.as_mut());
                    scratch.scope(|scope| b.polar(method, a.as_mut(), status.as_mut(), scope));
                });
            });
        }
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    gemm(c, Cpu::<f32, Faer>::new());
    factorizations(c, Cpu::<f32, Faer>::new());
    #[cfg(feature = "openblas")]
    {
        gemm(c, Cpu::<f32, lr_linalg::OpenBlas>::new());
        factorizations(c, Cpu::<f32, lr_linalg::OpenBlas>::new());
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
