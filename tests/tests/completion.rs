//! Matrix completion on sampled entries: the sparse problem's derivatives, and both geometries under both
//! orders.

use lr_linalg::{
    Cpu, Threads,
    sparse::{Orientation, SparseMatrix},
};
use lr_manifolds::{
    EmbeddedProjection, Factors, FixedRankEmbedded, Grid, Manifold, OrthographicRetraction,
    PartialIsometryEmbedded, SpaceDecoupling, StiefelRetraction, SvdRetraction, TangentFactors,
    level_set::{Oblique, Unconstrained},
    space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction},
};
use lr_optim::solve::{
    ConjugateGradients, MaskedFit, Stop, Termination, TrustRegions, check_gradient, check_hessian,
};
use lr_tests::{
    dense::Dense,
    problems::{factors, matrix},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

type B = Cpu<f64>;

const M: usize = 60;
const N: usize = 50;
const RANK: usize = 3;

/// A matrix of rank 3 and five times as many samples of it as degrees of freedom.
fn instance(rng: &mut StdRng) -> (Dense, MaskedFit<f64>) {
    let a = Dense::random(M, RANK, rng).times(&Dense::random(N, RANK, rng).t());
    let share = 5.0 * (RANK * (M + N - RANK)) as f64 / (M * N) as f64;
    let mut entries = Vec::new();
    for (i, j) in (0..M).flat_map(|i| (0..N).map(move |j| (i, j))) {
        if rng.random_bool(share) {
            entries.push((i, j, a.at(i, j)));
        }
    }
    (a, MaskedFit::new(SparseMatrix::new(M, N, &entries).unwrap(), Threads::Pool).unwrap())
}

fn random_start(rng: &mut StdRng) -> Factors<B> {
    factors(&Dense::random(M, RANK, rng), &Dense::random(N, RANK, rng).orthonormalized())
}

#[test]
fn derivatives_of_the_sampled_fit_are_right_on_every_geometry() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(101));
    let (_, mut problem) = instance(&mut rng);
    let direction = |rng: &mut StdRng| factors(&Dense::random(M, RANK, rng), &Dense::random(N, RANK, rng));
    let fixed = FixedRankEmbedded::new(Grid::singleton(M, N, RANK)).unwrap();
    let svd = SvdRetraction::default();
    let orthographic = OrthographicRetraction::default();
    // Neither factor orthonormal: both triangles of the frame count.
    let slopes = [
        check_gradient(&b, &fixed, &svd, &mut problem, direction(&mut rng), direction(&mut rng)),
        check_hessian(&b, &fixed, &svd, &mut problem, direction(&mut rng), direction(&mut rng)),
        check_hessian(&b, &fixed, &orthographic, &mut problem, direction(&mut rng), direction(&mut rng)),
    ];
    let slopes = slopes.map(Result::unwrap);
    assert!(slopes.iter().all(|s| s.is_right()), "{:?}", slopes.map(|s| s.exponent));

    let oblique = SpaceDecoupling::new(M, N, RANK, Oblique, 0.7).unwrap();
    let start = |rng: &mut StdRng| {
        let mut h = Dense::random(M, RANK, rng);
        for row in h.data.chunks_mut(RANK) {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        factors(&h, &Dense::random(N, RANK, rng).orthonormalized())
    };
    let second = DecouplingRetraction::Second;
    let slopes = [
        check_gradient(&b, &oblique, &second, &mut problem, start(&mut rng), direction(&mut rng)),
        check_hessian(&b, &oblique, &second, &mut problem, start(&mut rng), direction(&mut rng)),
    ];
    let slopes = slopes.map(Result::unwrap);
    assert!(slopes.iter().all(|s| s.is_right()), "{:?}", slopes.map(|s| s.exponent));
}

