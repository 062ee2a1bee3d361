//! Synchronization from end to end on small graphs, and graphs that are refused.

use super::*;
use crate::synchronization::graph::{Measurement, exponential, times, transposed};
use lr_optim::solve::{Flag, check_hessian};

fn solved(graph: &CameraGraph, rank: usize) -> (Host, Synchronization, Factors<Host>) {
    let (b, mut rng) = (Host::new(), StdRng::seed_from_u64(5));
    let mut problem = Pulled::new(Synchronization::new(graph, Threads::Serial).unwrap());
    let n = 3 * graph.cameras;
    let manifold = SpaceDecoupling::new(n, n, rank, StackedStiefel { height: 3 }, 0.5).unwrap();
    let start = random_start(&b, graph.cameras, rank, &mut rng).unwrap();
    let stop = Stop::gradient_below(1e-9).or(Stop::iterations(300));
    let second = DecouplingRetraction::Second;
    let found = TrustRegions::default()
        .solve(&b, &manifold, &second, &mut problem, start, &stop, &mut |_| {})
        .unwrap();
    (b, Synchronization::new(graph, Threads::Serial).unwrap(), found.x)
}

#[test]
fn noiseless_cameras_are_recovered_and_certified() {
    let graph = CameraGraph::random(12, 5.0, 0.0, &mut StdRng::seed_from_u64(7)).unwrap();
    let (b, problem, x) = solved(&graph, 4);
    let certificate = certificate::certify(&b, &problem, x.left.as_ref()).unwrap();
    assert!(certificate.is_optimal(), "{certificate:?}");
    let rotations = rounding::to_rotations(&b, &Dense::download(&b, &x.left).unwrap()).unwrap();
    let errors = rounding::pose_errors(&b, &rotations, graph.truth.as_ref().unwrap()).unwrap();
    assert!(errors.largest < 1e-4, "{} degrees", errors.largest);
}

#[test]
fn noisy_cameras_end_below_the_truth_and_a_bad_point_is_not_certified() {
    let graph = CameraGraph::random(15, 6.0, 0.1, &mut StdRng::seed_from_u64(9)).unwrap();
    let (b, problem, x) = solved(&graph, 4);
    let truth = graph::stacked(graph.truth.as_ref().unwrap()).upload(&b).unwrap();
    let (ours, theirs) =
        (problem.value(&b, x.left.as_ref()).unwrap(), problem.value(&b, truth.as_ref()).unwrap());
    assert!(ours <= theirs, "{ours} {theirs}");
    assert!(certificate::certify(&b, &problem, x.left.as_ref()).unwrap().is_optimal());
    let bad = random_start(&b, 15, 4, &mut StdRng::seed_from_u64(1)).unwrap();
    assert!(!certificate::certify(&b, &problem, bad.left.as_ref()).unwrap().is_optimal());
    let rotations = rounding::to_rotations(&b, &Dense::download(&b, &x.left).unwrap()).unwrap();
    let errors = rounding::pose_errors(&b, &rotations, graph.truth.as_ref().unwrap()).unwrap();
    assert!(errors.mean < 10.0, "{} degrees", errors.mean);
}

#[test]
fn derivatives_are_those_of_the_cost() {
    let graph = CameraGraph::random(6, 4.0, 0.3, &mut StdRng::seed_from_u64(11)).unwrap();
    let (b, mut rng) = (Host::new(), StdRng::seed_from_u64(13));
    let mut problem = Pulled::new(Synchronization::new(&graph, Threads::Serial).unwrap());
    let manifold = SpaceDecoupling::new(18, 18, 4, StackedStiefel { height: 3 }, 0.5).unwrap();
    let x = random_start(&b, 6, 4, &mut rng).unwrap();
    let v = Factors {
        left: Dense::normal(18, 4, &mut rng).upload(&b).unwrap(),
        right: Dense::normal(18, 4, &mut rng).upload(&b).unwrap(),
    };
    let slope = check_hessian(&b, &manifold, &DecouplingRetraction::Second, &mut problem, x, v).unwrap();
    assert!(slope.is_right(), "{slope:?}");
}

#[test]
fn graphs_that_determine_nothing_are_refused_by_name() {
    let turn = exponential([0.3, 0.1, -0.2]);
    let one = Measurement { from: 0, to: 1, rotation: turn };
    let message = |cameras, measurements: Vec<Measurement>| {
        CameraGraph { cameras, measurements, truth: None }.validate().unwrap_err().to_string()
    };
    let text = message(4, vec![one, Measurement { from: 2, to: 3, ..one }]);
    assert!(text.contains("falls into 2 parts") && text.contains("camera 2"), "{text}");
    assert!(message(2, vec![Measurement { to: 5, ..one }]).contains("there are 2 cameras"));
    let again = Measurement { from: 1, to: 0, rotation: transposed(&turn) };
    assert!(message(2, vec![one, again]).contains("is given before, as measurement 1"));
    let mut scaled = times(&turn, &turn);
    scaled[0][0] = f64::NAN;
    assert!(message(2, vec![Measurement { rotation: scaled, ..one }]).contains("is no rotation"));
    let b = Host::new();
    let text = random_start(&b, 2, 9, &mut StdRng::seed_from_u64(0)).unwrap_err().to_string();
    assert!(text.contains("rank 9 is not between 3"), "{text}");
}

#[test]
fn the_experiment_leaves_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut ignore = |_: crate::session::Notice<'_>| {};
    let mut session = Session::open("sync", folder.path(), Flag::default(), &mut ignore).unwrap();
    let config = Config { cameras: 8, ranks: vec![4], ..Config::of(Size::Small) };
    run(&config, Threads::Serial, &mut session).unwrap();
    for file in ["summary.json", "metrics.jsonl", "report.html", DETAILS_FILE] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
}
