//! The embedded geometry of fixed rank in pulled-back coordinates against the same in orthonormal bases: same steps,
//! whichever way the certificate sends them, and the short way as long as it should.

use lr_linalg::{Blas, Cpu, Dims, Epilogue::Overwrite, Mats, Scalar};
use lr_manifolds::{
    EmbeddedProjection, Factors, FixedRankEmbedded, FixedRankPullback, Grid, Manifold, Retraction,
    SvdRetraction, Transport,
};
use lr_optim::{BankOptimizer, Cadence, DescentConfig, RankGuard, RiemannianDescent};
use rand::{Rng, SeedableRng, rngs::StdRng};

type B = Cpu<f64>;

const RANK: usize = 4;

fn random(rows: usize, rng: &mut StdRng) -> Vec<f64> {
    (0..rows * RANK).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn upload(b: &B, grid: &Grid, [left, right]: &[Vec<f64>; 2]) -> Factors<B> {
    let mats = |rows, x: &[f64]| Mats::from_slice(b, Dims::new(1, rows, RANK), x).unwrap();
    Factors { left: mats(grid.left.total(), left), right: mats(grid.right.total(), right) }
}

fn product(b: &B, x: &Factors<B>) -> Vec<f64> {
    let mut w = Mats::zeros(b, Dims::new(1, x.left.dims().rows, x.right.dims().rows)).unwrap();
    b.gemm(1.0, x.left.as_ref().n(), x.right.as_ref().t(), Overwrite, w.as_mut());
    w.to_vec(b).unwrap()
}

/// Pulled back from one and the same matrix, which grows with the step: `G = P Q^T` with `P`, `Q` of rank 2.
fn gradient(b: &B, x: &Factors<B>, grid: &Grid, seed: u64) -> Factors<B> {
    let mut rng = StdRng::seed_from_u64(seed);
    let thin = |rows, rng: &mut StdRng| {
        let values: Vec<f64> = (0..2 * rows).map(|_| rng.random_range(-1.0..1.0)).collect();
        Mats::from_slice(b, Dims::new(1, rows, 2), &values).unwrap()
    };
    let (p, q) = (thin(grid.left.total(), &mut rng), thin(grid.right.total(), &mut rng));
    let pulled = |p: &Mats<B>, q: &Mats<B>, x: &Mats<B>| {
        let mut inner = Mats::zeros(b, Dims::new(1, 2, RANK)).unwrap();
        let mut out = Mats::zeros(b, Dims::new(1, p.dims().rows, RANK)).unwrap();
        b.gemm(1.0, q.as_ref().t(), x.as_ref().n(), Overwrite, inner.as_mut());
        b.gemm(1.0, p.as_ref().n(), inner.as_ref().n(), Overwrite, out.as_mut());
        out
    };
    Factors { left: pulled(&p, &q, &x.right), right: pulled(&q, &p, &x.left) }
}

/// `A B^T` after some steps, and the steps that went the long way.
fn run<M: Manifold<B>>(m: M, grid: &Grid, lr: f64, config: DescentConfig, consistent: bool) -> (Vec<f64>, u64)
where
    SvdRetraction: Retraction<B, M>,
    EmbeddedProjection: Transport<B, M>,
{
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(3));
    let start = [grid.left.total(), grid.right.total()].map(|rows| random(rows, &mut rng));
    let mut x = upload(&b, grid, &start);
    let mut o =
        RiemannianDescent::new(&b, m, SvdRetraction::default(), EmbeddedProjection, config, 1).unwrap();
    for step in 0..12 {
        let mut egrad = gradient(&b, &x, grid, step / 4);
        if !consistent {
            // The two sides are pulled back from different matrices.
            egrad.right = gradient(&b, &x, grid, 100 + step / 4).right;
        }
        o.step(&b, x.as_mut(), egrad.as_ref(), lr);
    }
    let measures = o.measure(&b, x.as_ref(), x.as_ref()).unwrap();
    assert_eq!(measures.broken, None);
    assert!(measures.orthogonality_defect < 1e-12, "{measures:?}");
    (product(&b, &x), measures.repairs.exact_steps)
}

