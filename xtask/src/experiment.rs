//! `cargo xtask experiment mha`: trains the transformer with every optimizer and writes the report.

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use lr_train::{
    config::{Device, ExperimentConfig, Normalize, OptimizerName, Preset, Retraction, Schedule},
    train::{
        experiment::{self, CONFIG_FILE, Completion, Notice, Start},
        run::{Ending, Event},
    },
};
use std::{
    error::Error,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Subcommand)]
pub enum Experiment {
    /// Multi-head attention: AdamW and the five singleton geometries on the QK and VO pairs
    ///
    /// Trains one model for each optimizer and seed on the same batches, and leaves in the output folder
    /// config.toml, metrics.jsonl, summary.json, report.html and curves.svg. Ctrl-C writes a checkpoint;
    /// --resume goes on from it. Every option can also stand in a TOML file given with --config.
    Mha(Box<MhaOptions>),
}

/// Options of the experiment; each overrides the preset and the file.
#[derive(Debug, Args)]
pub struct MhaOptions {
    /// TOML file with any of the settings; unknown keys are refused
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Model size and defaults: paper, small (default) or smoke
    #[arg(long)]
    preset: Option<Preset>,
    /// Optimizers of the attention pairs, separated by commas (default: all six)
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    optimizers: Option<Vec<OptimizerName>>,
    /// Optimizer steps of every run
    #[arg(long)]
    steps: Option<usize>,
    /// Seeds of initialization and data order, separated by commas; one run each
    #[arg(long, value_delimiter = ',', value_name = "SEED,...")]
    seeds: Option<Vec<u64>>,
    /// Learning rate of the attention pairs (default: 2^-8, AdamW 2^-12)
    #[arg(long, value_name = "RATE")]
    lr_qkvo: Option<f64>,
    /// Learning rate of everything else, under AdamW (default: 2^-10)
    #[arg(long, value_name = "RATE")]
    lr_other: Option<f64>,
    /// Learning rate after the ten steps of warm-up: constant (default), cosine or linear
    #[arg(long)]
    schedule: Option<Schedule>,
    /// What a step is divided by: none, metric (default) or spectral (embedded geometries only)
    #[arg(long)]
    normalize: Option<Normalize>,
    /// Momentum coefficient nu of the geometries, in [0, 1) (default: 0)
    #[arg(long, value_name = "NU")]
    momentum: Option<f64>,
    /// Retraction where there is a choice: polar (default) or qr
    #[arg(long)]
    retraction: Option<Retraction>,
    /// `crates` (default: the text of this workspace's dependencies), `fineweb`, or a .txt, .jsonl or
    /// .parquet file or a folder of them
    #[arg(long, value_name = "SOURCE")]
    corpus: Option<String>,
    /// Output folder (default: runs/mha); an older experiment there is moved aside
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the experiment in the output folder
    #[arg(long)]
    resume: bool,
    /// Where to compute: cpu (default) or cpu-openblas
    #[arg(long)]
    device: Option<Device>,
    /// Worker threads (default: all cores)
    #[arg(long)]
    threads: Option<usize>,
}

impl MhaOptions {
    fn resolve(&self) -> Result<ExperimentConfig, Box<dyn Error>> {
        let mut config = self.base()?;
        if let Some(v) = self.preset.filter(|v| *v != config.preset) {
            // A preset on the command line brings its own defaults; the file's choices would be lost.
            if self.config.is_some() {
                return Err("--preset contradicts the preset in --config FILE; change it there".into());
            }
            config = ExperimentConfig { out: config.out, ..ExperimentConfig::preset(v) };
        }
        fn set<T: Clone>(field: &mut T, given: &Option<T>) {
            if let Some(value) = given {
                field.clone_from(value);
            }
        }
        set(&mut config.optimizers, &self.optimizers);
        set(&mut config.steps, &self.steps);
        set(&mut config.seeds, &self.seeds);
        config.lr_qkvo = self.lr_qkvo.or(config.lr_qkvo);
        set(&mut config.lr_other, &self.lr_other);
        set(&mut config.schedule, &self.schedule);
        set(&mut config.normalize, &self.normalize);
        set(&mut config.momentum, &self.momentum);
        set(&mut config.retraction, &self.retraction);
        set(&mut config.corpus, &self.corpus);
        set(&mut config.out, &self.out);
        set(&mut config.device, &self.device);
        set(&mut config.threads, &self.threads);
        // Spectral normalization over the default list means: over those that have it.
        if config.normalize == Normalize::Spectral && self.optimizers.is_none() && self.config.is_none() {
            config.optimizers.retain(|o| o.supports_spectral_norm());
        }
        config.validate()?;
        Ok(config)
    }