#[test]
fn conjugate_gradients_and_trust_regions_complete_the_matrix_on_both_geometries() {
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(97));
    let (a, mut problem) = instance(&mut rng);
    let square: f64 = problem.data().values(Orientation::Rows).iter().map(|x| x * x).sum();
    // Relative residual 1e-10.
    let stop = Stop::Cost(0.5 * 1e-20 * square).or(Stop::iterations(400));
    let fixed = FixedRankEmbedded::new(Grid::singleton(M, N, RANK)).unwrap();
    let bounded = SpaceDecoupling::new(M, N, RANK, Unconstrained, 0.5).unwrap();
    let (svd, projection) = (SvdRetraction::default(), DecouplingProjection);
    let (second, cg, mut watch) = (DecouplingRetraction::Second, ConjugateGradients::default(), |_: &_| {});
    let mut start = || random_start(&mut rng);
    let found = [
        cg.solve(&b, &fixed, &svd, &EmbeddedProjection, &mut problem, start(), &stop, &mut watch),
        cg.solve(&b, &bounded, &second, &projection, &mut problem, start(), &stop, &mut watch),
        TrustRegions::default().solve(&b, &fixed, &svd, &mut problem, start(), &stop, &mut watch),
        TrustRegions::default().solve(&b, &bounded, &second, &mut problem, start(), &stop, &mut watch),
    ];
    for found in found.map(Result::unwrap) {
        assert_eq!(found.outcome.termination, Termination::Converged, "{:?}", found.outcome);
        let error = matrix(found.x.as_ref()).relative_error(&a);
        assert!(error < 1e-8, "{error:e}: {:?}", found.outcome);
    }
}

/// `K R^T + L W^T` is the ambient tangent matrix.
fn factors_are_ambient<M: TangentFactors<B>>(manifold: &M, x: Factors<B>, rng: &mut StdRng) {
    use lr_linalg::{Dims, Mats, Scratch};
    use lr_manifolds::{Base, Health};
    let b = B::new();
    let (left, right) = (x.left.dims(), x.right.dims());
    let mut v =
        factors(&Dense::random(left.rows, left.cols, rng), &Dense::random(right.rows, right.cols, rng));
    let mut out = Factors::zeros(&b, manifold.grid(), 1).unwrap();
    let mut health = Health::new(&b, 1).unwrap();
    let mut ambient = Mats::zeros(&b, Dims::new(1, left.rows, right.rows)).unwrap();
    let mut frame = manifold.new_frame(&b, 1).unwrap();
    Scratch::new(&b).unwrap().scope(|scope| {
        manifold.factor(&b, x.as_ref(), &mut frame, health.as_mut(), scope);
        let at = Base { x: x.as_ref(), frame: &frame };
        manifold.project(&b, at, v.as_mut(), scope);
        manifold.tangent_factors(&b, at, v.as_ref(), out.as_mut(), scope);
        manifold.to_ambient(&b, at, v.as_ref(), ambient.as_mut(), scope);
    });
    let dense = |x: &Mats<B>| Dense::download(&b, x.as_ref());
    let (l, r, k, w) = (dense(&x.left), dense(&x.right), dense(&out.left), dense(&out.right));
    let error = k.times(&r.t()).plus(1.0, &l.times(&w.t())).relative_error(&dense(&ambient));
    assert!(error < 1e-12, "{}: {error:e}", Manifold::<B>::name(manifold));
}

#[test]
fn tangent_factors_make_the_ambient_tangent() {
    let mut rng = StdRng::seed_from_u64(103);
    let fixed = FixedRankEmbedded::new(Grid::singleton(M, N, RANK)).unwrap();
    let x = random_start(&mut rng);
    factors_are_ambient(&fixed, x, &mut rng);
    let isometry =
        PartialIsometryEmbedded::new(Grid::singleton(M, N, RANK), StiefelRetraction::Polar).unwrap();
    let orthonormal = |n: usize, rng: &mut StdRng| Dense::random(n, RANK, rng).orthonormalized();
    let x = factors(&orthonormal(M, &mut rng), &orthonormal(N, &mut rng));
    factors_are_ambient(&isometry, x, &mut rng);
}
