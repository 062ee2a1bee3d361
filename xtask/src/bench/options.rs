//! The options of `cargo xtask bench`, and the plans that they make: every default filled in and every value in
//! its range.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lr_train::config::{Device, ExperimentConfig, OptimizerName, Precision, Preset};

use super::bank::{Bank, Case};
use super::race::Turns;
use super::scaling::Axis;
use crate::cargo::target_folder;

/// Largest number of elements of a bank's factor: the bench keeps about a dozen such tensors.
const MOST_ELEMENTS: usize = 1 << 30;

/// What every bench can be given.
#[derive(Debug, Args)]
struct CommonOptions {
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Rounds, in each of which every contender has one turn (default: 5)
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Tiny sizes and two rounds: whether it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Print one JSON line a case and nothing else
    #[arg(long)]
    json: bool,
    /// Folder of the JSON file and the plot (default: bench in cargo's build folder)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A plan's part that every bench has.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// How contenders take turns.
    pub turns: Turns,
    /// What goes to standard output.
    pub format: Format,
    /// Folder of the files.
    pub out: PathBuf,
}

/// What goes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Table,
    /// One JSON line a case.
    Json,
}

impl CommonOptions {
    fn resolve(&self, turn: Turn) -> Result<Common, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let default_rounds = if self.quick { 2 } else { 5 };
        Ok(Common {
            threads: positive("threads", self.threads.unwrap_or(cores))?,
            turns: Turns {
                rounds: positive("rounds", self.rounds.unwrap_or(default_rounds))?,
                warm: turn.warm,
                steps: if self.quick { 1 } else { turn.steps },
            },
            format: if self.json { Format::Json } else { Format::Table },
            out: self.out.clone().unwrap_or_else(|| target_folder().join("bench")),
        })
    }
}

/// Steps of a turn, when it is not a quick one.
struct Turn {
    warm: usize,
    steps: usize,
}

/// Options of `bench optim`.
#[derive(Debug, Args)]
pub struct OptimOptions {
    /// Factor pairs of the bank, or grids (default: 96 pairs, 12 grids; with --scaling 16 pairs, 2 grids)
    #[arg(long, value_name = "N")]
    problems: Option<usize>,
    /// Rows of a left factor or of a block of a grid (default: 512)
    #[arg(long, value_name = "ROWS")]
    m: Option<usize>,
    /// Rows of a right factor (default: 512)
    #[arg(long, value_name = "ROWS")]
    n: Option<usize>,
    /// Columns of the factors (default: 64)
    #[arg(long, value_name = "R")]
    rank: Option<usize>,
    /// Optimizers, separated by commas (default: the ten geometries; with --scaling the five singletons)
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    optimizers: Option<Vec<OptimizerName>>,
    /// Momentum coefficients nu in [0, 1), separated by commas (default: 0,0.875; with --scaling 0)
    #[arg(long, value_delimiter = ',', value_name = "NU,...")]
    momentum: Option<Vec<f64>>,
    /// Where to compute: cpu (default), cpu-openblas or wgpu[:N]
    #[arg(long)]
    device: Option<Device>,
    /// Race PyTorch in turns; `$LR_PYTHON` or python3 must have torch
    #[arg(long, value_enum)]
    vs: Option<OptimPeer>,
    /// Vary one size over its range, and compare the cost with the law that it should follow
    #[arg(long, value_enum)]
    scaling: Option<Axis>,
    #[command(flatten)]
    common: CommonOptions,
}

/// Whom the optimizers can race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OptimPeer {
    /// The optimizers as the paper describes them, in PyTorch
    Torch,
}

/// What `bench optim` is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimPlan {
    /// What to measure, in this order.
    pub cases: Vec<Case>,
    /// Where to compute.
    pub device: Device,
    /// Whom to race.
    pub peer: Option<OptimPeer>,
    /// What every bench has.
    pub common: Common,
}

impl OptimOptions {
    /// The size to vary, if any.
    pub fn scaling(&self) -> Option<Axis> {
        self.scaling
    }

    /// The plan, checked.
    ///
    /// # Errors
    /// The option that is out of range, and its range.
    pub fn resolve(&self) -> Result<OptimPlan, String> {
        let names = self.optimizers.clone().unwrap_or_else(|| self.default_optimizers());
        if let Some(other) = names.iter().find(|name| !name.is_geometry() && **name != OptimizerName::Adamw) {
            return Err(format!("--optimizers {other}: the bench knows the ten geometries and adamw"));
        }
        let default_momenta = if self.scaling.is_some() { vec![0.0] } else { vec![0.0, 0.875] };
        let momenta = self.momentum.clone().unwrap_or(default_momenta);
        if let Some(nu) = momenta.iter().find(|nu| !(0.0..1.0).contains(*nu)) {
            return Err(format!("--momentum {nu}: coefficients lie in [0, 1)"));
        }
        if self.scaling == Some(Axis::Threads) && self.vs.is_some() {
            return Err(
                "--scaling threads --vs torch: the peer cannot change its threads; leave out --vs".into()
            );
        }
        let device = check_device(self.device.unwrap_or(Device::Cpu))?;
        let mut cases = Vec::new();
        for optimizer in names {
            let momenta = if optimizer == OptimizerName::Adamw { &[0.0][..] } else { &momenta };
            for &nu in momenta {
                cases.push(Case { optimizer, nu, bank: self.bank(optimizer)? });
            }
        }
        let common = self.common.resolve(Turn { warm: 1, steps: 3 })?;
        Ok(OptimPlan { cases, device, peer: self.vs, common })
    }

