//! L-BFGS, projected gradients, preconditioning, checkpoints, and the tools that check retractions and
//! transports.

use lr_linalg::{Blas, Coef, Cpu, Threads, sparse::SparseMatrix};
use lr_manifolds::{
    Base, EmbeddedProjection, FactorSpace, Factors, FactorsMut, FactorsRef, FixedRankEmbedded, Grid,
    SpaceDecoupling, StraightLine, SvdRetraction, Tangent,
    level_set::{Oblique, Unconstrained},
    space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction},
};
use lr_optim::solve::{
    Checkpoint, ConjugateGradients, Iteration, Lbfgs, MaskedFit, Preconditioner, Problem, ProjectedGradient,
    SecondOrderProblem, Solution, SolveError, Stop, Termination, TrustRegions, check_retraction,
    check_transport,
};
use lr_tests::{
    dense::Dense,
    problems::{factors, matrix},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

type B = Cpu<f64>;

const M: usize = 40;
const N: usize = 36;
const RANK: usize = 3;

/// A matrix of rank 3 and two thirds of its entries.
fn instance(rng: &mut StdRng) -> (Dense, MaskedFit<f64>) {
    let a = Dense::random(M, RANK, rng).times(&Dense::random(N, RANK, rng).t());
    let mut entries = Vec::new();
    for (i, j) in (0..M).flat_map(|i| (0..N).map(move |j| (i, j))) {
        if rng.random_bool(0.66) {
            entries.push((i, j, a.at(i, j)));
        }
    }
    (a, MaskedFit::new(SparseMatrix::new(M, N, &entries).unwrap(), Threads::Serial).unwrap())
}

fn start(rng: &mut StdRng) -> Factors<B> {
    factors(&Dense::random(M, RANK, rng), &Dense::random(N, RANK, rng).orthonormalized())
}

#[test]
fn lbfgs_and_projected_gradients_complete_the_matrix() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(107));
    let (a, mut problem) = instance(&mut rng);
    let stop = Stop::Cost(1e-18).or(Stop::iterations(2000));
    let fixed = FixedRankEmbedded::new(Grid::singleton(M, N, RANK)).unwrap();
    let bounded = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let plain = FactorSpace::new(M, N, RANK).unwrap();
    let (svd, projection, lbfgs) = (SvdRetraction::default(), EmbeddedProjection, Lbfgs::default());
    let (second, transport, line) = (DecouplingRetraction::Second, DecouplingProjection, StraightLine);
    let (mut watch, p) = (|_: &_| {}, &mut problem);
    let found = [
        lbfgs.solve(&b, &fixed, &svd, &projection, p, start(&mut rng), &stop, &mut watch),
        lbfgs.solve(&b, &bounded, &second, &transport, p, start(&mut rng), &stop, &mut watch),
        lbfgs.solve(&b, &plain, &line, &line, p, start(&mut rng), &stop, &mut watch),
        ProjectedGradient::default().solve(&b, &bounded, p, start(&mut rng), &stop, &mut watch),
    ]
    .map(Result::unwrap);
    let iterations: Vec<usize> = found.iter().map(|found| found.outcome.iterations).collect();
    for found in &found {
        assert_eq!(found.outcome.termination, Termination::Converged, "{:?}", found.outcome);
        assert!(matrix(found.x.as_ref()).relative_error(&a) < 1e-7, "{:?}", found.outcome);
    }
    // Curvature pays: steepest descent would need several times as many.
    assert!(iterations[0] < 100 && iterations[1] < 150, "{iterations:?}");
    let none = Lbfgs { memory: 0, ..lbfgs };
    let refused = none.solve(&b, &fixed, &svd, &projection, p, start(&mut rng), &stop, &mut watch);
    assert!(refused.unwrap_err().to_string().contains("memory = 0 must be at least 1"));
}

