//! Appendix B at work: inconsistent gradients, decohered momenta, steps that would lose the rank; what each
//! repair restores, what a run without it does, and what is counted.

use lr_linalg::{Blas, Cpu, Dims, Epilogue, Mats, Scratch};
use lr_manifolds::{Factors, GradientRepair, Grid, MomentumRepair, NormKind, StiefelRetraction, init};
use lr_optim::{
    Averaging, BankOptimizer, Cadence, DescentConfig, Geometry, Normalization, RankGuard, RepairCounts,
    Retractions, StateDict,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::num::NonZeroU64;

type B = Cpu<f64>;

const PROBLEMS: usize = 2;

fn grids() -> [Grid; 3] {
    [Grid::singleton(9, 7, 3), Grid::new(&[5, 5], &[6, 6, 6], 3), Grid::new(&[4, 7], &[5, 3], 3)]
}

fn random(b: &B, grid: &Grid, rng: &mut StdRng) -> Factors<B> {
    let mut side = |d: Dims| {
        let values: Vec<f64> = (0..d.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
        Mats::from_slice(b, d, &values).unwrap()
    };
    Factors { left: side(grid.left_dims(PROBLEMS)), right: side(grid.right_dims(PROBLEMS)) }
}

fn start(b: &B, grid: &Grid, rng: &mut StdRng) -> Factors<B> {
    let mut x = Factors::zeros(b, grid, PROBLEMS).unwrap();
    let mut status = Mats::zeros(b, Dims::scalars(PROBLEMS)).unwrap();
    Scratch::new(b)
        .unwrap()
        .scope(|s| init::orthogonalized_uniform(b, grid, x.as_mut(), status.as_mut(), s, rng));
    x
}

fn copy(b: &B, grid: &Grid, x: &Factors<B>) -> Factors<B> {
    let mut y = Factors::zeros(b, grid, PROBLEMS).unwrap();
    y.as_mut().copy_from(b, x.as_ref());
    y
}

fn product(b: &B, x: &Factors<B>) -> Vec<f64> {
    let d = Dims::new(PROBLEMS, x.left.dims().rows, x.right.dims().rows);
    let mut w = Mats::zeros(b, d).unwrap();
    b.gemm(1.0, x.left.as_ref().n(), x.right.as_ref().t(), Epilogue::Overwrite, w.as_mut());
    w.to_vec(b).unwrap()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

fn optimizer(b: &B, geometry: Geometry, grid: &Grid, config: DescentConfig) -> Box<dyn BankOptimizer<B>> {
    geometry.optimizer(b, grid.clone(), Retractions::default(), config, PROBLEMS).unwrap()
}

/// `(G B, G^T A)` of a fixed dense `G`, the gradient of `<G, W>`.
fn consistent(b: &B, g: &Mats<B>, x: &Factors<B>, out: &mut Factors<B>) {
    b.gemm(1.0, g.as_ref().n(), x.right.as_ref().n(), Epilogue::Overwrite, out.left.as_mut());
    b.gemm(1.0, g.as_ref().t(), x.left.as_ref().n(), Epilogue::Overwrite, out.right.as_mut());
}

/// Adds to a consistent pair what the repair of the geometry takes away again. Embedded metrics: `(A D, -B D^T)`,
/// orthogonal to the pulled-back pair `(Xi B, Xi^T A)` of every tangent matrix, gone in the least squares. The
/// others: `(A D B^T B, -B D^T A^T A)`, the pair of a vertical vector, gone in the projection.
fn contaminate(b: &B, geometry: Geometry, delta: &Mats<B>, x: &Factors<B>, egrad: &mut Factors<B>) {
    let gram = |side: &Mats<B>| {
        let d = Dims::square(PROBLEMS, delta.dims().rows);
        let mut gram = Mats::zeros(b, d).unwrap();
        match geometry.is_embedded() {
            true => b.add_diagonal(1.0, gram.as_mut()),
            false => b.gemm(1.0, side.as_ref().t(), side.as_ref().n(), Epilogue::Overwrite, gram.as_mut()),
        }
        gram
    };
    let mut part = Mats::zeros(b, delta.dims()).unwrap();
    b.gemm(1.0, delta.as_ref().n(), gram(&x.right).as_ref().n(), Epilogue::Overwrite, part.as_mut());
    b.gemm(1.0, x.left.as_ref().n(), part.as_ref().n(), Epilogue::Scale(1.0), egrad.left.as_mut());
    b.gemm(-1.0, delta.as_ref().t(), gram(&x.left).as_ref().n(), Epilogue::Overwrite, part.as_mut());
    b.gemm(1.0, x.right.as_ref().n(), part.as_ref().n(), Epilogue::Scale(1.0), egrad.right.as_mut());
}

/// Ten steps on contaminated gradients: the end point, the largest consistency defect, the counts.
fn run(geometry: Geometry, grid: &Grid, config: DescentConfig, size: f64) -> (Vec<f64>, f64, RepairCounts) {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(11));
    let mut x = start(&b, grid, &mut rng);
    if !geometry.is_partial_isometry() {
        // Singular values away from 1: only then do the average and the least squares differ.
        for (side, stretch) in [(&mut x.left, 1.7), (&mut x.right, 0.6)] {
            let r = grid.rank;
            let scales: Vec<f64> = (0..PROBLEMS * r).map(|k| stretch + 0.4 * (k % r) as f64).collect();
            let scales = Mats::from_slice(&b, Dims::new(PROBLEMS, 1, r), &scales).unwrap();
            b.scale_columns(scales.as_ref(), side.as_mut());
        }
    }
    let dense = Dims::new(PROBLEMS, x.left.dims().rows, x.right.dims().rows);
    let values: Vec<f64> = (0..dense.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let g = Mats::from_slice(&b, dense, &values).unwrap();
    let small = grid.small_dims(PROBLEMS);
    let values: Vec<f64> = (0..small.len()).map(|_| size * rng.random_range(-1.0..1.0)).collect();
    let delta = Mats::from_slice(&b, small, &values).unwrap();
    let mut o = optimizer(&b, geometry, grid, config);
    let mut egrad = Factors::zeros(&b, grid, PROBLEMS).unwrap();
    let mut worst: f64 = 0.0;
    for _ in 0..10 {
        consistent(&b, &g, &x, &mut egrad);
        contaminate(&b, geometry, &delta, &x, &mut egrad);
        worst = worst.max(o.measure(&b, x.as_ref(), egrad.as_ref()).unwrap().consistency_defect);
        o.step(&b, x.as_mut(), egrad.as_ref(), 0.05);
    }
    let counts = o.measure(&b, x.as_ref(), egrad.as_ref()).unwrap().repairs;
    (product(&b, &x), worst, counts)
}

/// A contamination that is no gradient of a function of `W` at all: the repaired run is the clean run to
/// rounding, the unrepaired one is not.
#[test]
fn repaired_gradients_follow_the_clean_run_and_unrepaired_ones_drift() {
    let base =
        DescentConfig { momentum: 0.5, normalization: Normalization::None, ..DescentConfig::default() };
    let repaired = DescentConfig {
        gradient_cadence: Cadence::EveryStep,
        gradient_repair: GradientRepair::LeastSquares,
        ..base
    };
    for grid in grids() {
        for geometry in Geometry::ALL {
            let what = format!("{geometry} {grid:?}");
            let (clean, none, _) = run(geometry, &grid, base, 0.0);
            let (dirty, much, idle) = run(geometry, &grid, base, 0.5);
            let (mended, _, counts) = run(geometry, &grid, repaired, 0.5);
            assert!(none < 1e-13 && much > 1e-2, "{what}: defects {none:e} {much:e}");
            assert_eq!((idle.gradients, counts.gradients), (0, 10 * PROBLEMS as u64), "{what}");
            let (drift, left) = (distance(&dirty, &clean), distance(&mended, &clean));
            // Single pairs of partial isometries with the embedded metric repair at no cost, always.
            let always = geometry == Geometry::PartialEmbedded && grid.is_singleton();
            assert!(always || drift > 1e-5, "{what}: drift {drift:e}");
            assert!(left < 1e-12, "{what}: mended {left:e}, unrepaired {drift:e}");
        }
    }
}

/// The least squares repair what the cheap average does not: with other singular values than 1 the two differ.
#[test]
fn the_average_of_the_middles_is_not_the_least_squares_repair() {
    let grid = Grid::singleton(9, 7, 3);
    let config = |gradient_repair| DescentConfig {
        gradient_cadence: Cadence::EveryStep,
        gradient_repair,
        normalization: Normalization::None,
        ..DescentConfig::default()
    };
    let clean = run(Geometry::FixedEmbedded, &grid, config(GradientRepair::Projection), 0.0).0;
    let average = run(Geometry::FixedEmbedded, &grid, config(GradientRepair::Projection), 0.5).0;
    let fitted = run(Geometry::FixedEmbedded, &grid, config(GradientRepair::LeastSquares), 0.5).0;
    assert!(distance(&average, &clean) > 1e-3 && distance(&fitted, &clean) < 1e-12);
}

/// Three steps, then a momentum that has left the tangent space in problem 0 by `(U D, -V D^T)`, or the like, which
/// every projection takes away; then `then` more steps. The end point, the defect after the accident and the
/// counts.
fn run_with_accident(
    geometry: Geometry,
    grid: &Grid,
    config: DescentConfig,
    size: f64,
    then: usize,
) -> (Vec<f64>, f64, RepairCounts) {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(13));
    let mut x = start(&b, grid, &mut rng);
    let gradients: Vec<_> = (0..3 + then).map(|_| random(&b, grid, &mut rng)).collect();
    let mut o = optimizer(&b, geometry, grid, config);
    for g in &gradients[..3] {
        o.step(&b, x.as_mut(), g.as_ref(), 0.1);
    }
    let mut dict = StateDict::default();
    o.save(&b, "o", &mut dict).unwrap();
    let inverses = ["o.frame.aa_inverse", "o.frame.bb_inverse"]
        .map(|name| dict.tensors.get(name).map(|(_, values)| values.clone()));
    let r = grid.rank;
    let delta: Vec<f64> = (0..r * r).map(|_| size * rng.random_range(-1.0..1.0)).collect();
    // A skew D is vertical for partial isometries too.
    let skew = |i: usize, j: usize| 0.5 * (delta[i * r + j] - delta[j * r + i]);
    for (side, factor, inverse) in [("left", &x.left, &inverses[0]), ("right", &x.right, &inverses[1])] {
        let mut u = factor.to_vec(&b).unwrap();
        if let (Geometry::FixedEmbedded, Some(inverse)) = (geometry, inverse) {
            // Pulled-back coordinates leave the tangent space by (A S_A^{-1} D, -B S_B^{-1} D^T).
            for row in u.chunks_exact_mut(r).take(factor.dims().rows) {
                let old = row.to_vec();
                let entry = |j: usize| (0..r).map(|i| old[i] * inverse[i * r + j]).sum();
                (0..r).for_each(|j| row[j] = entry(j));
            }
        }
        let (_, momentum) = dict.tensors.get_mut(&format!("o.momentum.{side}")).unwrap();
        let sign = if side == "left" { 1.0 } else { -1.0 };
        for row in 0..factor.dims().rows {
            for j in 0..r {
                let entry = |i| if side == "left" { skew(i, j) } else { skew(j, i) };
                momentum[row * r + j] += sign * (0..r).map(|i| u[row * r + i] * entry(i)).sum::<f64>();
            }
        }
    }
    // What lifts know of their momentum is not known of this one.
    if dict.tensors.contains_key("o.frame.um") {
        dict.tensors.get_mut("o.frame.age").unwrap().1.fill(0.0);
    }
    o.load(&b, "o", &dict).unwrap();
    let defect = o.measure(&b, x.as_ref(), gradients[0].as_ref()).unwrap().coherence_defect;
    for g in &gradients[3..] {
        o.step(&b, x.as_mut(), g.as_ref(), 0.1);
    }
    let end = o.measure(&b, x.as_ref(), gradients[0].as_ref()).unwrap();
    assert!(then == 0 || end.coherence_defect < 1e-13, "{geometry}: {end:?}");
    (product(&b, &x), defect, end.repairs)
}

#[test]
fn a_repaired_momentum_follows_the_clean_run_and_an_unrepaired_one_drifts() {
    let base =
        DescentConfig { momentum: 0.9, normalization: Normalization::None, ..DescentConfig::default() };
    let projected = DescentConfig { momentum_cadence: Cadence::WhenDefect(1e-9), ..base };
    let watched = DescentConfig { momentum_cadence: Cadence::WhenDefect(f64::INFINITY), ..base };
    for grid in grids() {
        for geometry in Geometry::ALL {
            let what = format!("{geometry} {grid:?}");
            let (clean, none, _) = run_with_accident(geometry, &grid, projected, 0.0, 3);
            let (dirty, much, _) = run_with_accident(geometry, &grid, watched, 1.0, 3);
            let (mended, _, counts) = run_with_accident(geometry, &grid, projected, 1.0, 3);
            assert!(none < 1e-13 && much > 1e-2, "{what}: defects {none:e} {much:e}");
            assert_eq!(counts.momenta, 1, "{what}: only problem 0 needed it");
            let (drift, left) = (distance(&dirty, &clean), distance(&mended, &clean));
            assert!(left < 1e-12, "{what}: mended {left:e}");
            // In these coordinates a step follows the average of the two middles, whether or not it is repaired.
            let implicit = geometry == Geometry::FixedEmbedded
                || geometry == Geometry::PartialEmbedded && grid.is_singleton();
            assert!(implicit || drift > 1e-5, "{what}: drift {drift:e}");
            // Where the projection of the transport waits for the next gradient, it mends the accident, too.
            let waits = geometry.is_partial_isometry() && !implicit;
            let (end, defect, _) = run_with_accident(geometry, &grid, base, 1.0, 3);
            let off = distance(&end, &clean);
            assert!(!waits || defect < 1e-13 && off < 1e-12, "{what}: defect {defect:e}, off {off:e}");
        }
    }
}

/// A reset forgets the momentum of the problem in question and of no other.
#[test]
fn a_reset_momentum_is_that_of_a_first_step() {
    let grid = Grid::singleton(9, 7, 3);
    let base = DescentConfig { momentum: 0.9, ..DescentConfig::default() };
    let reset = DescentConfig {
        momentum_cadence: Cadence::WhenDefect(1e-9),
        momentum_repair: MomentumRepair::Reset,
        ..base
    };
    for geometry in Geometry::ALL {
        let (clean, ..) = run_with_accident(geometry, &grid, reset, 0.0, 1);
        let (forgot, _, counts) = run_with_accident(geometry, &grid, reset, 1.0, 1);
        let (untouched, own) = (9 * 7.., ..9 * 7);
        assert_eq!(counts.momenta, 1);
        assert_eq!(clean[untouched.clone()], forgot[untouched], "{geometry}: problem 1 kept its momentum");
        assert!(distance(&clean[own], &forgot[own]) > 1e-3, "{geometry}");
    }
}

#[test]
fn cadences_count_what_they_do() {
    let grid = Grid::singleton(9, 7, 3);
    let third = Cadence::EverySteps(NonZeroU64::new(3).unwrap());
    let config = DescentConfig {
        momentum: 0.5,
        momentum_cadence: third,
        gradient_cadence: third,
        reorthogonalize: Cadence::EveryStep,
        ..DescentConfig::default()
    };
    let problems = PROBLEMS as u64;
    for geometry in Geometry::ALL {
        let counts = run(geometry, &grid, config, 0.5).2;
        let expected = RepairCounts {
            safeguards: 0,
            // The others have no orthonormal factors, or restore them in every retraction.
            reorthogonalizations: if geometry.is_embedded() { 10 * problems } else { 0 },
            momenta: 3 * problems,
            gradients: 3 * problems,
            shortened_steps: 0,
            exact_steps: counts.exact_steps,
        };
        assert_eq!(counts, expected, "{geometry}");
    }
}

/// Steps far beyond the safe length: the guard shortens them to its share of it and says so.
#[test]
fn the_rank_guard_shortens_steps_that_are_too_long() {
    let (b, rate) = (B::new(), 50.0);
    for grid in grids() {
        for geometry in [Geometry::FixedEmbedded, Geometry::FixedQuotient, Geometry::PartialEmbedded] {
            let least = |rank_guard, normalization| {
                let mut rng = StdRng::seed_from_u64(17);
                let mut x = start(&b, &grid, &mut rng);
                let config = DescentConfig { rank_guard, normalization, ..DescentConfig::default() };
                let mut o = optimizer(&b, geometry, &grid, config);
                let before = product(&b, &x);
                let g = random(&b, &grid, &mut rng);
                // The margin is that of a step at the last rate: one that goes nowhere sets it.
                o.step(&b, x.as_mut(), Factors::zeros(&b, &grid, PROBLEMS).unwrap().as_ref(), rate);
                let margin = o.measure(&b, x.as_ref(), g.as_ref()).unwrap().rank_margin;
                o.step(&b, x.as_mut(), g.as_ref(), rate);
                let counts = o.measure(&b, x.as_ref(), g.as_ref()).unwrap().repairs;
                (counts.shortened_steps, margin, distance(&product(&b, &x), &before))
            };
            for normalization in [Normalization::None, Normalization::by(NormKind::Metric)] {
                let (none, margin, far) = least(RankGuard::Report, normalization);
                let (shortened, _, near) = least(RankGuard::Limit { share: 0.5 }, normalization);
                let what = format!("{geometry} {normalization:?} {grid:?}");
                if geometry == Geometry::PartialEmbedded && !grid.is_singleton() {
                    // Lifts retract safely from anywhere.
                    assert_eq!((none, margin, shortened), (0, Some(0.0), 0), "{what}");
                } else {
                    assert_eq!((none, shortened), (0, PROBLEMS as u64), "{what}");
                    assert!(
                        margin.unwrap() > 1.0 && near < 0.5 * far.max(4.0),
                        "{what}: {margin:?} {near} {far}"
                    );
                }
            }
        }
    }
    let (mut x, mut rng) = (start(&b, &grids()[0], &mut StdRng::seed_from_u64(1)), StdRng::seed_from_u64(2));
    let g = random(&b, &grids()[0], &mut rng);
    let mut o = optimizer(&b, Geometry::FixedEmbedded, &grids()[0], DescentConfig::default());
    o.step(&b, x.as_mut(), g.as_ref(), 0.1);
    assert_eq!(o.measure(&b, x.as_ref(), g.as_ref()).unwrap().rank_margin, None, "nobody asked");
}

/// Without normalization the heavy ball at rate `lr (1 - nu)` is the exponential average at rate `lr`.
#[test]
fn the_heavy_ball_is_the_average_with_longer_steps() {
    let (b, grid) = (B::new(), Grid::singleton(9, 7, 3));
    for geometry in Geometry::ALL {
        let end = |averaging, rate| {
            let mut rng = StdRng::seed_from_u64(19);
            let mut x = start(&b, &grid, &mut rng);
            let config = DescentConfig {
                momentum: 0.75,
                averaging,
                normalization: Normalization::None,
                ..DescentConfig::default()
            };
            let mut o = optimizer(&b, geometry, &grid, config);
            for _ in 0..6 {
                let g = random(&b, &grid, &mut rng);
                o.step(&b, x.as_mut(), g.as_ref(), rate);
            }
            product(&b, &x)
        };
        let (average, ball) = (end(Averaging::Exponential, 0.2), end(Averaging::HeavyBall, 0.05));
        assert!(distance(&average, &ball) < 1e-12, "{geometry}");
        assert!(distance(&average, &end(Averaging::HeavyBall, 0.2)) > 1e-3, "{geometry}");
    }
}

/// With a zero gradient weight decay is the homothety `W / (1 + lr lambda)` alone, and with a gradient it
/// comes after the step, momentum and all: the next step starts as from a fresh factorization.
#[test]
fn weight_decay_is_a_homothety() {
    let b = B::new();
    for grid in grids() {
        for geometry in [Geometry::FixedEmbedded, Geometry::FixedQuotient] {
            let config = |weight_decay| DescentConfig {
                momentum: 0.5,
                weight_decay,
                normalization: Normalization::None,
                ..DescentConfig::default()
            };
            let mut rng = StdRng::seed_from_u64(23);
            let mut x = start(&b, &grid, &mut rng);
            let (g, zero) = (random(&b, &grid, &mut rng), Factors::zeros(&b, &grid, PROBLEMS).unwrap());
            let mut plain = copy(&b, &grid, &x);
            let mut o = optimizer(&b, geometry, &grid, config(2.0));
            let mut without = optimizer(&b, geometry, &grid, config(0.0));
            o.step(&b, x.as_mut(), g.as_ref(), 0.1);
            without.step(&b, plain.as_mut(), g.as_ref(), 0.1);
            let shrunk: Vec<f64> = product(&b, &plain).iter().map(|w| w / 1.2).collect();
            assert!(distance(&product(&b, &x), &shrunk) < 1e-13, "{geometry}");
            // The momentum is the same ambient matrix, so that the next step adds the same to first order; with
            // a tiny rate the difference of the two moves is of second order.
            let moved = |o: &mut Box<dyn BankOptimizer<B>>, x: &mut Factors<B>, decay: f64| {
                let before = product(&b, x);
                o.step(&b, x.as_mut(), zero.as_ref(), 1e-6);
                let after: Vec<f64> = product(&b, x).iter().map(|w| w * (1.0 + 1e-6 * decay)).collect();
                after.iter().zip(before).map(|(a, b)| a - b).collect::<Vec<f64>>()
            };
            let (with, bare) = (moved(&mut o, &mut x, 2.0), moved(&mut without, &mut plain, 0.0));
            let length = distance(&bare, &vec![0.0; bare.len()]);
            assert!(distance(&with, &bare) < 1e-3 * length && length > 1e-9, "{geometry}: {length:e}");
        }
    }
}

/// The retraction that is asked for is the one that runs.
#[test]
fn retractions_are_chosen_by_name() {
    let (b, grid) = (B::new(), Grid::singleton(9, 7, 3));
    let end = |geometry: Geometry, retractions: Retractions| {
        let mut rng = StdRng::seed_from_u64(29);
        let mut x = start(&b, &grid, &mut rng);
        let g = random(&b, &grid, &mut rng);
        let mut o =
            geometry.optimizer(&b, grid.clone(), retractions, DescentConfig::default(), PROBLEMS).unwrap();
        o.step(&b, x.as_mut(), g.as_ref(), 0.3);
        product(&b, &x)
    };
    let orthographic =
        Retractions { fixed_rank: lr_optim::FixedRankRetraction::Orthographic, ..Retractions::default() };
    let svd = end(Geometry::FixedEmbedded, Retractions::default());
    assert!((1e-6..0.1).contains(&distance(&svd, &end(Geometry::FixedEmbedded, orthographic))));
    let [polar, qr, cayley] = [StiefelRetraction::Polar, StiefelRetraction::Qr, StiefelRetraction::Cayley]
        .map(|stiefel| end(Geometry::PartialQuotient, stiefel.into()));
    assert!(
        distance(&polar, &qr) > 1e-6 && distance(&polar, &cayley) > 1e-6 && distance(&qr, &cayley) > 1e-6
    );
}
