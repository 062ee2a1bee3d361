//! [`AppError`]: what keeps an application from its result.

use lr_linalg::{DeviceError, sparse::SparseError};
use lr_manifolds::ShapeError;
use lr_optim::solve::SolveError;
use lr_report::files::OutputError;
use std::path::PathBuf;

/// An application that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A solver.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A shape or rank.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Sampled data.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// The machine.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A file of the output folder.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// An input file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of an input file.
    #[error("{}, line {line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// An input file as a whole.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        message: String,
    },
    /// Data or settings that make no problem.
    #[error("{0}")]
    Data(String),
    /// The drawing library failed.
    #[error("cannot draw a figure of the report: {0}")]
    Draw(String),
}