#[test]
fn a_projected_gradient_keeps_rows_at_norm_1() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(109));
    let unit = |rng: &mut StdRng| {
        let mut h = Dense::random(M, RANK, rng);
        for row in h.data.chunks_mut(RANK) {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        h
    };
    let a = unit(&mut rng).times(&Dense::random(N, RANK, &mut rng).orthonormalized().t());
    let entries: Vec<_> = (0..M * N).map(|k| (k / N, k % N, a.data[k])).collect();
    let data = SparseMatrix::new(M, N, &entries).unwrap();
    let mut problem = MaskedFit::new(data, Threads::Serial).unwrap();
    let manifold = SpaceDecoupling::new(M, N, RANK, Oblique, 0.5).unwrap();
    let x = factors(&unit(&mut rng), &Dense::random(N, RANK, &mut rng).orthonormalized());
    let stop = Stop::Cost(1e-16).or(Stop::iterations(500));
    let found =
        ProjectedGradient::default().solve(&b, &manifold, &mut problem, x, &stop, &mut |_| {}).unwrap();
    assert_eq!(found.outcome.termination, Termination::Converged, "{:?}", found.outcome);
    let x = matrix(found.x.as_ref());
    for row in x.data.chunks(N) {
        assert!((row.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

/// At the best matrix of rank 1, with columns to spare that see nothing of the rest: only the normal part of the
/// cone descends.
#[test]
fn a_projected_gradient_below_rank_r_takes_the_normal_part_of_the_cone() {
    use lr_linalg::{Dims, Mats, Scratch};
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(149));
    let (left, right) = (
        Dense::random(M, RANK, &mut rng).orthonormalized(),
        Dense::random(N, 2 * RANK, &mut rng).orthonormalized(),
    );
    let sigma = [5.0, 2.0, 0.5];
    let a = Dense::from_fn(M, N, |i, j| (0..RANK).map(|k| sigma[k] * left.at(i, k) * right.at(j, k)).sum());
    let entries: Vec<_> = (0..M * N).map(|k| (k / N, k % N, a.data[k])).collect();
    let data = SparseMatrix::new(M, N, &entries).unwrap();
    let mut problem = MaskedFit::new(data, Threads::Serial).unwrap();
    // Columns 3 and 4 of `right` are orthogonal to all rows of A.
    let start = || {
        let h = Dense::from_fn(M, RANK, |i, k| if k == 0 { sigma[0] * left.at(i, 0) } else { 0.0 });
        let v = Dense::from_fn(N, RANK, |j, k| if k == 0 { right.at(j, 0) } else { right.at(j, RANK + k) });
        factors(&h, &v)
    };
    let manifold = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let stop = Stop::gradient_below(1e-6).or(Stop::iterations(200));
    let mut norms = Vec::new();
    let found = ProjectedGradient::default()
        .solve(&b, &manifold, &mut problem, start(), &stop, &mut |now| norms.push(now.gradient_norm))
        .unwrap();
    assert_eq!(found.outcome.termination, Termination::Converged, "{:?}", found.outcome);
    assert!(matrix(found.x.as_ref()).relative_error(&a) < 1e-6, "{:?}", found.outcome);

    // The measure is that of the dense tangent cone.
    let x = start();
    let e = matrix(x.as_ref()).plus(-1.0, &a).upload(&b);
    let mut projection = Mats::zeros(&b, Dims::new(1, M, N)).unwrap();
    let (mut squares, mut status) =
        (Mats::zeros(&b, Dims::new(1, 1, 3)).unwrap(), Mats::zeros(&b, Dims::scalars(1)).unwrap());
    Scratch::new(&b).unwrap().scope(|scope| {
        let (projection, squares) = (projection.as_mut(), squares.as_mut());
        manifold.tangent_cone(&b, x.as_ref(), e.as_ref(), 1, projection, squares, status.as_mut(), scope);
    });
    let measure = squares.to_vec(&b).unwrap().iter().sum::<f64>().sqrt();
    assert!((norms[0] - measure).abs() < 1e-9 * measure, "{} {measure}", norms[0]);
    assert!((measure - (4.0f64 + 0.25).sqrt()).abs() < 1e-9);
}

/// `sum weights_i |x_i - a_i|^2 / 2` over the rows of L, in the factor space: a diagonal Hessian.
struct Weighted {
    weights: Vec<f64>,
}

impl Weighted {
    fn scaled(&self, b: &B, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) {
        let d = Dense::download(b, x.left);
        let scaled = Dense::from_fn(d.rows, d.cols, |i, j| self.weights[i] * d.at(i, j)).upload(b);
        b.copy(scaled.as_ref().n(), out.left);
        b.axpby(Coef::Host(1.0), x.right, 0.0, out.right);
    }
}

impl Problem<B> for Weighted {
    fn cost(&mut self, b: &B, x: FactorsRef<'_, B>) -> Result<f64, SolveError> {
        let (l, r) = (Dense::download(b, x.left), Dense::download(b, x.right));
        let weighted = (0..l.data.len()).map(|k| self.weights[k / l.cols] * l.data[k].powi(2)).sum::<f64>();
        Ok(0.5 * (weighted + r.norm().powi(2)))
    }

    fn egrad(&mut self, b: &B, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), SolveError> {
        self.scaled(b, x, out);
        Ok(())
    }
}

impl SecondOrderProblem<B> for Weighted {
    fn ehess(
        &mut self,
        b: &B,
        _: FactorsRef<'_, B>,
        eta: FactorsRef<'_, B>,
        along: FactorsMut<'_, B>,
        ehess: FactorsMut<'_, B>,
    ) -> Result<(), SolveError> {
        b.fill(0.0, along.left);
        b.fill(0.0, along.right);
        self.scaled(b, eta, ehess);
        Ok(())
    }
}

/// The inverse of the weights.
struct Inverse {
    weights: Vec<f64>,
    prepared: usize,
}

impl Preconditioner<B, FactorSpace> for Inverse {
    fn prepare(&mut self, _: &B, _: &FactorSpace, _: Base<'_, B, FactorSpace>) -> Result<(), SolveError> {
        self.prepared += 1;
        Ok(())
    }

    fn apply(
        &mut self,
        b: &B,
        _: &FactorSpace,
        _: Base<'_, B, FactorSpace>,
        residual: &Tangent<B>,
        out: &mut Tangent<B>,
    ) -> Result<(), SolveError> {
        let inverse = Weighted { weights: self.weights.iter().map(|w| 1.0 / w).collect() };
        inverse.scaled(b, residual.as_ref(), out.as_mut());
        Ok(())
    }
}

#[test]
fn lbfgs_learns_the_curvature() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(151));
    let weights = (0..M).map(|i| 10f64.powf(3.0 * i as f64 / M as f64)).collect();
    let manifold = FactorSpace::new(M, N, RANK).unwrap();
    let stop = Stop::RelativeGradient(1e-8).or(Stop::iterations(300));
    let x = factors(&Dense::random(M, RANK, &mut rng), &Dense::random(N, RANK, &mut rng));
    let (solver, line, mut problem) = (Lbfgs::default(), StraightLine, Weighted { weights });
    let found = solver.solve(&b, &manifold, &line, &line, &mut problem, x, &stop, &mut |_| {}).unwrap();
    // Steepest descent shrinks the error by about 1 - 2 / 1000 each.
    assert_eq!(found.outcome.termination, Termination::Converged, "{:?}", found.outcome);
}

#[test]
fn a_preconditioner_saves_inner_iterations() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(113));
    let weights: Vec<f64> = (0..M).map(|i| 10f64.powf(5.0 * i as f64 / M as f64)).collect();
    let manifold = FactorSpace::new(M, N, RANK).unwrap();
    let stop = Stop::gradient_below(1e-8).or(Stop::iterations(100));
    let x = |rng: &mut StdRng| factors(&Dense::random(M, RANK, rng), &Dense::random(N, RANK, rng));
    let solver = TrustRegions { first_share: 0.9, largest_radius: 1e6, ..TrustRegions::default() };
    let mut problem = Weighted { weights: weights.clone() };
    let mut inverse = Inverse { weights, prepared: 0 };
    let line = StraightLine;
    let plain =
        solver.solve(&b, &manifold, &line, &mut problem, x(&mut rng), &stop, &mut |_| {}).unwrap().outcome;
    let helped = solver
        .solve_with(&b, &manifold, &line, &mut problem, &mut inverse, x(&mut rng), &stop, &mut |_| {})
        .unwrap()
        .outcome;
    assert_eq!((plain.termination, helped.termination), (Termination::Converged, Termination::Converged));
    assert_eq!(
        helped.inner_iterations, helped.iterations,
        "the exact inverse needs one inner iteration each"
    );
    assert!(plain.inner_iterations > 10 * helped.inner_iterations, "{plain:?} {helped:?}");
    assert_eq!(inverse.prepared, helped.iterations + 1);
}

