//! Over-estimated ranks: trust regions find the matrix, in few iterations, from the starts that allow it.

use super::*;
use lr_optim::solve::Termination;

/// Samples, a start, and what trust regions make of it: the outcome and the test error.
fn fitted(start: Start, rank: usize, seed: u64) -> (lr_optim::solve::Outcome, f64) {
    let (b, mut rng) = (Host::new(), StdRng::seed_from_u64(seed));
    let (m, n, share) = (600, 720, Sampling { train: 0.3, test: 0.05 });
    let instance = Instance::spherical(&b, m, n, share, &mut rng).unwrap();
    let x = instance.start(&b, start, rank, &mut rng).unwrap();
    let mut problem = MaskedFit::new(instance.data.train.clone(), b.threads()).unwrap();
    let manifold = SpaceDecoupling::new(m, n, rank, Oblique, 0.5).unwrap();
    let square: f64 = instance.data.train.values(Orientation::Rows).iter().map(|a| a * a).sum();
    let stop = Stop::Cost(0.5e-28 * square).or(Stop::iterations(20));
    let (solver, second) = (TrustRegions::default(), DecouplingRetraction::Second);
    let found = solver.solve(&b, &manifold, &second, &mut problem, x, &stop, &mut |_| {}).unwrap();
    let [_, test] = instance.data.errors(found.x.left.as_ref().panel(0), found.x.right.as_ref().panel(0));
    (found.outcome, test)
}

#[test]
fn over_estimated_ranks_converge_superlinearly_to_the_matrix() {
    for (start, seed) in
        [Start::Spectral, Start::TrueColumns].into_iter().flat_map(|s| (1..=5).map(move |i| (s, i)))
    {
        let (outcome, test) = fitted(start, 10, seed);
        assert_eq!(outcome.termination, Termination::Converged, "{start:?} {seed}: {outcome:?}");
        // An inner iteration that insists on the square of the gradient takes hundreds.
        assert!(outcome.inner_iterations < 80, "{start:?} {seed}: {outcome:?}");
        assert!(test < 1e-13, "{start:?} {seed}: {test:e}");
    }
}

#[test]
fn the_spectral_start_uses_the_rank_that_the_samples_show() {
    let (b, mut rng) = (Host::new(), StdRng::seed_from_u64(7));
    let share = Sampling { train: 0.3, test: 0.05 };
    let instance = Instance::spherical(&b, 200, 240, share, &mut rng).unwrap();
    for (rank, expected) in [(4, 4), (6, 6), (7, 6), (10, 6)] {
        let x = instance.start(&b, Start::Spectral, rank, &mut rng).unwrap();
        let h = Dense::download(&b, &x.left).unwrap();
        assert_eq!((h.rows, h.cols), (200, rank));
        let gram = h.product(&b, &h, crate::dense::Product::FirstTransposed).unwrap();
        let used = (0..rank).filter(|k| gram.at(*k, *k) > 1e-20).count();
        assert_eq!(used, expected, "at rank {rank}");
        assert!((0..h.rows).all(|i| (h.row(i).iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-12));
    }
}

#[test]
fn the_report_shows_that_the_derivatives_are_right() {
    let section = derivatives(&Host::new(), &mut StdRng::seed_from_u64(2)).unwrap();
    assert_eq!(section.figures[0].svg.matches(", right").count(), 3);
}
