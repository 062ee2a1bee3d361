//! Checkpoints: the state of an interrupted run as one safetensors file with a checksum, written under a
//! temporary name and renamed.

use super::{
    metrics::RunId,
    output::{OutputError, write_atomically},
};
use lr_linalg::{Dims, Scalar};
use lr_optim::StateDict;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

/// Folder of the checkpoints within the output folder.
pub const CHECKPOINT_FOLDER: &str = "checkpoints";

const FORMAT: &str = "lowrank-checkpoint-1";

/// What a checkpoint holds beside the trainer's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<T> {
    /// Which run.
    pub run: RunId,
    /// Hash of the vocabulary that the model was trained with.
    pub vocabulary: u64,
    /// Training losses of the last steps, oldest first, and the times of all steps so far: what the
    /// summary is made of.
    pub history: History,
    /// The trainer's state.
    pub state: StateDict<T>,
}

/// The part of a run's past that its summary needs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct History {
    /// Training losses of the last steps, oldest first.
    pub recent_losses: Vec<f64>,
    /// Milliseconds of every step.
    pub step_ms: Vec<f64>,
    /// Milliseconds of the attention optimizers in every step.
    pub optimizer_ms: Vec<f64>,
}

/// Where the checkpoint of `run` lies within the output folder.
pub fn checkpoint_path(out: &Path, run: RunId) -> PathBuf {
    out.join(CHECKPOINT_FOLDER).join(format!("{}-seed{}.safetensors", run.optimizer, run.seed))
}

fn dtype<T: Scalar>() -> Dtype {
    if T::NAME == "f64" { Dtype::F64 } else { Dtype::F32 }
}

fn to_bytes<T: Scalar>(values: &[T]) -> Vec<u8> {
    match dtype::<T>() {
        Dtype::F64 => values.iter().flat_map(|x| x.to_f64().to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| (x.to_f64() as f32).to_le_bytes()).collect(),
    }
}

fn from_bytes<T: Scalar>(bytes: &[u8]) -> Vec<T> {
    match dtype::<T>() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|c| T::from_f64(f64::from_le_bytes(*c))).collect(),
        _ => bytes.as_chunks().0.iter().map(|c| T::from_f64(f64::from(f32::from_le_bytes(*c)))).collect(),
    }
}

fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sum = 0u64;
    for (name, bytes) in tensors {
        sum = xxh3_64(&[&sum.to_le_bytes()[..], name.as_bytes(), &xxh3_64(bytes).to_le_bytes()].concat());
    }
    format!("{sum:016x}")
}

impl<T: Scalar> Checkpoint<T> {
    /// Steps taken when it was written.
    pub fn steps(&self) -> usize {
        self.state.counters.get("steps").copied().unwrap_or(0) as usize
    }