#[test]
fn trust_regions_resume_where_they_stopped() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(127));
    let (_, mut problem) = instance(&mut rng);
    let manifold = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let second = DecouplingRetraction::Second;
    let x = |rng: u64| start(&mut StdRng::seed_from_u64(rng));
    let solver = TrustRegions::default();
    let mut run = |solver: TrustRegions, x: Factors<B>, most: usize| {
        let stop = Stop::iterations(most);
        solver.solve(&b, &manifold, &second, &mut problem, x, &stop, &mut |_| {}).unwrap()
    };
    let whole = run(solver, x(1), 9);
    let half = run(solver, x(1), 4);
    let bytes = Checkpoint::of(&b, &half, None).unwrap().to_bytes();
    let kept = Checkpoint::from_bytes(&bytes).unwrap();
    let rest = run(kept.resume(solver), kept.point(&b).unwrap(), 5);
    let end = Checkpoint::of(&b, &rest, Some(&kept)).unwrap();
    assert_eq!(end.iterations, 9);
    assert_eq!(end, Checkpoint::of(&b, &whole, None).unwrap(), "the same bits as in one piece");
}

/// Cost, gradient norm and step of every iteration.
type Trace = Vec<[f64; 3]>;

/// A run in one piece and one interrupted after `first` of `all` iterations, through bytes: their traces from the
/// interruption on and their ends.
fn interrupted(
    mut run: impl FnMut(Option<&Checkpoint>, usize, &mut dyn FnMut(&Iteration)) -> Solution<B>,
    [first, all]: [usize; 2],
) -> [(Trace, Checkpoint); 2] {
    let b = B::new();
    let mut traced = |from: Option<&Checkpoint>, most: usize| {
        let mut trace = Trace::new();
        let found = run(from, most, &mut |now| trace.push([now.cost, now.gradient_norm, now.step]));
        (trace, Checkpoint::of(&b, &found, from).unwrap())
    };
    let (mut whole, end) = traced(None, all);
    let (_, half) = traced(None, first);
    let kept = Checkpoint::from_bytes(&half.to_bytes()).unwrap();
    let (mut rest, resumed_end) = traced(Some(&kept), all - first);
    // The point of the interruption was reached by a step that the resumed run does not know.
    rest.remove(0);
    [(whole.split_off(first + 1), end), (rest, resumed_end)]
}

