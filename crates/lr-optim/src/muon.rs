//! [`Muon`]: momentum orthogonalized by Newton-Schulz (Jordan et al. 2024), each attention head's factor
//! a matrix of its own.
//!
//! For every block `X` (`m_i x r`) of every factor stack, with gradient `G`:
//!
//! ```text
//! M <- mu M + (1 - mu) G                        an average, as in the authors' implementation
//! Z <- (1 - mu) G + mu M                        Nesterov; without it Z <- M
//! Z <- Z / (|Z|_F + epsilon)                    singular values in [0, 1]
//! Z <- Z (a I + b Z^T Z + c (Z^T Z)^2)          steps times; on the side with the smaller Gram matrix
//! X <- (1 - lr wd) X - lr sqrt(max(1, m_i/r)) Z
//! ```
//!
//! Five quintic steps bring singular values from 0.01 upwards to between 0.68 and 1.14, not to one: the
//! coefficients trade accuracy for a steep slope at zero.

use crate::{BankMeasures, BankOptimizer, OptimError, StateDict, StateError, adamw::euclidean_norm, error};
use lr_linalg::{
    Coef, DeviceError, Dims,
    Epilogue::{Add, Overwrite},
    Linalg, Map, Mats, MatsMut, MatsRef, Scalar, Scope, Scratch,
};
use lr_manifolds::{Blocks, Factors, FactorsMut, FactorsRef, Grid};

/// `a`, `b`, `c` of the quintic iteration, from the authors' implementation.
const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// Which matrix is orthogonalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Nesterov {
    /// The momentum.
    Off,
    /// The momentum averaged once more with the gradient.
    #[default]
    On,
}

/// Settings; the default is that of the authors' implementation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonConfig {
    /// Momentum coefficient `mu` in `[0, 1)`.
    pub momentum: f64,
    /// Which matrix is orthogonalized.
    pub nesterov: Nesterov,
    /// Newton-Schulz steps, at least one.
    pub steps: usize,
    /// Added to the Frobenius norm that the matrix is divided by; positive.
    pub epsilon: f64,
    /// Decoupled weight decay, not negative.
    pub weight_decay: f64,
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self { momentum: 0.95, nesterov: Nesterov::On, steps: 5, epsilon: 1e-7, weight_decay: 0.0 }
    }
}

/// Muon over a bank of problems of one shape.
///
/// A problem counts as broken once the Frobenius norm of a matrix to be orthogonalized is not finite: its
/// gradient was not, or was so large that its square overflows. Other problems are not affected.
#[derive(Debug)]
pub struct Muon<B: Linalg> {
    config: MuonConfig,
    grid: Grid,
    problems: usize,
    problems_per_slice: usize,
    slices: Vec<Slice<B>>,
    workers: Vec<Scratch<B>>,
}

/// What a slice of problems keeps from step to step.
#[derive(Debug)]
struct Slice<B: Linalg> {
    momentum: Factors<B>,
    breakdown: Mats<B>,
}

/// One side of a slice: a stack of blocks.
struct Side<'a, B: Linalg> {
    blocks: &'a Blocks,
    momentum: MatsMut<'a, B>,
    x: MatsMut<'a, B>,
    gradient: MatsRef<'a, B>,
}

impl<B: Linalg> Muon<B> {
    /// An optimizer over `problems` problems of shape `grid`.
    ///
    /// # Errors
    /// [`OptimError`] for settings that make no sense, an empty shape, or when the memory cannot be had.
    pub fn new(b: &B, config: MuonConfig, grid: Grid, problems: usize) -> Result<Self, OptimError> {
        if !(0.0..1.0).contains(&config.momentum) {
            return Err(OptimError::Momentum(config.momentum));
        }
        if config.steps == 0 {
            return Err(OptimError::NewtonSchulzSteps);
        }
        error::require_positive("epsilon", config.epsilon)?;
        error::require_not_negative("weight decay", config.weight_decay)?;
        grid.require_nonempty()?;
        let slicing = b.slicing(problems);
        let size = slicing.problems_per_slice.max(1);
        let slice = |_| {
            let breakdown = Mats::zeros(b, Dims::scalars(size))?;
            Ok(Slice { momentum: Factors::zeros(b, &grid, size)?, breakdown })
        };
        let slices = (0..problems / size).map(slice).collect::<Result<_, DeviceError>>()?;
        let workers = (0..slicing.workers).map(|_| Scratch::new(b)).collect::<Result<_, _>>()?;
        Ok(Self { config, grid, problems, problems_per_slice: size, slices, workers })
    }
}

