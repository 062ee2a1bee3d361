//! Opening an output folder: what it already holds (the finished runs and checkpoints that `--resume` goes on
//! from, or an older experiment that must not be overwritten), and the files that runs then write.

use super::{
    checkpoint::Checkpoint,
    experiment::{CONFIG_FILE, ExperimentError, Start},
    metrics::{METRICS_FILE, MetricsWriter, RunId},
    output::{OutputError, RunSummary, Summary, create_folder, write_atomically},
};
use crate::config::{ConfigError, ExperimentConfig};
use lr_linalg::Scalar;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What an earlier session of the same experiment left.
pub(crate) struct Past<T> {
    /// Runs that came to their end.
    pub finished: Vec<RunSummary>,
    steps: usize,
    checkpoints: Vec<Checkpoint<T>>,
}

impl<T: Scalar> Past<T> {
    /// Of an experiment that is new.
    pub fn nothing() -> Self {
        Self { finished: Vec::new(), steps: 0, checkpoints: Vec::new() }
    }

    /// Reads the folder `config.out`, after checking that it holds this very experiment.
    ///
    /// # Errors
    /// [`ExperimentError`] naming the file that is missing or damaged, or the setting that differs.
    pub fn read(config: &ExperimentConfig, runs: &[RunId]) -> Result<Self, ExperimentError> {
        let out = config.out.as_path();
        let stored = ExperimentConfig::load(&out.join(CONFIG_FILE))?;
        if let Some((key, stored, given)) = first_difference(&stored, config)? {
            return Err(ExperimentError::OtherConfig { folder: out.to_owned(), key, stored, given });
        }
        let mut past = Self { steps: config.steps, ..Self::nothing() };
        if out.join(Summary::FILE).exists() {
            past.finished = Summary::read(out)?.runs;
            // A run that diverged starts again.
            past.finished.retain(|run| run.steps == config.steps && run.final_val_loss.is_finite());
        }
        for run in runs.iter().filter(|id| past.finished.iter().all(|done| done.id() != **id)) {
            past.checkpoints.extend(Checkpoint::read(out, *run)?);
        }
        Ok(past)
    }

    /// Every run that is kept or continued, with the steps it has taken.
    pub fn progress(&self) -> Vec<(RunId, usize)> {
        let finished = self.finished.iter().map(|run| (run.id(), self.steps));
        finished.chain(self.checkpoints.iter().map(|c| (c.run, c.steps()))).collect()
    }

    /// The checkpoint of `run`, if it has one.
    pub fn take_checkpoint(&mut self, run: RunId) -> Option<Checkpoint<T>> {
        let index = self.checkpoints.iter().position(|c| c.run == run)?;
        Some(self.checkpoints.swap_remove(index))
    }
}

/// Makes the folder `config.out` ready for `runs`: its configuration written, and the metrics file cut back to
/// what `start` keeps.
///
/// # Errors
/// [`ExperimentError`] naming the file or the setting at fault.
pub(crate) fn open<T: Scalar>(
    config: &ExperimentConfig,
    runs: &[RunId],
    start: Start,
) -> Result<(Past<T>, MetricsWriter), ExperimentError> {
    let out = config.out.as_path();
    create_folder(out)?;
    let past = match start {
        Start::Fresh => Past::nothing(),
        Start::Resume => Past::read(config, runs)?,
    };
    let metrics = match start {
        Start::Fresh => MetricsWriter::create(&out.join(METRICS_FILE))?,
        Start::Resume => MetricsWriter::resume(&out.join(METRICS_FILE), &past.progress())?,
    };
    write_atomically(&out.join(CONFIG_FILE), config.to_toml()?.as_bytes())?;
    Ok((past, metrics))
}

/// Whether there is an experiment that could be resumed.
pub(crate) fn holds_experiment(out: &Path) -> bool {
    [CONFIG_FILE, METRICS_FILE].iter().all(|file| out.join(file).exists())
}

/// Moves an output folder with traces of an experiment to `<folder>.previous-1` or the next free number.
///
/// # Errors
/// [`OutputError`] naming the folder.
pub(super) fn move_aside(out: &Path) -> Result<Option<PathBuf>, OutputError> {
    if [CONFIG_FILE, METRICS_FILE].iter().all(|file| !out.join(file).exists()) {
        return Ok(None);
    }
    let name = out.file_name().map_or_else(|| "experiment".into(), |n| n.to_string_lossy().into_owned());
    for number in 1..10_000 {
        let aside = out.with_file_name(format!("{name}.previous-{number}"));
        if !aside.exists() {
            fs::rename(out, &aside).map_err(|e| OutputError::io("move aside", out, e))?;
            return Ok(Some(aside));
        }
    }
    let full = io::Error::new(io::ErrorKind::AlreadyExists, "ten thousand older experiments are there");
    Err(OutputError::io("move aside", out, full))
}

/// The first key on which two configurations differ (with the value of each), other than where and on how many
/// threads to run.
pub(crate) fn first_difference(
    stored: &ExperimentConfig,
    given: &ExperimentConfig,
) -> Result<Option<(String, String, String)>, ConfigError> {
    let table = |config: &ExperimentConfig| -> Result<toml::Table, ConfigError> {
        config.to_toml()?.parse().map_err(|e: toml::de::Error| ConfigError::Parse {
            origin: CONFIG_FILE.to_owned(),
            message: e.to_string(),
        })
    };
    let (stored, given) = (table(stored)?, table(given)?);
    let absent = toml::Value::String("absent".to_owned());
    let keys = stored.keys().chain(given.keys().filter(|k| !stored.contains_key(*k)));
    for key in keys.filter(|k| !["out", "threads"].contains(&k.as_str())) {
        let (old, new) = (stored.get(key).unwrap_or(&absent), given.get(key).unwrap_or(&absent));
        if old != new {
            return Ok(Some(innermost(key, old, new)));
        }
    }
    Ok(None)
}

/// Descends into tables: `model.layers` rather than two whole models.
fn innermost(key: &str, old: &toml::Value, new: &toml::Value) -> (String, String, String) {
    if let (toml::Value::Table(old), toml::Value::Table(new)) = (old, new) {
        for (inner, old) in old {
            if let Some(new) = new.get(inner).filter(|new| *new != old) {
                return innermost(&format!("{key}.{inner}"), old, new);
            }
        }
    }
    (key.to_owned(), old.to_string(), new.to_string())
}
