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

pub(crate) mod figures;
pub(crate) mod html;
pub(crate) mod palette;
pub(crate) mod series;
pub(crate) mod spread;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use html::shell_word;
pub(crate) use spread::Spread;

use crate::config::OptimizerName;
use crate::train::metrics::{METRICS_FILE, Record, RunId, read_metrics};
use crate::train::output::{CorpusSummary, OutputError, RunSummary, Summary, write_atomically};
use palette::{Look, OptimizerLook};

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
    /// Two folders hold the same run of the same configuration.
    #[error(
        "{run} is in both {} and {}, with the same settings; leave one folder out",
        first.display(), second.display()
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

/// How several experiments are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrangement {
    /// As one: no run occurs twice.
    Joined,
    /// Each by its folder's name: a run occurs in several, with different settings.
    SideBySide,
}

/// A run as a report shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown {
    /// The place of its experiment among those side by side; 0 for all that are joined.
    pub experiment: usize,
    pub run: RunId,
}

/// One or several experiments, ready to be shown together.
#[derive(Debug, Clone)]
pub struct Report {
    sources: Vec<Source>,
    arrangement: Arrangement,
}

impl Report {
    /// Joins experiments. Where the same optimizer and seed ran in several with different settings, every curve
    /// is labelled by its folder.
    ///
    /// # Errors
    /// [`ReportError::RunTwice`] when two of them hold the same run with the same settings.
    pub fn new(sources: Vec<Source>) -> Result<Self, ReportError> {
        let mut arrangement = Arrangement::Joined;
        for (place, second) in sources.iter().enumerate() {
            for first in &sources[..place] {
                let Some(run) = common_run(first, second) else { continue };
                if html::differing_keys(&[first, second]).is_empty() {
                    let (first, second) = (first.folder.clone(), second.folder.clone());
                    return Err(ReportError::RunTwice { run, first, second });
                }
                arrangement = Arrangement::SideBySide;
            }
        }
        Ok(Self { sources, arrangement })
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

    fn place(&self, source: usize) -> usize {
        match self.arrangement {
            Arrangement::Joined => 0,
            Arrangement::SideBySide => source,
        }
    }

    fn records(&self) -> impl Iterator<Item = (Shown, &Record)> {
        self.sources.iter().enumerate().flat_map(|(source, from)| {
            let experiment = self.place(source);
            from.records.iter().map(move |record| (Shown { experiment, run: record.run }, record))
        })
    }

    fn runs(&self) -> impl Iterator<Item = (Shown, &RunSummary)> {
        self.sources.iter().enumerate().flat_map(|(source, from)| {
            let experiment = self.place(source);
            from.summary.runs.iter().map(move |run| (Shown { experiment, run: run.id() }, run))
        })
    }

    /// The folder that a curve is labelled by; none where all are shown as one.
    fn folder_label(&self, experiment: usize) -> Option<String> {
        match self.arrangement {
            Arrangement::Joined => None,
            Arrangement::SideBySide => {
                self.sources.get(experiment).map(|source| source.folder.display().to_string())
            }
        }
    }

    /// A run in words, with its folder where that is needed.
    fn run_label(&self, shown: Shown) -> String {
        match self.folder_label(shown.experiment) {
            Some(folder) => format!("{} ({folder})", shown.run),
            None => shown.run.to_string(),
        }
    }

    /// How the curves of an optimizer look.
    fn look(&self, experiment: usize, optimizer: OptimizerName) -> Look {
        match self.folder_label(experiment) {
            Some(folder) => Look::beside(optimizer, experiment, &folder),
            None => Look::of(optimizer),
        }
    }
}

/// A run that both experiments hold.
fn common_run(first: &Source, second: &Source) -> Option<RunId> {
    let runs = |source: &Source| -> BTreeSet<RunId> {
        let recorded = source.records.iter().map(|record| record.run);
        recorded.chain(source.summary.runs.iter().map(RunSummary::id)).collect()
    };
    runs(first).intersection(&runs(second)).next().copied()
}
