//! `metrics.jsonl`: one JSON record a line for every measured step, appended while a run goes on.
//!
//! The file survives being cut off at any byte: a torn last line is dropped by the reader, and resuming
//! rewrites the file up to the checkpoints' steps before it appends.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    output::{OutputError, write_atomically},
    repairs::Repairs,
};
use crate::config::OptimizerName;

/// Name of the file in the output folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// Which run of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    /// What updates the attention pairs.
    pub optimizer: OptimizerName,
    /// Seed of initialization and data order.
    pub seed: u64,
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} seed {}", self.optimizer, self.seed)
    }
}

/// Which part of the corpus a loss was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The training batch of the step.
    Train,
    /// The held-out documents.
    Validation,
}

/// What was measured at one step. Absent fields were not measured; a measured value that is not finite is
/// `null` in the file and NaN when read back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The run.
    #[serde(flatten)]
    pub run: RunId,
    /// Optimizer steps taken: 0 before the first.
    pub step: usize,
    /// Where the loss was measured.
    pub split: Split,
    /// Mean cross-entropy, nats a token.
    #[serde(with = "non_finite")]
    pub loss: f64,
    /// Learning rate of the attention pairs at this step.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Norm of the attention pairs' gradient: of the geometry's metric, Euclidean for AdamW.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// Norm of the attention pairs' momentum in the same sense.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub momentum_norm: Option<f64>,
    /// Largest distance of a factor from orthogonality.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub orthogonality_defect: Option<f64>,
    /// Largest distance of a momentum from the tangent or horizontal space, relative to the momentum.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub coherence_defect: Option<f64>,
    /// Largest contradiction between the gradients of a pair, relative to both: 0 where the loss is a function
    /// of the pairs' products.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub consistency_defect: Option<f64>,
    /// Largest share of the safe step length that a step took; present with a rank guard only.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub rank_margin: Option<f64>,
    /// Repairs counted so far, for optimizers that have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Repairs>,
    /// Wall clock of the whole step, milliseconds.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<f64>,
    /// The share of the attention pairs' optimizer in it, milliseconds.
    #[serde(default, with = "measured", skip_serializing_if = "Option::is_none")]
    pub optimizer_ms: Option<f64>,
}

impl Record {
    /// A record that holds a loss and nothing else.
    pub fn new(run: RunId, step: usize, split: Split, loss: f64) -> Self {
        Self {
            run,
            step,
            split,
            loss,
            lr: None,
            grad_norm: None,
            momentum_norm: None,
            orthogonality_defect: None,
            coherence_defect: None,
            consistency_defect: None,
            rank_margin: None,
            repairs: None,
            step_ms: None,
            optimizer_ms: None,
        }
    }
}

/// JSON knows no NaN: a number that is not finite is written as `null` and read back as NaN.
pub(crate) mod non_finite {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_unit() }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// [`non_finite`] for a field that may be absent: `null` is a measured NaN, absence is no measurement.
mod measured {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        super::non_finite::serialize(&value.unwrap_or(f64::NAN), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        super::non_finite::deserialize(deserializer).map(Some)
    }
}

/// Appends records; what [`MetricsWriter::append`] has returned from is in the system's hands and survives
/// the end of the process, however it comes.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
    lines: Vec<u8>,
}

impl MetricsWriter {
    /// Starts an empty file at `path`, replacing an older one.
    ///
    /// # Errors
    /// [`OutputError::Io`] naming the file.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let file = File::create(path).map_err(|source| OutputError::io("create", path, source))?;
        Ok(Self { path: path.to_owned(), file, lines: Vec::new() })
    }

    /// Continues the file at `path` from checkpoints: of each run in `progress` the records up to its step
    /// stay, everything else goes, and the file is replaced atomically before anything is appended.
    ///
    /// # Errors
    /// [`OutputError`] naming the file, and the line if one is malformed.
    pub fn resume(path: &Path, progress: &[(RunId, usize)]) -> Result<Self, OutputError> {
        let mut kept = Vec::new();
        for record in read_metrics(path)? {
            if progress.iter().any(|(run, step)| *run == record.run && record.step <= *step) {
                push_line(path, &mut kept, &record)?;
            }
        }
        write_atomically(path, &kept)?;
        let file = File::options()
            .append(true)
            .open(path)
            .map_err(|source| OutputError::io("append to", path, source))?;
        Ok(Self { path: path.to_owned(), file, lines: Vec::new() })
    }

    /// Appends `records`, one line each, in one write.
    ///
    /// # Errors
    /// [`OutputError::Io`] naming the file, for example when the disk is full.
    pub fn append(&mut self, records: &[Record]) -> Result<(), OutputError> {
        self.lines.clear();
        for record in records {
            push_line(&self.path, &mut self.lines, record)?;
        }
        self.file
            .write_all(&self.lines)
            .and_then(|()| self.file.flush())
            .map_err(|source| OutputError::io("append to", &self.path, source))
    }
}

fn push_line(path: &Path, lines: &mut Vec<u8>, record: &Record) -> Result<(), OutputError> {
    serde_json::to_writer(&mut *lines, record)
        .map_err(|error| OutputError::io("append to", path, error.into()))?;
    lines.push(b'\n');
    Ok(())
}

