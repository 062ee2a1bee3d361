//! Optimizer steps on a GPU: a warm one allocates nothing, waits for nothing and copies nothing to the host, and can
//! be recorded as a graph that does the same when it is replayed.
#![cfg(feature = "cuda")]

#[path = "../../crates/lr-linalg/tests/common/devices.rs"]
mod devices;

use lr_linalg::{Cuda, Dims, Mats};
use lr_manifolds::{Factors, Grid, NormKind, StiefelRetraction};
use lr_optim::{
    AdamW, AdamWConfig, BankOptimizer, DescentConfig, Geometry, Muon, MuonConfig, Normalization,
    PreconditionedAdamW, PreconditionedAdamWConfig,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

type B = Cuda<f64>;

/// Problems of a bank.
const PROBLEMS: usize = 2;

fn factors(b: &B, grid: &Grid, seed: u64) -> Factors<B> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut mats = |dims: Dims| {
        let values: Vec<f64> = (0..dims.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
        Mats::from_slice(b, dims, &values).unwrap()
    };
    Factors { left: mats(grid.left_dims(PROBLEMS)), right: mats(grid.right_dims(PROBLEMS)) }
}

/// All ten geometries' optimizers and Muon, with the grid that each works on.
fn optimizers(b: &B) -> Vec<(String, Grid, Box<dyn BankOptimizer<B>>)> {
    let (plain, blocks) = (Grid::singleton(9, 7, 3), Grid::new(&[5, 4], &[4, 4, 4], 3));
    let mut all: Vec<(String, Grid, Box<dyn BankOptimizer<B>>)> = Vec::new();
    for grid in [plain, blocks] {
        for geometry in Geometry::ALL {
            for stiefel in [StiefelRetraction::Polar, StiefelRetraction::Qr] {
                for norm in [NormKind::Metric, NormKind::Spectral] {
                    let spectral = norm == NormKind::Spectral;
                    let twice = stiefel == StiefelRetraction::Qr && !geometry.is_partial_isometry();
                    if spectral && !geometry.is_embedded() || twice {
                        continue;
                    }
                    let config = DescentConfig {
                        momentum: 0.875,
                        normalization: Normalization::by(norm),
                        ..DescentConfig::default()
                    };
                    let optimizer = geometry.optimizer(b, grid.clone(), stiefel, config, PROBLEMS).unwrap();
                    let name =
                        format!("{geometry} {stiefel:?} {norm:?} {} blocks", grid.left.ranges().count());
                    all.push((name, grid.clone(), optimizer));
                }
            }
        }
        let muon = Muon::new(b, MuonConfig::default(), grid.clone(), PROBLEMS).unwrap();
        all.push(("muon".to_owned(), grid, Box::new(muon)));
    }
    all
}

/// Allocations, downloads and uploads of a handle so far.
fn traffic(b: &B) -> [u64; 3] {
    let counters = b.counters();
    [counters.allocations, counters.downloads, counters.uploads]
}

#[test]
fn a_warm_step_stays_on_the_device() {
    let Some(b) = devices::cuda::<f64>() else { return };
    let mut all = optimizers(&b);
    let grid = Grid::singleton(9, 7, 3);
    let start = factors(&b, &grid, 1);
    let adamw = AdamW::for_bank(&b, AdamWConfig::default(), start.as_ref()).unwrap();
    all.push(("adamw".to_owned(), grid.clone(), Box::new(adamw)));
    let config = PreconditionedAdamWConfig::default();
    let preconditioned = PreconditionedAdamW::new(&b, config, grid.clone(), PROBLEMS).unwrap();
    all.push(("preconditioned adamw".to_owned(), grid, Box::new(preconditioned)));
    for (name, grid, mut optimizer) in all {
        let (mut x, g) = (factors(&b, &grid, 2), factors(&b, &grid, 3));
        (0..2).for_each(|_| optimizer.step(&b, x.as_mut(), g.as_ref(), 1e-3));
        let (before, launches) = (traffic(&b), b.counters().launches);
        (0..2).for_each(|_| optimizer.step(&b, x.as_mut(), g.as_ref(), 1e-3));
        assert_eq!(traffic(&b), before, "{name}");
        assert!(b.counters().launches > launches, "{name}");
        let end = x.left.to_vec(&b).unwrap();
        assert!(end.iter().all(|x| x.is_finite()), "{name}");
    }
}

/// Two steps, since frames take turns in two places. AdamW's bias corrections change from step to step; the steps of
/// the geometries and of Muon are all alike.
#[test]
fn recorded_steps_are_the_steps() {
    let Some(b) = devices::cuda::<f64>() else { return };
    let pairs = optimizers(&b).into_iter().zip(optimizers(&b));
    for ((name, grid, mut direct), (_, _, mut recorded)) in pairs {
        let g = factors(&b, &grid, 3);
        let mut x = factors(&b, &grid, 2);
        (0..6).for_each(|_| direct.step(&b, x.as_mut(), g.as_ref(), 1e-3));
        let expected = [x.left.to_vec(&b).unwrap(), x.right.to_vec(&b).unwrap()];

        let mut x = factors(&b, &grid, 2);
        (0..2).for_each(|_| recorded.step(&b, x.as_mut(), g.as_ref(), 1e-3));
        let two = |b: &B| (0..2).for_each(|_| recorded.step(b, x.as_mut(), g.as_ref(), 1e-3));
        let mut graph = b.capture(two).unwrap();
        for _ in 0..2 {
            // SAFETY: the optimizer, its parameters and its gradient are alive; nobody else looks at them.
            unsafe { graph.launch() };
        }
        let found = [x.left.to_vec(&b).unwrap(), x.right.to_vec(&b).unwrap()];
        assert_eq!(found, expected, "{name}");
    }
}
