//! `bench train`: one training step of a preset on random tokens, its peak memory, and on request PyTorch's in
//! turns.

use std::time::Instant;

use lr_linalg::{Bf16, Cpu};
use lr_train::config::{ExperimentConfig, OptimizerName, Precision};
use lr_train::data::{IGNORE, TokenBatch};
use lr_train::neural::Neural;
use lr_train::train::output::peak_rss_mb;
use lr_train::train::trainer::Trainer;
use serde::Serialize;

use super::bank::Random;
use super::conditions::Conditions;
use super::options::{Format, TrainPeer, TrainPlan};
use super::output;
use super::peer::{Peer, Python};
use super::plot::{Mark, dot_plot};
use super::race::{Contender, Turns, race};
use super::statistics::{Rounds, Spread, rounded};

/// What `--json` prints for a case.
#[derive(Debug, Clone, Serialize)]
struct Line {
    case: &'static str,
    preset: &'static str,
    precision: &'static str,
    threads: usize,
    median_ms: f64,
    /// Of that, the optimizers of the attention pairs.
    optimizer_ms: f64,
    tokens_per_second: f64,
    /// Largest resident memory while the case ran, MB (10^6 bytes); `null` where the system does not tell.
    peak_rss_mb: Option<f64>,
    /// PyTorch's time over ours, with AdamW; `null` when it was not raced.
    torch_ratio: Option<f64>,
    /// PyTorch's largest resident memory.
    torch_peak_rss_mb: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    line: Line,
    ms: Rounds,
    torch_ms: Option<Rounds>,
}

/// Measures the plan's cases, prints them and writes `train.json` and `train.svg`.
///
/// # Errors
/// A case that cannot be measured, or a file that cannot be written.
pub fn run(plan: &TrainPlan) -> Result<(), String> {
    let python = plan.peer.and_then(|_| output::or_say(Python::find()));
    let torch = python.as_ref().map(|python| python.torch.clone());
    let conditions = Conditions::begin(plan.common.threads, torch);
    let format = plan.common.format;
    if format == Format::Table {
        println!(
            "{:<8} {:<18} {:<21}  {:>12} {:>9} {:>9}  {}  {:>8}",
            "preset",
            "optimizer",
            "ms (min..max)",
            "optimizer ms",
            "tokens/s",
            "peak MB",
            output::peer_head(),
            "torch MB"
        );
    }
    let mut outcomes = Vec::new();
    for (optimizer, config) in &plan.configurations {
        let turns = plan.common.turns;
        let peer = python.as_ref().zip(plan.peer);
        let outcome = match config.device {
            #[cfg(feature = "openblas")]
            lr_train::config::Device::CpuOpenblas => {
                measure(&Cpu::<f32, lr_linalg::OpenBlas>::new(), *optimizer, config, turns, peer)
            }
            lr_train::config::Device::Cpu if config.precision == Precision::Bf16 => {
                measure(&Cpu::<f32, Bf16>::new(), *optimizer, config, turns, peer)
            }
            // The plan has been checked: no other device is built in.
            _ => measure(&Cpu::<f32>::new(), *optimizer, config, turns, peer),
        };
        let outcome = outcome.map_err(|error| format!("{} {optimizer}: {error}", config.preset))?;
        output::show(format, &outcome.line, || row(&outcome))?;
        outcomes.push(outcome);
    }
    let plot = dot_plot("Milliseconds of one training step", &marks(&outcomes))?;
    output::finish(&plan.common, "train", &conditions.end(), &outcomes, &plot)
}

fn measure<B: Neural>(
    b: &B,
    optimizer: OptimizerName,
    config: &ExperimentConfig,
    turns: Turns,
    peer: Option<(&Python, TrainPeer)>,
) -> Result<Outcome, String> {
    forget_peak_memory();
    // A fresh process for every case: its peak memory cannot be reset. Where it fails, the bench goes on without.
    let mut peer = peer.and_then(|(python, kind)| {
        let peer = Peer::start(python, "torch_train.py", config.threads).and_then(|mut peer| {
            peer.set_up(&PeerModel::new(config, kind))?;
            Ok(peer)
        });
        output::or_say(peer)
    });
    let mut own = Steps::new(b, optimizer, config)?;
    let mut contenders: Vec<&mut dyn Contender> = vec![&mut own];
    if let Some(peer) = &mut peer {
        contenders.push(peer);
    }
    let mut times = race(&mut contenders, turns).into_iter();
    let peak_rss_mb = peak_rss_mb();
    let ms = times.next().ok_or("no times were taken")??;
    let torch_ms = times.next().and_then(output::or_say);
    let line = Line {
        case: optimizer.as_str(),
        preset: config.preset.as_str(),
        precision: config.precision.as_str(),
        threads: config.threads,
        median_ms: rounded(ms.spread().median),
        optimizer_ms: rounded(Spread::of(&own.optimizer_ms).median),
        tokens_per_second: rounded(config.model.tokens_per_step() as f64 / ms.spread().median * 1e3),
        peak_rss_mb: peak_rss_mb.map(rounded),
        torch_ratio: torch_ms.as_ref().map(|torch| rounded(torch.over(&ms).median)),
        torch_peak_rss_mb: peer.as_mut().and_then(|peer| output::or_say(peer.peak_rss_mb())).map(rounded),
    };
    Ok(Outcome { line, ms, torch_ms })
}

