//! The experiments of the paper's section 6, as lists of small runs that any number of machines can share.
//!
//! A [`Part`] is a list of [`Cell`]s, made by [`plan`](plan::plan) from [`Settings`]; a cell is one run, a
//! function of its configuration alone, and leaves one file. [`session::run`] runs the cells of a [`Shard`] that
//! have no file yet and writes the pages about all that have one.
//!
//! | file | what |
//! |---|---|
//! | `settings` | what all cells of a part share, and its defaults for each preset |
//! | `plan` | which cells a part has; shards |
//! | `cell`, `result` | one run: its coordinates, its file |
//! | `session`, `worker` | running cells, several at a time |
//! | `cost` | how long that will take |
//! | `statistics` | scores, sigma, spikes |
//! | `results` | all files of a part: read, checked against one another, grouped, compared |
//! | `tables`, `markup`, `figures`, `page` | what is made of them |

mod cell;
pub mod cost;
mod figures;
mod markup;
mod page;
pub mod plan;
mod result;
mod results;
pub mod session;
mod settings;
mod statistics;
mod tables;
#[cfg(test)]
mod tests;
mod worker;

pub use cell::{Attention, Cell, Part};
pub use page::{FIGURE_FILE, INDEX_FILE, MARKDOWN_FILE, holds_protocol, write_merged, write_pages};
pub use plan::Shard;
pub use result::{CELL_FOLDER, CellResult, Ending};
pub use results::Results;
pub use settings::Settings;
pub use statistics::{Spike, last_five, spikes};

use crate::{
    config::ConfigError,
    report::ReportError,
    train::{experiment::ExperimentError, output::OutputError, run::RunError},
};
use std::path::PathBuf;

/// What keeps a part from its page.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The settings contradict one another.
    #[error("{0}")]
    Settings(String),
    /// A shard that does not exist.
    #[error("--shard {0}: give it as i/n with 1 <= i <= n, for example 2/8")]
    Shard(String),
    /// A configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Corpus, threads or a folder.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// A run failed.
    #[error("cell {cell}: {source}")]
    Run {
        /// Which cell.
        cell: String,
        /// What happened.
        source: RunError,
    },
    /// A file cannot be written or read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A cell's file was made with other settings than this session's, or than its neighbours.
    #[error(
        "{}: `{field}` is {stored} there, but {given} {elsewhere}; use the same settings, or another folder with \
         --out", path.display()
    )]
    OtherSettings {
        /// The cell's file.
        path: PathBuf,
        /// First setting that differs.
        field: String,
        /// Its value in the file.
        stored: String,
        /// Its value elsewhere.
        given: String,
        /// Where: `was asked for` or `in FILE`.
        elsewhere: String,
    },
    /// A file of the protocol is not what its name says.
    #[error("{} cannot be used: {message}; delete it and run the part again", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A page cannot be made.
    #[error(transparent)]
    Report(#[from] ReportError),
}
