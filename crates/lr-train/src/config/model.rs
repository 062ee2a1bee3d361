//! The transformer's dimensions and the presets for them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ConfigError, Position, Preset, QkNorm};

/// Size of the GPT-2 vocabulary, end-of-text token included.
pub const GPT2_VOCABULARY: usize = 50_257;

/// Dimensions of the model and of one batch, and what happens to queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct ModelConfig {
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Key-value heads a block, a divisor of `heads`; each has one QK and one VO pair, or grid of pairs where
    /// several heads share it. Absent from a file: as many as `heads`.
    #[serde(default = "absent")]
    pub kv_heads: usize,
    /// Width of the residual stream, the m = n of every attention pair.
    pub d_model: usize,
    /// Width of a head, the rank r of every attention pair; at most `d_model`.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub d_ff: usize,
    /// Tokens a window.
    pub sequence: usize,
    /// Windows a batch.
    pub batch: usize,
    /// Tokens kept of the GPT-2 vocabulary, the most frequent of the corpus first; 50257 keeps them all.
    pub vocabulary: usize,
    /// How attention knows positions.
    pub position: Position,
    /// Norm of queries and keys.
    pub qk_norm: QkNorm,
}

/// What stands for an absent number of key-value heads while a file is read; no file can hold it.
fn absent() -> usize {
    usize::MAX
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The inherent function, derived above.
        let mut model = Self::deserialize(deserializer)?;
        if model.kv_heads == absent() {
            model.kv_heads = model.heads;
        }
        Ok(model)
    }
}

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::preset(Preset::Small)
    }
}

impl ModelConfig {
    /// The dimensions of a preset.
    pub fn preset(preset: Preset) -> Self {
        match preset {
            Preset::Paper => Self {
                layers: 6,
                heads: 8,
                kv_heads: 8,
                d_model: 512,
                head_dim: 64,
                d_ff: 2048,
                sequence: 512,
                batch: 8,
                vocabulary: GPT2_VOCABULARY,
                position: Position::None,
                qk_norm: QkNorm::Off,
            },
            Preset::Small => Self {
                layers: 2,
                heads: 4,
                kv_heads: 4,
                d_model: 128,
                head_dim: 32,
                d_ff: 512,
                sequence: 128,
                batch: 8,
                vocabulary: 8192,
                position: Position::None,
                qk_norm: QkNorm::Off,
            },
            Preset::Smoke => Self {
                layers: 2,
                heads: 2,
                kv_heads: 2,
                d_model: 16,
                head_dim: 8,
                d_ff: 32,
                sequence: 16,
                batch: 2,
                vocabulary: 512,
                position: Position::None,
                qk_norm: QkNorm::Off,
            },
        }
    }

    /// Tokens that one training step reads.
    pub fn tokens_per_step(&self) -> usize {
        self.batch * self.sequence
    }

    /// Checks the dimensions.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the field at fault and the remedy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let dimensions = [
            ("model.layers", self.layers),
            ("model.heads", self.heads),
            ("model.kv_heads", self.kv_heads),
            ("model.d_model", self.d_model),
            ("model.head_dim", self.head_dim),
            ("model.d_ff", self.d_ff),
            ("model.batch", self.batch),
        ];
        for (field, value) in dimensions {
            // The upper bound keeps products of three dimensions inside 64 bits, long past any machine's memory.
            if !(1..=1 << 20).contains(&value) {
                return Err(ConfigError::invalid(
                    field,
                    format!("{value} is out of range; give a value from 1 to 1048576"),
                ));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::invalid(
                "model.kv_heads",
                format!(
                    "{} key-value heads cannot be shared evenly by model.heads = {}; give a divisor of {}",
                    self.kv_heads, self.heads, self.heads
                ),
            ));
        }
        if self.head_dim > self.d_model {
            return Err(ConfigError::invalid(
                "model.head_dim",
                format!(
                    "rank r = head_dim = {} exceeds min(m, n) = d_model = {}; lower model.head_dim",
                    self.head_dim, self.d_model
                ),
            ));
        }
        if self.position == Position::Rope && !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::invalid(
                "model.position",
                format!(
                    "rope turns pairs of columns, but model.head_dim = {} is odd; make it even, or use none",
                    self.head_dim
                ),
            ));
        }
        if !(2..=1 << 20).contains(&self.sequence) {
            return Err(ConfigError::invalid(
                "model.sequence",
                format!(
                    "{} is out of range; give at least 2 tokens (one predicts the next) and at most 1048576",
                    self.sequence
                ),
            ));
        }
        if !(2..=GPT2_VOCABULARY).contains(&self.vocabulary) {
            return Err(ConfigError::invalid(
                "model.vocabulary",
                format!(
                    "{} is out of range; give a value from 2 to {GPT2_VOCABULARY} (the whole GPT-2 vocabulary)",
                    self.vocabulary
                ),
            ));
        }
        Ok(())
    }
}