/// Makes the system count the peak from here, where it can: Linux does so on a 5 in this file.
fn forget_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// What `torch_train.py` is asked to set up.
#[derive(Serialize)]
struct PeerModel {
    layers: usize,
    heads: usize,
    kv_heads: usize,
    d_model: usize,
    head_dim: usize,
    d_ff: usize,
    sequence: usize,
    batch: usize,
    vocabulary: usize,
    /// `autocast` rounds the operands of products to bf16, as ours do.
    mode: &'static str,
    compile: bool,
}

impl PeerModel {
    fn new(config: &ExperimentConfig, kind: TrainPeer) -> Self {
        let model = &config.model;
        Self {
            layers: model.layers,
            heads: model.heads,
            kv_heads: model.kv_heads,
            d_model: model.d_model,
            head_dim: model.head_dim,
            d_ff: model.d_ff,
            sequence: model.sequence,
            batch: model.batch,
            vocabulary: model.vocabulary,
            mode: match config.precision {
                Precision::F32 => "f32",
                Precision::Bf16 => "autocast",
            },
            compile: kind == TrainPeer::TorchCompile,
        }
    }
}

/// Training steps on one batch of random tokens.
struct Steps<B: Neural> {
    pool: rayon::ThreadPool,
    trainer: Trainer<B>,
    batch: TokenBatch,
    /// Of the steps that count.
    optimizer_ms: Vec<f64>,
}

impl<B: Neural> Steps<B> {
    fn new(b: &B, optimizer: OptimizerName, config: &ExperimentConfig) -> Result<Self, String> {
        let pool = output::pool(config.threads)?;
        let trainer = pool.install(|| Trainer::new(b, config, optimizer, 0));
        let trainer = trainer.map_err(|error| error.to_string())?;
        Ok(Self { pool, trainer, batch: random_tokens(config), optimizer_ms: Vec::new() })
    }
}

impl<B: Neural> Contender for Steps<B> {
    fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
        let Self { pool, trainer, batch, optimizer_ms } = self;
        pool.install(|| {
            let mut times = Vec::with_capacity(steps);
            for step in 0..warm + steps {
                let started = Instant::now();
                let (loss, time) = trainer.step(batch).map_err(|error| error.to_string())?;
                let elapsed = started.elapsed().as_secs_f64() * 1e3;
                if !loss.is_finite() {
                    return Err(format!("the loss became {loss}"));
                }
                if step >= warm {
                    times.push(elapsed);
                    optimizer_ms.push(time.attention_optimizer.as_secs_f64() * 1e3);
                }
            }
            Ok(times)
        })
    }
}

fn random_tokens(config: &ExperimentConfig) -> TokenBatch {
    let model = &config.model;
    let mut batch = TokenBatch::new(model.batch, model.sequence);
    let mut random = Random(2);
    batch.inputs.iter_mut().for_each(|token| *token = random.bits() % model.vocabulary as u32);
    for (t, target) in batch.targets.iter_mut().enumerate() {
        *target = match batch.inputs.get(t + 1) {
            Some(&next) if (t + 1) % model.sequence != 0 => next,
            _ => IGNORE,
        };
    }
    batch
}

fn row(outcome: &Outcome) -> String {
    let Line { case, preset, optimizer_ms, tokens_per_second, peak_rss_mb, torch_peak_rss_mb, .. } =
        outcome.line;
    let known = |value: Option<f64>| value.map_or("-".to_owned(), output::digits);
    format!(
        "{preset:<8} {case:<18} {:<21}  {:>12} {:>9} {:>9}  {}  {:>8}",
        output::spread(outcome.ms.spread()),
        output::digits(optimizer_ms),
        output::digits(tokens_per_second),
        known(peak_rss_mb),
        output::peer_columns(&outcome.ms, outcome.torch_ms.as_ref()),
        known(torch_peak_rss_mb),
    )
}

fn marks(outcomes: &[Outcome]) -> Vec<Mark> {
    let mark = |outcome: &Outcome| {
        let mut values = vec![("ours", outcome.ms.spread())];
        values.extend(outcome.torch_ms.as_ref().map(|torch| ("PyTorch", torch.spread())));
        Mark { label: format!("{}, {}", outcome.line.preset, outcome.line.case), values }
    };
    outcomes.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lr_train::config::Preset;

    #[test]
    fn targets_are_the_next_tokens_of_the_same_window() {
        let config = ExperimentConfig::preset(Preset::Smoke);
        let (batch, length) = (random_tokens(&config), config.model.sequence);
        assert!(batch.inputs.iter().all(|token| (*token as usize) < config.model.vocabulary));
        assert_eq!(batch.targets[..length - 1], batch.inputs[1..length]);
        assert_eq!(batch.targets[length], batch.inputs[length + 1]);
        assert!(batch.targets.chunks(length).all(|window| window.last() == Some(&IGNORE)));
    }

    #[test]
    fn the_peer_trains_the_same_model() {
        let config = ExperimentConfig::gqa(Preset::Small);
        let model = serde_json::to_string(&PeerModel::new(&config, TrainPeer::TorchCompile)).unwrap();
        assert_eq!(
            model,
            r#"{"layers":2,"heads":4,"kv_heads":1,"d_model":128,"head_dim":32,"d_ff":512,"sequence":128,"batch":8,"vocabulary":8192,"mode":"f32","compile":true}"#
        );
    }
}