    fn default_optimizers(&self) -> Vec<OptimizerName> {
        let mut names = OptimizerName::MHA[1..].to_vec();
        if self.scaling.is_none() {
            names.extend(&OptimizerName::GQA[1..]);
        }
        names
    }

    fn bank(&self, optimizer: OptimizerName) -> Result<Bank, String> {
        let problems = match (self.common.quick, self.scaling.is_some(), optimizer.is_grid()) {
            (true, _, false) => 4,
            (true, _, true) | (false, true, true) => 2,
            (false, true, false) => 16,
            (false, false, false) => 96,
            (false, false, true) => 12,
        };
        let (rows, rank) = if self.common.quick { (32, 8) } else { (512, 64) };
        let bank = Bank {
            problems: positive("problems", self.problems.unwrap_or(problems))?,
            m: positive("m", self.m.unwrap_or(rows))?,
            n: positive("n", self.n.unwrap_or(rows))?,
            rank: positive("rank", self.rank.unwrap_or(rank))?,
            blocks: if optimizer.is_grid() { GRID_BLOCKS } else { 1 },
        };
        bank.check(MOST_ELEMENTS)?;
        Ok(bank)
    }
}

/// Blocks of a grid, above one another: the heads that share one key-value head.
const GRID_BLOCKS: usize = 8;

/// Options of `bench train`.
#[derive(Debug, Args)]
pub struct TrainOptions {
    /// Presets, separated by commas (default: paper,small)
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    presets: Option<Vec<Preset>>,
    /// Optimizers of the attention pairs, separated by commas (default: adamw,fixed-embedded)
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    optimizers: Option<Vec<OptimizerName>>,
    /// Where to compute: cpu (default), cpu-openblas or wgpu[:N]
    #[arg(long)]
    device: Option<Device>,
    /// What to compute with: f32 (default), or bf16, against which PyTorch runs with autocast
    #[arg(long)]
    precision: Option<Precision>,
    /// Race PyTorch with AdamW in turns; `$LR_PYTHON` or python3 must have torch
    #[arg(long, value_enum)]
    vs: Option<TrainPeer>,
    #[command(flatten)]
    common: CommonOptions,
}

/// Whom the training step can race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrainPeer {
    /// PyTorch as it comes
    Torch,
    /// PyTorch with torch.compile, which needs a C++ compiler
    TorchCompile,
}

/// What `bench train` is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainPlan {
    /// One for each case.
    pub configurations: Vec<(OptimizerName, ExperimentConfig)>,
    /// Whom to race.
    pub peer: Option<TrainPeer>,
    /// What every bench has.
    pub common: Common,
}

impl TrainOptions {
    /// The plan, checked.
    ///
    /// # Errors
    /// The option that is out of range, and its range.
    pub fn resolve(&self) -> Result<TrainPlan, String> {
        let default_presets =
            if self.common.quick { vec![Preset::Smoke] } else { vec![Preset::Paper, Preset::Small] };
        let presets = self.presets.clone().unwrap_or(default_presets);
        let default_optimizers = vec![OptimizerName::Adamw, OptimizerName::FixedEmbedded];
        let optimizers = self.optimizers.clone().unwrap_or(default_optimizers);
        let device = check_device(self.device.unwrap_or(Device::Cpu))?;
        let common = self.common.resolve(Turn { warm: 1, steps: 1 })?;
        let mut configurations = Vec::new();
        for &preset in &presets {
            for &optimizer in &optimizers {
                let config = ExperimentConfig {
                    device,
                    precision: self.precision.unwrap_or(Precision::F32),
                    threads: common.threads,
                    optimizers: vec![optimizer],
                    ..if optimizer.is_grid() {
                        ExperimentConfig::gqa(preset)
                    } else {
                        ExperimentConfig::preset(preset)
                    }
                };
                config.validate().map_err(|error| error.to_string())?;
                configurations.push((optimizer, config));
            }
        }
        Ok(TrainPlan { configurations, peer: self.vs, common })
    }
}

/// Options of `bench linalg`.
#[derive(Debug, Args)]
pub struct LinalgOptions {
    #[command(flatten)]
    common: CommonOptions,
}

/// What `bench linalg` is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct LinalgPlan {
    /// Rows of the tall matrices.
    pub m: usize,
    /// Their columns.
    pub rank: usize,
    /// Problems of a batch.
    pub problems: usize,
    /// What every bench has.
    pub common: Common,
}

impl LinalgOptions {
    /// The plan, checked.
    ///
    /// # Errors
    /// The option that is out of range, and its range.
    pub fn resolve(&self) -> Result<LinalgPlan, String> {
        let (m, rank, problems) = if self.common.quick { (32, 8, 2) } else { (512, 64, 96) };
        Ok(LinalgPlan { m, rank, problems, common: self.common.resolve(Turn { warm: 1, steps: 3 })? })
    }
}

