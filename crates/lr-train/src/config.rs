//! The experiment's configuration: one TOML file, unknown keys rejected, defaults those of the paper.
//!
//! A file names a preset and overrides what it likes; everything else is the preset's. The resolved
//! configuration is written beside the results, and reading that file back gives the same configuration.

mod choices;
mod model;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use choices::{
    DataOrder, Device, FinalNorm, Normalize, OptimizerName, Precision, Preset, Reorthogonalize, Retraction,
    Schedule, UnknownName,
};
pub use model::{GPT2_VOCABULARY, ModelConfig};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML, has an unknown key or a value of the wrong type.
    #[error("in the configuration {origin}: {message}")]
    Parse {
        /// The file's path, or a name for the text's origin.
        origin: String,
        /// The parser's message: line, column, key and what was expected.
        message: String,
    },
    /// A value is out of its range or contradicts another one.
    #[error("configuration field {field}: {message}")]
    Invalid {
        /// The key, dotted for nested ones.
        field: &'static str,
        /// What is wrong and how to mend it.
        message: String,
    },
}

impl ConfigError {
    fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }
}

/// Everything that decides an experiment's results, and where they go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExperimentConfig {
    /// Where the defaults come from.
    pub preset: Preset,
    /// One run for each of these and each seed.
    pub optimizers: Vec<OptimizerName>,
    /// Optimizer steps a run.
    pub steps: usize,
    /// Seeds of initialization and data order.
    pub seeds: Vec<u64>,
    /// Peak learning rate of the attention pairs; absent: 2^-8 for the geometries and 2^-12 for AdamW, see
    /// [`ExperimentConfig::lr_qkvo_of`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_qkvo: Option<f64>,
    /// Peak learning rate of every other parameter.
    pub lr_other: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Course of both learning rates after the warm-up.
    pub schedule: Schedule,
    /// Normalization of the geometries' direction.
    pub normalize: Normalize,
    /// The momentum coefficient nu of the geometries, in [0, 1); 0 keeps no momentum.
    pub momentum: f64,
    /// Retraction, where the geometry has a choice.
    pub retraction: Retraction,
    /// When the factors are orthogonalized again.
    pub reorthogonalize: Reorthogonalize,
    /// Norm before the unembedding.
    pub final_norm: FinalNorm,
    /// Storage of the parameters.
    pub precision: Precision,
    /// `crates`, `fineweb`, or the path of a .txt, .jsonl or .parquet file or of a folder of them.
    pub corpus: String,
    /// Order of the training windows.
    pub data_order: DataOrder,
    /// Bytes of text read from the corpus at most; documents beyond it are left out.
    pub corpus_max_bytes: u64,
    /// Fraction of the documents that are held out for validation, in (0, 1).
    pub validation_fraction: f64,
    /// Steps between evaluations of the validation loss.
    pub validate_every: usize,
    /// Batches an evaluation averages over.
    pub validation_batches: usize,
    /// Steps between measurements of the defects.
    pub observe_every: usize,
    /// Output folder.
    pub out: PathBuf,
    /// Where to compute.
    pub device: Device,
    /// Worker threads; 0 takes every core.
    pub threads: usize,
    /// Dimensions of model and batch.
    pub model: ModelConfig,
}

impl Default for ExperimentConfig {
    fn default() -> Self {
        Self::preset(Preset::Small)
    }
}

impl ExperimentConfig {
    /// The defaults of a preset.
    pub fn preset(preset: Preset) -> Self {
        let (steps, corpus_max_bytes) = match preset {
            Preset::Paper => (10_000, 1 << 30),
            Preset::Small => (800, 32 << 20),
            Preset::Smoke => (8, 1 << 20),
        };
        let (validate_every, validation_batches, observe_every) = match preset {
            Preset::Paper => (250, 20, 50),
            Preset::Small => (50, 10, 10),
            Preset::Smoke => (4, 2, 2),
        };
        Self {
            preset,
            optimizers: OptimizerName::ALL.to_vec(),
            steps,
            seeds: vec![0],
            lr_qkvo: None,
            lr_other: 2f64.powi(-10),
            warmup_steps: 10,
            schedule: Schedule::Constant,
            normalize: Normalize::Metric,
            momentum: 0.0,
            retraction: Retraction::Polar,
            reorthogonalize: Reorthogonalize::EveryStep,
            final_norm: FinalNorm::On,
            precision: Precision::F32,
            corpus: "crates".to_owned(),
            data_order: DataOrder::Documents,
            corpus_max_bytes,
            validation_fraction: 0.05,
            validate_every,
            validation_batches,
            observe_every,
            out: PathBuf::from("runs/mha"),
            device: Device::Cpu,
            threads: 0,
            model: ModelConfig::preset(preset),
        }
    }