/// One step of one side.
fn advance<B: Linalg>(
    b: &B,
    config: &MuonConfig,
    side: Side<'_, B>,
    lr: f64,
    breakdown: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Side { blocks, mut momentum, mut x, gradient } = side;
    let (mu, decay) = (config.momentum, 1.0 - lr * config.weight_decay);
    let Dims { batch, rows, cols } = x.dims();
    b.axpby(Coef::Host(1.0 - mu), gradient, mu, momentum.as_mut());
    scope.nest(|scope| {
        let mut z = scope.take(x.dims());
        b.copy(momentum.as_ref().n(), z.as_mut());
        if config.nesterov == Nesterov::On {
            b.axpby(Coef::Host(1.0 - mu), gradient, mu, z.as_mut());
        }
        let mut norms = scope.take(Dims::new(batch, blocks.count(), 1));
        let step = |height: usize| Coef::Host(-lr * (height as f64 / cols as f64).max(1.0).sqrt());
        if blocks.least() * blocks.count() == rows {
            // Blocks of one height are a batch of matrices as they lie.
            let (heads, height) = (batch * blocks.count(), blocks.least());
            let matrices = z.as_mut().reshape(Dims::new(heads, height, cols));
            orthogonalize(b, config, matrices, norms.as_mut().reshape(Dims::scalars(heads)), scope);
            b.axpby(step(height), z.as_ref(), decay, x);
        } else {
            for (i, range) in blocks.ranges().enumerate() {
                let norms = norms.as_mut().rows(i..i + 1);
                orthogonalize(b, config, z.as_mut().rows(range.clone()), norms, scope);
                let head = z.as_ref().rows(range.clone());
                b.axpby(step(range.len()), head, decay, x.as_mut().rows(range));
            }
        }
        b.flag_above(f64::MAX, norms.as_ref(), breakdown);
    });
}

/// Brings the non-zero singular values of every `z` near one; `norms` (`[batch, 1, 1]`) receives the
/// Frobenius norms, plus epsilon, that the matrices had.
fn orthogonalize<B: Linalg>(
    b: &B,
    config: &MuonConfig,
    mut z: MatsMut<'_, B>,
    mut norms: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let [c1, c3, c5] = QUINTIC;
    let d = z.dims();
    let is_tall = d.rows >= d.cols;
    b.dot(1.0, z.as_ref(), z.as_ref(), 0.0, norms.as_mut());
    b.map(Map::Sqrt, norms.as_mut());
    b.add_diagonal(config.epsilon, norms.as_mut());
    scope.nest(|scope| {
        let mut next = scope.take(d);
        let small = Dims::square(d.batch, d.rows.min(d.cols));
        let (mut gram, mut even) = (scope.take(small), scope.take(small));
        let mut inverse = scope.take(Dims::scalars(d.batch));
        b.copy(norms.as_ref().n(), inverse.as_mut());
        b.map(Map::Ratio { numerator: 1.0, floor: config.epsilon }, inverse.as_mut());
        b.axpby(Coef::Device(inverse.as_ref()), z.as_ref(), 0.0, next.as_mut());
        b.copy(next.as_ref().n(), z.as_mut());
        for _ in 0..config.steps {
            let (one, other) =
                if is_tall { (z.as_ref().t(), z.as_ref().n()) } else { (z.as_ref().n(), z.as_ref().t()) };
            b.gemm(1.0, one, other, Overwrite, gram.as_mut());
            b.gemm(c5, gram.as_ref().n(), gram.as_ref().n(), Add(c3, gram.as_ref()), even.as_mut());
            b.add_diagonal(c1, even.as_mut());
            let (left, right) =
                if is_tall { (z.as_ref(), even.as_ref()) } else { (even.as_ref(), z.as_ref()) };
            b.gemm(1.0, left.n(), right.n(), Overwrite, next.as_mut());
            b.copy(next.as_ref().n(), z.as_mut());
        }
    });
}

