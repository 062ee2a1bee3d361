//! The options of `cargo xtask experiment mha` and `gqa`, and the configuration that they make together with a
//! preset, a file, or the folder to be resumed.

use crate::rebuild;
use clap::Args;
use lr_train::{
    config::{
        Averaging, Cadence, Device, ExperimentConfig, FixedRetraction, GradientRepair, MomentumRepair,
        Normalize, OptimizerName, Position, Precision, Preset, QkNorm, RankGuard, Retraction, Schedule,
    },
    train::experiment::{CONFIG_FILE, Start},
};
use std::{error::Error, path::PathBuf};

/// Options of `experiment mha`.
#[derive(Debug, Args)]
pub struct MhaOptions {
    #[command(flatten)]
    options: Options,
}

impl MhaOptions {
    /// The configuration asked for, validated.
    pub fn resolve(&self) -> Result<(ExperimentConfig, Start), Box<dyn Error>> {
        let config = self.options.over(ExperimentConfig::preset)?;
        config.validate()?;
        Ok((config, self.options.start()))
    }
}

/// Options of `experiment gqa`.
#[derive(Debug, Args)]
pub struct GqaOptions {
    /// Key-value heads of a layer, fewer than its heads and a divisor of them (default: 1)
    #[arg(long, value_name = "N")]
    kv_heads: Option<usize>,
    #[command(flatten)]
    options: Options,
}

impl GqaOptions {
    /// The configuration asked for, validated.
    pub fn resolve(&self) -> Result<(ExperimentConfig, Start), Box<dyn Error>> {
        let mut config = self.options.over(ExperimentConfig::gqa)?;
        set(&mut config.model.kv_heads, &self.kv_heads);
        config.validate()?;
        Ok((config, self.options.start()))
    }
}

/// What every experiment can be given; each option overrides the preset and the file.
#[derive(Debug, Args)]
struct Options {
    /// TOML file with any of the settings; unknown keys are refused
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Model size and defaults: paper, small (default) or smoke
    #[arg(long)]
    preset: Option<Preset>,
    /// Optimizers of the attention pairs, separated by commas (default: adamw and the
    /// experiment's five geometries); muon and preconditioned-adamw are there to compare with
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    optimizers: Option<Vec<OptimizerName>>,
    /// Optimizer steps of every run
    #[arg(long)]
    steps: Option<usize>,
    /// Seeds of initialization and data order, separated by commas; one run each
    #[arg(long, value_delimiter = ',', value_name = "SEED,...")]
    seeds: Option<Vec<u64>>,
    /// Learning rate of the attention pairs (default: 2^-8; 2^-12 for adamw and preconditioned-adamw)
    #[arg(long, value_name = "RATE")]
    lr_qkvo: Option<f64>,
    /// Learning rate of everything else, under AdamW (default: 2^-10)
    #[arg(long, value_name = "RATE")]
    lr_other: Option<f64>,
    /// Learning rate after the ten steps of warm-up: constant (default), cosine or linear
    #[arg(long)]
    schedule: Option<Schedule>,
    /// What a step is divided by: none, metric (default) or spectral (embedded geometries only); or, with
    /// fixed-embedded alone, the steepest step in a norm: schatten-1 or schatten-infinity
    #[arg(long)]
    normalize: Option<Normalize>,
    /// Momentum coefficient nu of the geometries, in [0, 1) (default: 0)
    #[arg(long, value_name = "NU")]
    momentum: Option<f64>,
    /// How gradients add up to the momentum: exponential (default) or heavy-ball
    #[arg(long)]
    averaging: Option<Averaging>,
    /// Decay of fixed-rank pairs towards zero, a rate to be multiplied by --lr-qkvo (default: 0)
    #[arg(long, value_name = "LAMBDA")]
    weight_decay: Option<f64>,
    /// Retraction of partial isometries where there is a choice: polar (default), qr or cayley
    #[arg(long)]
    retraction: Option<Retraction>,
    /// Retraction of fixed-embedded: svd (default) or orthographic
    #[arg(long, value_name = "RETRACTION")]
    fixed_retraction: Option<FixedRetraction>,
    /// When factors are made orthonormal again: never, every-step, every-32-steps (default) or any other
    /// number, when-defect-1e-5 or any other tolerance
    #[arg(long, value_name = "CADENCE")]
    reorthogonalize: Option<Cadence>,
    /// What happens to a momentum that has left the tangent space: off (default), project or reset
    #[arg(long, value_name = "REPAIR")]
    momentum_repair: Option<MomentumRepair>,
    /// When, as for --reorthogonalize (default: every-step)
    #[arg(long, value_name = "CADENCE")]
    momentum_repair_cadence: Option<Cadence>,
    /// What happens to gradients that contradict each other: off, project or least-squares (default: off;
    /// project with --position rope or --qk-norm on)
    #[arg(long, value_name = "REPAIR")]
    gradient_repair: Option<GradientRepair>,
    /// When, as for --reorthogonalize (default: every-step)
    #[arg(long, value_name = "CADENCE")]
    gradient_repair_cadence: Option<Cadence>,
    /// Steps that may lose the rank: off (default), report, or the share of the safe length, such as 0.5, that
    /// they are shortened to
    #[arg(long, value_name = "GUARD")]
    rank_guard: Option<RankGuard>,
    /// How attention knows positions: none (default, as in the paper) or rope
    #[arg(long)]
    position: Option<Position>,
    /// RMS norm of every query and key before the scores: off (default, as in the paper) or on
    #[arg(long, value_name = "CHOICE")]
    qk_norm: Option<QkNorm>,
    /// Numbers of the model: f32 (default) or bf16, with f32 masters; faster where the processor multiplies in bf16
    #[arg(long)]
    precision: Option<Precision>,
    /// `crates` (default: the text of this workspace's dependencies), `fineweb`, or a .txt, .jsonl or
    /// .parquet file or a folder of them
    #[arg(long, value_name = "SOURCE")]
    corpus: Option<String>,
    /// Output folder (default: runs/ and the experiment's name); an older experiment there is moved aside
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the experiment in the output folder
    #[arg(long)]
    resume: bool,
    /// Where to compute: cpu (default), cpu-openblas, wgpu, cuda; wgpu:1 and cuda:1 are the second devices
    #[arg(long)]
    device: Option<Device>,
    /// Worker threads (default: all cores)
    #[arg(long)]
    threads: Option<usize>,
}