    /// Reads a TOML file, fills what it leaves out from its preset, and validates.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file and the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config = Self::from_toml(&text, &path.display().to_string())?;
        config.validate()?;
        Ok(config)
    }

    /// Parses TOML and fills what it leaves out from its preset, without validating (a caller may still
    /// override fields). `origin` names the text in errors.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] with line, column and key.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let parse_error = |error: toml::de::Error| ConfigError::Parse {
            origin: origin.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        };
        // The text itself is parsed first: only its errors know line and column.
        let given: Self = toml::from_str(text).map_err(parse_error)?;
        let overrides: toml::Table = toml::from_str(text).map_err(parse_error)?;
        let mut resolved = toml::Table::try_from(Self::preset(given.preset))
            .map_err(|error| ConfigError::Parse { origin: origin.to_owned(), message: error.to_string() })?;
        for (key, value) in overrides {
            match (resolved.get_mut(&key), value) {
                (Some(toml::Value::Table(model)), toml::Value::Table(value)) if key == "model" => {
                    model.extend(value);
                }
                (_, value) => {
                    resolved.insert(key, value);
                }
            }
        }
        resolved.try_into().map_err(parse_error)
    }

    /// The whole configuration as TOML; [`ExperimentConfig::from_toml`] reads it back unchanged.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] for a value that TOML cannot hold (a seed or a size above 2^63 - 1).
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Parse {
            origin: "being written".to_owned(),
            message: error.to_string(),
        })
    }

    /// Peak learning rate of the attention pairs under `optimizer`.
    pub fn lr_qkvo_of(&self, optimizer: OptimizerName) -> f64 {
        self.lr_qkvo.unwrap_or_else(|| optimizer.default_lr_qkvo())
    }

    /// Checks every range and every combination.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the field at fault and the remedy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        self.validate_runs()?;
        self.validate_rates()?;
        self.validate_data()?;
        self.validate_device()
    }

    fn validate_runs(&self) -> Result<(), ConfigError> {
        if self.optimizers.is_empty() {
            return Err(ConfigError::invalid(
                "optimizers",
                format!("the list is empty; name at least one of {}", OptimizerName::NAMES.join(", ")),
            ));
        }
        if let Some(twice) = first_duplicate(&self.optimizers) {
            return Err(ConfigError::invalid("optimizers", format!("{twice} is named twice; name it once")));
        }
        if self.seeds.is_empty() {
            return Err(ConfigError::invalid("seeds", "the list is empty; give at least one seed"));
        }
        if let Some(twice) = first_duplicate(&self.seeds) {
            return Err(ConfigError::invalid("seeds", format!("{twice} is given twice; give it once")));
        }
        if let Some(large) = self.seeds.iter().find(|&&seed| i64::try_from(seed).is_err()) {
            return Err(ConfigError::invalid(
                "seeds",
                format!("{large} is above 2^63 - 1; give a smaller seed"),
            ));
        }
        at_least_one("steps", self.steps)?;
        let without_norm = self.optimizers.iter().find(|name| !name.supports_spectral_norm());
        if let Some(optimizer) = without_norm.filter(|_| self.normalize == Normalize::Spectral) {
            return Err(ConfigError::invalid(
                "normalize",
                format!(
                    "spectral normalization does not exist for {optimizer}; use metric or none, or leave \
                         {optimizer} out of optimizers"
                ),
            ));
        }
        match self.reorthogonalize {
            Reorthogonalize::EveryStep => Ok(()),
            Reorthogonalize::EveryKSteps { k } => at_least_one("reorthogonalize.every-k-steps.k", k),
            Reorthogonalize::WhenDefect { tolerance } => {
                positive("reorthogonalize.when-defect.tolerance", tolerance)
            }
        }
    }

    fn validate_rates(&self) -> Result<(), ConfigError> {
        if let Some(rate) = self.lr_qkvo {
            positive("lr_qkvo", rate)?;
        }
        positive("lr_other", self.lr_other)?;
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(ConfigError::invalid(
                "momentum",
                format!("nu = {} is not in [0, 1); give 0 for none, or for example 0.9", self.momentum),
            ));
        }
        Ok(())
    }

    fn validate_data(&self) -> Result<(), ConfigError> {
        if self.corpus.trim().is_empty() {
            return Err(ConfigError::invalid("corpus", "it is empty; give crates, fineweb or a path"));
        }
        if self.corpus_max_bytes == 0 || i64::try_from(self.corpus_max_bytes).is_err() {
            return Err(ConfigError::invalid(
                "corpus_max_bytes",
                format!(
                    "{} is out of range; give a number of bytes from 1 to 2^63 - 1",
                    self.corpus_max_bytes
                ),
            ));
        }
        if !(self.validation_fraction > 0.0 && self.validation_fraction < 1.0) {
            return Err(ConfigError::invalid(
                "validation_fraction",
                format!("{} is not between 0 and 1; give for example 0.05", self.validation_fraction),
            ));
        }
        at_least_one("validate_every", self.validate_every)?;
        at_least_one("validation_batches", self.validation_batches)?;
        at_least_one("observe_every", self.observe_every)?;
        if self.out.as_os_str().is_empty() {
            return Err(ConfigError::invalid("out", "it is empty; give a folder, for example runs/mha"));
        }
        Ok(())
    }

    fn validate_device(&self) -> Result<(), ConfigError> {
        match self.device {
            Device::Cpu => Ok(()),
            Device::CpuOpenblas if cfg!(feature = "openblas") => Ok(()),
            Device::CpuOpenblas => Err(ConfigError::invalid(
                "device",
                "cpu-openblas is not compiled in; build with --features openblas, or use cpu",
            )),
            Device::Cuda | Device::Wgpu => {
                Err(ConfigError::invalid("device", format!("{} is not built yet; use cpu", self.device)))
            }
        }
    }
}

fn first_duplicate<T: PartialEq + Copy>(items: &[T]) -> Option<T> {
    items.iter().enumerate().find(|(index, item)| items[..*index].contains(item)).map(|(_, item)| *item)
}

fn at_least_one(field: &'static str, value: usize) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::invalid(field, "it is 0; give at least 1"));
    }
    Ok(())
}

fn positive(field: &'static str, value: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ConfigError::invalid(
        field,
        format!("{value} is not a positive finite number; give for example 0.001"),
    ))
}
