//! [`BankOptimizer`]: what a trainer sees of an optimizer over a bank of equal-shaped factor pairs.

use crate::{StateDict, StateError};
use lr_linalg::{DeviceError, Linalg};
use lr_manifolds::{FactorsMut, FactorsRef};

/// What an observer learns about a bank; taken on its own cadence, not at every step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BankMeasures {
    /// Norm of the gradient over all problems: of the metric for a geometry, Euclidean for AdamW.
    pub gradient_norm: f64,
    /// Norm of the momentum over all problems, in the same sense.
    pub momentum_norm: f64,
    /// Largest orthogonality defect `|U^T U - I|` of a problem.
    pub orthogonality_defect: f64,
    /// Largest distance of a problem's momentum from the tangent space, relative to its norm.
    pub coherence_defect: f64,
    /// Largest contradiction of a problem's pulled-back gradients, `|A^T G_A - G_B^T B|` relative to the two.
    pub consistency_defect: f64,
    /// Largest share of the safe step length that a problem's step takes, at the last learning rate; below 1
    /// the rank is safe. Absent unless a rank guard was asked for.
    pub rank_margin: Option<f64>,
    /// Problems on which a factorization failed for good; the first of them.
    pub broken: Option<usize>,
    /// Repairs counted since the start.
    pub repairs: RepairCounts,
}

/// How often each repair ran, summed over problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairCounts {
    /// Gram matrices that had to be shifted before they could be factored: the only ones that nobody asked for.
    pub safeguards: u64,
    /// Factors made orthonormal again, in geometries that carry orthonormal ones from step to step.
    pub reorthogonalizations: u64,
    /// Momenta brought back to the tangent space or reset.
    pub momenta: u64,
    /// Gradients made consistent.
    pub gradients: u64,
    /// Steps shortened by the rank guard.
    pub shortened_steps: u64,
    /// Steps whose certificate sent them down the exact, slower path: long ones, and those at ill-conditioned
    /// points. Nothing was mended.
    pub exact_steps: u64,
}

impl std::ops::Add for RepairCounts {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::ops::AddAssign for RepairCounts {
    fn add_assign(&mut self, other: Self) {
        self.safeguards += other.safeguards;
        self.reorthogonalizations += other.reorthogonalizations;
        self.momenta += other.momenta;
        self.gradients += other.gradients;
        self.shortened_steps += other.shortened_steps;
        self.exact_steps += other.exact_steps;
    }
}

/// An optimizer over one bank of factor pairs.
pub trait BankOptimizer<B: Linalg>: Send {
    /// Name as in configurations and reports.
    fn name(&self) -> &'static str;

    /// Moves `x` in place. `egrad` holds the pulled-back gradients `(G_W B, G_W^T A)`, exactly what
    /// backpropagation yields for the factors.
    ///
    /// # Panics
    /// If the shapes are not those that the optimizer was made for.
    fn step(&mut self, b: &B, x: FactorsMut<'_, B>, egrad: FactorsRef<'_, B>, lr: f64);

    /// Measures the state at `x` with the gradient there; synchronizes with the device.
    ///
    /// # Errors
    /// Any pending device error.
    fn measure(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
    ) -> Result<BankMeasures, DeviceError>;

    /// Saves the state under names that begin with `prefix`.
    ///
    /// # Errors
    /// Any pending device error.
    fn save(&self, b: &B, prefix: &str, dict: &mut StateDict<B::Elem>) -> Result<(), StateError>;

    /// Loads what [`BankOptimizer::save`] wrote.
    ///
    /// # Errors
    /// [`StateError`] when entries are missing or have other shapes.
    fn load(&mut self, b: &B, prefix: &str, dict: &StateDict<B::Elem>) -> Result<(), StateError>;
}
