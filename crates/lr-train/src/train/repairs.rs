//! [`Repairs`]: how often the optimizer of the attention pairs mended something, as the output files say it.

use lr_optim::RepairCounts;
use serde::{Deserialize, Serialize};

/// Counts since the start of a run, summed over both banks and all their problems.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repairs {
    /// Gram matrices shifted before they could be factored; no setting asks for these.
    pub safeguards: u64,
    /// Factors made orthonormal again.
    pub reorthogonalizations: u64,
    /// Momenta brought back to the tangent space, or forgotten.
    pub momenta: u64,
    /// Gradients made consistent.
    pub gradients: u64,
    /// Steps shortened by the rank guard.
    pub shortened_steps: u64,
    /// Steps that took the exact, slower path: long ones, and those at ill-conditioned points.
    #[serde(default)]
    pub exact_steps: u64,
}

impl Repairs {
    /// Of all kinds together but reorthogonalizations and exact steps, which are routine.
    pub fn total(&self) -> u64 {
        let Self { safeguards, momenta, gradients, shortened_steps, reorthogonalizations: _, exact_steps: _ } =
            self;
        safeguards + momenta + gradients + shortened_steps
    }
}

impl From<RepairCounts> for Repairs {
    fn from(counts: RepairCounts) -> Self {
        let RepairCounts {
            safeguards,
            reorthogonalizations,
            momenta,
            gradients,
            shortened_steps,
            exact_steps,
        } = counts;
        Self { safeguards, reorthogonalizations, momenta, gradients, shortened_steps, exact_steps }
    }
}
