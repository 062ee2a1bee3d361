//! Step 3 as one operation of the geometry against gradient, momentum and aiming one by one: the same runs to
//! rounding, on consistent gradients and on others, and what is kept between steps.

use lr_linalg::{Blas, Cpu, Dims, Epilogue, Linalg, Mats, Scope, Scratch};
use lr_manifolds::{
    Base, Factors, FactorsMut, Grid, IsometryMetric, LiftedProjection, NormKind, PartialIsometryLifted,
    StiefelRetraction, Timing, Transport, init,
};
use lr_optim::{
    Averaging, BankMeasures, BankOptimizer, Cadence, DescentConfig, Geometry, Normalization,
    RiemannianDescent, StateDict,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

type B = Cpu<f64>;

const PROBLEMS: usize = 2;
const STEPS: usize = 12;
const RATE: f64 = 0.1;

/// Whether the gradients come from a function of `W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gradients {
    Consistent,
    Inconsistent,
}

fn grids() -> [Grid; 3] {
    [Grid::singleton(9, 7, 3), Grid::new(&[5, 5], &[6, 6, 6], 3), Grid::new(&[4, 7], &[5, 3], 3)]
}

fn random(b: &B, dims: Dims, rng: &mut StdRng) -> Mats<B> {
    let values: Vec<f64> = (0..dims.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Mats::from_slice(b, dims, &values).unwrap()
}

fn start(b: &B, grid: &Grid) -> Factors<B> {
    let mut x = Factors::zeros(b, grid, PROBLEMS).unwrap();
    let mut status = Mats::zeros(b, Dims::scalars(PROBLEMS)).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    Scratch::new(b)
        .unwrap()
        .scope(|s| init::orthogonalized_uniform(b, grid, x.as_mut(), status.as_mut(), s, &mut rng));
    x
}

/// The gradients of step number `step` at `x`: `(G B, G^T A)` of one dense `G`, or of two.
fn egrad(b: &B, kind: Gradients, step: usize, x: &Factors<B>) -> Factors<B> {
    let mut rng = StdRng::seed_from_u64(100 + step as u64);
    let dense = Dims::new(PROBLEMS, x.left.dims().rows, x.right.dims().rows);
    let g = random(b, dense, &mut rng);
    let other = random(b, dense, &mut rng);
    let h = if kind == Gradients::Consistent { &g } else { &other };
    let mut left = Mats::zeros(b, x.left.dims()).unwrap();
    let mut right = Mats::zeros(b, x.right.dims()).unwrap();
    b.gemm(1.0, g.as_ref().n(), x.right.as_ref().n(), Epilogue::Overwrite, left.as_mut());
    b.gemm(1.0, h.as_ref().t(), x.left.as_ref().n(), Epilogue::Overwrite, right.as_mut());
    Factors { left, right }
}

fn values(b: &B, x: &Factors<B>) -> Vec<f64> {
    [x.left.to_vec(b).unwrap(), x.right.to_vec(b).unwrap()].concat()
}

fn relative_distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// Points and measures of a run from step `from` on, at the point that `x` is and ends.
fn follow(
    b: &B,
    optimizer: &mut dyn BankOptimizer<B>,
    kind: Gradients,
    steps: std::ops::Range<usize>,
    x: &mut Factors<B>,
) -> Vec<(Vec<f64>, BankMeasures)> {
    let walk = steps.map(|step| {
        let g = egrad(b, kind, step, x);
        optimizer.step(b, x.as_mut(), g.as_ref(), RATE);
        let g = egrad(b, kind, step + 1, x);
        (values(b, x), optimizer.measure(b, x.as_ref(), g.as_ref()).unwrap())
    });
    walk.collect()
}

#[track_caller]
fn assert_same_walk(what: &str, ours: &[(Vec<f64>, BankMeasures)], expected: &[(Vec<f64>, BankMeasures)]) {
    assert_eq!(ours.len(), expected.len());
    for (step, ((x, m), (y, n))) in ours.iter().zip(expected).enumerate() {
        let off = relative_distance(x, y);
        assert!(off < 1e-12, "{what}, step {step}: off by {off:e}");
        let norms = [(m.gradient_norm, n.gradient_norm), (m.momentum_norm, n.momentum_norm)];
        for (ours, expected) in norms {
            assert!((ours / expected - 1.0).abs() < 1e-12, "{what}, step {step}: {ours} is not {expected}");
        }
        assert!(m.coherence_defect < 1e-12, "{what}, step {step}: {m:?}");
    }
}

/// Momentum with its repairs and those of the gradient switched off.
fn config(normalization: Normalization, averaging: Averaging) -> DescentConfig {
    DescentConfig { momentum: 0.75, normalization, averaging, ..DescentConfig::default() }
}

/// The same, with a repair on watch that never has anything to mend, so that steps 1 to 3 are taken in turn.
fn in_turn(config: DescentConfig) -> DescentConfig {
    DescentConfig { gradient_cadence: Cadence::WhenDefect(f64::INFINITY), ..config }
}

fn optimizer(
    b: &B,
    geometry: Geometry,
    stiefel: StiefelRetraction,
    grid: &Grid,
    config: DescentConfig,
) -> Box<dyn BankOptimizer<B>> {
    geometry.optimizer(b, grid.clone(), stiefel, config, PROBLEMS).unwrap()
}

#[test]
fn one_operation_is_gradient_momentum_and_aiming_in_turn() {
    let b = B::new();
    let choices = [
        (Normalization::by(NormKind::Metric), Averaging::Exponential, StiefelRetraction::Polar),
        (Normalization::None, Averaging::HeavyBall, StiefelRetraction::Qr),
    ];
    for grid in grids() {
        for geometry in Geometry::ALL {
            for kind in [Gradients::Consistent, Gradients::Inconsistent] {
                for (normalization, averaging, stiefel) in choices {
                    let config = config(normalization, averaging);
                    let [ours, expected] = [config, in_turn(config)].map(|config| {
                        let mut o = optimizer(&b, geometry, stiefel, &grid, config);
                        follow(&b, &mut *o, kind, 0..STEPS, &mut start(&b, &grid))
                    });
                    let what = format!("{geometry} {grid:?} {kind:?} {normalization:?}");
                    assert_same_walk(&what, &ours, &expected);
                }
            }
        }
    }
}

/// The projection, at the end of every step.
#[derive(Clone, Debug)]
struct AtTheEnd;

impl<B: Linalg> Transport<B, PartialIsometryLifted> for AtTheEnd {
    fn name(&self) -> &'static str {
        "projection at the end"
    }

    fn transport(
        &self,
        b: &B,
        manifold: &PartialIsometryLifted,
        from: Base<'_, B, PartialIsometryLifted>,
        to: Base<'_, B, PartialIsometryLifted>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        LiftedProjection.transport(b, manifold, from, to, v, scope);
    }
}