#[test]
fn conjugate_gradients_and_lbfgs_resume_where_they_stopped() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(137));
    let (_, mut problem) = instance(&mut rng);
    let manifold = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let (second, transport) = (DecouplingRetraction::Second, DecouplingProjection);
    let x = || start(&mut StdRng::seed_from_u64(3));
    let p = &mut problem;
    let cg = ConjugateGradients::default();
    let run = |from: Option<&Checkpoint>, most, observe: &mut dyn FnMut(&Iteration)| {
        let stop = Stop::iterations(most);
        match from {
            None => cg.solve(&b, &manifold, &second, &transport, p, x(), &stop, observe),
            Some(from) => cg.resume(&b, &manifold, &second, &transport, p, from, &stop, observe),
        }
        .unwrap()
    };
    let [whole, resumed] = interrupted(run, [7, 19]);
    assert_eq!(whole, resumed, "conjugate gradients: the same bits as in one piece");
    let lbfgs = Lbfgs { memory: 4, ..Lbfgs::default() };
    let run = |from: Option<&Checkpoint>, most, observe: &mut dyn FnMut(&Iteration)| {
        let stop = Stop::iterations(most);
        match from {
            None => lbfgs.solve(&b, &manifold, &second, &transport, p, x(), &stop, observe),
            Some(from) => lbfgs.resume(&b, &manifold, &second, &transport, p, from, &stop, observe),
        }
        .unwrap()
    };
    let [whole, resumed] = interrupted(run, [7, 19]);
    assert_eq!(whole, resumed, "L-BFGS: the same bits as in one piece");
}

