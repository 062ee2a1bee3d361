//! Optimizers over banks of low-rank matrices.
//!
//! [`RiemannianDescent`] is the paper's schematic step over any geometry of `lr-manifolds`; [`AdamW`] is the
//! baseline, [`Muon`] per head and [`PreconditionedAdamW`] its rivals. All are [`BankOptimizer`]s: they move
//! a bank of factor pairs in place, given the gradients that backpropagation yields for the factors.
//!
//! A bank of sixteen pairs, one step with momentum on the quotient geometry of fixed rank, and its saved state:
//!
//! ```
//! use lr_linalg::{Cpu, Dims, Mats};
//! use lr_manifolds::{Factors, Grid, StiefelRetraction};
//! use lr_optim::{DescentConfig, Geometry, StateDict};
//!
//! let (b, grid, pairs) = (Cpu::<f32>::new(), Grid::singleton(8, 6, 2), 16);
//! let waves = |d: Dims, scale: f32| (0..d.len()).map(|k| (scale * k as f32).sin()).collect::<Vec<_>>();
//! let bank = |scale| -> Result<_, lr_linalg::DeviceError> {
//!     let [left, right] = [grid.left_dims(pairs), grid.right_dims(pairs)]
//!         .map(|d| Mats::from_slice(&b, d, &waves(d, scale)));
//!     Ok(Factors { left: left?, right: right? })
//! };
//! // The factors, and their gradients as backpropagation would leave them.
//! let (mut x, egrad) = (bank(1.0)?, bank(0.3)?);
//! let config = DescentConfig { momentum: 0.9, ..DescentConfig::default() };
//! let polar = StiefelRetraction::Polar;
//! let mut optimizer = Geometry::FixedQuotient.optimizer(&b, grid.clone(), polar, config, pairs)?;
//! optimizer.step(&b, x.as_mut(), egrad.as_ref(), 1e-2);
//! assert_eq!(optimizer.measure(&b, x.as_ref(), egrad.as_ref())?.broken, None);
//!
//! let mut state = StateDict::default();
//! optimizer.save(&b, "qk", &mut state)?;
//! assert_eq!(state.tensors["qk.momentum.left"].0, grid.left_dims(pairs));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod adamw;
mod bank;
mod descent;
mod error;
mod muon;
mod preconditioned;
mod registry;
mod schedule;
pub mod solve;
mod state;

pub use adamw::{AdamW, AdamWConfig};
pub use bank::{BankMeasures, BankOptimizer, RepairCounts};
pub use descent::{Averaging, Cadence, DescentConfig, Normalization, RankGuard, RiemannianDescent};
pub use error::{OptimError, StateError};
pub use muon::{Muon, MuonConfig, Nesterov};
pub use preconditioned::{PreconditionedAdamW, PreconditionedAdamWConfig};
pub use registry::{FixedRankRetraction, Geometry, Retractions, UnknownGeometry};
pub use schedule::{Decay, Group, Schedule};
pub use state::StateDict;

/// The README's example, compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