fn positive(option: &str, value: usize) -> Result<usize, String> {
    if value == 0 { Err(format!("--{option} 0: it must be at least 1")) } else { Ok(value) }
}

fn check_device(device: Device) -> Result<Device, String> {
    if let Device::Cuda(_) | Device::Wgpu(_) = device {
        return Err(format!("--device {device}: `cargo xtask bench-gpu` measures GPUs"));
    }
    let config = ExperimentConfig { device, ..ExperimentConfig::default() };
    config.validate().map_err(|error| error.to_string())?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::super::Bench;
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        bench: Bench,
    }

    fn parsed(line: &str) -> Result<Bench, String> {
        Line::try_parse_from(["bench"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.bench)
            .map_err(|error| error.to_string())
    }

    fn optim(line: &str) -> Result<OptimPlan, String> {
        match parsed(line)? {
            Bench::Optim(options) => options.resolve(),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_default_is_the_ten_geometries_at_the_papers_shapes() {
        let plan = optim("optim --threads 2").unwrap();
        assert_eq!(plan.cases.len(), 20);
        let pairs = Bank { problems: 96, m: 512, n: 512, rank: 64, blocks: 1 };
        let grids = Bank { problems: 12, blocks: 8, ..pairs };
        let first = Case { optimizer: OptimizerName::FixedEmbedded, nu: 0.0, bank: pairs };
        let last = Case { optimizer: OptimizerName::GridPartialCanonical, nu: 0.875, bank: grids };
        assert_eq!((plan.cases[0], plan.cases[19]), (first, last));
        assert_eq!(plan.common.turns, Turns { rounds: 5, warm: 1, steps: 3 });
        assert_eq!((plan.common.threads, plan.common.format, plan.peer), (2, Format::Table, None));
        assert!(plan.common.out.ends_with("bench"));
    }

    #[test]
    fn options_override_the_defaults_and_a_quick_run_is_tiny() {
        let line = "optim --quick --problems 3 --m 40 --optimizers adamw,fixed-quotient --momentum 0.5 \
                    --rounds 7 --json --vs torch --out /tmp/x";
        let plan = optim(line).unwrap();
        let bank = Bank { problems: 3, m: 40, n: 32, rank: 8, blocks: 1 };
        let case = |optimizer, nu| Case { optimizer, nu, bank };
        assert_eq!(plan.cases, [case(OptimizerName::Adamw, 0.0), case(OptimizerName::FixedQuotient, 0.5)]);
        assert_eq!(plan.common.turns, Turns { rounds: 7, warm: 1, steps: 1 });
        assert_eq!((plan.common.format, plan.peer), (Format::Json, Some(OptimPeer::Torch)));
        assert_eq!(plan.common.out, PathBuf::from("/tmp/x"));
    }

    #[test]
    fn bad_values_are_refused_with_their_range() {
        for (line, part) in [
            ("optim --rank 0", "--rank 0: it must be at least 1"),
            ("optim --rounds 0", "--rounds 0"),
            ("optim --threads 0", "--threads 0"),
            ("optim --rank 600", "at most"),
            ("optim --m 99999999999999", "too large"),
            ("optim --momentum 1", "[0, 1)"),
            ("optim --momentum nan", "[0, 1)"),
            ("optim --optimizers muon", "ten geometries"),
            ("optim --optimizers sgd", "sgd"),
            ("optim --vs jax", "torch"),
            ("optim --scaling height", "rows"),
            ("optim --scaling threads --vs torch", "leave out --vs"),
            ("optim --device cuda:1", "bench-gpu"),
            ("optim --device tpu", "cuda:N"),
        ] {
            let message = optim(line).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn scaling_takes_the_singletons_on_a_smaller_bank() {
        let plan = optim("optim --scaling rank").unwrap();
        assert_eq!(plan.cases.len(), 5);
        assert!(plan.cases.iter().all(|case| case.bank.problems == 16 && case.nu == 0.0));
    }

    #[test]
    fn training_steps_are_those_of_the_presets() {
        let Ok(Bench::Train(options)) = parsed("train --threads 3 --vs torch-compile") else { panic!() };
        let plan = options.resolve().unwrap();
        let named: Vec<_> = plan.configurations.iter().map(|(name, config)| (*name, config.preset)).collect();
        use OptimizerName::{Adamw, FixedEmbedded};
        assert_eq!(
            named,
            [
                (Adamw, Preset::Paper),
                (FixedEmbedded, Preset::Paper),
                (Adamw, Preset::Small),
                (FixedEmbedded, Preset::Small)
            ]
        );
        assert!(plan.configurations.iter().all(|(_, config)| config.threads == 3));
        assert_eq!(plan.peer, Some(TrainPeer::TorchCompile));
        let Ok(Bench::Train(options)) = parsed("train --optimizers grid-fixed-quotient") else { panic!() };
        assert_eq!(options.resolve().unwrap().configurations[0].1.model.kv_heads, 1);
    }
}
