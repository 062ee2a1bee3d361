//! The fit of a chain: derivatives, matrices that are refused, and the files of the experiment.

use super::*;
use lr_optim::solve::{Flag, check_gradient, check_hessian};

#[test]
fn derivatives_are_those_of_the_cost() {
    let (b, mut rng) = (Host::new(), StdRng::seed_from_u64(3));
    let p = Transitions::generated(12, 3, 5000, &mut rng).unwrap().matrix().unwrap();
    let start = |rng: &mut StdRng| spectral_start(&b, &p, 3, rng).unwrap();
    let direction = |rng: &mut StdRng| Factors {
        left: Dense::normal(12, 3, rng).upload(&b).unwrap(),
        right: Dense::normal(12, 3, rng).upload(&b).unwrap(),
    };
    let manifold = SpaceDecoupling::new(12, 12, 3, Oblique, 0.5).unwrap();
    let mut problem = Pulled::new(MarkovFit::new(p.clone()).unwrap());
    let second = DecouplingRetraction::Second;
    let (x, v) = (start(&mut rng), direction(&mut rng));
    let gradient = check_gradient(&b, &manifold, &second, &mut problem, x, v).unwrap();
    let (x, v) = (start(&mut rng), direction(&mut rng));
    let hessian = check_hessian(&b, &manifold, &second, &mut problem, x, v).unwrap();
    assert!(gradient.is_right() && hessian.is_right(), "{gradient:?} {hessian:?}");
}

#[test]
fn matrices_that_are_no_chain_are_refused_by_row() {
    let message = |data: [f64; 4]| {
        MarkovFit::new(Dense { rows: 2, cols: 2, data: data.to_vec() }).unwrap_err().to_string()
    };
    assert!(message([0.5, 0.5, 0.0, 0.0]).contains("row 1 of the transition matrix is zero"));
    assert!(message([0.5, 0.6, 0.5, 0.5]).contains("row 0 of the transition matrix sums to"));
    assert!(message([0.5, f64::NAN, 0.5, 0.5]).contains("NaN at row 0, column 1"));
    assert!(message([0.5, 0.5, 1.5, -0.5]).contains("-0.5 at row 1, column 1"));
    let b = Host::new();
    let p = Dense::from_fn(3, 3, |_, _| 1.0 / 3.0);
    let text = spectral_start(&b, &p, 4, &mut StdRng::seed_from_u64(0)).unwrap_err().to_string();
    assert!(text.contains("rank 4 is not between 1 and the smaller side of 3 x 3"), "{text}");
}

#[test]
fn the_experiment_leaves_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut ignore = |_: crate::session::Notice<'_>| {};
    let mut session = Session::open("markov", folder.path(), Flag::default(), &mut ignore).unwrap();
    let source = Source::Generator { states: 15, clusters: 2, transitions: 20_000 };
    let config = Config { source, ranks: vec![2], ..Config::of(Size::Small) };
    run(&config, Threads::Serial, &mut session).unwrap();
    // Two solvers and two truncations.
    assert_eq!(session.runs().len(), 4);
    assert!(folder.path().join("report.html").exists());
}
