//! The descent over banks: settings refused, independence of problems, saved states, repairs and their
//! cadences, and long runs in f32.

use lr_linalg::{Backend, Cpu, Dims, Mats, Scalar, Scratch};
use lr_manifolds::{Factors, Grid, NormKind, Schatten, StiefelRetraction, init};
use lr_optim::{
    BankOptimizer, Cadence, DescentConfig, Geometry, Normalization, OptimError, RankGuard, Retractions,
    StateDict, StateError,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::num::NonZeroU64;

type B64 = Cpu<f64>;

fn config(momentum: f64) -> DescentConfig {
    DescentConfig { momentum, ..DescentConfig::default() }
}

fn optimizer<B: lr_linalg::Linalg>(
    b: &B,
    geometry: Geometry,
    grid: &Grid,
    config: DescentConfig,
    problems: usize,
) -> Box<dyn BankOptimizer<B>> {
    geometry.optimizer(b, grid.clone(), StiefelRetraction::Polar, config, problems).expect("optimizer")
}

fn random_mats<B: Backend>(b: &B, dims: Dims, rng: &mut StdRng) -> Mats<B> {
    let values: Vec<_> = (0..dims.len()).map(|_| B::Elem::from_f64(rng.random_range(-1.0..1.0))).collect();
    Mats::from_slice(b, dims, &values).unwrap()
}

fn random_factors<B: Backend>(b: &B, grid: &Grid, problems: usize, rng: &mut StdRng) -> Factors<B> {
    Factors {
        left: random_mats(b, grid.left_dims(problems), rng),
        right: random_mats(b, grid.right_dims(problems), rng),
    }
}

fn start<B: lr_linalg::Linalg>(b: &B, grid: &Grid, problems: usize, rng: &mut StdRng) -> Factors<B> {
    let mut x = Factors::zeros(b, grid, problems).unwrap();
    let mut status = Mats::zeros(b, Dims::scalars(problems)).unwrap();
    Scratch::new(b)
        .unwrap()
        .scope(|s| init::orthogonalized_uniform(b, grid, x.as_mut(), status.as_mut(), s, rng));
    assert!(status.to_vec(b).unwrap().iter().all(|s| s.to_f64() == 0.0));
    x
}

fn values<B: Backend>(b: &B, x: &Factors<B>) -> Vec<B::Elem> {
    [x.left.to_vec(b).unwrap(), x.right.to_vec(b).unwrap()].concat()
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let b = B64::new();
    let refuse = |geometry: Geometry, grid: Grid, config: DescentConfig| -> OptimError {
        match geometry.optimizer(&b, grid, StiefelRetraction::Polar, config, 2) {
            Ok(_) => panic!("accepted"),
            Err(error) => error,
        }
    };
    let grid = Grid::singleton(6, 5, 2);
    for nu in [1.0, -0.1, f64::NAN] {
        let error = refuse(Geometry::FixedEmbedded, grid.clone(), config(nu));
        assert!(matches!(error, OptimError::Momentum(_)), "{error}");
    }
    let spectral = DescentConfig { normalization: Normalization::by(NormKind::Spectral), ..config(0.0) };
    for geometry in Geometry::ALL {
        let outcome = geometry.optimizer(&b, grid.clone(), StiefelRetraction::Polar, spectral, 2);
        assert_eq!(outcome.is_ok(), geometry.is_embedded(), "{geometry}");
    }
    let clamp = Normalization::Unit { norm: NormKind::Metric, clamp: 0.0 };
    let error = refuse(Geometry::FixedEmbedded, grid, DescentConfig { normalization: clamp, ..config(0.0) });
    assert_eq!(error, OptimError::Clamp(0.0));
    let decay = DescentConfig { weight_decay: 0.1, ..config(0.0) };
    let steepest = DescentConfig { normalization: Normalization::Steepest(Schatten::One), ..config(0.0) };
    for geometry in Geometry::ALL {
        let accepts = |config| {
            geometry.optimizer(&b, Grid::singleton(6, 5, 2), Retractions::default(), config, 2).is_ok()
        };
        assert_eq!(accepts(decay), !geometry.is_partial_isometry(), "{geometry}");
        assert_eq!(accepts(steepest), geometry == Geometry::FixedEmbedded, "{geometry}");
    }
    let small = || Grid::singleton(6, 5, 2);
    for share in [0.0, 1.5, f64::NAN] {
        let guard = DescentConfig { rank_guard: RankGuard::Limit { share }, ..config(0.0) };
        let error = refuse(Geometry::FixedQuotient, small(), guard);
        assert!(matches!(error, OptimError::GuardShare(_)), "{error}");
    }
    for tolerance in [-1.0, f64::NAN] {
        let cadence = DescentConfig { gradient_cadence: Cadence::WhenDefect(tolerance), ..config(0.0) };
        let error = refuse(Geometry::FixedQuotient, small(), cadence);
        assert!(matches!(error, OptimError::Tolerance(_)), "{error}");
    }
    let error = refuse(Geometry::FixedQuotient, small(), DescentConfig { weight_decay: -1.0, ..config(0.0) });
    assert_eq!(error, OptimError::WeightDecay(-1.0));
    for geometry in Geometry::ALL {
        let error = refuse(geometry, Grid::singleton(6, 5, 6), config(0.0)).to_string();
        assert!(error.contains("rank r = 6 exceeds") && error.contains("= 5"), "{error}");
    }
}

#[test]
fn problems_of_a_bank_do_not_touch_each_other() {
    let (b, grid) = (B64::new(), Grid::singleton(7, 6, 3));
    for geometry in Geometry::ALL {
        let mut rng = StdRng::seed_from_u64(1);
        let mut bank = start(&b, &grid, 5, &mut rng);
        let g = random_factors(&b, &grid, 5, &mut rng);
        let mut alone: Vec<Factors<B64>> = (0..5)
            .map(|p| Factors {
                left: Mats::from_slice(
                    &b,
                    grid.left_dims(1),
                    &b.download(bank.left.as_ref().problem(p)).unwrap(),
                )
                .unwrap(),
                right: Mats::from_slice(
                    &b,
                    grid.right_dims(1),
                    &b.download(bank.right.as_ref().problem(p)).unwrap(),
                )
                .unwrap(),
            })
            .collect();
        let mut together = optimizer(&b, geometry, &grid, config(0.5), 5);
        let mut single: Vec<_> = (0..5).map(|_| optimizer(&b, geometry, &grid, config(0.5), 1)).collect();
        for _ in 0..3 {
            together.step(&b, bank.as_mut(), g.as_ref(), 0.1);
            for (p, (x, o)) in alone.iter_mut().zip(&mut single).enumerate() {
                let egrad = lr_manifolds::FactorsRef {
                    left: g.left.as_ref().problem(p),
                    right: g.right.as_ref().problem(p),
                };
                o.step(&b, x.as_mut(), egrad, 0.1);
            }
        }
        for (p, x) in alone.iter().enumerate() {
            assert_eq!(
                b.download(bank.left.as_ref().problem(p)).unwrap(),
                x.left.to_vec(&b).unwrap(),
                "{geometry}"
            );
            assert_eq!(
                b.download(bank.right.as_ref().problem(p)).unwrap(),
                x.right.to_vec(&b).unwrap(),
                "{geometry}"
            );
        }
    }
}

#[test]
fn a_saved_state_continues_bit_for_bit() {
    let (b, grid) = (Cpu::<f32>::new(), Grid::singleton(9, 8, 4));
    for geometry in Geometry::ALL {
        for reorthogonalize in [Cadence::EveryStep, Cadence::EverySteps(NonZeroU64::new(3).unwrap())] {
            let config = DescentConfig { reorthogonalize, ..config(0.875) };
            let mut rng = StdRng::seed_from_u64(2);
            let mut x = start(&b, &grid, 3, &mut rng);
            let gradients: Vec<_> = (0..8).map(|_| random_factors(&b, &grid, 3, &mut rng)).collect();
            let mut o = optimizer(&b, geometry, &grid, config, 3);
            gradients[..4].iter().for_each(|g| o.step(&b, x.as_mut(), g.as_ref(), 0.05));
            let mut dict = StateDict::default();
            o.save(&b, "qk", &mut dict).unwrap();
            let mut y = Factors {
                left: Mats::from_slice(&b, x.left.dims(), &x.left.to_vec(&b).unwrap()).unwrap(),
                right: Mats::from_slice(&b, x.right.dims(), &x.right.to_vec(&b).unwrap()).unwrap(),
            };
            let mut resumed = optimizer(&b, geometry, &grid, config, 3);
            resumed.load(&b, "qk", &dict).unwrap();
            for g in &gradients[4..] {
                o.step(&b, x.as_mut(), g.as_ref(), 0.05);
                resumed.step(&b, y.as_mut(), g.as_ref(), 0.05);
            }
            assert_eq!(values(&b, &x), values(&b, &y), "{geometry} {reorthogonalize:?}");
        }
    }
}

#[test]
fn states_of_other_settings_are_refused_by_name() {
    let (b, grid) = (B64::new(), Grid::singleton(6, 5, 2));
    let mut dict = StateDict::default();
    optimizer(&b, Geometry::FixedEmbedded, &grid, config(0.0), 2).save(&b, "qk", &mut dict).unwrap();
    let load = |config, problems| {
        optimizer(&b, Geometry::FixedEmbedded, &grid, config, problems).load(&b, "qk", &dict)
    };
    assert_eq!(load(config(0.5), 2), Err(StateError::Missing { name: "qk.momentum.left".to_owned() }));
    assert!(matches!(load(config(0.0), 3), Err(StateError::Shape { name, .. }) if name == "qk.breakdown"));
    assert_eq!(load(config(0.0), 2), Ok(()));
}

/// Two thousand f32 steps with momentum on drifting random gradients, for all ten optimizers: no breakdown,
/// no repair that nobody asked for, and orthonormal factors stay so.
#[test]
fn long_runs_in_f32_keep_their_factors_orthonormal() {
    let b = Cpu::<f32>::new();
    for grid in
        [Grid::singleton(24, 20, 8), Grid::new(&[12, 12, 12], &[14], 8), Grid::new(&[9, 16], &[12, 8], 8)]
    {
        for geometry in Geometry::ALL {
            let mut rng = StdRng::seed_from_u64(3);
            let mut x = start(&b, &grid, 2, &mut rng);
            let mut o = optimizer(&b, geometry, &grid, config(0.875), 2);
            let gradients: Vec<_> = (0..16).map(|_| random_factors(&b, &grid, 2, &mut rng)).collect();
            for step in 0..2000 {
                o.step(&b, x.as_mut(), gradients[step * step % 16].as_ref(), 2f64.powi(-8));
            }
            let (m, name) = (o.measure(&b, x.as_ref(), gradients[0].as_ref()).unwrap(), o.name());
            assert!(m.orthogonality_defect < 1e-5, "{name}: {m:?}");
            assert!(m.coherence_defect < 1e-5, "{name}: {m:?}");
            assert_eq!((m.broken, m.repairs.safeguards), (None, 0), "{name}");
            assert!(values(&b, &x).iter().all(|v| v.is_finite()), "{name}");
        }
    }
}

/// Steps so long that they take the exact path wear the embedded geometries' factors; each cadence mends them
/// when it should.
#[test]
fn reorthogonalization_runs_on_its_cadence() {
    let (b, grid) = (Cpu::<f32>::new(), Grid::singleton(24, 20, 8));
    let defect_after = |reorthogonalize, steps: usize| {
        let mut rng = StdRng::seed_from_u64(4);
        let mut x = start(&b, &grid, 1, &mut rng);
        let config = DescentConfig { reorthogonalize, ..config(0.5) };
        let mut o = optimizer(&b, Geometry::PartialEmbedded, &grid, config, 1);
        let gradients: Vec<_> = (0..steps).map(|_| random_factors(&b, &grid, 1, &mut rng)).collect();
        gradients.iter().for_each(|g| o.step(&b, x.as_mut(), g.as_ref(), 1.0));
        o.measure(&b, x.as_ref(), gradients[0].as_ref()).unwrap().orthogonality_defect
    };
    let worn = defect_after(Cadence::Never, 200);
    let every = defect_after(Cadence::EveryStep, 200);
    assert!(worn > 2.0 * every, "worn {worn:e}, mended every step {every:e}");
    let every_60 = Cadence::EverySteps(NonZeroU64::new(60).unwrap());
    assert_eq!(defect_after(every_60, 59), defect_after(Cadence::Never, 59));
    for step in [60, 120] {
        let mended = defect_after(every_60, step);
        assert!(mended < 0.5 * worn, "mended at step {step}: {mended:e}, worn {worn:e}");
    }
    assert_ne!(defect_after(every_60, 61), defect_after(Cadence::Never, 61));
    let tolerance = 0.5 * worn;
    assert!(defect_after(Cadence::WhenDefect(tolerance), 200) <= tolerance);
    assert_eq!(defect_after(Cadence::WhenDefect(1.0), 200), worn);
}

/// A rank-deficient factor has a singular Gram matrix: shifted, counted, and the step stays finite.
#[test]
fn the_cholesky_safeguard_counts_its_repairs() {
    let (b, grid) = (B64::new(), Grid::singleton(6, 5, 3));
    let mut rng = StdRng::seed_from_u64(5);
    let mut x = start(&b, &grid, 2, &mut rng);
    let mut left = x.left.to_vec(&b).unwrap();
    (0..6).for_each(|row| left[row * 3 + 2] = left[row * 3]);
    x.left = Mats::from_slice(&b, grid.left_dims(2), &left).unwrap();
    let g = random_factors(&b, &grid, 2, &mut rng);
    let mut o = optimizer(&b, Geometry::FixedQuotient, &grid, config(0.0), 2);
    o.step(&b, x.as_mut(), g.as_ref(), 1e-3);
    let m = o.measure(&b, x.as_ref(), g.as_ref()).unwrap();
    assert_eq!(m.broken, None);
    assert!(m.repairs.safeguards >= 1, "{m:?}");
    assert!(values(&b, &x).iter().all(|v| v.is_finite()));
}

/// A gradient that is not a number is reported for its problem, and for no other.
#[test]
fn a_broken_problem_is_named() {
    let (b, grid) = (B64::new(), Grid::singleton(6, 5, 2));
    for geometry in [Geometry::FixedEmbedded, Geometry::PartialEmbedded, Geometry::PartialQuotient] {
        let mut rng = StdRng::seed_from_u64(6);
        let mut x = start(&b, &grid, 3, &mut rng);
        let mut g = random_factors(&b, &grid, 3, &mut rng);
        let mut left = g.left.to_vec(&b).unwrap();
        left[6 * 2 + 1] = f64::NAN;
        g.left = Mats::from_slice(&b, grid.left_dims(3), &left).unwrap();
        let mut o = optimizer(&b, geometry, &grid, config(0.0), 3);
        o.step(&b, x.as_mut(), g.as_ref(), 1e-2);
        let calm = random_factors(&b, &grid, 3, &mut rng);
        let m = o.measure(&b, x.as_ref(), calm.as_ref()).unwrap();
        assert_eq!(m.broken, Some(1), "{geometry}");
        let healthy = b.download(x.left.as_ref().problem(2)).unwrap();
        assert!(healthy.iter().all(|v| v.is_finite()), "{geometry}");
    }
}

/// A zero gradient leaves the point where it is, whatever the normalization.
#[test]
fn a_zero_gradient_moves_nothing() {
    let (b, grid) = (B64::new(), Grid::singleton(5, 4, 4));
    for geometry in Geometry::ALL {
        let mut x = start(&b, &grid, 1, &mut StdRng::seed_from_u64(7));
        let product = |x: &Factors<B64>| {
            let mut w = Mats::zeros(&b, Dims::new(1, 5, 4)).unwrap();
            use lr_linalg::{Blas, Epilogue};
            b.gemm(1.0, x.left.as_ref().n(), x.right.as_ref().t(), Epilogue::Overwrite, w.as_mut());
            w.to_vec(&b).unwrap()
        };
        let before = product(&x);
        let zero = Factors::zeros(&b, &grid, 1).unwrap();
        let mut o = optimizer(&b, geometry, &grid, config(0.0), 1);
        (0..3).for_each(|_| o.step(&b, x.as_mut(), zero.as_ref(), 0.1));
        let moved = before.iter().zip(product(&x)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(moved < 1e-14, "{geometry}: {moved:e}");
    }
}
