//! The solvers on a golden problem of the space-decoupling manifold, a masked fit to machine accuracy, and what they
//! say of wrong derivatives, starts and settings; `golden_space_decoupling.rs` solves the other golden problems.

use lr_linalg::{Cpu, Dims, Mats};
use lr_manifolds::{
    EmbeddedProjection, Factors, FixedRankEmbedded, Grid, LevelSet, LevelSetShape, SpaceDecoupling,
    SvdRetraction,
    level_set::{Oblique, Sphere},
    space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction},
};
use lr_optim::solve::{
    BetaRule, ConjugateGradients, GradientDescent, Iteration, SecondOrderProblem, Slope, Stop, Termination,
    TrustRegions, check_gradient, check_hessian,
};
use lr_tests::{
    dense::Dense,
    golden::{self, Arrays},
    problems::{DenseProblem, elementwise, factors, matrix},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

type B = Cpu<f64>;

fn arrays(name: &str) -> Arrays {
    Arrays::open(&golden::folder().join("space-decoupling").join(name)).unwrap()
}

/// The masked fit `|P(X - A)|^2 / 2`.
fn fit(a: Dense, mask: Dense) -> impl SecondOrderProblem<B> {
    let (a2, mask2, mask3) = (a.clone(), mask.clone(), mask.clone());
    let residual = move |x: &Dense| elementwise(&x.plus(-1.0, &a), &mask, |d, m| m * d);
    let gradient = move |x: &Dense| elementwise(&x.plus(-1.0, &a2), &mask2, |d, m| m * d);
    DenseProblem {
        cost: move |x: &Dense| 0.5 * residual(x).norm().powi(2),
        gradient,
        hessian: move |_: &Dense, eta: &Dense| elementwise(eta, &mask3, |d, m| m * d),
    }
}

fn ends_well(name: &str, termination: Termination, norm: f64, tolerance: f64) {
    assert!(
        termination == Termination::Converged && norm <= tolerance,
        "{name}: {termination:?} at {norm:e}"
    );
}

#[test]
fn every_solver_fits_the_masked_matrix() {
    let (b, mut arrays) = (B::new(), arrays("fit_small_r3.npz"));
    let (a, mask, h, v) =
        (arrays.matrix("A"), arrays.matrix("mask"), arrays.matrix("H0"), arrays.matrix("V0"));
    let m = SpaceDecoupling::new(a.rows, a.cols, h.cols, Oblique, arrays.number("omega")).unwrap();
    let (second, projection) = (DecouplingRetraction::Second, DecouplingProjection);
    let (tolerance, mut costs) = (1e-8, Vec::new());
    let stop = Stop::gradient_below(tolerance).or(Stop::iterations(2000));
    let mut watch = |_: &Iteration| {};
    let descent = GradientDescent::default()
        .solve(
            &b,
            &m,
            &second,
            &projection,
            &mut fit(a.clone(), mask.clone()),
            factors(&h, &v),
            &stop,
            &mut watch,
        )
        .unwrap();
    ends_well("gradient descent", descent.outcome.termination, descent.outcome.gradient_norm, tolerance);
    costs.push(descent.outcome.cost);
    let mut iterations = vec![descent.outcome.iterations];
    for beta in [BetaRule::HestenesStiefel, BetaRule::PolakRibierePlus, BetaRule::FletcherReeves] {
        let solver = ConjugateGradients { beta, ..ConjugateGradients::default() };
        let mut problem = fit(a.clone(), mask.clone());
        let found = solver
            .solve(&b, &m, &second, &projection, &mut problem, factors(&h, &v), &stop, &mut watch)
            .unwrap();
        ends_well(&format!("{beta:?}"), found.outcome.termination, found.outcome.gradient_norm, tolerance);
        costs.push(found.outcome.cost);
        iterations.push(found.outcome.iterations);
    }
    // Hestenes-Stiefel and Polak-Ribiere keep up with Barzilai-Borwein steps; Fletcher-Reeves is known to lag.
    assert!(iterations[1] < 100 && iterations[2] < 100 && iterations[3] < 400, "{iterations:?}");

    let mut norms = Vec::new();
    let found = TrustRegions::default()
        .solve(
            &b,
            &m,
            &second,
            &mut fit(a.clone(), mask.clone()),
            factors(&h, &v),
            &Stop::gradient_below(1e-12).or(Stop::iterations(100)),
            &mut |now| norms.push(now.gradient_norm),
        )
        .unwrap();
    ends_well("trust regions", found.outcome.termination, found.outcome.gradient_norm, 1e-12);
    assert!(found.outcome.iterations < 40 && found.outcome.inner_iterations >= found.outcome.iterations);
    // Superlinear: near the end an exponent well above 1 from one gradient norm to the next.
    let last: Vec<f64> = norms.iter().copied().filter(|norm| *norm < 1e-2 && *norm > 1e-11).collect();
    let order = last.windows(2).map(|w| w[1].ln() / w[0].ln()).fold(0.0, f64::max);
    assert!(order > 1.5, "gradient norms {norms:?}");
    assert!(costs.iter().all(|cost| *cost < 1e-14), "the data is fitted exactly: {costs:?}");
    let error = matrix(found.x.as_ref()).relative_error(&a);
    assert!(error < 1e-9, "the whole matrix is recovered: {error:e}");
}

fn check_over<S: LevelSet<B>>(set: S, h: Dense, broken: f64) -> [Slope; 2] {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(67));
    let (a, v) = (Dense::random(6, 5, &mut rng), Dense::random(5, h.cols, &mut rng).orthonormalized());
    let m = SpaceDecoupling::new(6, 5, h.cols, set, 0.4).unwrap();
    let a2 = a.clone();
    // f = sum of (X - A)^4 / 4, with a gradient off by the factor `broken`.
    let mut problem = DenseProblem {
        cost: move |x: &Dense| x.plus(-1.0, &a).data.iter().map(|d| d.powi(4) / 4.0).sum(),
        gradient: move |x: &Dense| elementwise(x, &a2, |x, a| broken * (x - a).powi(3)),
        hessian: {
            let a = Dense::random(6, 5, &mut StdRng::seed_from_u64(67));
            move |x: &Dense, eta: &Dense| {
                let weight = elementwise(x, &a, |x, a| 3.0 * (x - a).powi(2));
                elementwise(eta, &weight, |e, w| e * w)
            }
        },
    };
    let direction = || {
        let mut rng = StdRng::seed_from_u64(71);
        factors(&Dense::random(6, h.cols, &mut rng), &Dense::random(5, h.cols, &mut rng))
    };
    let second = DecouplingRetraction::Second;
    [
        check_gradient(&b, &m, &second, &mut problem, factors(&h, &v), direction()).unwrap(),
        check_hessian(&b, &m, &second, &mut problem, factors(&h, &v), direction()).unwrap(),
    ]
}