impl<B: Linalg> BankOptimizer<B> for Muon<B> {
    fn name(&self) -> &'static str {
        "muon"
    }

    fn step(&mut self, b: &B, x: FactorsMut<'_, B>, egrad: FactorsRef<'_, B>, lr: f64) {
        let _span = tracing::trace_span!("muon").entered();
        let needed = (self.grid.left_dims(self.problems), self.grid.right_dims(self.problems));
        assert_eq!((x.left.dims(), x.right.dims()), needed, "muon: shape of the parameters");
        assert_eq!((egrad.left.dims(), egrad.right.dims()), needed, "muon: shape of the gradients");
        let (config, grid, size) = (&self.config, &self.grid, self.problems_per_slice);
        let slices = self.slices.iter_mut().zip(x.chunks(size)).zip(egrad.chunks(size));
        b.for_each_slice(slices, &mut self.workers, |b, ((slice, x), g), scratch| {
            let Slice { momentum, breakdown } = slice;
            scratch.scope(|scope| {
                let FactorsMut { left, right } = momentum.as_mut();
                for side in [
                    Side { blocks: &grid.left, momentum: left, x: x.left, gradient: g.left },
                    Side { blocks: &grid.right, momentum: right, x: x.right, gradient: g.right },
                ] {
                    advance(b, config, side, lr, breakdown.as_mut(), scope);
                }
            });
        });
    }

    fn measure(
        &mut self,
        b: &B,
        _: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
    ) -> Result<BankMeasures, DeviceError> {
        let momenta = self.slices.iter().flat_map(|s| [s.momentum.left.as_ref(), s.momentum.right.as_ref()]);
        let mut bank = BankMeasures {
            gradient_norm: euclidean_norm(b, [egrad.left, egrad.right])?,
            momentum_norm: euclidean_norm(b, momenta)?,
            ..BankMeasures::default()
        };
        for (i, slice) in self.slices.iter().enumerate() {
            let broken = slice.breakdown.to_vec(b)?.iter().position(|s| s.to_f64() != 0.0);
            bank.broken = bank.broken.or(broken.map(|p| i * self.problems_per_slice + p));
        }
        Ok(bank)
    }

    fn save(&self, b: &B, prefix: &str, dict: &mut StateDict<B::Elem>) -> Result<(), StateError> {
        let slices = &self.slices;
        dict.save(b, format!("{prefix}.breakdown"), slices.iter().map(|s| s.breakdown.as_ref()))?;
        dict.save(b, format!("{prefix}.momentum.left"), slices.iter().map(|s| s.momentum.left.as_ref()))?;
        dict.save(b, format!("{prefix}.momentum.right"), slices.iter().map(|s| s.momentum.right.as_ref()))
    }

    fn load(&mut self, b: &B, prefix: &str, dict: &StateDict<B::Elem>) -> Result<(), StateError> {
        let slices = &mut self.slices;
        dict.load(b, &format!("{prefix}.breakdown"), slices.iter_mut().map(|s| s.breakdown.as_mut()))?;
        let left = slices.iter_mut().map(|s| s.momentum.left.as_mut());
        dict.load(b, &format!("{prefix}.momentum.left"), left)?;
        let right = slices.iter_mut().map(|s| s.momentum.right.as_mut());
        dict.load(b, &format!("{prefix}.momentum.right"), right)
    }
}