    /// Writes the checkpoint into the output folder `out`.
    ///
    /// # Errors
    /// [`OutputError`] naming the file, for example when the disk is full; an older checkpoint then stays.
    pub fn write(&self, out: &Path) -> Result<(), OutputError> {
        let path = checkpoint_path(out, self.run);
        let invalid = |e: &dyn std::fmt::Display| {
            OutputError::io("write", &path, io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
        };
        let tensors: Vec<(&str, Dims, Vec<u8>)> =
            self.state.tensors.iter().map(|(name, (d, v))| (name.as_str(), *d, to_bytes(v))).collect();
        let json = |value: serde_json::Result<String>| value.map_err(|e| invalid(&e));
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("run".to_owned(), json(serde_json::to_string(&self.run))?),
            ("vocabulary".to_owned(), format!("{:016x}", self.vocabulary)),
            ("history".to_owned(), json(serde_json::to_string(&self.history))?),
            ("counters".to_owned(), json(serde_json::to_string(&self.state.counters))?),
            ("checksum".to_owned(), checksum(tensors.iter().map(|(n, _, b)| (*n, &b[..])))),
        ]);
        let views = tensors
            .iter()
            .map(|(name, d, bytes)| {
                Ok((*name, TensorView::new(dtype::<T>(), vec![d.batch, d.rows, d.cols], bytes)?))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| invalid(&e))?;
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| invalid(&e))?;
        if let Some(folder) = path.parent() {
            super::output::create_folder(folder)?;
        }
        write_atomically(&path, &bytes)
    }

    /// Reads the checkpoint of `run` from the output folder; none when there is no such file.
    ///
    /// # Errors
    /// [`OutputError`] naming the file when it cannot be read, is damaged, or belongs to another run.
    pub fn read(out: &Path, run: RunId) -> Result<Option<Self>, OutputError> {
        let path = checkpoint_path(out, run);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(OutputError::io("read", &path, e)),
        };
        Self::parse(&bytes, run).map(Some).map_err(|message| OutputError::Malformed {
            path,
            kind: "checkpoint",
            message,
        })
    }

    fn parse(bytes: &[u8], run: RunId) -> Result<Self, String> {
        let text = |e: safetensors::SafeTensorError| e.to_string();
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(text)?;
        let file = SafeTensors::deserialize(bytes).map_err(text)?;
        let metadata = header.metadata().as_ref().ok_or("it has no metadata")?;
        let field = |name: &str| metadata.get(name).ok_or_else(|| format!("the field `{name}` is missing"));
        if field("format")? != FORMAT {
            return Err(format!("its format is `{}`, expected `{FORMAT}`", field("format")?));
        }
        let mut named: Vec<_> = file.iter().collect();
        named.sort_by_key(|(name, _)| *name);
        if checksum(named.iter().map(|(n, t)| (*n, t.data()))) != *field("checksum")? {
            return Err("the checksum does not match: the file is damaged".to_owned());
        }
        let found: RunId = serde_json::from_str(field("run")?).map_err(|e| format!("field `run`: {e}"))?;
        if found != run {
            return Err(format!("it belongs to the run {found}, not to {run}"));
        }
        let counters =
            serde_json::from_str(field("counters")?).map_err(|e| format!("field `counters`: {e}"))?;
        let mut state = StateDict { counters, ..StateDict::default() };
        for (name, tensor) in named {
            let &[batch, rows, cols] = tensor.shape() else {
                return Err(format!(
                    "tensor `{name}` has shape {:?}, expected three dimensions",
                    tensor.shape()
                ));
            };
            if tensor.dtype() != dtype::<T>() {
                return Err(format!("tensor `{name}` is {:?}, expected {}", tensor.dtype(), T::NAME));
            }
            state.tensors.insert(name.to_owned(), (Dims::new(batch, rows, cols), from_bytes(tensor.data())));
        }
        Ok(Self {
            run,
            vocabulary: u64::from_str_radix(field("vocabulary")?, 16)
                .map_err(|e| format!("field `vocabulary`: {e}"))?,
            history: serde_json::from_str(field("history")?).map_err(|e| format!("field `history`: {e}"))?,
            state,
        })
    }
}

/// Removes the checkpoint of a finished run, if there is one.
///
/// # Errors
/// [`OutputError`] naming the file.
pub fn remove_checkpoint(out: &Path, run: RunId) -> Result<(), OutputError> {
    let path = checkpoint_path(out, run);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(OutputError::io("remove", &path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerName;

    const RUN: RunId = RunId { optimizer: OptimizerName::FixedEmbedded, seed: 3 };

    fn example() -> Checkpoint<f32> {
        let mut state = StateDict::default();
        state.counters.insert("steps".to_owned(), 17);
        state
            .tensors
            .insert("b".to_owned(), (Dims::new(1, 2, 3), vec![1.0, -0.1, 3.5e-30, 0.0, f32::MAX, 6.0]));
        state.tensors.insert("a".to_owned(), (Dims::new(2, 1, 1), vec![7.0, 8.0]));
        let history = History { recent_losses: vec![2.5], step_ms: vec![0.1, 0.2], optimizer_ms: vec![0.3] };
        Checkpoint { run: RUN, vocabulary: 0xfeed_0123_4567_89ab, history, state }
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::<f32>::read(dir.path(), RUN).unwrap(), None);
        example().write(dir.path()).unwrap();
        assert_eq!(Checkpoint::read(dir.path(), RUN).unwrap(), Some(example()));
        remove_checkpoint(dir.path(), RUN).unwrap();
        assert_eq!(Checkpoint::<f32>::read(dir.path(), RUN).unwrap(), None);
    }

    #[test]
    fn damage_is_noticed_and_named() {
        let dir = tempfile::tempdir().unwrap();
        example().write(dir.path()).unwrap();
        let path = checkpoint_path(dir.path(), RUN);
        let good = fs::read(&path).unwrap();
        let error = || Checkpoint::<f32>::read(dir.path(), RUN).unwrap_err().to_string();
        for cut in [0, 5, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(error().contains("fixed-embedded-seed3.safetensors"), "cut at {cut}: {}", error());
        }
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&path, flipped).unwrap();
        assert!(error().contains("damaged"), "{}", error());
        assert!(Checkpoint::<f64>::parse(&good, RUN).unwrap_err().contains("expected f64"));
        let other = RunId { seed: 4, ..RUN };
        assert!(Checkpoint::<f32>::parse(&good, other).unwrap_err().contains("belongs to the run"));
    }
}
