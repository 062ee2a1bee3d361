//! Files of the output folder: `summary.json` and `corpus.json`.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::config::{ExperimentConfig, OptimizerName};
use crate::train::{
    metrics::{RunId, non_finite},
    repairs::Repairs,
};

pub use lr_report::files::{OutputError, create_folder, write_atomically, write_json};
pub use lr_report::machine::{Machine, peak_rss_mb};

use lr_report::files::parse_json;

/// One run's line of the summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// What updated the attention pairs.
    pub optimizer: OptimizerName,
    /// Seed of initialization and data order.
    pub seed: u64,
    /// Optimizer steps taken; fewer than configured when the run was stopped or diverged.
    pub steps: usize,
    /// Training loss at the last steps, nats a token; `null` in the file when not finite.
    #[serde(with = "non_finite")]
    pub final_train_loss: f64,
    /// Validation loss after the last step, nats a token; `null` in the file when not finite.
    #[serde(with = "non_finite")]
    pub final_val_loss: f64,
    /// Training tokens a second of wall clock, evaluations excluded.
    #[serde(with = "non_finite")]
    pub tokens_per_s: f64,
    /// Median wall clock of a training step, milliseconds.
    #[serde(with = "non_finite")]
    pub step_ms_median: f64,
    /// Median share of the attention pairs' optimizer in it, milliseconds.
    #[serde(with = "non_finite")]
    pub optimizer_ms_median: f64,
    /// Peak resident memory of the process so far, MB (10^6 bytes); `null` where the system does not tell.
    pub peak_rss_mb: Option<f64>,
    /// Repairs of all kinds that the optimizer counted; absent for optimizers that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<u64>,
    /// The same, kind by kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs_by_kind: Option<Repairs>,
}

impl RunSummary {
    /// Which run it was.
    pub fn id(&self) -> RunId {
        RunId { optimizer: self.optimizer, seed: self.seed }
    }
}

/// The content of `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// One entry a run, in the order in which they ran.
    pub runs: Vec<RunSummary>,
    /// The resolved configuration.
    pub config: ExperimentConfig,
    /// Version of this crate.
    pub version: String,
    /// Where the experiment ran.
    pub machine: Machine,
}

impl Summary {
    /// Name of the file in the output folder.
    pub const FILE: &'static str = "summary.json";

    /// Writes `summary.json` into `folder`.
    ///
    /// # Errors
    /// [`OutputError::Io`] naming the file.
    pub fn write(&self, folder: &Path) -> Result<(), OutputError> {
        write_json(&folder.join(Self::FILE), self)
    }

    /// Reads `summary.json` from `folder`.
    ///
    /// # Errors
    /// [`OutputError`] naming the file, and the line if it is malformed.
    pub fn read(folder: &Path) -> Result<Self, OutputError> {
        let path = folder.join(Self::FILE);
        let bytes = fs::read(&path).map_err(|source| OutputError::io("read", &path, source))?;
        parse_json(&path, "summary", &bytes)
    }
}

/// The content of `corpus.json`: what the runs were trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusSummary {
    /// The source in words: `crates`, `fineweb` or a path.
    pub source: String,
    /// Bytes of text.
    pub bytes: u64,
    /// Documents in training and validation together.
    pub documents: u64,
    /// Tokens in the windows for training, of the first seed's split.
    pub train_tokens: u64,
    /// Tokens in the held-out windows.
    pub validation_tokens: u64,
    /// Size of the vocabulary in use.
    pub vocabulary: usize,
    /// Checksum of the tokenized text, in hexadecimal: equal checksums mean equal data.
    pub checksum: String,
}

impl CorpusSummary {
    /// Name of the file in the output folder.
    pub const FILE: &'static str = "corpus.json";

    /// Writes `corpus.json` into `folder`.
    ///
    /// # Errors
    /// [`OutputError::Io`] naming the file.
    pub fn write(&self, folder: &Path) -> Result<(), OutputError> {
        write_json(&folder.join(Self::FILE), self)
    }

    /// Reads `corpus.json` from `folder`; `None` when there is none.
    ///
    /// # Errors
    /// [`OutputError`] naming the file, and the line if it is malformed.
    pub fn read(folder: &Path) -> Result<Option<Self>, OutputError> {
        let path = folder.join(Self::FILE);
        match fs::read(&path) {
            Ok(bytes) => parse_json(&path, "corpus summary", &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OutputError::io("read", &path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn summary() -> Summary {
        Summary {
            runs: vec![RunSummary {
                optimizer: OptimizerName::FixedQuotient,
                seed: 3,
                steps: 100,
                final_train_loss: 4.25,
                final_val_loss: f64::INFINITY,
                tokens_per_s: 24_000.0,
                step_ms_median: 40.5,
                optimizer_ms_median: 0.5,
                peak_rss_mb: None,
                repairs: None,
                repairs_by_kind: None,
            }],
            config: ExperimentConfig::default(),
            version: "0.1.0".to_owned(),
            machine: Machine::detect(2),
        }
    }

    #[test]
    fn summary_has_the_agreed_keys_and_survives_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let written = summary();
        written.write(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("summary.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let keys = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(keys(&json), ["runs", "config", "version", "machine"].map(String::from).into());
        assert_eq!(
            keys(&json["runs"][0]),
            [
                "optimizer",
                "seed",
                "steps",
                "final_train_loss",
                "final_val_loss",
                "tokens_per_s",
                "step_ms_median",
                "optimizer_ms_median",
                "peak_rss_mb"
            ]
            .map(String::from)
            .into()
        );
        assert_eq!(json["runs"][0]["optimizer"], "fixed-quotient");
        assert!(json["runs"][0]["final_val_loss"].is_null());

        let read = Summary::read(folder.path()).unwrap();
        assert!(read.runs[0].final_val_loss.is_nan());
        assert_eq!((read.config, read.machine), (written.config, written.machine));
    }

    #[test]
    fn a_truncated_summary_names_the_file_and_the_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("summary.json"), "{\"runs\": [\n").unwrap();
        let message = Summary::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("summary.json") && message.contains("line 2"), "{message}");
        assert!(CorpusSummary::read(folder.path()).unwrap().is_none());
    }
}
