//! Fast paths against exact ones: one step in f32 on the CPU, which takes every shortcut that its certificates
//! allow, against the same step in f64 on the reference backend, which takes none; over conditions of the
//! point, lengths of the step and all ten optimizers.

use lr_linalg::{Backend, Cpu, Dims, Linalg, Mats, Reference, Scalar};
use lr_manifolds::{Factors, Grid, StiefelRetraction};
use lr_optim::{BankMeasures, DescentConfig, Geometry};
use rand::{Rng, SeedableRng, rngs::StdRng};

const RANK: usize = 6;

fn random(rows: usize, rng: &mut StdRng) -> Vec<f64> {
    (0..rows * RANK).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Orthonormal columns, block by block.
fn orthonormal(heights: &[usize], rng: &mut StdRng) -> Vec<f64> {
    let b = Reference::<f64>::new();
    let block = |&rows: &usize| {
        let mut q = Mats::from_slice(&b, Dims::new(1, rows, RANK), &random(rows, rng)).unwrap();
        let (mut r, mut status) = (Mats::zeros(&b, Dims::square(1, RANK)).unwrap(), scalar(&b));
        lr_linalg::Factor::qr(&b, q.as_mut(), r.as_mut(), status.as_mut());
        q.to_vec(&b).unwrap()
    };
    heights.iter().flat_map(block).collect()
}

fn scalar<B: Backend>(b: &B) -> Mats<B> {
    Mats::zeros(b, Dims::scalars(1)).unwrap()
}

/// A point with singular values from 1 down to the inverse of `condition`, evenly on the logarithmic scale and
/// shared evenly between the factors, rounded to f32.
fn point(grid: (&[usize], &[usize]), condition: f64, rng: &mut StdRng) -> [Vec<f64>; 2] {
    [grid.0, grid.1].map(|heights| {
        let mut x = orthonormal(heights, rng);
        for row in x.chunks_exact_mut(RANK) {
            for (j, x) in row.iter_mut().enumerate() {
                let share = j as f64 / (RANK - 1) as f64;
                *x = f64::from((*x * condition.powf(-0.5 * share)) as f32);
            }
        }
        x
    })
}

/// `(G B, G^T A)` for `G = P Q^T`, rounded to f32.
fn gradient([a, b]: &[Vec<f64>; 2], rng: &mut StdRng) -> [Vec<f64>; 2] {
    let (p, q) = (random(a.len() / RANK, rng), random(b.len() / RANK, rng));
    let overlap = |x: &[f64], y: &[f64]| {
        let mut sum = [[0.0; RANK]; RANK];
        for (x, y) in x.chunks_exact(RANK).zip(y.chunks_exact(RANK)) {
            for (sum, &x) in sum.iter_mut().zip(x) {
                sum.iter_mut().zip(y).for_each(|(sum, &y)| *sum += x * y);
            }
        }
        sum
    };
    let times = |x: &[f64], k: [[f64; RANK]; RANK]| -> Vec<f64> {
        let row =
            |x: &[f64]| -> [f64; RANK] { std::array::from_fn(|j| (0..RANK).map(|i| x[i] * k[i][j]).sum()) };
        x.chunks_exact(RANK).flat_map(row).map(|x| f64::from(x as f32)).collect()
    };
    [times(&p, overlap(&q, b)), times(&q, overlap(&p, a))]
}

/// `A B^T` after one step, and what the optimizer says of it.
fn after_a_step<B: Linalg>(
    b: &B,
    geometry: Geometry,
    grid: &Grid,
    x: &[Vec<f64>; 2],
    egrad: &[Vec<f64>; 2],
    lr: f64,
) -> (Vec<f64>, BankMeasures) {
    let upload = |x: &[Vec<f64>; 2]| {
        let [left, right] = [0, 1].map(|side| {
            let values: Vec<_> = x[side].iter().map(|&x| B::Elem::from_f64(x)).collect();
            Mats::from_slice(b, Dims::new(1, values.len() / RANK, RANK), &values).unwrap()
        });
        Factors { left, right }
    };
    let (mut x, egrad) = (upload(x), upload(egrad));
    let config = DescentConfig { momentum: 0.5, ..DescentConfig::default() };
    let mut optimizer =
        geometry.optimizer(b, grid.clone(), StiefelRetraction::Polar, config, 1).expect("optimizer");
    optimizer.step(b, x.as_mut(), egrad.as_ref(), lr);
    let measures = optimizer.measure(b, x.as_ref(), egrad.as_ref()).unwrap();
    let [left, right] = [x.left, x.right]
        .map(|side| -> Vec<f64> { side.to_vec(b).unwrap().iter().map(|x| x.to_f64()).collect() });
    let product = left.chunks_exact(RANK).flat_map(|a| {
        right.chunks_exact(RANK).map(|b| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()).collect::<Vec<_>>()
    });
    (product.collect(), measures)
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn a_step_in_f32_is_the_exact_one_to_rounding() {
    let mut rng = StdRng::seed_from_u64(5);
    let shapes: [(&[usize], &[usize]); 2] = [(&[40], &[32]), (&[12, 12, 12], &[16])];
    let (mut shortcuts, mut exact) = (0, 0);
    for shape in shapes {
        let grid = Grid::new(shape.0, shape.1, RANK);
        for geometry in Geometry::ALL {
            let conditions: &[f64] = if geometry.is_partial_isometry() { &[1.0] } else { &[1.0, 1e3, 1e6] };
            for (&condition, lr) in
                conditions.iter().flat_map(|c| [-8, -3, 0].map(|k| (c, f64::exp2(k.into()))))
            {
                let x = point(shape, condition, &mut rng);
                let noise = [0, 1].map(|side: usize| {
                    random(x[side].len() / RANK, &mut rng).into_iter().map(|g| f64::from(g as f32)).collect()
                });
                // The second is the gradient of nothing: its sides disagree on the middle.
                for egrad in [gradient(&x, &mut rng), noise] {
                    let (fast, measures) = after_a_step(&Cpu::<f32>::new(), geometry, &grid, &x, &egrad, lr);
                    let (slow, oracle) =
                        after_a_step(&Reference::<f64>::new(), geometry, &grid, &x, &egrad, lr);
                    assert_eq!((measures.broken, oracle.broken), (None, None));
                    let error = norm(fast.iter().zip(&slow).map(|(x, y)| x - y)) / norm(slow.iter().copied());
                    let name = format!("{geometry} {shape:?} condition {condition:e} step {lr}");
                    assert!(error <= 16.0 * f64::from(f32::EPSILON), "{name}: off by {error:.2e}");
                    assert!(measures.orthogonality_defect < 1e-5, "{name}: {measures:?}");
                    if geometry.is_embedded() && (grid.is_singleton() || !geometry.is_partial_isometry()) {
                        exact += measures.repairs.exact_steps;
                        shortcuts += 1 - measures.repairs.exact_steps;
                    }
                }
            }
        }
    }
    assert!(shortcuts > 0 && exact > 0, "both ways were taken: {shortcuts} {exact}");
}

/// The factors of the embedded geometry continue from step to step without an SVD; those out of balance, as at
/// this start, are balanced by an exact step.
#[test]
fn factors_stay_balanced() {
    let (b, shape): (_, (&[usize], &[usize])) = (Cpu::<f32>::new(), (&[40], &[32]));
    let (grid, mut rng) = (Grid::new(shape.0, shape.1, RANK), StdRng::seed_from_u64(6));
    let upload = |x: &[f64], scale: f64| {
        let values: Vec<f32> = x.iter().map(|&x| (scale * x) as f32).collect();
        Mats::from_slice(&b, Dims::new(1, values.len() / RANK, RANK), &values).unwrap()
    };
    let [left, right] = point(shape, 3.0, &mut rng);
    let mut x = Factors { left: upload(&left, 2.0), right: upload(&right, 0.5) };
    let geometry = Geometry::FixedEmbedded;
    let mut optimizer = geometry
        .optimizer(&b, grid, StiefelRetraction::Polar, DescentConfig::default(), 1)
        .expect("optimizer");
    let steps = 400;
    for step in 0..steps {
        let factors = [&x.left, &x.right]
            .map(|x| -> Vec<f64> { x.to_vec(&b).unwrap().iter().map(|&x| x.into()).collect() });
        let [left, right] = gradient(&factors, &mut rng).map(|g| upload(&g, 1.0));
        optimizer.step(&b, x.as_mut(), Factors { left, right }.as_ref(), 0.1);
        let grams = [&x.left, &x.right].map(|x| {
            let mut gram = Mats::zeros(&b, Dims::square(1, RANK)).unwrap();
            let overwrite = lr_linalg::Epilogue::Overwrite;
            lr_linalg::Blas::gemm(&b, 1.0, x.as_ref().t(), x.as_ref().n(), overwrite, gram.as_mut());
            gram.to_vec(&b).unwrap()
        });
        let difference = norm(grams[0].iter().zip(&grams[1]).map(|(x, y)| f64::from(x - y)));
        let imbalance = difference / norm(grams[0].iter().map(|&x| x.into()));
        assert!(imbalance < 0.26, "step {step}: {imbalance}");
    }
    let exact = optimizer.measure(&b, x.as_ref(), x.as_ref()).unwrap().repairs.exact_steps;
    assert!((1..steps / 10).contains(&exact), "{exact} exact steps");
}
