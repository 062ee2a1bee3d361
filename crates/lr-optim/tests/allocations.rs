//! A warmed-up optimizer step allocates nothing, on any geometry, with momentum and every norm.

#[path = "../../../tests/support/counting_allocator.rs"]
mod counting_allocator;

use counting_allocator::assert_settles;
use lr_linalg::{Cpu, Dims, Mats, Scalar};
use lr_manifolds::{Factors, Grid, NormKind, StiefelRetraction};
use lr_optim::{
    AdamW, AdamWConfig, BankOptimizer, DescentConfig, Geometry, Muon, MuonConfig, Normalization,
    PreconditionedAdamW, PreconditionedAdamWConfig,
};
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

/// The methods that take grids of any heights and know no geometry.
fn rivals(b: &B, grid: &Grid, problems: usize) -> Vec<(String, Box<dyn BankOptimizer<B>>)> {
    let muon = Muon::new(b, MuonConfig::default(), grid.clone(), problems).unwrap();
    let config = PreconditionedAdamWConfig::default();
    let preconditioned = PreconditionedAdamW::new(b, config, grid.clone(), problems).unwrap();
    vec![("muon".to_owned(), Box::new(muon)), ("preconditioned".to_owned(), Box::new(preconditioned))]
}

#[test]
fn a_warm_step_allocates_nothing() {
    let (b, grid, problems) = (B::new(), Grid::singleton(40, 33, 8), 6);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        let mut rng = StdRng::seed_from_u64(1);
        let mut settles = |grid: &Grid, (name, mut optimizer): (String, Box<dyn BankOptimizer<B>>)| {
            let mut x = factors(&b, grid, problems, &mut rng);
            let g = factors(&b, grid, problems, &mut rng);
            assert_settles(&name, || optimizer.step(&b, x.as_mut(), g.as_ref(), 1e-3));
        };
        let start = Factors::zeros(&b, &grid, problems).unwrap();
        optimizers(&b, &grid, problems, &start).into_iter().for_each(|named| settles(&grid, named));
        let blocks = Grid::new(&[24, 16], &[11, 11, 11], 8);
        let start = Factors::zeros(&b, &blocks, problems).unwrap();
        optimizers(&b, &blocks, problems, &start).into_iter().for_each(|named| settles(&blocks, named));
        for grid in [grid, blocks] {
            rivals(&b, &grid, problems).into_iter().for_each(|named| settles(&grid, named));
        }
    });
}
