//! [`CellResult`]: the file that a finished cell leaves.

use super::{
    Cell, ProtocolError,
    statistics::{Spike, last_five, spikes, thinned},
};
use crate::{
    config::ExperimentConfig,
    train::{
        folder::first_difference,
        metrics::{Record, Split},
        output::{CorpusSummary, Machine, OutputError, RunSummary, create_folder, write_json},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Folder of the cells' files within a part's folder.
pub const CELL_FOLDER: &str = "cells";

/// Points of a training curve that a file keeps at most.
const CURVE_POINTS: usize = 400;

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ending {
    /// All steps were taken.
    Finished,
    /// The loss or a factorization broke down.
    Diverged {
        /// What broke, and where.
        reason: String,
    },
}

/// What a finished cell leaves: its configuration, its curves, and where it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellResult {
    /// Which cell.
    pub cell: Cell,
    /// The whole configuration of the run.
    pub config: ExperimentConfig,
    /// What it was trained on.
    pub corpus: CorpusSummary,
    /// How it ended.
    pub ending: Ending,
    /// Step and validation loss, all of them.
    #[serde(with = "curve")]
    pub validation: Vec<(usize, f64)>,
    /// Step and training loss: means over stretches of equal length, 400 points at most.
    #[serde(with = "curve")]
    pub training: Vec<(usize, f64)>,
    /// The spikes of the training loss, found in all its steps.
    pub spikes: Vec<Spike>,
    /// The run's line of a summary: steps, times, repairs.
    pub run: RunSummary,
    /// Version of this crate.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
}

impl CellResult {
    /// Of a run that ended, from the records of its metrics file.
    pub fn new(
        cell: Cell,
        config: ExperimentConfig,
        corpus: CorpusSummary,
        ending: Ending,
        run: RunSummary,
        records: &[Record],
    ) -> Self {
        let curve = |split| -> Vec<(usize, f64)> {
            records.iter().filter(|r| r.split == split).map(|r| (r.step, r.loss)).collect()
        };
        let training = curve(Split::Train);
        Self {
            cell,
            config,
            corpus,
            ending,
            validation: curve(Split::Validation),
            training: thinned(&training, CURVE_POINTS),
            spikes: spikes(&training),
            run,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: Machine::detect(rayon::current_num_threads()),
        }
    }

    /// Mean of the last five validation losses, nats a token; infinite when the run diverged.
    pub fn score(&self) -> f64 {
        match self.ending {
            Ending::Finished => last_five(&self.validation),
            Ending::Diverged { .. } => f64::INFINITY,
        }
    }

    /// Where the file of `cell` lies within a part's folder.
    pub fn path(folder: &Path, cell: &Cell) -> PathBuf {
        folder.join(CELL_FOLDER).join(format!("{}.json", cell.id()))
    }

    /// Writes the cell's file into a part's folder, atomically.
    ///
    /// # Errors
    /// [`OutputError`] naming the file.
    pub fn write(&self, folder: &Path) -> Result<(), OutputError> {
        create_folder(&folder.join(CELL_FOLDER))?;
        write_json(&Self::path(folder, &self.cell), self)
    }

    /// Reads a cell's file, and checks that name, cell and configuration agree.
    ///
    /// # Errors
    /// [`ProtocolError`] naming the file, and the setting that disagrees.
    pub fn read(path: &Path) -> Result<Self, ProtocolError> {
        let result: Self = read_json(path)?;
        if path.file_stem().is_none_or(|stem| stem != result.cell.id().as_str()) {
            return Err(bad(path, format!("it holds the cell {}", result.cell.id())));
        }
        let expected = result.cell.config(&result.config);
        result.same_settings(path, &expected, "follows from its name")?;
        Ok(result)
    }

    /// Checks that this result, read from `path`, was made with `config`; `elsewhere` says where that is from.
    ///
    /// # Errors
    /// [`ProtocolError::OtherSettings`] naming the first setting that differs.
    pub fn same_settings(
        &self,
        path: &Path,
        config: &ExperimentConfig,
        elsewhere: &str,
    ) -> Result<(), ProtocolError> {
        match first_difference(&self.config, config)? {
            None => Ok(()),
            Some((field, stored, given)) => Err(ProtocolError::OtherSettings {
                path: path.to_owned(),
                field,
                stored,
                given,
                elsewhere: elsewhere.to_owned(),
            }),
        }
    }

    /// Checks that this result, read from `path`, was trained on the text with this checksum.
    ///
    /// # Errors
    /// [`ProtocolError::OtherSettings`].
    pub fn same_corpus(&self, path: &Path, checksum: &str, elsewhere: &str) -> Result<(), ProtocolError> {
        if self.corpus.checksum == checksum {
            return Ok(());
        }
        Err(ProtocolError::OtherSettings {
            path: path.to_owned(),
            field: "corpus checksum".to_owned(),
            stored: self.corpus.checksum.clone(),
            given: checksum.to_owned(),
            elsewhere: elsewhere.to_owned(),
        })
    }
}

fn bad(path: &Path, message: String) -> ProtocolError {
    ProtocolError::BadFile { path: path.to_owned(), message }
}

/// Reads one of the protocol's own files.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ProtocolError> {
    let bytes = fs::read(path).map_err(|source: io::Error| OutputError::io("read", path, source))?;
    serde_json::from_slice(&bytes).map_err(|error| bad(path, error.to_string()))
}

/// Pairs of step and loss; a loss that is not finite is `null`.
mod curve {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(curve: &[(usize, f64)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(curve.iter().map(|&(step, loss)| (step, loss.is_finite().then_some(loss))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(usize, f64)>, D::Error> {
        let pairs = Vec::<(usize, Option<f64>)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(step, loss)| (step, loss.unwrap_or(f64::NAN))).collect())
    }
}
