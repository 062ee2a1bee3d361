//! [`Cell`]: one run of the protocol by its coordinates, and the kinds of parts and attention.

use crate::config::{ExperimentConfig, Normalize, OptimizerName, UnknownName, named_choice};
use serde::{Deserialize, Serialize};

named_choice! {
    /// A part of the paper's section 6.
    "part", Part {
        /// Every optimizer over a grid of learning rates.
        Baseline = "baseline",
        /// Steps divided by nothing, by the metric's norm, by the spectral norm.
        Normalization = "normalization",
        /// Momentum against the learning rate.
        Momentum = "momentum",
        /// Long runs, with spikes counted.
        Scaling = "scaling",
    }
}

named_choice! {
    /// How query heads and key-value heads belong together.
    "attention", Attention {
        /// Multi-head: each head its own; geometries of single pairs.
        Mha = "mha",
        /// Grouped-query: all query heads share one key-value head; geometries of grids.
        Gqa = "gqa",
    }
}

impl Attention {
    /// Its name in headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mha => "MHA",
            Self::Gqa => "GQA",
        }
    }

    /// Whether an optimizer belongs to it: geometries of single pairs or of grids, and all that are no
    /// geometries.
    pub fn has(self, optimizer: OptimizerName) -> bool {
        match self {
            Self::Mha => !optimizer.is_grid(),
            Self::Gqa => optimizer.is_grid() || !optimizer.is_geometry(),
        }
    }
}

/// One run of a part. With what all cells share ([`super::Settings::base`]) it decides every number of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Kind of attention.
    pub attention: Attention,
    /// What updates the attention pairs.
    pub optimizer: OptimizerName,
    /// What its steps are divided by.
    pub normalize: Normalize,
    /// Its momentum coefficient nu, in [0, 1).
    pub momentum: f64,
    /// Peak learning rate of the attention pairs.
    pub lr_qkvo: f64,
    /// Seed of initialization and data order.
    pub seed: u64,
}

impl Cell {
    /// A name that no other cell has, fit for files: `mha-adamw-metric-nu0-lr2p-12-seed0`, where `2p-12` is
    /// `2^-12`.
    pub fn id(&self) -> String {
        let Self { attention, optimizer, normalize, momentum, lr_qkvo, seed } = self;
        format!("{attention}-{optimizer}-{normalize}-nu{momentum}-lr{}-seed{seed}", rate_word(*lr_qkvo))
    }

    /// The configuration of the run: `base` with this cell's coordinates.
    pub fn config(&self, base: &ExperimentConfig) -> ExperimentConfig {
        let mut config = ExperimentConfig {
            optimizers: vec![self.optimizer],
            seeds: vec![self.seed],
            lr_qkvo: Some(self.lr_qkvo),
            normalize: self.normalize,
            momentum: self.momentum,
            ..base.clone()
        };
        config.model.kv_heads = match self.attention {
            Attention::Mha => config.model.heads,
            Attention::Gqa => 1,
        };
        config
    }

    /// The cell without its seed.
    pub fn setting(&self) -> Setting {
        Setting {
            attention: self.attention,
            optimizer: self.optimizer,
            normalize: self.normalize,
            momentum: self.momentum,
            lr_qkvo: self.lr_qkvo,
        }
    }
}

/// `2p-8` for `2^-8`, the decimal number for what is no power of two.
fn rate_word(rate: f64) -> String {
    match rate.log2() {
        exponent if exponent.fract() == 0.0 => format!("2p{exponent}"),
        _ => rate.to_string(),
    }
}

/// What the seeds of a score have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    pub attention: Attention,
    pub optimizer: OptimizerName,
    pub normalize: Normalize,
    pub momentum: f64,
    pub lr_qkvo: f64,
}

impl Setting {
    /// Positive numbers are in the order of their bits.
    fn key(&self) -> (Attention, OptimizerName, Normalize, u64, u64) {
        (self.attention, self.optimizer, self.normalize, self.momentum.to_bits(), self.lr_qkvo.to_bits())
    }
}

impl Eq for Setting {}

impl PartialOrd for Setting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Setting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
