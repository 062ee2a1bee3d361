//! Training runs and what they leave in the output folder.
//!
//! | file | what |
//! |---|---|
//! | `trainer` | one training step: forward, backward, the three parameter groups |
//! | `optimizers` | from the names in a configuration to optimizers with all their settings |
//! | `run` | one run: steps, validation, observation, interruption |
//! | `experiment` | all runs of a configuration, summary and report |
//! | `checkpoint` | the state of an interrupted run |
//! | `folder` | what an output folder already holds |
//! | `metrics`, `output`, `repairs` | the files and what stands in them |

pub mod checkpoint;
pub mod experiment;
pub(crate) mod folder;
pub mod metrics;
mod optimizers;
pub mod output;
pub mod repairs;
pub mod run;
pub mod trainer;
