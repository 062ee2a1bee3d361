//! A warmed-up optimizer step allocates nothing, on any geometry, with momentum and every norm.

#[path = "../../../tests/support/counting_allocator.rs"]
mod counting_allocator;

use counting_allocator::assert_settles;
use lr_linalg::{Cpu, Dims, Mats, Scalar};
use lr_manifolds::{Factors, Grid, NormKind, StiefelRetraction};
use lr_optim::{AdamW, AdamWConfig, BankOptimizer, DescentConfig, Geometry, Normalization};
use rand::{Rng, SeedableRng, rngs::StdRng};

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
            assert_settles(&name, || optimizer.step(&b, x.as_mut(), g.as_ref(), 1e-3));
        }
    });
}
