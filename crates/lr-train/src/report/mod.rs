//! The report of an experiment: `report.html`, one self-contained page without scripts or external resources,
//! and `curves.svg`, its picture for a README.
//!
//! ```no_run
//! use lr_train::report::Report;
//! # fn main() -> Result<(), lr_train::report::ReportError> {
//! let folder = std::path::Path::new("runs/mha");
//! Report::from_folders(&[folder])?.write(folder)?;
//! # Ok(())
//! # }
//! ```

pub(crate) mod axis;
pub(crate) mod figures;
pub(crate) mod html;
pub(crate) mod palette;
pub(crate) mod plot;
pub(crate) mod series;
pub(crate) mod spread;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use html::shell_word;
pub(crate) use spread::Spread;

use crate::train::metrics::{METRICS_FILE, Record, RunId, read_metrics};
use crate::train::output::{CorpusSummary, OutputError, Summary, write_atomically};

/// Name of the page in the output folder.
pub const REPORT_FILE: &str = "report.html";
/// Name of the picture in the output folder.
pub const CURVES_FILE: &str = "curves.svg";

/// A report that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Two folders hold the same run.
    #[error(
        "{run} is in both {} and {}; leave one folder out", first.display(), second.display()
    )]
    RunTwice {
        /// The run.
        run: RunId,
        /// One folder.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The drawing library failed.
    #[error("cannot draw a figure of the report: {0}")]
    Draw(String),
}

/// What one experiment left in its folder.
#[derive(Debug, Clone)]
pub struct Source {
    /// The folder, for the reader and for the command to reproduce.
    pub folder: PathBuf,
    /// `summary.json`.
    pub summary: Summary,
    /// `corpus.json`, if there is one.
    pub corpus: Option<CorpusSummary>,
    /// `metrics.jsonl`.
    pub records: Vec<Record>,
}

impl Source {
    /// Reads an output folder.
    ///
    /// # Errors
    /// [`OutputError`] naming the file that is missing or malformed.
    pub fn read(folder: &Path) -> Result<Self, OutputError> {
        Ok(Self {
            folder: folder.to_owned(),
            summary: Summary::read(folder)?,
            corpus: CorpusSummary::read(folder)?,
            records: read_metrics(&folder.join(METRICS_FILE))?,
        })
    }
}

/// One or several experiments, ready to be shown together.
#[derive(Debug, Clone)]
pub struct Report {
    sources: Vec<Source>,
}

impl Report {
    /// Joins experiments.
    ///
    /// # Errors
    /// [`ReportError::RunTwice`] when two of them hold the same optimizer and seed.
    pub fn new(sources: Vec<Source>) -> Result<Self, ReportError> {
        let mut folder_of: BTreeMap<RunId, &Path> = BTreeMap::new();
        for source in &sources {
            let mut runs: Vec<RunId> = source.records.iter().map(|record| record.run).collect();
            runs.extend(
                source.summary.runs.iter().map(|run| RunId { optimizer: run.optimizer, seed: run.seed }),
            );
            for run in runs {
                let first = *folder_of.entry(run).or_insert(&source.folder);
                if first != source.folder {
                    return Err(ReportError::RunTwice {
                        run,
                        first: first.to_owned(),
                        second: source.folder.clone(),
                    });
                }
            }
        }
        Ok(Self { sources })
    }

    /// Reads and joins output folders.
    ///
    /// # Errors
    /// [`ReportError`] naming the file that is missing or malformed, or the run that occurs twice.
    pub fn from_folders(folders: &[&Path]) -> Result<Self, ReportError> {
        let sources = folders.iter().map(|folder| Source::read(folder)).collect::<Result<_, _>>()?;
        Self::new(sources)
    }

    /// The page.
    ///
    /// # Errors
    /// [`ReportError::Draw`] if a figure cannot be drawn.
    pub fn html(&self) -> Result<String, ReportError> {
        html::page(self).map_err(ReportError::Draw)
    }

    /// The picture: validation loss, and beside it the difference to AdamW if AdamW ran. Without any recorded
    /// loss it is an empty picture that says so.
    ///
    /// # Errors
    /// [`ReportError::Draw`] if it cannot be drawn.
    pub fn curves_svg(&self) -> Result<String, ReportError> {
        figures::picture(self).map_err(ReportError::Draw)
    }

    /// Writes `report.html` and `curves.svg` into `folder`.
    ///
    /// # Errors
    /// [`ReportError`] naming the file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        write_atomically(&folder.join(CURVES_FILE), self.curves_svg()?.as_bytes())?;
        write_atomically(&folder.join(REPORT_FILE), self.html()?.as_bytes())?;
        Ok(())
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.sources.iter().flat_map(|source| &source.records)
    }

    fn runs(&self) -> impl Iterator<Item = &crate::train::output::RunSummary> {
        self.sources.iter().flat_map(|source| &source.summary.runs)
    }
}