#[test]
fn the_checks_tell_right_derivatives_from_wrong_ones() {
    let mut rng = StdRng::seed_from_u64(73);
    let mut oblique = Dense::random(6, 3, &mut rng);
    for row in oblique.data.chunks_mut(3) {
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    let right = check_over(Oblique, oblique.clone(), 1.0);
    assert!(right.iter().all(Slope::is_right), "{:?}", right.map(|slope| slope.exponent));
    let wrong = check_over(Oblique, oblique, 1.1);
    assert!(wrong.iter().all(|slope| !slope.is_right()), "{:?}", wrong.map(|slope| slope.exponent));
}

#[test]
fn bad_starts_and_settings_are_named() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(79));
    let a = Dense::random(6, 5, &mut rng);
    let m = SpaceDecoupling::new(6, 5, 2, Sphere, 0.5).unwrap();
    assert_eq!(Sphere.name(), "sphere");
    let stop = Stop::iterations(3);
    let second = DecouplingRetraction::Second;
    let mask = Dense::from_fn(6, 5, |_, _| 1.0);
    let solve = |solver: TrustRegions, x: Factors<B>, a: &Dense| {
        solver
            .solve(&b, &m, &second, &mut fit(a.clone(), mask.clone()), x, &stop, &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    let h = Dense::random(6, 2, &mut rng);
    let v = Dense::random(5, 2, &mut rng).orthonormalized();
    let short = Factors { left: h.upload(&b), right: Mats::zeros(&b, Dims::new(1, 4, 2)).unwrap() };
    assert!(solve(TrustRegions::default(), short, &a).contains("the manifold needs"));
    let mut holed = a.clone();
    holed.data[7] = f64::NAN;
    assert!(solve(TrustRegions::default(), factors(&h, &v), &holed).contains("look for NaN"));
    let wild = TrustRegions { accept: 0.5, ..TrustRegions::default() };
    assert!(solve(wild, factors(&h, &v), &a).contains("accept = 0.5 must lie in [0, 1/4)"));
}

/// Matrix completion on the matrices of fixed rank: the geometry of the bank optimizers under the same solvers.
#[test]
fn fixed_rank_completion_recovers_the_matrix() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(97));
    let (m, n, r) = (60, 50, 3);
    let a = Dense::random(m, r, &mut rng).times(&Dense::random(n, r, &mut rng).t());
    // Five times as many samples as degrees of freedom.
    let share = 5.0 * (r * (m + n - r)) as f64 / (m * n) as f64;
    let mask = Dense::from_fn(m, n, |_, _| f64::from(rng.random_bool(share)));
    let start = factors(&Dense::random(m, r, &mut rng), &Dense::random(n, r, &mut rng));
    let manifold = FixedRankEmbedded::new(Grid::singleton(m, n, r)).unwrap();
    let stop = Stop::RelativeGradient(1e-11).or(Stop::iterations(300));
    let found = ConjugateGradients::default()
        .solve(
            &b,
            &manifold,
            &SvdRetraction::default(),
            &EmbeddedProjection,
            &mut fit(a.clone(), mask),
            start,
            &stop,
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(found.outcome.termination, Termination::Converged, "{:?}", found.outcome);
    let error = matrix(found.x.as_ref()).relative_error(&a);
    assert!(error < 1e-9, "{error:e} after {} iterations", found.outcome.iterations);
}
