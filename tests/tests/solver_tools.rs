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
    Checkpoint, ConjugateGradients, GradientDescent, Iteration, Lbfgs, MaskedFit, Preconditioner, Problem,
    ProjectedGradient, SecondOrderProblem, Solution, SolveError, Start, Stop, Termination, TrustRegions,
    check_retraction, check_transport,
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

/// The fit without the line minima that it proposes: searches begin with the solver's own trial step.
struct Unproposed<'a>(&'a mut MaskedFit<f64>);

impl Problem<B> for Unproposed<'_> {
    fn cost(&mut self, b: &B, x: FactorsRef<'_, B>) -> Result<f64, SolveError> {
        self.0.cost(b, x)
    }

    fn egrad(&mut self, b: &B, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), SolveError> {
        self.0.egrad(b, x, out)
    }
}

/// What [`resumes`] runs: a solver on `M_h` and one problem, from a start to a stop.
type Run<'a> =
    &'a mut dyn FnMut(Start<B>, &Stop, &mut dyn FnMut(&Iteration)) -> Result<Solution<B>, SolveError>;

/// A run of `all` iterations and one that stops after `first` and goes on through bytes take the same steps to the last
/// bit, and both compare with the gradient of the first start.
fn resumes(name: &str, [first, all]: [usize; 2], run: Run<'_>) {
    let b = B::new();
    let mut traced = |from: Option<&Checkpoint>, stop: &Stop| {
        let begin = match from {
            Some(from) => from.start(&b).unwrap(),
            None => start(&mut StdRng::seed_from_u64(3)).into(),
        };
        let mut trace = Vec::new();
        let found = run(begin, stop, &mut |now| trace.push([now.cost, now.gradient_norm, now.step])).unwrap();
        (trace, Checkpoint::of(&b, &found, from).unwrap())
    };
    let (whole, end) = traced(None, &Stop::iterations(all));
    let (_, half) = traced(None, &Stop::iterations(first));
    let kept = Checkpoint::from_bytes(&half.to_bytes()).unwrap();
    let (rest, resumed_end) = traced(Some(&kept), &Stop::iterations(all - first));
    // The point of the interruption was reached by a step that the resumed run does not know.
    assert_eq!(whole[first + 1..], rest[1..], "{name}");
    assert_eq!(end, resumed_end, "{name}");
    assert_eq!(end.iterations, all, "{name}");

    let norms: Vec<f64> = whole.iter().map(|[_, norm, _]| *norm).collect();
    let share = 1.001 * norms.iter().copied().fold(f64::INFINITY, f64::min) / norms[0];
    let reached = norms.iter().position(|norm| *norm <= share * norms[0]).unwrap();
    assert!(reached > first && norms[first] < 0.9 * norms[0], "{name}: {norms:?}");
    let (_, end) = traced(Some(&kept), &Stop::RelativeGradient(share).or(Stop::iterations(all)));
    assert_eq!(end.iterations, reached, "{name} compares with the first start");
}

#[test]
fn solvers_resume_where_they_stopped() {
    let b = B::new();
    let (_, mut problem) = instance(&mut StdRng::seed_from_u64(137));
    let m = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let (second, transport, p) = (DecouplingRetraction::Second, DecouplingProjection, &mut problem);
    let descent = GradientDescent::default();
    resumes("gradient descent", [7, 19], &mut |x, stop, observe| {
        descent.solve(&b, &m, &second, &transport, p, x, stop, observe)
    });
    let cg = ConjugateGradients::default();
    resumes("conjugate gradients", [7, 19], &mut |x, stop, observe| {
        cg.solve(&b, &m, &second, &transport, &mut Unproposed(p), x, stop, observe)
    });
    let lbfgs = Lbfgs { memory: 4, ..Lbfgs::default() };
    resumes("L-BFGS", [7, 19], &mut |x, stop, observe| {
        lbfgs.solve(&b, &m, &second, &transport, p, x, stop, observe)
    });
    let tr = TrustRegions::default();
    resumes("trust regions", [4, 9], &mut |x, stop, observe| tr.solve(&b, &m, &second, p, x, stop, observe));
    let p2gd = ProjectedGradient::default();
    resumes("projected gradients", [7, 19], &mut |x, stop, observe| p2gd.solve(&b, &m, p, x, stop, observe));
}

#[test]
fn a_solver_of_another_kind_takes_the_point_alone() {
    let b = B::new();
    let (_, mut problem) = instance(&mut StdRng::seed_from_u64(139));
    let m = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let (second, transport, p) = (DecouplingRetraction::Second, DecouplingProjection, &mut problem);
    let (x, stop) = (start(&mut StdRng::seed_from_u64(5)), Stop::iterations(3));
    let tr = TrustRegions::default().solve(&b, &m, &second, p, x, &stop, &mut |_| {}).unwrap();
    let kept = Checkpoint::of(&b, &tr, None).unwrap();
    let ends = [kept.start(&b).unwrap(), kept.point(&b).unwrap().into()].map(|start: Start<B>| {
        let cg = ConjugateGradients::default();
        let found = cg.solve(&b, &m, &second, &transport, p, start, &stop, &mut |_| {}).unwrap();
        Checkpoint::of(&b, &found, None).unwrap()
    });
    assert_eq!(ends[0], ends[1]);
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
