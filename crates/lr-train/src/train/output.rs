//! Files of the output folder: atomic writes, `summary.json`, `corpus.json`, and the machine they came from.

mod machine;

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{ExperimentConfig, OptimizerName};
use crate::train::{
    metrics::{RunId, non_finite},
    repairs::Repairs,
};

pub use machine::{Machine, peak_rss_mb};

/// A file or folder of the output that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("{} is not a valid {kind}: {message}; run the experiment again or restore the file", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        kind: &'static str,
        /// Where and how it is wrong.
        message: String,
    },
}

impl OutputError {
    /// Wraps a system error with what was tried on which path.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose another folder with --out"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; make it writable or choose another folder with --out"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; a part of this path is a file: choose another folder with --out"
        }
        _ => "",
    }
}

/// Creates the output folder with its parents; an existing folder is fine.
///
/// # Errors
/// [`OutputError::Io`] naming the folder.
pub fn create_folder(path: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(path).map_err(|source| OutputError::io("create the folder", path, source))
}

/// Writes a file under a temporary name in the same folder, synchronizes it with the disk and renames it, so
/// that `path` holds either its old content or all of the new one.
///
/// # Errors
/// [`OutputError::Io`] naming `path`; the temporary file is then gone and `path` untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let fail = |source| OutputError::io("write", path, source);
    let name = path
        .file_name()
        .ok_or_else(|| fail(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")))?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    // Machines that share a folder may share process numbers too.
    let unique = RandomState::new().hash_one(std::process::id());
    temporary_name.push(format!(".{unique:016x}.tmp"));
    let temporary = path.with_file_name(temporary_name);

    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(source) = written.and_then(|()| fs::rename(&temporary, path)) {
        // The first error is the one to report; a temporary file that cannot be removed changes nothing.
        let _ = fs::remove_file(&temporary);
        return Err(fail(source));
    }
    sync_folder_of(path);
    Ok(())
}

/// Makes the rename itself durable where folders can be synchronized. The content is safe without it, so
/// that a file system that refuses is no error.
fn sync_folder_of(path: &Path) {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(parent).and_then(|folder| folder.sync_all());
    }
}

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

/// Writes a value as JSON, atomically.
///
/// # Errors
/// [`OutputError::Io`] naming the file.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), OutputError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| OutputError::io("write", path, io::Error::other(error)))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

fn parse_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    kind: &'static str,
    bytes: &[u8],
) -> Result<T, OutputError> {
    serde_json::from_slice(bytes).map_err(|error| OutputError::Malformed {
        path: path.to_owned(),
        kind,
        message: error.to_string(),
    })
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

    #[test]
    fn an_atomic_write_replaces_all_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"a long first content").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_a_file_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs");
        fs::write(&file, "").unwrap();
        for message in [
            create_folder(&file).unwrap_err().to_string(),
            create_folder(&file.join("mha")).unwrap_err().to_string(),
            write_atomically(&file.join("summary.json"), b"x").unwrap_err().to_string(),
        ] {
            assert!(message.contains("runs") && message.contains("--out"), "{message}");
        }
    }

    #[test]
    fn a_failed_rename_removes_the_temporary_file_and_keeps_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        fs::create_dir_all(target.join("inside")).unwrap();
        let message = write_atomically(&target, b"x").unwrap_err().to_string();
        assert!(message.contains("taken"), "{message}");
        assert!(target.join("inside").is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