    /// What the options are laid over: the file, the folder to be resumed, or the default preset.
    fn base(&self) -> Result<ExperimentConfig, Box<dyn Error>> {
        if let Some(file) = &self.config {
            let text =
                std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
            return Ok(ExperimentConfig::from_toml(&text, &file.display().to_string())?);
        }
        let default = ExperimentConfig::default();
        let stored = self.out.as_ref().unwrap_or(&default.out).join(CONFIG_FILE);
        if self.resume && stored.exists() {
            return Ok(ExperimentConfig::load(&stored)?);
        }
        Ok(default)
    }
}

/// Runs the experiment; errors go to standard error with exit status 1, Ctrl-C ends with 130.
pub fn run(experiment: &Experiment) -> ExitCode {
    let Experiment::Mha(options) = experiment;
    match mha(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn mha(options: &MhaOptions) -> Result<ExitCode, Box<dyn Error>> {
    let config = options.resolve()?;
    let start = if options.resume { Start::Resume } else { Start::Fresh };
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        // The first asks for a checkpoint, the second does not wait for it.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })?;
    let mut display = Display::new(&config);
    let outcome = experiment::run(&config, start, &stop, &mut |notice| display.show(notice))?;
    display.bar.finish_and_clear();
    if outcome.completion == Completion::Interrupted {
        println!(
            "interrupted; continue with: cargo xtask experiment mha --out {} --resume",
            config.out.display()
        );
        return Ok(ExitCode::from(INTERRUPTED));
    }
    println!("report: {}", config.out.join(lr_train::report::REPORT_FILE).display());
    for reason in &outcome.diverged {
        eprintln!("error: {reason}");
    }
    Ok(if outcome.diverged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The terminal view: one progress bar, one line for every finished run.
struct Display {
    bar: ProgressBar,
    runs: usize,
    done: usize,
    loss: f64,
    validation: f64,
    step_seconds: f64,
}

impl Display {
    fn new(config: &ExperimentConfig) -> Self {
        let runs = config.optimizers.len() * config.seeds.len();
        let (loss, validation, step_seconds) = (f64::NAN, f64::NAN, f64::NAN);
        Self { bar: ProgressBar::new(0), runs, done: 0, loss, validation, step_seconds }
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    fn show(&mut self, notice: Notice) {
        match notice {
            Notice::MovedAside(folder) => {
                self.bar.println(format!("the older experiment was moved to {}", folder.display()));
            }
            Notice::Tokenizing(progress) => {
                self.style("tokenizing {bar:32} {bytes}/{total_bytes} ({eta} left)");
                self.bar.set_length(progress.bytes_total);
                self.bar.set_position(progress.bytes_done);
            }
            Notice::Corpus(c) => self.say(&format!(
                "corpus {}: {} documents, {} tokens for training, {} for validation, vocabulary {}",
                c.source, c.documents, c.train_tokens, c.validation_tokens, c.vocabulary
            )),
            Notice::Kept(run) => {
                self.done += 1;
                self.say(&format!("{run}: finished before, kept"));
            }
            Notice::Run(event) => self.show_event(event),
            Notice::Ended(run, ending) => {
                self.done += 1;
                match ending {
                    Ending::Finished(s) => self.say(&format!(
                        "{run}: training loss {:.4}, validation loss {:.4}, {:.0} tokens/s",
                        s.final_train_loss, s.final_val_loss, s.tokens_per_s
                    )),
                    Ending::Diverged { reason, .. } => self.say(&format!("diverged: {reason}")),
                    Ending::Interrupted { step } => self.say(&format!("{run}: stopped at step {step}")),
                }
            }
        }
    }

    fn show_event(&mut self, event: Event) {
        match event {
            Event::Started { run, from, steps } => {
                self.step_seconds = f64::NAN;
                self.style("[{prefix}] {bar:24} {pos}/{len} {msg} ({eta} left)");
                self.bar.set_prefix(format!("{}/{} {run}", self.done + 1, self.runs));
                self.bar.set_length(steps as u64);
                self.bar.set_position(from as u64);
                self.bar.reset_eta();
            }
            Event::Stepped { step, loss, tokens, time } => {
                let seconds = time.as_secs_f64();
                let smooth = if self.step_seconds.is_nan() {
                    seconds
                } else {
                    0.9 * self.step_seconds + 0.1 * seconds
                };
                self.step_seconds = smooth;
                self.loss = loss;
                self.bar.set_message(format!(
                    "loss {:.3} validation {:.3} {:.0} tokens/s",
                    self.loss,
                    self.validation,
                    tokens as f64 / smooth
                ));
                self.bar.set_position(step as u64);
            }
            Event::Validated { loss, .. } => self.validation = loss,
        }
        self.bar.enable_steady_tick(Duration::from_secs(1));
    }

    /// A line that stays, also where there is no terminal to draw a bar on.
    fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }
}