#[test]
fn steps_are_those_of_orthonormal_bases() {
    let grids = [Grid::singleton(12, 9, RANK), Grid::new(&[6, 6, 5], &[8], RANK)];
    for grid in grids {
        for (lr, consistent, momentum) in [1e-6, 1e-2, 0.1, 0.4, 3.0]
            .into_iter()
            .flat_map(|lr| [(lr, true, 0.0), (lr, true, 0.8), (lr, false, 0.0), (lr, false, 0.8)])
        {
            let config =
                DescentConfig { momentum, rank_guard: RankGuard::Report, ..DescentConfig::default() };
            let what = format!("{grid:?} lr {lr} consistent {consistent} momentum {momentum}");
            let (pulled, exact) =
                run(FixedRankPullback::new(grid.clone()).unwrap(), &grid, lr, config, consistent);
            let (plain, _) =
                run(FixedRankEmbedded::new(grid.clone()).unwrap(), &grid, lr, config, consistent);
            let distance = pulled.iter().zip(&plain).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
            assert!(distance < 1e-11 * norm(&plain), "{what}: {distance:e}");
            // The first step may balance the factors.
            assert!(if lr < 0.2 { exact <= 1 } else { lr < 1.0 || exact > 6 }, "{what}: {exact} exact steps");
        }
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Without the exact path the factors share what the middle of a step brings by taking turns.
#[test]
fn factors_take_turns() {
    let grid = Grid::singleton(12, 9, RANK);
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(8));
    let start = [12, 9].map(|rows| random(rows, &mut rng));
    let mut x = upload(&b, &grid, &start);
    let config = DescentConfig::default();
    let manifold = FixedRankPullback::new(grid.clone()).unwrap();
    let mut o = RiemannianDescent::new(&b, manifold, SvdRetraction::default(), EmbeddedProjection, config, 1)
        .unwrap();
    // Along W itself every step is one in the middle.
    for _ in 0..200 {
        let (mut left, mut right) =
            (Mats::zeros(&b, x.left.dims()).unwrap(), Mats::zeros(&b, x.right.dims()).unwrap());
        for (out, x, other) in [(&mut left, &x.left, &x.right), (&mut right, &x.right, &x.left)] {
            let mut gram = Mats::zeros(&b, Dims::square(1, RANK)).unwrap();
            b.gemm(-1.0, other.as_ref().t(), other.as_ref().n(), Overwrite, gram.as_mut());
            b.gemm(1.0, x.as_ref().n(), gram.as_ref().n(), Overwrite, out.as_mut());
        }
        o.step(&b, x.as_mut(), Factors { left, right }.as_ref(), 0.05);
    }
    let exact = o.measure(&b, x.as_ref(), x.as_ref()).unwrap().repairs.exact_steps;
    assert!(exact <= 2, "{exact} exact steps");
    assert!(norm(&product(&b, &x)) > 2.0 * 0.05 * 100.0);
}

#[test]
fn a_checkpoint_goes_on_to_the_last_bit() {
    let grid = Grid::singleton(12, 9, RANK);
    let b = B::new();
    let config = DescentConfig { momentum: 0.8, ..DescentConfig::default() };
    let make = || {
        let manifold = FixedRankPullback::new(grid.clone()).unwrap();
        RiemannianDescent::new(&b, manifold, SvdRetraction::default(), EmbeddedProjection, config, 1).unwrap()
    };
    let mut rng = StdRng::seed_from_u64(4);
    let start = [12, 9].map(|rows| random(rows, &mut rng));
    let (mut x, mut o) = (upload(&b, &grid, &start), make());
    let mut resumed = None;
    for step in 0..7 {
        if step == 3 {
            let mut dict = lr_optim::StateDict::default();
            o.save(&b, "o", &mut dict).unwrap();
            let mut other = make();
            other.load(&b, "o", &dict).unwrap();
            let factors = [&x.left, &x.right].map(|side| side.to_vec(&b).unwrap());
            resumed = Some((upload(&b, &grid, &factors), other));
        }
        for (x, o) in [Some((&mut x, &mut o)), resumed.as_mut().map(|(x, o)| (x, o))].into_iter().flatten() {
            let egrad = gradient(&b, x, &grid, step);
            o.step(&b, x.as_mut(), egrad.as_ref(), 0.05);
        }
    }
    let (other, _) = resumed.unwrap();
    let bits = |x: &Factors<B>| {
        [&x.left, &x.right]
            .map(|side| side.to_vec(&b).unwrap().iter().map(|x| x.to_f64().to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(bits(&x), bits(&other));
}

#[test]
fn a_start_without_full_rank_is_reported() {
    let grid = Grid::singleton(12, 9, RANK);
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(8));
    let mut start = [12, 9].map(|rows| random(rows, &mut rng));
    start[1].chunks_exact_mut(RANK).for_each(|row| row[2] = 0.0);
    let mut x = upload(&b, &grid, &start);
    let manifold = FixedRankPullback::new(grid.clone()).unwrap();
    let config = DescentConfig::default();
    let mut o = RiemannianDescent::new(&b, manifold, SvdRetraction::default(), EmbeddedProjection, config, 1)
        .unwrap();
    let egrad = gradient(&b, &x, &grid, 0);
    o.step(&b, x.as_mut(), egrad.as_ref(), 0.1);
    assert_eq!(o.measure(&b, x.as_ref(), egrad.as_ref()).unwrap().broken, Some(0));
}

/// Gram matrices that only follow from one another drift away from the factors.
#[test]
fn gram_matrices_stay_those_of_the_factors() {
    let grid = Grid::singleton(12, 9, RANK);
    let (b, mut rng) = (B::new(), StdRng::seed_from_u64(9));
    let start = [12, 9].map(|rows| random(rows, &mut rng));
    let mut x = upload(&b, &grid, &start);
    let config = DescentConfig { momentum: 0.5, reorthogonalize: Cadence::Never, ..DescentConfig::default() };
    let manifold = FixedRankPullback::new(grid.clone()).unwrap();
    let mut o = RiemannianDescent::new(&b, manifold, SvdRetraction::default(), EmbeddedProjection, config, 1)
        .unwrap();
    let mut largest = 0.0f64;
    for step in 0..2000 {
        let egrad = gradient(&b, &x, &grid, step);
        o.step(&b, x.as_mut(), egrad.as_ref(), 0.02);
        let measures = o.measure(&b, x.as_ref(), egrad.as_ref()).unwrap();
        largest = largest.max(measures.orthogonality_defect);
    }
    assert!(largest < 1e-14, "{largest:e}");
}
