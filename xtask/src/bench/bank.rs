//! Banks of random problems, and an optimizer that steps on one.

use std::time::Instant;

use lr_linalg::{DeviceError, Dims, Epilogue, Linalg, Mats, Scalar};
use lr_manifolds::{Factors, Grid, StiefelRetraction};
use lr_optim::{AdamW, AdamWConfig, BankOptimizer, DescentConfig, Geometry};
use lr_train::config::OptimizerName;
use serde::Serialize;

use super::race::Contender;

/// Step length, the default of the experiments.
const LEARNING_RATE: f64 = 1.0 / 256.0;
/// Size of a gradient's entries; normalized steps do not depend on it.
const GRADIENT_SCALE: f64 = 1e-3;

/// Shape of a bank of equal problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bank {
    /// Pairs, or grids.
    pub problems: usize,
    /// Rows of each block on the left.
    pub m: usize,
    /// Rows on the right.
    pub n: usize,
    /// Columns of the factors.
    pub rank: usize,
    /// Blocks on the left of each problem; 1 for pairs.
    pub blocks: usize,
}

impl Bank {
    /// Checks that the problems are possible and their factors have at most `most` elements.
    ///
    /// # Errors
    /// What is too large, and what it may be.
    pub fn check(&self, most: usize) -> Result<(), String> {
        let Self { problems, m, n, rank, blocks } = *self;
        if rank > m.min(n) {
            return Err(format!("rank {rank} of {m} x {n} matrices: it may be at most {}", m.min(n)));
        }
        let factors = [problems, blocks, m.max(n), rank];
        match factors.into_iter().try_fold(1usize, usize::checked_mul) {
            Some(elements) if elements <= most => Ok(()),
            _ => Err(format!(
                "{problems} problems of {m} x {n}, rank {rank}, are too large: the factors of one side may have \
                 at most {most} elements"
            )),
        }
    }

    fn grid(&self) -> Grid {
        Grid::new(&vec![self.m; self.blocks], &[self.n], self.rank)
    }
}

/// An optimizer on a bank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Which optimizer.
    pub optimizer: OptimizerName,
    /// Momentum coefficient.
    pub nu: f64,
    /// On what.
    pub bank: Bank,
}

/// An optimizer on random orthonormal factors, with the gradient of a linear function of `W`.
pub struct Steps<'a, B: Linalg> {
    b: B,
    pool: &'a rayon::ThreadPool,
    x: Factors<B>,
    gradient: Gradient<B>,
    optimizer: Box<dyn BankOptimizer<B>>,
}

impl<'a, B: Linalg> Steps<'a, B> {
    /// Makes `case`'s problems; the steps run on `pool`.
    ///
    /// # Errors
    /// What the optimizer refuses, or memory that cannot be had.
    pub fn new(b: &B, pool: &'a rayon::ThreadPool, case: &Case) -> Result<Self, String> {
        let Case { optimizer: name, nu, bank } = *case;
        let (x, ambient) = random_problems(b, &bank).map_err(|error| error.to_string())?;
        let gradient = Gradient::new(b, ambient).map_err(|error| error.to_string())?;
        let optimizer: Box<dyn BankOptimizer<B>> = if name == OptimizerName::Adamw {
            let config = AdamWConfig::default();
            Box::new(AdamW::for_bank(b, config, x.as_ref()).map_err(|error| error.to_string())?)
        } else {
            let name = name.as_str();
            let geometry: Geometry =
                name.strip_prefix("grid-").unwrap_or(name).parse().map_err(|error| format!("{error}"))?;
            let config = DescentConfig { momentum: nu, ..DescentConfig::default() };
            geometry
                .optimizer(b, bank.grid(), StiefelRetraction::Polar, config, bank.problems)
                .map_err(|error| error.to_string())?
        };
        Ok(Self { b: b.clone(), pool, x, gradient, optimizer })
    }

    /// `W = A B^T` of the first problem, row by row.
    ///
    /// # Errors
    /// What the device says.
    pub fn first_product(&self) -> Result<Vec<f64>, String> {
        let Self { b, x, .. } = self;
        let (left, right) = (x.left.as_ref().problem(0), x.right.as_ref().problem(0));
        let product = || {
            let mut w = Mats::zeros(b, Dims::new(1, left.dims().rows, right.dims().rows))?;
            b.gemm(1.0, left.n(), right.t(), Epilogue::Overwrite, w.as_mut());
            w.to_vec(b)
        };
        let w = product().map_err(|error: DeviceError| error.to_string())?;
        Ok(w.into_iter().map(Scalar::to_f64).collect())
    }

    /// Fails where a problem broke down: its time says nothing.
    ///
    /// # Errors
    /// Which problem.
    pub fn check(&mut self) -> Result<(), String> {
        self.gradient.pull_back(&self.b, &self.x);
        let gradient = self.gradient.pulled_back.as_ref();
        let measures = self.optimizer.measure(&self.b, self.x.as_ref(), gradient);
        match measures.map_err(|error| error.to_string())?.broken {
            Some(problem) => Err(format!("problem {problem} broke down")),
            None => Ok(()),
        }
    }
}

