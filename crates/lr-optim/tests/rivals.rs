//! Per-head Muon and preconditioned AdamW against plain loops in f64, what their steps promise, saved
//! states, and bad gradients and settings.

use lr_linalg::{Backend, Cpu, Dims, Factor, Linalg, Mats, Reference, Scalar};
use lr_manifolds::{Factors, FactorsMut, Grid};
use lr_optim::{
    AdamWConfig, BankOptimizer, Muon, MuonConfig, Nesterov, OptimError, PreconditionedAdamW,
    PreconditionedAdamWConfig, StateDict, StateError,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::ops::Range;

type B64 = Cpu<f64>;
type Optimizer<B> = Box<dyn BankOptimizer<B>>;

/// Host matrix by rows.
type Matrix = Vec<Vec<f64>>;

/// Host problem: the left and the right stack.
type Pair = [Matrix; 2];

fn random_pairs(grid: &Grid, problems: usize, rng: &mut StdRng) -> Vec<Pair> {
    let mut stack = |rows: usize| -> Matrix {
        (0..rows).map(|_| (0..grid.rank).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    };
    (0..problems).map(|_| [stack(grid.left.total()), stack(grid.right.total())]).collect()
}

fn upload<B: Backend>(b: &B, grid: &Grid, pairs: &[Pair]) -> Factors<B> {
    let side = |k: usize, dims: Dims| {
        let values: Vec<_> = pairs.iter().flat_map(|p| p[k].iter().flatten()).collect();
        let values: Vec<_> = values.into_iter().map(|x| B::Elem::from_f64(*x)).collect();
        Mats::from_slice(b, dims, &values).unwrap()
    };
    Factors { left: side(0, grid.left_dims(pairs.len())), right: side(1, grid.right_dims(pairs.len())) }
}

fn values<B: Backend>(b: &B, x: &Factors<B>) -> Vec<f64> {
    let all = [x.left.to_vec(b).unwrap(), x.right.to_vec(b).unwrap()].concat();
    all.into_iter().map(Scalar::to_f64).collect()
}

fn assert_close(what: &str, ours: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    for (a, e) in ours.iter().zip(expected) {
        assert!((a - e).abs() <= tolerance * size, "{what}: {a} against {e}");
    }
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    a.iter()
        .map(|row| (0..b[0].len()).map(|j| (0..b.len()).map(|k| row[k] * b[k][j]).sum()).collect())
        .collect()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// Element by element.
fn combine(a: &Matrix, b: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()).collect()
}

/// Gauss and Jordan, no pivoting: for positive definite matrices.
fn inverse(a: &Matrix) -> Matrix {
    let n = a.len();
    let mut w: Matrix = a.clone();
    for (i, row) in w.iter_mut().enumerate() {
        row.extend((0..n).map(|j| if i == j { 1.0 } else { 0.0 }));
    }
    for i in 0..n {
        let pivot = w[i][i];
        w[i].iter_mut().for_each(|x| *x /= pivot);
        let top = w[i].clone();
        for (_, row) in w.iter_mut().enumerate().filter(|(k, _)| *k != i) {
            let factor = row[i];
            row.iter_mut().zip(&top).for_each(|(x, t)| *x -= factor * t);
        }
    }
    w.into_iter().map(|row| row[n..].to_vec()).collect()
}

/// The authors' iteration as they write it, `X <- a X + (b S + c S S) X` with `S = X X^T`.
fn newton_schulz(config: &MuonConfig, z: &Matrix) -> Matrix {
    let norm = z.iter().flatten().map(|x| x * x).sum::<f64>().sqrt() + config.epsilon;
    let mut x: Matrix = combine(z, z, |z, _| z / norm);
    for _ in 0..config.steps {
        let s = product(&x, &transposed(&x));
        let poly = combine(&s, &product(&s, &s), |s, ss| -4.7750 * s + 2.0315 * ss);
        x = combine(&x, &product(&poly, &x), |x, px| 3.4445 * x + px);
    }
    x
}

/// One step of Muon on one stack.
fn muon_step(
    config: &MuonConfig,
    blocks: impl Iterator<Item = Range<usize>>,
    x: &mut Matrix,
    m: &mut Matrix,
    g: &Matrix,
    lr: f64,
) {
    let mu = config.momentum;
    *m = combine(m, g, |m, g| mu * m + (1.0 - mu) * g);
    let z = match config.nesterov {
        Nesterov::Off => m.clone(),
        Nesterov::On => combine(m, g, |m, g| mu * m + (1.0 - mu) * g),
    };
    for range in blocks {
        let scale = (range.len() as f64 / x[0].len() as f64).max(1.0).sqrt();
        let orthogonal = newton_schulz(config, &z[range.clone()].to_vec());
        let decayed = 1.0 - lr * config.weight_decay;
        let moved = combine(&x[range.clone()].to_vec(), &orthogonal, |x, o| decayed * x - lr * scale * o);
        x.splice(range, moved);
    }
}

fn muon_follows_the_loops<B: Linalg<Elem = f64>>(b: &B, grid: &Grid, config: MuonConfig) {
    let (problems, lr) = (3, 0.3);
    let mut rng = StdRng::seed_from_u64(5);
    let mut host = random_pairs(grid, problems, &mut rng);
    let mut momenta: Vec<Pair> =
        host.iter().map(|[a, b]| [combine(a, a, |_, _| 0.0), combine(b, b, |_, _| 0.0)]).collect();
    let mut x = upload(b, grid, &host);
    let mut muon = Muon::new(b, config, grid.clone(), problems).unwrap();
    for step in 1..=3 {
        let g = random_pairs(grid, problems, &mut rng);
        muon.step(b, x.as_mut(), upload(b, grid, &g).as_ref(), lr);
        for ((x, m), g) in host.iter_mut().zip(&mut momenta).zip(&g) {
            muon_step(&config, grid.left.ranges(), &mut x[0], &mut m[0], &g[0], lr);
            muon_step(&config, grid.right.ranges(), &mut x[1], &mut m[1], &g[1], lr);
        }
        let what = format!("{} {grid:?} {config:?} step {step}", B::NAME);
        assert_close(&what, &values(b, &x), &values(b, &upload(b, grid, &host)), 1e-12);
    }
    let norm = |pairs: &[Pair]| pairs.iter().flatten().flatten().flatten().map(|x| x * x).sum::<f64>().sqrt();
    let g = random_pairs(grid, problems, &mut rng);
    let measures = muon.measure(b, x.as_ref(), upload(b, grid, &g).as_ref()).unwrap();
    let norms = [measures.gradient_norm, measures.momentum_norm];
    assert_close("norms", &norms, &[norm(&g), norm(&momenta)], 1e-12);
    assert_eq!((measures.broken, measures.repairs.safeguards), (None, 0));
}

/// Single pairs, blocks of one height, blocks of several heights, and one with fewer rows than columns.
fn grids() -> [Grid; 4] {
    [
        Grid::singleton(7, 5, 3),
        Grid::new(&[4, 4, 4], &[5, 5], 3),
        Grid::new(&[6, 4, 5], &[5], 3),
        Grid::new(&[2, 9], &[3, 2], 3),
    ]
}

#[test]
fn muon_steps_are_those_of_plain_loops() {
    let decaying = MuonConfig { weight_decay: 0.2, ..MuonConfig::default() };
    let other = MuonConfig { momentum: 0.5, nesterov: Nesterov::Off, steps: 2, epsilon: 1e-2, ..decaying };
    for grid in grids() {
        for config in [MuonConfig::default(), decaying, other] {
            muon_follows_the_loops(&Reference::<f64>::new(), &grid, config);
            muon_follows_the_loops(&B64::new(), &grid, config);
        }
    }
}

#[test]
fn muon_orthogonalizes_every_block_by_itself() {
    let b = B64::new();
    let mut rng = StdRng::seed_from_u64(7);
    for grid in grids() {
        let mut g = random_pairs(&grid, 4, &mut rng);
        // Full rank for certain, with columns and heads of very different length.
        for pair in &mut g {
            for (stack, blocks) in pair.iter_mut().zip([&grid.left, &grid.right]) {
                for (k, range) in blocks.ranges().enumerate() {
                    for (i, row) in stack[range].iter_mut().enumerate() {
                        row.iter_mut().skip(i).take(1).for_each(|x| *x += 4.0);
                        row[0] *= 20.0;
                        row.iter_mut().for_each(|x| *x *= 100_f64.powi(k as i32));
                    }
                }
            }
        }
        let mut x = Factors::zeros(&b, &grid, 4).unwrap();
        let config = MuonConfig { momentum: 0.0, ..MuonConfig::default() };
        let mut muon = Muon::new(&b, config, grid.clone(), 4).unwrap();
        muon.step(&b, x.as_mut(), upload(&b, &grid, &g).as_ref(), -1.0);
        for (blocks, side) in [(&grid.left, &x.left), (&grid.right, &x.right)] {
            for range in blocks.ranges() {
                let scale = (range.len() as f64 / grid.rank as f64).max(1.0).sqrt();
                let block = b.download(side.as_ref().rows(range.clone())).unwrap();
                let (tall, wide) = (range.len().max(grid.rank), range.len().min(grid.rank));
                let mut block = Mats::from_slice(&b, Dims::new(4, range.len(), grid.rank), &block).unwrap();
                if range.len() < grid.rank {
                    let mut turned = Mats::zeros(&b, Dims::new(4, tall, wide)).unwrap();
                    lr_linalg::Blas::copy(&b, block.as_ref().t(), turned.as_mut());
                    block = turned;
                }
                let mut s = Mats::zeros(&b, Dims::new(4, 1, wide)).unwrap();
                let mut v = Mats::zeros(&b, Dims::square(4, wide)).unwrap();
                let mut status = Mats::zeros(&b, Dims::scalars(4)).unwrap();
                b.svd(block.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
                let singular = s.to_vec(&b).unwrap();
                assert!(
                    singular.iter().all(|s| (0.6..1.3).contains(&(s / scale))),
                    "{grid:?} {range:?}: {singular:?} over {scale}"
                );
            }
        }
    }
}

/// One step of AdamW, bias-corrected, on one stack.
fn adamw_step(c: &AdamWConfig, t: i32, x: &mut Matrix, moments: &mut [Matrix; 2], g: &Matrix, lr: f64) {
    moments[0] = combine(&moments[0], g, |m, g| c.beta1 * m + (1.0 - c.beta1) * g);
    moments[1] = combine(&moments[1], g, |v, g| c.beta2 * v + (1.0 - c.beta2) * g * g);
    let direction = combine(&moments[0], &moments[1], |m, v| {
        (m / (1.0 - c.beta1.powi(t))) / ((v / (1.0 - c.beta2.powi(t))).sqrt() + c.epsilon)
    });
    *x = combine(x, &direction, |x, d| x * (1.0 - lr * c.weight_decay) - lr * d);
}

fn preconditioned_gradient(damping: f64, other: &Matrix, g: &Matrix) -> Matrix {
    let mut gram = product(&transposed(other), other);
    gram.iter_mut().enumerate().for_each(|(i, row)| row[i] += damping);
    product(g, &inverse(&gram))
}

fn preconditioned_follows_the_loops<B: Linalg<Elem = f64>>(
    b: &B,
    grid: &Grid,
    config: PreconditionedAdamWConfig,
) {
    let (problems, lr) = (3, 0.05);
    let mut rng = StdRng::seed_from_u64(6);
    let mut host = random_pairs(grid, problems, &mut rng);
    let zero = |m: &Matrix| combine(m, m, |_, _| 0.0);
    let mut moments: Vec<[[Matrix; 2]; 2]> =
        host.iter().map(|p| [0, 1].map(|k| [zero(&p[k]), zero(&p[k])])).collect();
    let mut x = upload(b, grid, &host);
    let mut optimizer = PreconditionedAdamW::new(b, config, grid.clone(), problems).unwrap();
    for t in 1..=3 {
        let g = random_pairs(grid, problems, &mut rng);
        optimizer.step(b, x.as_mut(), upload(b, grid, &g).as_ref(), lr);
        for ((x, m), g) in host.iter_mut().zip(&mut moments).zip(&g) {
            let p = [0, 1].map(|k| preconditioned_gradient(config.damping, &x[1 - k], &g[k]));
            for k in [0, 1] {
                adamw_step(&config.adamw, t, &mut x[k], &mut m[k], &p[k], lr);
            }
        }
        let what = format!("{} {grid:?} {config:?} step {t}", B::NAME);
        assert_close(&what, &values(b, &x), &values(b, &upload(b, grid, &host)), 1e-12);
    }
    let measures = optimizer.measure(b, x.as_ref(), upload(b, grid, &host).as_ref()).unwrap();
    let first = moments.iter().flatten().flat_map(|m| &m[0]).flatten();
    let momentum = first.map(|x| x * x).sum::<f64>().sqrt();
    assert_close("momentum norm", &[measures.momentum_norm], &[momentum], 1e-12);
    assert_eq!((measures.broken, measures.repairs.safeguards), (None, 0));
}

#[test]
fn preconditioned_steps_are_those_of_plain_loops() {
    let adamw = AdamWConfig { beta1: 0.7, beta2: 0.9, epsilon: 1e-3, weight_decay: 0.3 };
    for grid in grids() {
        for config in
            [PreconditionedAdamWConfig::default(), PreconditionedAdamWConfig { adamw, damping: 0.1 }]
        {
            preconditioned_follows_the_loops(&Reference::<f64>::new(), &grid, config);
            preconditioned_follows_the_loops(&B64::new(), &grid, config);
        }
    }
}

#[test]
fn the_preconditioned_gradient_does_not_depend_on_the_factors_chosen() {
    let (b, grid) = (B64::new(), Grid::new(&[6, 4], &[5, 3], 3));
    let mut rng = StdRng::seed_from_u64(9);
    let [a, c] = random_pairs(&grid, 1, &mut rng).swap_remove(0);
    let [ga, gc] = random_pairs(&grid, 1, &mut rng).swap_remove(0);
    let m: Matrix = vec![vec![2.0, 0.3, -0.4], vec![0.1, -0.5, 0.2], vec![0.7, 0.6, 1.5]];
    let minv_t = {
        // (M^T M)^{-1} M^T is the inverse, and Gauss without pivoting is safe on M^T M.
        let mt = transposed(&m);
        transposed(&product(&inverse(&product(&mt, &m)), &mt))
    };
    // An epsilon this large leaves AdamW's first step linear: lr P / (|P| + epsilon) = P lr / epsilon.
    let adamw = AdamWConfig { beta1: 0.0, epsilon: 1e15, weight_decay: 0.0, ..AdamWConfig::default() };
    let config = PreconditionedAdamWConfig { adamw, damping: 0.0 };
    let product_after = |x: Pair, g: Pair| {
        let mut x = upload(&b, &grid, &[x]);
        let mut optimizer = PreconditionedAdamW::new(&b, config, grid.clone(), 1).unwrap();
        optimizer.step(&b, x.as_mut(), upload(&b, &grid, &[g]).as_ref(), 5e14);
        let rows = |side: &Mats<B64>| -> Matrix {
            side.to_vec(&b).unwrap().chunks(grid.rank).map(<[f64]>::to_vec).collect()
        };
        product(&rows(&x.left), &transposed(&rows(&x.right))).concat()
    };
    let turned = product_after(
        [product(&a, &m), product(&c, &minv_t)],
        // G_A = G_W B and G_B = G_W^T A turn as the other factor does.
        [product(&ga, &minv_t), product(&gc, &m)],
    );
    let start = product(&a, &transposed(&c)).concat();
    let plain = product_after([a, c], [ga, gc]);
    assert_close("W after the step", &turned, &plain, 1e-11);
    let moved = start.iter().zip(&plain).map(|(s, p)| (s - p).abs()).fold(0.0, f64::max);
    assert!(moved > 0.1, "the step moved W by {moved} only");
}

fn both<B: Linalg>(b: &B, grid: &Grid, problems: usize) -> [Optimizer<B>; 2] {
    let preconditioned = PreconditionedAdamWConfig::default();
    [
        Box::new(Muon::new(b, MuonConfig::default(), grid.clone(), problems).unwrap()),
        Box::new(PreconditionedAdamW::new(b, preconditioned, grid.clone(), problems).unwrap()),
    ]
}

#[test]
fn a_saved_state_continues_bit_for_bit() {
    let (b, grid) = (Cpu::<f32>::new(), Grid::new(&[6, 4], &[5], 3));
    for kind in 0..2 {
        let mut rng = StdRng::seed_from_u64(3);
        let start = random_pairs(&grid, 4, &mut rng);
        let gradients: Vec<_> =
            (0..6).map(|_| upload(&b, &grid, &random_pairs(&grid, 4, &mut rng))).collect();
        let run = |interrupted_after: Option<usize>| {
            let mut x = upload(&b, &grid, &start);
            let mut optimizer = both(&b, &grid, 4).into_iter().nth(kind).unwrap();
            for (k, g) in gradients.iter().enumerate() {
                if interrupted_after == Some(k) {
                    let mut dict = StateDict::default();
                    optimizer.save(&b, "qk", &mut dict).unwrap();
                    optimizer = both(&b, &grid, 4).into_iter().nth(kind).unwrap();
                    optimizer.load(&b, "qk", &dict).unwrap();
                }
                optimizer.step(&b, x.as_mut(), g.as_ref(), 0.02);
            }
            values(&b, &x)
        };
        assert_eq!(run(None), run(Some(3)));
        assert_ne!(run(None), values(&b, &upload(&b, &grid, &start)));
    }
}

#[test]
fn a_state_of_other_settings_is_refused() {
    let b = B64::new();
    let [grid, larger] = [Grid::singleton(6, 5, 3), Grid::singleton(7, 5, 3)];
    for (mut optimizer, other) in both(&b, &grid, 2).into_iter().zip(both(&b, &larger, 2)) {
        let mut dict = StateDict::default();
        other.save(&b, "qk", &mut dict).unwrap();
        let error = optimizer.load(&b, "qk", &dict).unwrap_err();
        assert!(matches!(error, StateError::Shape { .. }), "{error}");
        let error = optimizer.load(&b, "vo", &dict).unwrap_err();
        assert!(matches!(error, StateError::Missing { .. }), "{error}");
    }
}

#[test]
fn vanishing_gradients_and_factors_make_no_trouble() {
    let b = Cpu::<f32>::new();
    for grid in grids() {
        let zero = Factors::zeros(&b, &grid, 2).unwrap();
        let start = random_pairs(&grid, 2, &mut StdRng::seed_from_u64(2));
        for mut optimizer in both(&b, &grid, 2) {
            let mut x = upload(&b, &grid, &start);
            (0..3).for_each(|_| optimizer.step(&b, x.as_mut(), zero.as_ref(), 0.1));
            assert!(values(&b, &x).iter().all(|x| x.is_finite() && *x != 0.0), "{}", optimizer.name());
            // The usual start of an adapter: one factor is zero.
            lr_linalg::Blas::fill(&b, 0.0, x.right.as_mut());
            let g = upload(&b, &grid, &start);
            (0..3).for_each(|_| optimizer.step(&b, x.as_mut(), g.as_ref(), 0.1));
            assert!(values(&b, &x).iter().all(|x| x.is_finite()), "{}", optimizer.name());
            let measures = optimizer.measure(&b, x.as_ref(), g.as_ref()).unwrap();
            assert_eq!((measures.broken, measures.repairs.safeguards), (None, 0), "{}", optimizer.name());
        }
    }
}

#[test]
fn a_gram_matrix_that_vanishes_without_damping_is_repaired_and_counted() {
    let (b, grid) = (Cpu::<f32>::new(), Grid::singleton(6, 5, 3));
    let config = PreconditionedAdamWConfig { damping: 0.0, ..PreconditionedAdamWConfig::default() };
    let mut optimizer = PreconditionedAdamW::new(&b, config, grid.clone(), 2).unwrap();
    let g = upload(&b, &grid, &random_pairs(&grid, 2, &mut StdRng::seed_from_u64(2)));
    let mut x = upload(&b, &grid, &random_pairs(&grid, 2, &mut StdRng::seed_from_u64(3)));
    lr_linalg::Blas::fill(&b, 0.0, x.right.as_mut().problem(1));
    optimizer.step(&b, x.as_mut(), g.as_ref(), 0.1);
    let measures = optimizer.measure(&b, x.as_ref(), g.as_ref()).unwrap();
    assert_eq!((measures.broken, measures.repairs.safeguards), (None, 1));
    let mut dict = StateDict::default();
    optimizer.save(&b, "qk", &mut dict).unwrap();
    let mut again = PreconditionedAdamW::new(&b, config, grid, 2).unwrap();
    again.load(&b, "qk", &dict).unwrap();
    assert_eq!(again.measure(&b, x.as_ref(), g.as_ref()).unwrap(), measures);
    assert!(values(&b, &x).iter().all(|x| x.is_finite()));
}

#[test]
fn a_gradient_that_is_not_finite_breaks_its_problem_only_and_is_reported() {
    let b = Cpu::<f32>::new();
    for grid in grids() {
        for bad in [f64::NAN, f64::INFINITY, 1e30] {
            let mut g = random_pairs(&grid, 3, &mut StdRng::seed_from_u64(2));
            // The last block of the right stack: what is watched must be all of them.
            *g[1][1].last_mut().unwrap().last_mut().unwrap() = bad;
            let g = upload(&b, &grid, &g);
            for mut optimizer in both(&b, &grid, 3) {
                let name = optimizer.name();
                let mut x = upload(&b, &grid, &random_pairs(&grid, 3, &mut StdRng::seed_from_u64(3)));
                (0..3).for_each(|_| optimizer.step(&b, x.as_mut(), g.as_ref(), 0.1));
                let measures = optimizer.measure(&b, x.as_ref(), g.as_ref()).unwrap();
                // AdamW's second moment overflows for a large gradient, which only stops that element.
                let broken = if bad == 1e30 && name != "muon" { None } else { Some(1) };
                assert_eq!(measures.broken, broken, "{name}, {bad}");
                assert!(!measures.gradient_norm.is_finite(), "{name}, {bad}");
                for side in [&x.left, &x.right] {
                    let healthy = [0, 2].map(|p| b.download(side.as_ref().problem(p)).unwrap()).concat();
                    assert!(healthy.iter().all(|x| x.is_finite()), "{name}, {bad}");
                }
            }
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let b = B64::new();
    let grid = Grid::singleton(6, 5, 2);
    let muon = |config| Muon::new(&b, config, grid.clone(), 2).unwrap_err();
    let usual = MuonConfig::default();
    assert_eq!(muon(MuonConfig { momentum: 1.0, ..usual }), OptimError::Momentum(1.0));
    assert!(matches!(muon(MuonConfig { momentum: f64::NAN, ..usual }), OptimError::Momentum(_)));
    assert_eq!(muon(MuonConfig { steps: 0, ..usual }), OptimError::NewtonSchulzSteps);
    for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = muon(MuonConfig { epsilon, ..usual }).to_string();
        assert!(error.contains("epsilon") && error.contains("positive"), "{error}");
    }
    for weight_decay in [-0.1, f64::NAN, f64::INFINITY] {
        let error = muon(MuonConfig { weight_decay, ..usual }).to_string();
        assert!(error.contains("weight decay"), "{error}");
    }

    let preconditioned = |adamw, damping| {
        let config = PreconditionedAdamWConfig { adamw, damping };
        PreconditionedAdamW::new(&b, config, grid.clone(), 2).unwrap_err().to_string()
    };
    let usual = AdamWConfig::default();
    assert!(
        preconditioned(AdamWConfig { beta1: 1.0, ..usual }, 0.0).contains("beta1 = 1 must lie in [0, 1)")
    );
    assert!(preconditioned(AdamWConfig { beta2: -0.5, ..usual }, 0.0).contains("beta2"));
    assert!(preconditioned(AdamWConfig { epsilon: 0.0, ..usual }, 0.0).contains("epsilon"));
    assert!(preconditioned(AdamWConfig { weight_decay: f64::NAN, ..usual }, 0.0).contains("weight decay"));
    assert!(preconditioned(usual, -1e-6).contains("damping = -0.000001"));

    for empty in [Grid::singleton(0, 5, 2), Grid::new(&[4], &[], 2), Grid::singleton(4, 5, 0)] {
        let error = Muon::new(&b, MuonConfig::default(), empty.clone(), 2).unwrap_err().to_string();
        assert!(error.contains("is zero"), "{error}");
        let config = PreconditionedAdamWConfig::default();
        let error = PreconditionedAdamW::new(&b, config, empty, 2).unwrap_err().to_string();
        assert!(error.contains("is zero"), "{error}");
    }
}

#[test]
fn a_bank_of_another_size_is_refused_loudly() {
    let (b, grid) = (B64::new(), Grid::singleton(6, 5, 2));
    for kind in 0..2 {
        let refused = std::panic::catch_unwind(|| {
            let mut optimizer = both(&b, &grid, 3).into_iter().nth(kind).unwrap();
            let mut x = Factors::zeros(&b, &grid, 2).unwrap();
            let g = Factors::zeros(&b, &grid, 2).unwrap();
            let FactorsMut { left, right } = x.as_mut();
            optimizer.step(&b, FactorsMut { left, right }, g.as_ref(), 0.1);
        });
        assert!(refused.is_err());
    }
}