#[test]
fn a_projection_can_wait_for_the_next_gradient() {
    let b = B::new();
    assert_eq!(Transport::<B, PartialIsometryLifted>::timing(&LiftedProjection), Timing::WithNextGradient);
    let config = config(Normalization::by(NormKind::Metric), Averaging::Exponential);
    for grid in grids() {
        for metric in [IsometryMetric::Quotient, IsometryMetric::Canonical, IsometryMetric::Embedded] {
            for kind in [Gradients::Consistent, Gradients::Inconsistent] {
                let manifold = PartialIsometryLifted::new(grid.clone(), metric).unwrap();
                let polar = StiefelRetraction::Polar;
                let mut waits =
                    RiemannianDescent::new(&b, manifold.clone(), polar, LiftedProjection, config, PROBLEMS)
                        .unwrap();
                let mut ends =
                    RiemannianDescent::new(&b, manifold, polar, AtTheEnd, config, PROBLEMS).unwrap();
                let walks = [&mut waits as &mut dyn BankOptimizer<B>, &mut ends]
                    .map(|o| follow(&b, o, kind, 0..STEPS, &mut start(&b, &grid)));
                assert_same_walk(&format!("{metric:?} {grid:?} {kind:?}"), &walks[0], &walks[1]);
                // They do not keep the same.
                let [kept, projected] = [&waits as &dyn BankOptimizer<B>, &ends].map(|o| {
                    let mut dict = StateDict::default();
                    o.save(&b, "o", &mut dict).unwrap();
                    dict.tensors["o.momentum.left"].1.clone()
                });
                assert!(relative_distance(&kept, &projected) > 1e-3, "{metric:?} {grid:?}");
            }
        }
    }
}

