//! Training runs and what they leave in the output folder.

pub mod metrics;
pub mod output;