#[test]
fn resumed_runs_compare_with_the_first_gradient() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(139));
    let (_, mut problem) = instance(&mut rng);
    let fixed = FixedRankEmbedded::new(Grid::singleton(M, N, RANK)).unwrap();
    let (svd, transport, p) = (SvdRetraction::default(), EmbeddedProjection, &mut problem);
    let stop = Stop::RelativeGradient(1e-6);
    let x = || start(&mut StdRng::seed_from_u64(5));
    let cg = ConjugateGradients::default();
    let mut silent = |_: &Iteration| {};
    let whole = cg.solve(&b, &fixed, &svd, &transport, p, x(), &stop, &mut silent).unwrap().outcome;
    let early = stop.clone().or(Stop::iterations(5));
    let half = cg.solve(&b, &fixed, &svd, &transport, p, x(), &early, &mut silent).unwrap();
    let kept = Checkpoint::of(&b, &half, None).unwrap();
    let rest = cg.resume(&b, &fixed, &svd, &transport, p, &kept, &stop, &mut silent).unwrap();
    let end = Checkpoint::of(&b, &rest, Some(&kept)).unwrap();
    assert_eq!(end.iterations, whole.iterations);
    // A checkpoint of trust regions has no direction: the gradient does.
    let tr =
        TrustRegions::default().solve(&b, &fixed, &svd, p, x(), &Stop::iterations(2), &mut silent).unwrap();
    let kept = Checkpoint::of(&b, &tr, None).unwrap();
    assert!(kept.radius().is_some());
    let rest = cg.resume(&b, &fixed, &svd, &transport, p, &kept, &stop, &mut silent).unwrap();
    assert_eq!(rest.outcome.termination, Termination::Converged);
}

#[test]
fn retractions_and_transports_pass_and_wrong_ones_do_not() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(131));
    let fixed = FixedRankEmbedded::new(Grid::singleton(M, N, RANK)).unwrap();
    let bounded = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let v = |rng: &mut StdRng| factors(&Dense::random(M, RANK, rng), &Dense::random(N, RANK, rng));
    let (svd, first) = (SvdRetraction::default(), DecouplingRetraction::First);
    let slopes = [
        check_retraction(&b, &fixed, &svd, start(&mut rng), v(&mut rng)).unwrap(),
        check_retraction(&b, &bounded, &first, start(&mut rng), v(&mut rng)).unwrap(),
    ];
    assert!(slopes.iter().all(|slope| slope.is_right()), "{:?}", slopes.map(|slope| slope.exponent));
    let transport = EmbeddedProjection;
    let (x, u, w) = (start(&mut rng), v(&mut rng), v(&mut rng));
    let found = check_transport(&b, &fixed, &svd, &transport, x, u, w).unwrap();
    assert!(found.is_right(), "{found:?}");
    let transport = DecouplingProjection;
    let (x, u, w) = (start(&mut rng), v(&mut rng), v(&mut rng));
    let found = check_transport(&b, &bounded, &first, &transport, x, u, w).unwrap();
    assert!(found.is_right(), "{found:?}");
    // The identity of coordinates leaves the tangent space.
    let (x, u, w) = (start(&mut rng), v(&mut rng), v(&mut rng));
    let found = check_transport(&b, &bounded, &first, &Stays, x, u, w).unwrap();
    assert!(!found.is_right() && found.tangent_defect > 1e-4, "{found:?}");
}

/// Leaves coordinates as they are.
#[derive(Clone, Debug)]
struct Stays;

impl lr_manifolds::Transport<B, SpaceDecoupling<Unconstrained>> for Stays {
    fn name(&self) -> &'static str {
        "stays"
    }

    fn transport(
        &self,
        _: &B,
        _: &SpaceDecoupling<Unconstrained>,
        _: Base<'_, B, SpaceDecoupling<Unconstrained>>,
        _: Base<'_, B, SpaceDecoupling<Unconstrained>>,
        _: FactorsMut<'_, B>,
        _: &lr_linalg::Scope<'_, B>,
    ) {
    }
}