impl Options {
    fn start(&self) -> Start {
        if self.resume { Start::Resume } else { Start::Fresh }
    }

    /// These options over `defaults`, not validated yet.
    fn over(&self, defaults: fn(Preset) -> ExperimentConfig) -> Result<ExperimentConfig, Box<dyn Error>> {
        let mut config = self.base(defaults)?;
        if let Some(v) = self.preset.filter(|v| *v != config.preset) {
            // A preset on the command line brings its own defaults; the file's choices would be lost.
            if self.config.is_some() {
                return Err("--preset contradicts the preset in --config FILE; change it there".into());
            }
            config = ExperimentConfig { out: config.out, ..defaults(v) };
        }
        set(&mut config.optimizers, &self.optimizers);
        set(&mut config.steps, &self.steps);
        set(&mut config.seeds, &self.seeds);
        config.lr_qkvo = self.lr_qkvo.or(config.lr_qkvo);
        set(&mut config.lr_other, &self.lr_other);
        set(&mut config.schedule, &self.schedule);
        set(&mut config.normalize, &self.normalize);
        set(&mut config.momentum, &self.momentum);
        set(&mut config.averaging, &self.averaging);
        set(&mut config.weight_decay, &self.weight_decay);
        set(&mut config.retraction, &self.retraction);
        set(&mut config.fixed_retraction, &self.fixed_retraction);
        set(&mut config.reorthogonalize, &self.reorthogonalize);
        set(&mut config.momentum_repair, &self.momentum_repair);
        set(&mut config.momentum_repair_cadence, &self.momentum_repair_cadence);
        config.gradient_repair = self.gradient_repair.or(config.gradient_repair);
        set(&mut config.gradient_repair_cadence, &self.gradient_repair_cadence);
        set(&mut config.rank_guard, &self.rank_guard);
        set(&mut config.model.position, &self.position);
        set(&mut config.model.qk_norm, &self.qk_norm);
        set(&mut config.precision, &self.precision);
        set(&mut config.corpus, &self.corpus);
        set(&mut config.out, &self.out);
        set(&mut config.device, &self.device);
        rebuild::unless_built(config.device)?;
        set(&mut config.threads, &self.threads);
        // What only some optimizers have, over the default list, means: over those that have it.
        if self.optimizers.is_none() && self.config.is_none() {
            let (normalize, decay) = (config.normalize, config.weight_decay > 0.0);
            config.optimizers.retain(|o| o.supports(normalize) && (!decay || o.supports_weight_decay()));
        }
        Ok(config)
    }

    /// What the options are laid over: the file, the folder to be resumed, or the default preset.
    fn base(&self, defaults: fn(Preset) -> ExperimentConfig) -> Result<ExperimentConfig, Box<dyn Error>> {
        if let Some(file) = &self.config {
            let text =
                std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
            return Ok(ExperimentConfig::from_toml_over(&text, &file.display().to_string(), defaults)?);
        }
        let default = defaults(Preset::Small);
        let stored = self.out.as_ref().unwrap_or(&default.out).join(CONFIG_FILE);
        if self.resume && stored.exists() {
            return Ok(ExperimentConfig::load(&stored)?);
        }
        Ok(default)
    }
}

fn set<T: Clone>(field: &mut T, given: &Option<T>) {
    if let Some(value) = given {
        field.clone_from(value);
    }
}
