//! Every level set: projections are projections, the curvature term is the derivative of the tangent projection,
//! bad shapes and points without a nearest one are refused; and the orders of the retractions over each set.

use lr_linalg::{Blas, Coef, Dims, Epilogue, Mats, Reference, Scratch};
use lr_manifolds::{
    Base, Factors, Health, LevelSet, LevelSetShape, Manifold, Ray, Retraction, SpaceDecoupling,
    level_set::{Oblique, Sphere, StackedStiefel, Unconstrained},
    space_decoupling::retractions::DecouplingRetraction,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

type R = Reference<f64>;

const M: usize = 6;
const RANK: usize = 4;

fn random(d: Dims, rng: &mut StdRng) -> Mats<R> {
    let values: Vec<f64> = (0..d.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Mats::from_slice(&R::new(), d, &values).unwrap()
}

fn values(x: &Mats<R>) -> Vec<f64> {
    x.to_vec(&R::new()).unwrap()
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

fn combined(x: &Mats<R>, t: f64, y: &Mats<R>) -> Mats<R> {
    let mut out = Mats::from_slice(&R::new(), x.dims(), &values(x)).unwrap();
    R::new().axpby(Coef::Host(t), y.as_ref(), 1.0, out.as_mut());
    out
}

/// The nearest point of the set, and whether there was one.
fn nearest<S: LevelSet<R>>(set: &S, y: &Mats<R>) -> (Mats<R>, bool) {
    let b = R::new();
    let mut out = Mats::from_slice(&b, y.dims(), &values(y)).unwrap();
    let mut health = Health::new(&b, y.dims().batch).unwrap();
    Scratch::new(&b).unwrap().scope(|s| set.project_point(&b, out.as_mut(), health.as_mut(), s));
    (out, values(&health.breakdown).iter().all(|flag| *flag == 0.0))
}

fn tangent<S: LevelSet<R>>(set: &S, h: &Mats<R>, z: &Mats<R>) -> Mats<R> {
    let b = R::new();
    let mut out = Mats::from_slice(&b, z.dims(), &values(z)).unwrap();
    Scratch::new(&b).unwrap().scope(|s| set.project_tangent(&b, h.as_ref(), out.as_mut(), s));
    out
}

fn curvature<S: LevelSet<R>>(set: &S, h: &Mats<R>, k: &Mats<R>, z: &Mats<R>) -> Mats<R> {
    let b = R::new();
    let mut out = Mats::zeros(&b, z.dims()).unwrap();
    Scratch::new(&b)
        .unwrap()
        .scope(|s| set.add_curvature(&b, h.as_ref(), k.as_ref(), z.as_ref(), out.as_mut(), s));
    out
}

fn check<S: LevelSet<R>>(set: S) {
    let (name, mut rng) = (set.name(), StdRng::seed_from_u64(3));
    let d = Dims::new(2, M, RANK);
    let (h, fine) = nearest(&set, &random(d, &mut rng));
    assert!(fine, "{name}");
    let again = nearest(&set, &h).0;
    assert!(distance(&values(&again), &values(&h)) < 1e-13, "{name}: a point is its own nearest point");

    let (z, y) = (random(d, &mut rng), random(d, &mut rng));
    let (pz, py) = (tangent(&set, &h, &z), tangent(&set, &h, &y));
    assert!(distance(&values(&tangent(&set, &h, &pz)), &values(&pz)) < 1e-13, "{name}: idempotent");
    let dot = |x: &Mats<R>, y: &Mats<R>| values(x).iter().zip(values(y)).map(|(x, y)| x * y).sum::<f64>();
    assert!((dot(&pz, &y) - dot(&z, &py)).abs() < 1e-12, "{name}: self-adjoint");

    // Along a tangent the set is left to second order only, and the tangent space is that of the set.
    let slip = |t: f64| {
        let moved = combined(&h, t, &pz);
        distance(&values(&nearest(&set, &moved).0), &values(&moved))
    };
    assert!(
        slip(1e-3) < 1e-5 && slip(1e-3) < 0.3 * slip(2e-3) + 1e-15,
        "{name}: {} {}",
        slip(1e-3),
        slip(2e-3)
    );

    // Central differences of P_T along a curve in the set, projected back.
    let step = 1e-5;
    let at = |t: f64| tangent(&set, &nearest(&set, &combined(&h, t, &pz)).0, &y);
    let mut difference = combined(&at(step), -1.0, &at(-step));
    R::new().map(lr_linalg::Map::Scale(0.5 / step), difference.as_mut());
    let difference = tangent(&set, &h, &difference);
    let found = curvature(&set, &h, &pz, &y);
    let error = distance(&values(&found), &values(&difference));
    assert!(error < 1e-8, "{name}: the curvature term is off by {error:e}");
    let mut twice = curvature(&set, &h, &pz, &y);
    let b = R::new();
    Scratch::new(&b).unwrap().scope(|s| {
        set.add_curvature(&b, h.as_ref(), pz.as_ref(), y.as_ref(), twice.as_mut(), s);
    });
    assert!(
        (distance(&values(&twice), &values(&found)) - dot(&found, &found).sqrt()).abs() < 1e-12,
        "{name}: adds"
    );
}

#[test]
fn level_sets() {
    check(Unconstrained);
    check(Oblique);
    check(Sphere);
    check(StackedStiefel { height: 3 });
    check(StackedStiefel { height: 1 });
}

#[test]
fn points_without_a_nearest_one_are_reported() {
    let b = R::new();
    let mut rows = vec![1.0; M * RANK];
    rows[..RANK].fill(0.0);
    let zero_row = Mats::from_slice(&b, Dims::new(1, M, RANK), &rows).unwrap();
    let zero = Mats::zeros(&b, Dims::new(1, M, RANK)).unwrap();
    let nan = Mats::from_slice(&b, Dims::new(1, M, RANK), &[f64::NAN; M * RANK]).unwrap();
    assert!(!nearest(&Oblique, &zero_row).1);
    assert!(nearest(&Sphere, &zero_row).1 && !nearest(&Sphere, &zero).1);
    for bad in [
        !nearest(&Oblique, &nan).1,
        !nearest(&Sphere, &nan).1,
        !nearest(&StackedStiefel { height: 2 }, &nan).1,
    ] {
        assert!(bad, "NaN is reported");
    }
}

#[test]
fn bad_shapes_say_what_is_wrong() {
    fn text<S: LevelSetShape>(m: usize, n: usize, r: usize, set: S, omega: f64) -> String {
        SpaceDecoupling::new(m, n, r, set, omega).unwrap_err().to_string()
    }
    assert!(text(6, 5, 6, Oblique, 0.5).contains("r = 6 exceeds the number of columns n = 5"));
    assert!(
        text(7, 9, 4, StackedStiefel { height: 3 }, 0.5).contains("7 rows cannot be cut into blocks of 3")
    );
    assert!(
        text(6, 9, 2, StackedStiefel { height: 3 }, 0.5).contains("r = 2 is below the block height p = 3")
    );
    assert!(text(6, 9, 2, StackedStiefel { height: 0 }, 0.5).contains("zero"));
    for omega in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(text(6, 9, 2, Sphere, omega).contains("must be a positive finite number"), "{omega}");
    }
    assert!(text(0, 9, 2, Sphere, 0.5).contains("zero"));
}

/// The ambient matrix `H V^T`.
fn ambient(x: &Factors<R>) -> Vec<f64> {
    let b = R::new();
    let mut w = Mats::zeros(&b, Dims::new(1, x.left.dims().rows, x.right.dims().rows)).unwrap();
    b.gemm(1.0, x.left.as_ref().n(), x.right.as_ref().t(), Epilogue::Overwrite, w.as_mut());
    values(&w)
}

/// Retractions leave the tangent line at second order, and the second-order one moves tangentially at third.
fn check_retractions<S: LevelSet<R>>(set: S) {
    let (b, n, mut rng) = (R::new(), 5, StdRng::seed_from_u64(5));
    let m = SpaceDecoupling::new(M, n, RANK, set.clone(), 0.4).unwrap();
    let h = nearest(&set, &random(Dims::new(1, M, RANK), &mut rng)).0;
    let v = nearest(&StackedStiefel { height: RANK }, &random(Dims::new(1, RANK, n), &mut rng)).0;
    let mut columns = Mats::zeros(&b, Dims::new(1, n, RANK)).unwrap();
    b.copy(v.as_ref().t(), columns.as_mut());
    let x = Factors { left: h, right: columns };
    let mut health = Health::new(&b, 1).unwrap();
    let mut frame = Manifold::<R>::new_frame(&m, &b, 1).unwrap();
    let mut eta = Factors {
        left: random(Dims::new(1, M, RANK), &mut rng),
        right: random(Dims::new(1, n, RANK), &mut rng),
    };
    Scratch::new(&b).unwrap().scope(|s| {
        m.factor(&b, x.as_ref(), &mut frame, health.as_mut(), s);
        m.project(&b, Base { x: x.as_ref(), frame: &frame }, eta.as_mut(), s);
    });
    let mut line = Mats::zeros(&b, Dims::new(1, M, n)).unwrap();
    Scratch::new(&b).unwrap().scope(|s| {
        m.to_ambient(&b, Base { x: x.as_ref(), frame: &frame }, eta.as_ref(), line.as_mut(), s);
    });
    let (start, line) = (ambient(&x), values(&line));
    let grid = lr_manifolds::Grid::singleton(M, n, RANK);
    let retracted = |r: DecouplingRetraction, t: f64| {
        let mut to = Factors::zeros(&b, &grid, 1).unwrap();
        let mut next = Manifold::<R>::new_frame(&m, &b, 1).unwrap();
        let mut health = Health::new(&b, 1).unwrap();
        Scratch::new(&b).unwrap().scope(|s| {
            let ray =
                Ray { at: Base { x: x.as_ref(), frame: &frame }, tangent: eta.as_ref(), direction: &() };
            r.retract(&b, &m, ray, Coef::Host(t), to.as_mut(), &mut next, health.as_mut(), s);
        });
        assert_eq!(values(&health.breakdown), [0.0]);
        let point = nearest(&set, &to.left).0;
        assert!(distance(&values(&point), &values(&to.left)) < 1e-13, "{}: on the set", set.name());
        to
    };
    let end = |r: DecouplingRetraction, t: f64| {
        let moved = ambient(&retracted(r, t));
        moved.iter().zip(&start).zip(&line).map(|((w, x), d)| w - x - t * d).collect::<Vec<f64>>()
    };
    for r in [DecouplingRetraction::First, DecouplingRetraction::Second] {
        let size = |e: Vec<f64>| e.iter().map(|x| x * x).sum::<f64>().sqrt();
        let slope = (size(end(r, 0.02)) / size(end(r, 0.01))).log2();
        assert!(slope > 1.9, "{} {r:?}: slope {slope}", set.name());
    }
    // The second-order retraction accelerates normally to M_h: the tangential part of the ambient pair
    // (X'', G'') vanishes, while that of the first-order one need not.
    let tangential = [DecouplingRetraction::First, DecouplingRetraction::Second].map(|r| {
        let t = 1e-3;
        let pairs = [t, -t].map(|t| retracted(r, t));
        let second = |part: fn(&Factors<R>) -> Vec<f64>| -> Vec<f64> {
            let (up, down, mid) = (part(&pairs[0]), part(&pairs[1]), part(&x));
            up.iter().zip(down).zip(mid).map(|((u, d), m)| (u + d - 2.0 * m) / (t * t)).collect()
        };
        let (a, g) = (
            second(ambient),
            second(|x| ambient(&Factors { left: clone(&x.right), right: clone(&x.right) })),
        );
        let a = Mats::from_slice(&b, Dims::new(1, M, n), &a).unwrap();
        let g = Mats::from_slice(&b, Dims::square(1, n), &g).unwrap();
        let mut out = Factors::zeros(&b, &grid, 1).unwrap();
        b.gemm(1.0, a.as_ref().n(), x.right.as_ref().n(), Epilogue::Overwrite, out.left.as_mut());
        b.gemm(1.0, a.as_ref().t(), x.left.as_ref().n(), Epilogue::Overwrite, out.right.as_mut());
        let mut bv = Mats::zeros(&b, Dims::new(1, n, RANK)).unwrap();
        // G = I - V V^T.
        b.gemm(-1.0, g.as_ref().n(), x.right.as_ref().n(), Epilogue::Overwrite, bv.as_mut());
        Scratch::new(&b).unwrap().scope(|s| {
            m.project_ambient(&b, Base { x: x.as_ref(), frame: &frame }, bv.as_ref(), out.as_mut(), s);
        });
        values(&out.left).iter().chain(&values(&out.right)).map(|x| x * x).sum::<f64>().sqrt()
    });
    assert!(tangential[1] < 1e-4 && tangential[0] > 1e-2, "{}: {tangential:?}", set.name());
}

fn clone(x: &Mats<R>) -> Mats<R> {
    Mats::from_slice(&R::new(), x.dims(), &values(x)).unwrap()
}

#[test]
fn retractions_stay_on_the_set_and_follow_the_tangent() {
    check_retractions(Unconstrained);
    check_retractions(Oblique);
    check_retractions(Sphere);
    check_retractions(StackedStiefel { height: 3 });
}
