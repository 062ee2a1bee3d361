//! [`Settings`]: what all cells of a part share, and the defaults of each preset.

use super::{Attention, Part, ProtocolError};
use crate::config::{DataOrder, ExperimentConfig, ModelConfig, OptimizerName, Preset};
use std::path::PathBuf;

/// Validations of a run, evenly spread; a score is the mean of the last five.
const VALIDATIONS: usize = 20;
/// A long run takes this many times the steps of the other parts.
const SCALING_FACTOR: usize = 8;

/// A part of the protocol, ready to be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which part.
    pub part: Part,
    /// What its cells share: model, corpus, steps, seeds; `out` is the folder of the whole protocol. What a
    /// cell decides itself is ignored.
    pub base: ExperimentConfig,
    /// Kinds of attention.
    pub attention: Vec<Attention>,
    /// Optimizers of the attention pairs; each runs where [`Attention::has`] it.
    pub optimizers: Vec<OptimizerName>,
    /// Cells that run at the same time, each on its share of the threads; 0 takes as many as there are threads.
    pub jobs: usize,
}

impl Settings {
    /// The defaults of a part: as published for [`Preset::Paper`], scaled down to minutes for [`Preset::Small`],
    /// to seconds for [`Preset::Smoke`].
    pub fn preset(part: Part, preset: Preset) -> Self {
        let mut base =
            ExperimentConfig { out: PathBuf::from("runs/paper"), ..ExperimentConfig::preset(preset) };
        base.seeds = vec![0, 1, 2];
        match preset {
            Preset::Paper => {}
            Preset::Small => {
                base.steps = 300;
                base.validation_batches = 8;
                base.observe_every = 25;
                // Its documents are long and its batches small: in document order a batch is one document.
                base.data_order = DataOrder::Windows;
                base.model = ModelConfig {
                    layers: 2,
                    heads: 4,
                    kv_heads: 4,
                    d_model: 64,
                    head_dim: 16,
                    d_ff: 256,
                    sequence: 64,
                    batch: 8,
                    vocabulary: 2048,
                    ..base.model
                };
            }
            Preset::Smoke => base.seeds = vec![0, 1],
        }
        if part == Part::Scaling {
            base.steps *= SCALING_FACTOR;
            base.seeds.truncate(if preset == Preset::Paper { 1 } else { 2 });
        }
        let steps = base.steps;
        let mut settings = Self {
            part,
            base,
            attention: Attention::ALL.to_vec(),
            optimizers: [OptimizerName::MHA, &OptimizerName::GQA[1..]].concat(),
            jobs: if preset == Preset::Paper { 1 } else { 0 },
        };
        settings.set_steps(steps);
        settings
    }

    /// Sets the steps of every run, and with them the spacing of the validations.
    pub fn set_steps(&mut self, steps: usize) {
        self.base.steps = steps;
        self.base.validate_every = (steps / VALIDATIONS).max(1);
    }

    /// The learning rates of `optimizer` that the baseline tries, ascending: powers of two around
    /// [`Settings::middle_rate`].
    pub fn rates(&self, optimizer: OptimizerName) -> Vec<f64> {
        let span = match self.base.preset {
            Preset::Paper => 4,
            Preset::Small => 3,
            Preset::Smoke => 1,
        };
        (-span..=span).map(|exponent| self.middle_rate(optimizer) * 2f64.powi(exponent)).collect()
    }

    /// The middle of the baseline's rates: the published default, or the same moved up for [`Preset::Small`],
    /// whose runs are thirty times shorter and have their best rates there.
    pub fn middle_rate(&self, optimizer: OptimizerName) -> f64 {
        let shift = match self.base.preset {
            Preset::Small if optimizer.is_geometry() => 5,
            Preset::Small => 4,
            Preset::Paper | Preset::Smoke => 0,
        };
        optimizer.default_lr_qkvo() * 2f64.powi(shift)
    }

    /// Folder of the part's files.
    pub fn folder(&self) -> PathBuf {
        self.base.out.join(self.part.as_str())
    }

    /// How many cells run at the same time, and on how many threads each.
    pub fn jobs_and_threads(&self) -> (usize, usize) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.base.threads == 0 { cores } else { self.base.threads };
        let jobs = if self.jobs == 0 { threads } else { self.jobs };
        (jobs, (threads / jobs).max(1))
    }

    /// Checks what planning and running rely on.
    ///
    /// # Errors
    /// [`ProtocolError`] naming the setting and the remedy.
    pub fn validate(&self) -> Result<(), ProtocolError> {
        if self.attention.is_empty() {
            return Err(ProtocolError::Settings(
                "attention: the list is empty; give mha, gqa or both".to_owned(),
            ));
        }
        if let Some(attention) =
            self.attention.iter().find(|kind| !self.optimizers.iter().any(|name| kind.has(*name)))
        {
            let names: Vec<&str> = OptimizerName::ALL
                .iter()
                .filter(|name| attention.has(**name))
                .map(|name| name.as_str())
                .collect();
            return Err(ProtocolError::Settings(format!(
                "optimizers: none of those given belongs to {attention}; name one of {}, or leave {attention} out \
                 of --attention",
                names.join(", ")
            )));
        }
        if self.attention.contains(&Attention::Gqa) && self.base.model.heads < 2 {
            return Err(ProtocolError::Settings(
                "model.heads: grouped-query attention needs at least 2 heads".to_owned(),
            ));
        }
        // The optimizers and rates of the cells pass by construction.
        self.base.validate()?;
        Ok(())
    }
}
