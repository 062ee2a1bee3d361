//! The golden problems that ask for a solver: graph similarity with its closed form, rotation
//! synchronization to its
//! certified optimum, a Markov chain at its reference minimum.

use super::Errors;
use lr_linalg::Cpu;
use lr_manifolds::{
    Factors, LevelSet, SpaceDecoupling,
    level_set::{Oblique, Sphere, StackedStiefel},
    space_decoupling::retractions::DecouplingRetraction,
};
use lr_optim::solve::{Outcome, Problem, SecondOrderProblem, Stop, Termination, TrustRegions};
use lr_tests::{
    dense::Dense,
    golden::Arrays,
    problems::{DenseProblem, elementwise, factors, matrix},
};
use rand::{SeedableRng, rngs::StdRng};

type B = Cpu<f64>;

/// Trust regions from `x` over the set; an end without convergence counts as an error.
fn solve<S: LevelSet<B>>(
    set: S,
    omega: f64,
    problem: &mut impl SecondOrderProblem<B>,
    x: Factors<B>,
    tolerance: f64,
    errors: &mut Errors<'_>,
) -> (Outcome, Dense) {
    let (left, right) = (x.left.dims(), x.right.dims());
    let m = SpaceDecoupling::new(left.rows, right.rows, left.cols, set, omega).unwrap();
    let stop = Stop::gradient_below(tolerance).or(Stop::iterations(500));
    let found = TrustRegions::default()
        .solve(&B::new(), &m, &DecouplingRetraction::Second, problem, x, &stop, &mut |_| {})
        .unwrap();
    if found.outcome.termination != Termination::Converged {
        errors.lines.push(format!("{}: no convergence: {:?}", errors.case, found.outcome));
    }
    let end = matrix(found.x.as_ref());
    (found.outcome, end)
}

/// `-|A X B^T + A^T X B|^2` on the sphere, at every rank from 1 to 3: the closed form is that of rank 1.
pub fn graph_similarity(arrays: &mut Arrays, errors: &mut Errors<'_>) {
    let (a, g) = (arrays.matrix("A"), arrays.matrix("B"));
    let l = |x: &Dense, a: &Dense, g: &Dense| a.times(x).times(&g.t()).plus(1.0, &a.t().times(x).times(g));
    let twice = move |x: &Dense, a: &Dense, g: &Dense| {
        let ll = l(&l(x, a, g), a, g);
        ll.plus(-3.0, &ll)
    };
    let ((a1, g1), (a2, g2), (a3, g3)) =
        ((a.clone(), g.clone()), (a.clone(), g.clone()), (a.clone(), g.clone()));
    let mut problem = DenseProblem {
        cost: move |x: &Dense| -l(x, &a1, &g1).norm().powi(2),
        gradient: move |x: &Dense| twice(x, &a2, &g2),
        hessian: move |_: &Dense, eta: &Dense| twice(eta, &a3, &g3),
    };
    let mut rng = StdRng::seed_from_u64(61);
    for rank in 1..=3 {
        let mut h = Dense::random(a.rows, rank, &mut rng);
        let norm = h.norm();
        h.data.iter_mut().for_each(|x| *x /= norm);
        let v = Dense::random(g.rows, rank, &mut rng).orthonormalized();
        let (outcome, _) = solve(Sphere, 0.5, &mut problem, factors(&h, &v), 1e-10, errors);
        errors.number(&format!("optimal cost at rank {rank}"), outcome.cost, arrays, "cost_star");
    }
}

/// `<C, X X^T>` over stacked rotations.
pub fn synchronization(arrays: &mut Arrays, errors: &mut Errors<'_>) {
    let (c, h, v) = (arrays.matrix("C"), arrays.matrix("H0"), arrays.matrix("V0"));
    let (c1, c2, c3) = (c.clone(), c.clone(), c);
    let mut problem = DenseProblem {
        cost: move |x: &Dense| c1.times(x).dot(x),
        gradient: move |x: &Dense| c2.times(x).plus(1.0, &c2.times(x)),
        hessian: move |_: &Dense, eta: &Dense| c3.times(eta).plus(1.0, &c3.times(eta)),
    };
    let (set, omega) = (StackedStiefel { height: 3 }, arrays.number("omega"));
    let (outcome, x) = solve(set, omega, &mut problem, factors(&h, &v), 1e-11, errors);
    errors.number("optimal cost", outcome.cost, arrays, "f_opt");
    errors.add("X X^T", x.times(&x.t()).relative_error(&arrays.matrix("XXt")));
}

/// `|X o X - P|^2 / 2` over unit rows. Not convex: from the golden start a minimum about as good as the
/// reference,
/// from the reference itself exactly that.
pub fn markov_chain(arrays: &mut Arrays, errors: &mut Errors<'_>) {
    let (p, h, v) = (arrays.matrix("P"), arrays.matrix("H0"), arrays.matrix("V0"));
    let (p1, p2, p3) = (p.clone(), p.clone(), p);
    let residual = |x: &Dense, p: &Dense| elementwise(x, p, |x, p| x * x - p);
    let mut problem = DenseProblem {
        cost: move |x: &Dense| 0.5 * residual(x, &p1).norm().powi(2),
        gradient: move |x: &Dense| elementwise(x, &residual(x, &p2), |x, d| 2.0 * x * d),
        hessian: move |x: &Dense, eta: &Dense| {
            let factor = elementwise(x, &p3, |x, p| 2.0 * (3.0 * x * x - p));
            elementwise(eta, &factor, |e, f| e * f)
        },
    };
    let start = problem.cost(&B::new(), factors(&h, &v).as_ref()).unwrap();
    errors.number("cost at the start", start, arrays, "f0");
    let omega = arrays.number("omega");
    let (outcome, _) = solve(Oblique, omega, &mut problem, factors(&h, &v), 1e-9, errors);
    let reference = arrays.number("f_final");
    assert!(outcome.cost < 1.02 * reference, "{} against {reference}", outcome.cost);

    // X = H V^T with the orthonormal V of its own row space.
    let x = arrays.matrix("X_final");
    let mut v = v;
    for _ in 0..50 {
        v = x.t().times(&x.times(&v)).orthonormalized();
    }
    let (outcome, _) = solve(Oblique, omega, &mut problem, factors(&x.times(&v), &v), 1e-6, errors);
    errors.number("cost at the minimum", outcome.cost, arrays, "f_final");
}
