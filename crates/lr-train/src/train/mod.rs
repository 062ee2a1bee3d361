//! Training runs and what they leave in the output folder.
//!
//! | file | what |
//! |---|---|
//! | `trainer` | one training step: forward, backward, the three parameter groups |
//! | `run` | one run: steps, validation, observation, interruption |
//! | `experiment` | all runs of a configuration, summary and report |
//! | `checkpoint` | the state of an interrupted run |
//! | `folder` | what an output folder already holds |
//! | `metrics`, `output` | the files |

pub mod checkpoint;
pub mod experiment;
mod folder;
pub mod metrics;
pub mod output;
pub mod run;
pub mod trainer;