/// Saved in the middle, whether measured or not, a run goes on to the last bit; from a momentum that was
/// transported already it goes on to rounding.
#[test]
fn runs_go_on_from_either_momentum() {
    let (b, kind, half) = (B::new(), Gradients::Inconsistent, STEPS / 2);
    let config = config(Normalization::by(NormKind::Metric), Averaging::Exponential);
    for grid in grids() {
        for geometry in Geometry::ALL {
            let fresh = |config| optimizer(&b, geometry, StiefelRetraction::Polar, &grid, config);
            // The point and the state after half of the run.
            let halfway = |config| {
                let (mut x, mut o) = (start(&b, &grid), fresh(config));
                for step in 0..half {
                    let g = egrad(&b, kind, step, &x);
                    o.step(&b, x.as_mut(), g.as_ref(), RATE);
                }
                let mut dict = StateDict::default();
                o.save(&b, "o", &mut dict).unwrap();
                (x, dict)
            };
            let go_on = |(mut x, dict): (Factors<B>, StateDict<f64>)| {
                let mut o = fresh(config);
                o.load(&b, "o", &dict).unwrap();
                follow(&b, &mut *o, kind, half..STEPS, &mut x)
            };
            let whole = follow(&b, &mut *fresh(config), kind, 0..STEPS, &mut start(&b, &grid));
            let resumed = go_on(halfway(config));
            for ((x, m), (y, n)) in resumed.iter().zip(&whole[half..]) {
                assert_eq!((x, m.momentum_norm), (y, n.momentum_norm), "{geometry} {grid:?}");
            }
            let transported = go_on(halfway(in_turn(config)));
            assert_same_walk(&format!("{geometry} {grid:?}"), &transported, &whole[half..]);
        }
    }
}

/// Steps that follow from the Gram matrices of the momentum do not see what the factors are off from orthonormality;
/// every eighth step does.
#[test]
fn orthonormality_does_not_wear_off_in_f32() {
    let b = Cpu::<f32>::new();
    let config = config(Normalization::by(NormKind::Metric), Averaging::Exponential);
    let config = DescentConfig { momentum: 0.875, reorthogonalize: Cadence::Never, ..config };
    for grid in [Grid::singleton(96, 64, 16), Grid::new(&[48, 48], &[64], 16)] {
        let mut rng = StdRng::seed_from_u64(5);
        let mut x = Factors::zeros(&b, &grid, 1).unwrap();
        let mut status = Mats::zeros(&b, Dims::scalars(1)).unwrap();
        Scratch::new(&b)
            .unwrap()
            .scope(|s| init::orthogonalized_uniform(&b, &grid, x.as_mut(), status.as_mut(), s, &mut rng));
        let target: Vec<f32> =
            (0..grid.left.total() * grid.right.total()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let g = Mats::from_slice(&b, Dims::new(1, grid.left.total(), grid.right.total()), &target).unwrap();
        for (geometry, rate) in Geometry::ALL.into_iter().flat_map(|g| [(g, 0.05), (g, 0.002)]) {
            let mut at = Factors::zeros(&b, &grid, 1).unwrap();
            at.as_mut().copy_from(&b, x.as_ref());
            let mut o = geometry.optimizer(&b, grid.clone(), StiefelRetraction::Polar, config, 1).unwrap();
            let mut egrad = Factors::zeros(&b, &grid, 1).unwrap();
            // Towards the minimum the gradient gets short beside its normal part, and the steps do not.
            for step in 0..400 {
                b.gemm(1.0, g.as_ref().n(), at.right.as_ref().n(), Epilogue::Overwrite, egrad.left.as_mut());
                b.gemm(1.0, g.as_ref().t(), at.left.as_ref().n(), Epilogue::Overwrite, egrad.right.as_mut());
                o.step(&b, at.as_mut(), egrad.as_ref(), rate);
                let defect = o.measure(&b, at.as_ref(), egrad.as_ref()).unwrap().orthogonality_defect;
                assert!(defect < 1e-5, "{geometry} {grid:?} at {rate}, step {step}: {defect:e}");
            }
        }
    }
}