/// Reads every record of a file. A last line without its line end that does not parse was cut off while it
/// was written, and is left out.
///
/// # Errors
/// [`OutputError`] naming the file, and the number of the line if any other line is malformed.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>, OutputError> {
    let bytes = fs::read(path).map_err(|source| OutputError::io("read", path, source))?;
    let mut records = Vec::new();
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                return Err(OutputError::Malformed {
                    path: path.to_owned(),
                    kind: "metrics file",
                    message: format!("line {}, column {}: {}", index + 1, error.column(), reason(&error)),
                });
            }
        }
    }
    Ok(records)
}

/// The parser's message without its own position, which counts from the start of one line.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: RunId = RunId { optimizer: OptimizerName::Adamw, seed: 0 };
    const B: RunId = RunId { optimizer: OptimizerName::PartialCanonical, seed: 1 };

    fn train(run: RunId, step: usize) -> Record {
        Record {
            lr: Some(0.5),
            step_ms: Some(1.25),
            ..Record::new(run, step, Split::Train, 9.0 - step as f64)
        }
    }

    fn file_with(records: &[Record]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS_FILE);
        MetricsWriter::create(&path).unwrap().append(records).unwrap();
        (folder, path)
    }

    #[test]
    fn records_come_back_and_unmeasured_fields_are_absent() {
        let validation = Record::new(B, 2, Split::Validation, 3.5);
        let (_folder, path) = file_with(&[train(A, 1), validation]);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().nth(1).unwrap(),
            r#"{"optimizer":"partial-canonical","seed":1,"step":2,"split":"validation","loss":3.5}"#
        );
        assert_eq!(read_metrics(&path).unwrap(), [train(A, 1), validation]);
    }

    #[test]
    fn not_finite_is_null_and_differs_from_not_measured() {
        let diverged = Record { grad_norm: Some(f64::INFINITY), ..Record::new(A, 1, Split::Train, f64::NAN) };
        let (_folder, path) = file_with(&[diverged]);
        let read = read_metrics(&path).unwrap()[0];
        assert!(read.loss.is_nan() && read.grad_norm.unwrap().is_nan());
        assert_eq!(read.lr, None);
    }

    #[test]
    fn defects_and_repairs_come_back() {
        let observed = Record {
            consistency_defect: Some(0.25),
            rank_margin: Some(0.5),
            repairs: Some(Repairs { gradients: 3, momenta: 1, ..Repairs::default() }),
            ..Record::new(B, 2, Split::Train, 3.5)
        };
        let (_folder, path) = file_with(&[observed]);
        assert_eq!(read_metrics(&path).unwrap(), [observed]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(r#""repairs":{"safeguards":0,"reorthogonalizations":0,"momenta":1,"gradients":3"#)
        );
    }

    #[test]
    fn every_append_reaches_the_file_at_once() {
        let (_folder, path) = file_with(&[]);
        assert!(read_metrics(&path).unwrap().is_empty());
        let mut writer = MetricsWriter::create(&path).unwrap();
        for step in 1..=3 {
            writer.append(&[train(A, step)]).unwrap();
            assert_eq!(read_metrics(&path).unwrap().len(), step);
        }
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_its_whole_lines() {
        let (_folder, path) = file_with(&[train(A, 1), train(A, 2), train(B, 1)]);
        let bytes = fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = bytes[..cut].iter().filter(|&&byte| byte == b'\n').count();
            let read = read_metrics(&path).unwrap().len();
            // A line that lacks only its line end is whole too.
            assert!(read == whole || read == whole + 1 && bytes[cut] == b'\n', "cut at {cut}");
        }
    }

    #[test]
    fn a_broken_line_before_the_last_is_an_error_with_its_number() {
        let (_folder, path) = file_with(&[train(A, 1), train(A, 2)]);
        let good = fs::read_to_string(&path).unwrap();
        for bad in ["{\"optimizer\":\"adamw\"\n", "\n", "\u{0}\n", "{\"optimizer\":\"nobody\"}\n"] {
            fs::write(&path, format!("{good}{bad}{good}")).unwrap();
            let message = read_metrics(&path).unwrap_err().to_string();
            assert!(message.contains("metrics.jsonl") && message.contains("line 3"), "{message}");
        }
    }

    #[test]
    fn resuming_drops_what_no_checkpoint_covers() {
        let other = RunId { optimizer: OptimizerName::FixedEmbedded, seed: 0 };
        let records: Vec<_> =
            [(A, 1), (A, 2), (B, 1), (B, 2), (B, 3), (other, 1)].map(|(run, step)| train(run, step)).into();
        let (folder, path) = file_with(&records);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"optim").unwrap();

        let mut writer = MetricsWriter::resume(&path, &[(A, 2), (B, 2)]).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), records[..4]);
        writer.append(&[train(B, 3)]).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), records[..5]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named_with_the_path() {
        let mut writer = MetricsWriter::create(Path::new("/dev/full")).unwrap();
        let message = writer.append(&[train(A, 1)]).unwrap_err().to_string();
        for part in ["/dev/full", "No space left", "--out"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
