//! One step of each geometry on one 512 x 64 pair and on one grid of 8 x 1 such blocks, on one thread, in `f32`
//! with momentum. What `cargo xtask bench optim` times on whole banks, taken apart for work on a single geometry.
//!
//! `cargo bench -p lr-benches --bench optim`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lr_linalg::{Cpu, Dims, Factor, Mats, Threads};
use lr_manifolds::{Factors, Grid, StiefelRetraction};
use lr_optim::{DescentConfig, Geometry};

type Machine = Cpu<f32>;

fn wave(b: &Machine, dims: Dims, frequency: f32) -> Mats<Machine> {
    let values: Vec<f32> = (0..dims.len()).map(|k| ((k as f32) * frequency).sin()).collect();
    Mats::from_slice(b, dims, &values).expect("memory for a bench")
}

/// A tall matrix of `blocks` orthonormal blocks above one another.
fn orthonormal(b: &Machine, blocks: usize, rows: usize, rank: usize) -> Mats<Machine> {
    let mut q = wave(b, Dims::new(blocks, rows, rank), 12.9898);
    let mut r = Mats::zeros(b, Dims::square(blocks, rank)).expect("memory for a bench");
    let mut status = Mats::zeros(b, Dims::scalars(blocks)).expect("memory for a bench");
    b.qr(q.as_mut(), r.as_mut(), status.as_mut());
    let values = q.to_vec(b).expect("host memory");
    Mats::from_slice(b, Dims::new(1, blocks * rows, rank), &values).expect("memory for a bench")
}

fn steps(c: &mut Criterion) {
    const ROWS: usize = 512;
    const RANK: usize = 64;
    let b = Machine::with_threads(Threads::Serial);
    let mut group = c.benchmark_group("step");
    for (shape, blocks) in [("pair", 1), ("grid 8 x 1", 8)] {
        let grid = Grid::new(&vec![ROWS; blocks], &[ROWS], RANK);
        for geometry in Geometry::ALL {
            let (left, right) = (grid.left_dims(1), grid.right_dims(1));
            let mut x =
                Factors { left: orthonormal(&b, blocks, ROWS, RANK), right: orthonormal(&b, 1, ROWS, RANK) };
            let gradient = Factors { left: wave(&b, left, 78.233), right: wave(&b, right, 37.719) };
            let config = DescentConfig { momentum: 0.875, ..DescentConfig::default() };
            let mut optimizer = geometry
                .optimizer(&b, grid.clone(), StiefelRetraction::Polar, config, 1)
                .expect("the default settings");
            group.bench_function(BenchmarkId::new(geometry.name(), shape), |bench| {
                bench.iter(|| optimizer.step(&b, x.as_mut(), gradient.as_ref(), 1.0 / 256.0));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
