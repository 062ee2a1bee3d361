//! Train transformers whose attention pairs live on low-rank manifolds: configuration, data, training, reports.
#![deny(missing_docs)]

pub mod config;
pub mod data;
pub mod model;
pub mod neural;
pub mod report;
pub mod train;
