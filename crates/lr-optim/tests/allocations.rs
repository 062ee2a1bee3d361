//! A warmed-up optimizer step allocates nothing, on any geometry, with momentum and every norm.

use lr_linalg::{Cpu, Dims, Mats, Scalar};
use lr_manifolds::{Factors, Grid, NormKind, StiefelRetraction};
use lr_optim::{AdamW, AdamWConfig, BankOptimizer, DescentConfig, Geometry, Normalization};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts allocations of the whole process.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(data, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type B = Cpu<f32>;

fn factors(b: &B, grid: &Grid, problems: usize, rng: &mut StdRng) -> Factors<B> {
    let mut mats = |dims: Dims| {
        let values: Vec<_> = (0..dims.len()).map(|_| f32::from_f64(rng.random_range(-1.0..1.0))).collect();
        Mats::from_slice(b, dims, &values).unwrap()
    };
    Factors { left: mats(grid.left_dims(problems)), right: mats(grid.right_dims(problems)) }
}

fn optimizers(
    b: &B,
    grid: &Grid,
    problems: usize,
    bank: &Factors<B>,
) -> Vec<(String, Box<dyn BankOptimizer<B>>)> {
    let mut all: Vec<(String, Box<dyn BankOptimizer<B>>)> = vec![(
        "adamw".to_owned(),
        Box::new(AdamW::for_bank(b, AdamWConfig::default(), bank.as_ref()).unwrap()),
    )];
    for geometry in Geometry::ALL {
        for stiefel in [StiefelRetraction::Polar, StiefelRetraction::Qr] {
            for norm in [NormKind::Metric, NormKind::Spectral] {
                if norm == NormKind::Spectral && !geometry.is_embedded() {
                    continue;
                }
                let config = DescentConfig {
                    momentum: 0.875,
                    normalization: Normalization::by(norm),
                    ..DescentConfig::default()
                };
                let optimizer = geometry.optimizer(b, grid.clone(), stiefel, config, problems).unwrap();
                all.push((format!("{geometry} {stiefel:?} {norm:?}"), optimizer));
            }
        }
    }
    all
}

#[test]
fn a_warm_step_allocates_nothing() {
    let (b, grid, problems) = (B::new(), Grid::singleton(40, 33, 8), 6);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        let mut rng = StdRng::seed_from_u64(1);
        let start = factors(&b, &grid, problems, &mut rng);
        for (name, mut optimizer) in optimizers(&b, &grid, problems, &start) {
            let mut x = factors(&b, &grid, problems, &mut rng);
            let g = factors(&b, &grid, problems, &mut rng);
            // A worker that meets its first slice late still grows its scratch then; a step that allocates
            // by itself leaves no window free of it.
            let quiet = (0..100).any(|_| {
                let before = ALLOCATIONS.load(Ordering::Relaxed);
                (0..10).for_each(|_| optimizer.step(&b, x.as_mut(), g.as_ref(), 1e-3));
                ALLOCATIONS.load(Ordering::Relaxed) == before
            });
            assert!(quiet, "{name}: allocations in every window of ten steps");
        }
    });
}