impl<B: Linalg> Contender for Steps<'_, B> {
    /// Each step goes along the gradient at the factors that the one before has left, which is made between the timed
    /// parts: where the factors of one `W` differ, their gradients do.
    fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
        let Self { b, pool, x, gradient, optimizer } = self;
        let times = pool.install(|| {
            let mut times = Vec::with_capacity(warm + steps);
            for _ in 0..warm + steps {
                gradient.pull_back(b, x);
                b.sync()?;
                let started = Instant::now();
                optimizer.step(b, x.as_mut(), gradient.pulled_back.as_ref(), LEARNING_RATE);
                b.sync()?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, DeviceError>(times)
        });
        Ok(times.map_err(|error| error.to_string())?.split_off(warm))
    }
}

/// Factors with orthonormal blocks, and `P` and `Q` of their shapes: `G = P Q^T` is a gradient without the dense `G`.
fn random_problems<B: Linalg>(b: &B, bank: &Bank) -> Result<(Factors<B>, Factors<B>), DeviceError> {
    let Bank { problems, m, n, rank, blocks } = *bank;
    let (left, right) = (Dims::new(problems, blocks * m, rank), Dims::new(problems, n, rank));
    let mut random = Random(1);
    let mut orthonormal = |dims: Dims, rows: usize| -> Result<Mats<B>, DeviceError> {
        let each = Dims::new(dims.len() / (rows * rank), rows, rank);
        let mut q = Mats::from_slice(b, each, &random.values(each))?;
        let mut r = Mats::zeros(b, Dims::square(each.batch, rank))?;
        let mut status = Mats::zeros(b, Dims::scalars(each.batch))?;
        b.qr(q.as_mut(), r.as_mut(), status.as_mut());
        Mats::from_slice(b, dims, &q.to_vec(b)?)
    };
    let x = Factors { left: orthonormal(left, m)?, right: orthonormal(right, n)? };
    let p = Mats::from_slice(b, left, &random.values(left))?;
    let q = Mats::from_slice(b, right, &random.values(right))?;
    Ok((x, Factors { left: p, right: q }))
}

/// The gradient `G = P Q^T` with respect to `W`, and `(G B, G^T A)`, consistent at the factors where it was pulled back.
struct Gradient<B: Linalg> {
    /// `P` and `Q`.
    ambient: Factors<B>,
    /// `Q^T B` and `P^T A`.
    small: [Mats<B>; 2],
    pulled_back: Factors<B>,
}

impl<B: Linalg> Gradient<B> {
    fn new(b: &B, ambient: Factors<B>) -> Result<Self, DeviceError> {
        let (left, right) = (ambient.left.dims(), ambient.right.dims());
        let small = || Mats::zeros(b, Dims::square(left.batch, left.cols));
        let pulled_back = Factors { left: Mats::zeros(b, left)?, right: Mats::zeros(b, right)? };
        Ok(Self { small: [small()?, small()?], pulled_back, ambient })
    }

    fn pull_back(&mut self, b: &B, x: &Factors<B>) {
        let Self { ambient: Factors { left: p, right: q }, small: [qb, pa], pulled_back } = self;
        for (tall, other, factor, small, out) in
            [(&*p, &*q, &x.right, qb, &mut pulled_back.left), (&*q, &*p, &x.left, pa, &mut pulled_back.right)]
        {
            let scale = GRADIENT_SCALE;
            b.gemm(scale, other.as_ref().t(), factor.as_ref().n(), Epilogue::Overwrite, small.as_mut());
            b.gemm(1.0, tall.as_ref().n(), small.as_ref().n(), Epilogue::Overwrite, out.as_mut());
        }
    }
}

/// Uniform numbers on [-1, 1) from a 64-bit linear congruence (Knuth's MMIX constants).
pub struct Random(pub u64);

impl Random {
    /// The next 31 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// As many numbers as `dims` has elements.
    pub fn values<T: Scalar>(&mut self, dims: Dims) -> Vec<T> {
        (0..dims.len()).map(|_| T::from_f64(f64::from(self.bits()) / f64::from(1u32 << 30) - 1.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lr_linalg::{Blas, Cpu};

    #[test]
    fn random_problems_are_orthonormal_block_by_block_and_their_gradients_consistent() {
        let b = Cpu::<f64>::new();
        let (x, ambient) =
            random_problems(&b, &Bank { problems: 2, m: 7, n: 5, rank: 3, blocks: 2 }).unwrap();
        let mut gradient = Gradient::new(&b, ambient).unwrap();
        gradient.pull_back(&b, &x);
        let gradient = gradient.pulled_back;
        assert_eq!(x.left.dims(), Dims::new(2, 14, 3));
        let product = |a: &Mats<Cpu<f64>>, c: &Mats<Cpu<f64>>| {
            let mut small = Mats::zeros(&b, Dims::square(2, 3)).unwrap();
            b.gemm(1.0, a.as_ref().t(), c.as_ref().n(), Epilogue::Overwrite, small.as_mut());
            small.to_vec(&b).unwrap()
        };
        // Two orthonormal blocks above one another: twice the identity.
        for (k, entry) in product(&x.left, &x.left).into_iter().enumerate() {
            let expected = if k % 9 % 4 == 0 { 2.0 } else { 0.0 };
            assert!((entry - expected).abs() < 1e-14);
        }
        // A^T G_A = G_B^T B.
        let (one, other) = (product(&x.left, &gradient.left), product(&gradient.right, &x.right));
        assert!(one.iter().zip(&other).all(|(a, c)| (a - c).abs() < 1e-15));
        assert!(one.iter().any(|a| a.abs() > 1e-6));
    }
}
