//! The experiment's configuration: one TOML file, unknown keys rejected, defaults those of the paper.
//!
//! A file names a preset and overrides what it likes; everything else is the preset's. The resolved
//! configuration is written beside the results, and reading that file back gives the same configuration.

mod choices;
mod device;
mod model;
mod repairs;
#[cfg(test)]
mod tests;
mod validate;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use choices::named_choice;
pub use choices::{
    Averaging, DataOrder, FinalNorm, FixedRetraction, Normalize, OptimizerName, Position, Precision, Preset,
    QkNorm, Retraction, Schedule, UnknownName,
};
pub use device::Device;
pub use model::{GPT2_VOCABULARY, ModelConfig};
pub use repairs::{Cadence, GradientRepair, MomentumRepair, RankGuard};

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
    /// Peak learning rate of the attention pairs; absent: that of
    /// [`OptimizerName::default_lr_qkvo`], see [`ExperimentConfig::lr_qkvo_of`].
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
    /// How gradients add up to the geometries' momentum.
    pub averaging: Averaging,
    /// Decay of fixed-rank pairs, `W <- W / (1 + lr weight_decay)` after every step; at least 0. Optimizers
    /// that are no geometries have their own.
    pub weight_decay: f64,
    /// Retraction of partial isometries, where the geometry has a choice.
    pub retraction: Retraction,
    /// Retraction of fixed rank with the embedded metric.
    pub fixed_retraction: FixedRetraction,
    /// When the factors are orthogonalized again; the defect is the Frobenius norm of `U^T U - I`.
    pub reorthogonalize: Cadence,
    /// What happens to a momentum that has left the tangent space.
    pub momentum_repair: MomentumRepair,
    /// When; the defect is relative to the momentum.
    pub momentum_repair_cadence: Cadence,
    /// What happens to gradients of a pair that contradict each other; absent: they are projected where
    /// attention is low-rank only almost, see [`ExperimentConfig::gradient_repair_in_use`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_repair: Option<GradientRepair>,
    /// When; the defect is relative to the gradients.
    pub gradient_repair_cadence: Cadence,
    /// What happens with steps that may lose the rank.
    pub rank_guard: RankGuard,
    /// Norm before the unembedding.
    pub final_norm: FinalNorm,
    /// What forward and backward compute with.
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
    /// The defaults of a preset for multi-head attention: the experiment `mha`.
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
            optimizers: OptimizerName::MHA.to_vec(),
            steps,
            seeds: vec![0],
            lr_qkvo: None,
            lr_other: 2f64.powi(-10),
            warmup_steps: 10,
            schedule: Schedule::Constant,
            normalize: Normalize::Metric,
            momentum: 0.0,
            averaging: Averaging::Exponential,
            weight_decay: 0.0,
            retraction: Retraction::Polar,
            fixed_retraction: FixedRetraction::Svd,
            reorthogonalize: Cadence::EveryKSteps { k: 32 },
            momentum_repair: MomentumRepair::Off,
            momentum_repair_cadence: Cadence::EveryStep,
            gradient_repair: None,
            gradient_repair_cadence: Cadence::EveryStep,
            rank_guard: RankGuard::Off,
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

    /// The defaults of a preset for grouped-query attention, the experiment `gqa`: one key-value head that all
    /// query heads share, AdamW and the five grid geometries.
    pub fn gqa(preset: Preset) -> Self {
        let multi_head = Self::preset(preset);
        Self {
            optimizers: OptimizerName::GQA.to_vec(),
            out: PathBuf::from("runs/gqa"),
            model: ModelConfig { kv_heads: 1, ..multi_head.model },
            ..multi_head
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

    /// [`ExperimentConfig::from_toml_over`] the defaults of the experiment `mha`.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] with line, column and key.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        Self::from_toml_over(text, origin, Self::preset)
    }

    /// Parses TOML and fills what it leaves out from `defaults` of its preset, without validating (a caller may
    /// still override fields). `origin` names the text in errors. Where the defaults have as many key-value
    /// heads as heads, so has a text that gives `model.heads` alone.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] with line, column and key.
    pub fn from_toml_over(
        text: &str,
        origin: &str,
        defaults: impl FnOnce(Preset) -> Self,
    ) -> Result<Self, ConfigError> {
        let parse_error = |error: toml::de::Error| ConfigError::Parse {
            origin: origin.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        };
        // The text itself is parsed first: only its errors know line and column.
        let given: Self = toml::from_str(text).map_err(parse_error)?;
        let overrides: toml::Table = toml::from_str(text).map_err(parse_error)?;
        let defaults = defaults(given.preset);
        let multi_head = defaults.model.kv_heads == defaults.model.heads;
        let mut resolved = toml::Table::try_from(defaults)
            .map_err(|error| ConfigError::Parse { origin: origin.to_owned(), message: error.to_string() })?;
        if multi_head && let Some(toml::Value::Table(model)) = resolved.get_mut("model") {
            // Read back, absence means the number of heads, which the text may change.
            model.remove("kv_heads");
        }
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

    /// The repair of gradients that a run uses: the one given, or else none where the loss depends on the
    /// products of the pairs alone, and the projection where rotated or normalized queries and keys make it
    /// depend on the factors.
    pub fn gradient_repair_in_use(&self) -> GradientRepair {
        let low_rank = self.model.position == Position::None && self.model.qk_norm == QkNorm::Off;
        let default = if low_rank { GradientRepair::Off } else { GradientRepair::Project };
        self.gradient_repair.unwrap_or(default)
    }

    /// Peak learning rate of the attention pairs under `optimizer`.
    pub fn lr_qkvo_of(&self, optimizer: OptimizerName) -> f64 {
        self.lr_qkvo.unwrap_or_else(|| optimizer.default_lr_qkvo())
    }
}
