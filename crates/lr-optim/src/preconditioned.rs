//! [`PreconditionedAdamW`]: AdamW on factor gradients that are divided by the other factor's Gram matrix
//! (Riemannian-preconditioned LoRA, Zhang and Pilanci 2024, "Scaled AdamW").
//!
//! ```text
//! P_A <- G_A (B^T B + delta I)^{-1}        blocks of a grid stacked, so that all of B's blocks count
//! P_B <- G_B (A^T A + delta I)^{-1}        with the old A: both sides move at once
//! (A, B) <- AdamW((A, B), (P_A, P_B))
//! ```
//!
//! Without damping `(P_A, P_B)` is the gradient of the fixed-rank quotient geometry, and a plain step along
//! it gives the same `W` for all factors `(A M, B M^{-T})`. AdamW's element-wise division gives that up.
//!
//! `delta` is absolute, as in the authors' implementation. That implementation divides the second factor's
//! gradient by the Gram matrix of the first factor's new value; here both old values count, so that the step
//! does not depend on which factor is called the first.

use crate::{AdamW, AdamWConfig, BankMeasures, BankOptimizer, OptimError, StateDict, StateError, error};
use lr_linalg::{
    DeviceError, Dims, Epilogue::Overwrite, Linalg, MatsMut, MatsRef, PivotGuard, Scalar, Scope, Scratch,
    Side, Triangle,
};
use lr_manifolds::{Factors, FactorsMut, FactorsRef, Grid, Health, HealthMut};

/// Settings; the default differs from the AdamW baseline in nothing but the preconditioner, with the
/// damping of the authors' implementation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PreconditionedAdamWConfig {
    /// What happens to the preconditioned gradients.
    pub adamw: AdamWConfig,
    /// `delta`, added to the diagonal of the Gram matrices; not negative. At zero, a Gram matrix that
    /// vanishes is replaced by the identity, and a singular one shifted; both count as repairs.
    pub damping: f64,
}

impl Default for PreconditionedAdamWConfig {
    fn default() -> Self {
        Self { adamw: AdamWConfig::default(), damping: 1e-6 }
    }
}

/// Preconditioned AdamW over a bank of problems of one shape.
#[derive(Debug)]
pub struct PreconditionedAdamW<B: Linalg> {
    damping: f64,
    adamw: AdamW<B>,
    preconditioned: Factors<B>,
    problems_per_slice: usize,
    slices: Vec<Health<B>>,
    workers: Vec<Scratch<B>>,
}

impl<B: Linalg> PreconditionedAdamW<B> {
    /// An optimizer over `problems` problems of shape `grid`.
    ///
    /// # Errors
    /// [`OptimError`] for settings that make no sense, an empty shape, or when the memory cannot be had.
    pub fn new(
        b: &B,
        config: PreconditionedAdamWConfig,
        grid: Grid,
        problems: usize,
    ) -> Result<Self, OptimError> {
        let PreconditionedAdamWConfig { adamw, damping } = config;
        for (name, beta) in [("beta1", adamw.beta1), ("beta2", adamw.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(OptimError::Beta { name, value: beta });
            }
        }
        error::require_positive("epsilon", adamw.epsilon)?;
        error::require_not_negative("weight decay", adamw.weight_decay)?;
        error::require_not_negative("damping", damping)?;
        grid.require_nonempty()?;
        let slicing = b.slicing(problems);
        let size = slicing.problems_per_slice.max(1);
        let slices =
            (0..problems / size).map(|_| Health::new(b, size)).collect::<Result<_, DeviceError>>()?;
        let workers = (0..slicing.workers).map(|_| Scratch::new(b)).collect::<Result<_, _>>()?;
        let preconditioned = Factors::zeros(b, &grid, problems)?;
        let adamw = AdamW::for_bank(b, adamw, preconditioned.as_ref())?;
        Ok(Self { damping, adamw, preconditioned, problems_per_slice: size, slices, workers })
    }
}

