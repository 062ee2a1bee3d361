//! What makes a configuration unusable: every range and every combination, each refusal naming the field and
//! the remedy.

use super::{
    Cadence, ConfigError, Device, ExperimentConfig, MomentumRepair, Normalize, OptimizerName, RankGuard,
};

impl ExperimentConfig {
    /// Checks every range and every combination.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the field at fault and the remedy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        self.validate_runs()?;
        self.validate_rates()?;
        self.validate_repairs()?;
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
        self.validate_blocks()?;
        self.validate_normalize()
    }

    fn validate_normalize(&self) -> Result<(), ConfigError> {
        let kind = match self.normalize {
            Normalize::None | Normalize::Metric => return Ok(()),
            Normalize::Spectral => "spectral normalization",
            Normalize::Schatten1 | Normalize::SchattenInfinity => "normed descent",
        };
        match self.optimizers.iter().find(|name| !name.supports(self.normalize)) {
            None => Ok(()),
            Some(optimizer) => Err(ConfigError::invalid(
                "normalize",
                format!(
                    "{kind} does not exist for {optimizer}; use metric or none, or leave {optimizer} out of \
                     optimizers"
                ),
            )),
        }
    }

    fn validate_repairs(&self) -> Result<(), ConfigError> {
        let cadences = [
            (
                ["reorthogonalize.every-k-steps.k", "reorthogonalize.when-defect.tolerance"],
                self.reorthogonalize,
            ),
            (
                ["momentum_repair_cadence.every-k-steps.k", "momentum_repair_cadence.when-defect.tolerance"],
                self.momentum_repair_cadence,
            ),
            (
                ["gradient_repair_cadence.every-k-steps.k", "gradient_repair_cadence.when-defect.tolerance"],
                self.gradient_repair_cadence,
            ),
        ];
        for ([period, defect], cadence) in cadences {
            match cadence {
                Cadence::Never | Cadence::EveryStep => {}
                Cadence::EveryKSteps { k } => at_least_one(period, k)?,
                Cadence::WhenDefect { tolerance } => positive(defect, tolerance)?,
            }
        }
        let every_step =
            matches!(self.momentum_repair_cadence, Cadence::EveryStep | Cadence::EveryKSteps { k: 1 });
        if self.momentum_repair == MomentumRepair::Reset && every_step {
            return Err(ConfigError::invalid(
                "momentum_repair_cadence",
                "a reset at every step leaves no momentum; give for example when-defect with tolerance 1e-3, or \
                 set momentum_repair = \"project\"",
            ));
        }
        match self.rank_guard {
            RankGuard::Limit { share } if !(share > 0.0 && share <= 1.0) => Err(ConfigError::invalid(
                "rank_guard.limit.share",
                format!("{share} is not in (0, 1]; give for example 0.5, half of the safe length"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the geometries named are those of the model's pairs.
    fn validate_blocks(&self) -> Result<(), ConfigError> {
        let (heads, kv_heads) = (self.model.heads, self.model.kv_heads);
        let grouped = kv_heads < heads;
        match self.optimizers.iter().find(|name| name.is_geometry() && name.is_grid() != grouped) {
            None => Ok(()),
            Some(grid) if grid.is_grid() => Err(ConfigError::invalid(
                "optimizers",
                format!(
                    "{grid} moves grids, but model.kv_heads = model.heads = {heads} makes every pair a single \
                     one; lower model.kv_heads, or use {}",
                    grid.as_str().trim_start_matches("grid-")
                ),
            )),
            Some(single) => Err(ConfigError::invalid(
                "optimizers",
                format!(
                    "{single} moves single pairs, but with model.kv_heads = {kv_heads} the {heads} heads form \
                     grids; set model.kv_heads = {heads}, or use grid-{single}"
                ),
            )),
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
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(ConfigError::invalid(
                "weight_decay",
                format!(
                    "{} is no finite number of at least 0; give 0 for none, or for example 0.1",
                    self.weight_decay
                ),
            ));
        }
        let without = self.optimizers.iter().find(|name| !name.supports_weight_decay());
        if let Some(optimizer) = without.filter(|_| self.weight_decay > 0.0) {
            return Err(ConfigError::invalid(
                "weight_decay",
                format!(
                    "it does not exist for {optimizer}, whose matrices have a fixed length; use 0, or leave \
                     {optimizer} out of optimizers"
                ),
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
        let (compiled, feature) = match self.device {
            Device::Cpu => return Ok(()),
            Device::CpuOpenblas => (cfg!(feature = "openblas"), "openblas"),
            Device::Cuda(_) => (cfg!(feature = "cuda"), "cuda"),
            Device::Wgpu(_) => (cfg!(feature = "wgpu"), "wgpu"),
        };
        if compiled {
            return Ok(());
        }
        Err(ConfigError::invalid(
            "device",
            format!("{} is not compiled in; build with --features {feature}, or use cpu", self.device),
        ))
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
