//! Train transformers whose attention pairs live on low-rank manifolds.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the experiment's configuration, a TOML file |
//! | [`data`] | text to batches: corpus sources, GPT-2 tokenizer, token cache, the paper's loader |
//! | [`model`], [`neural`] | the decoder-only transformer with a hand-derived backward pass, on any backend |
//! | [`train`] | the training step, runs, checkpoints, metrics |
//! | [`report`] | curves and tables as one HTML page |
//! | [`protocol`] | the experiments of the paper's section 6, shared between machines |
//!
//! [`train::experiment::run`] does everything that `cargo xtask experiment mha` does. A few steps by hand,
//! on a batch of your own:
//!
//! ```
//! use lr_linalg::Cpu;
//! use lr_train::{
//!     config::{ExperimentConfig, OptimizerName, Preset},
//!     data::{IGNORE, TokenBatch},
//!     train::trainer::Trainer,
//! };
//!
//! let config = ExperimentConfig { steps: 30, ..ExperimentConfig::preset(Preset::Smoke) };
//! let mut batch = TokenBatch::new(config.model.batch, config.model.sequence);
//! for (t, (input, target)) in batch.inputs.iter_mut().zip(&mut batch.targets).enumerate() {
//!     *input = t as u32 % 7;
//!     // The last prediction of a window is ignored.
//!     *target = if (t + 1) % config.model.sequence == 0 { IGNORE } else { (t as u32 + 1) % 7 };
//! }
//! let mut trainer = Trainer::new(&Cpu::<f32>::new(), &config, OptimizerName::PartialCanonical, 0)?;
//! let (first, _) = trainer.step(&batch)?;
//! for _ in 1..30 {
//!     trainer.step(&batch)?;
//! }
//! assert!(trainer.evaluate(&batch)? < first - 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

pub mod config;
pub mod data;
pub mod model;
pub mod neural;
pub mod protocol;
pub mod report;
pub mod train;
