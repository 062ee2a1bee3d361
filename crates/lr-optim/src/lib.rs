//! Optimizers over banks of low-rank matrices.
//!
//! [`RiemannianDescent`] is the paper's schematic step over any geometry of `lr-manifolds`; [`AdamW`] is
//! the baseline. Both are [`BankOptimizer`]s: they move a bank of factor pairs in place, given the
//! gradients that backpropagation yields for the factors.

#![deny(missing_docs)]

mod adamw;
mod bank;
mod descent;
mod error;
mod registry;
mod schedule;
mod state;

pub use adamw::{AdamW, AdamWConfig};
pub use bank::{BankMeasures, BankOptimizer};
pub use descent::{Cadence, DescentConfig, Normalization, RiemannianDescent};
pub use error::{OptimError, StateError};
pub use registry::{Geometry, UnknownGeometry};
pub use schedule::{Decay, Group, Schedule};
pub use state::StateDict;