/// `out = gradient (other^T other + damping I)^{-1}`.
fn precondition<B: Linalg>(
    b: &B,
    damping: f64,
    other: MatsRef<'_, B>,
    gradient: MatsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    mut health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Dims { batch, cols, .. } = other.dims();
    scope.nest(|scope| {
        let mut l = scope.take(Dims::square(batch, cols));
        let mut status = scope.status(batch);
        b.gemm(1.0, other.t(), other.n(), Overwrite, l.as_mut());
        b.flag_above(f64::MAX, l.as_ref(), health.breakdown.as_mut());
        b.add_diagonal(damping, l.as_mut());
        b.cholesky(PivotGuard::Shift { relative: 10.0 * B::Elem::EPSILON }, l.as_mut(), status.as_mut());
        health.count_repairs(b, &status, scope);
        b.copy(gradient.n(), out.as_mut());
        b.trsm(Side::Right, Triangle::Lower, l.as_ref().t(), out.as_mut());
        b.trsm(Side::Right, Triangle::Lower, l.as_ref().n(), out.as_mut());
        b.flag_above(f64::MAX, out.as_ref(), health.breakdown);
    });
}

impl<B: Linalg> BankOptimizer<B> for PreconditionedAdamW<B> {
    fn name(&self) -> &'static str {
        "preconditioned-adamw"
    }

    fn step(&mut self, b: &B, x: FactorsMut<'_, B>, egrad: FactorsRef<'_, B>, lr: f64) {
        let _span = tracing::trace_span!("preconditioned_adamw").entered();
        let needed = (self.preconditioned.left.dims(), self.preconditioned.right.dims());
        let dims = |f: FactorsRef<'_, B>| (f.left.dims(), f.right.dims());
        assert_eq!(dims(x.as_ref()), needed, "preconditioned-adamw: shape of the parameters");
        assert_eq!(dims(egrad), needed, "preconditioned-adamw: shape of the gradients");
        let (damping, size) = (self.damping, self.problems_per_slice);
        let outs = self.preconditioned.as_mut().chunks(size);
        let slices = self.slices.iter_mut().zip(x.as_ref().chunks(size)).zip(egrad.chunks(size)).zip(outs);
        b.for_each_slice(slices, &mut self.workers, |b, (((slice, x), g), out), scratch| {
            let mut health = slice.as_mut();
            scratch.scope(|scope| {
                precondition(b, damping, x.right, g.left, out.left, health.as_mut(), scope);
                precondition(b, damping, x.left, g.right, out.right, health.as_mut(), scope);
            });
        });
        self.adamw.step(b, x, self.preconditioned.as_ref(), lr);
    }

    fn measure(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
    ) -> Result<BankMeasures, DeviceError> {
        let mut bank = self.adamw.measure(b, x, egrad)?;
        for (i, slice) in self.slices.iter().enumerate() {
            let broken = slice.breakdown.to_vec(b)?.iter().position(|s| s.to_f64() != 0.0);
            bank.broken = bank.broken.or(broken.map(|p| i * self.problems_per_slice + p));
            bank.repairs.safeguards +=
                slice.repairs.to_vec(b)?.iter().map(|r| r.to_f64() as u64).sum::<u64>();
        }
        Ok(bank)
    }

    fn save(&self, b: &B, prefix: &str, dict: &mut StateDict<B::Elem>) -> Result<(), StateError> {
        dict.save(b, format!("{prefix}.breakdown"), self.slices.iter().map(|s| s.breakdown.as_ref()))?;
        dict.save(b, format!("{prefix}.repairs"), self.slices.iter().map(|s| s.repairs.as_ref()))?;
        self.adamw.save(b, prefix, dict)
    }

    fn load(&mut self, b: &B, prefix: &str, dict: &StateDict<B::Elem>) -> Result<(), StateError> {
        let slices = &mut self.slices;
        dict.load(b, &format!("{prefix}.breakdown"), slices.iter_mut().map(|s| s.breakdown.as_mut()))?;
        dict.load(b, &format!("{prefix}.repairs"), slices.iter_mut().map(|s| s.repairs.as_mut()))?;
        self.adamw.load(b, prefix, dict)
    }
}
