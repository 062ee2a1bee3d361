//! An experiment: every optimizer with every seed on one corpus, then the summary and the report.
//!
//! The output folder holds `config.toml`, `corpus.json`, `metrics.jsonl`, `summary.json` (rewritten after
//! every run), `report.html` with `curves.svg`, and `checkpoints/` while a run is unfinished. Runs share
//! nothing: a run is a function of the configuration, its optimizer and its seed.

use super::{
    folder,
    metrics::RunId,
    output::{self, Machine, OutputError, Summary},
    run::{self, Ending, Event, RunError, Surroundings},
};
use crate::{
    config::{ConfigError, DataOrder, Device, ExperimentConfig, GPT2_VOCABULARY, Precision},
    data::{
        self, CorpusOptions, CorpusSource, DataError, Loader, LoaderConfig, TrainingOrder, VocabularyLimit,
    },
    neural::Neural,
    report::{Report, ReportError},
};
use lr_linalg::{Bf16, Cpu, DeviceError};
use std::{path::PathBuf, sync::atomic::AtomicBool};

/// Name of the resolved configuration in the output folder.
pub const CONFIG_FILE: &str = "config.toml";

/// What keeps an experiment from its report.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The corpus cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The corpus cannot be cut into batches.
    #[error("corpus {corpus}: {source}")]
    Batches {
        /// Its name or path.
        corpus: String,
        /// What is wrong.
        source: DataError,
    },
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file cannot be written or read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The report cannot be made.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// `--resume` with another configuration than the folder's.
    #[error(
        "{}: `{key}` is {stored} there, but {given} was asked for; resume with the stored settings, or \
         choose another folder with --out", folder.display()
    )]
    OtherConfig {
        /// The output folder.
        folder: PathBuf,
        /// First key that differs.
        key: String,
        /// Its value in the folder.
        stored: String,
        /// Its value now.
        given: String,
    },
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The worker threads cannot be started.
    #[error("cannot start {threads} worker threads: {message}")]
    Threads {
        /// How many.
        threads: usize,
        /// What the system said.
        message: String,
    },
}

/// Whether an experiment starts afresh or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the beginning; an older experiment in the folder is moved aside, not overwritten.
    Fresh,
    /// From the finished runs and the checkpoints in the folder; from the beginning where there are none.
    Resume,
}

/// What an experiment tells whoever watches it.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An older experiment was moved out of the way, to this folder.
    MovedAside(PathBuf),
    /// Text is being tokenized.
    Tokenizing(data::Progress),
    /// The corpus is there.
    Corpus(output::CorpusSummary),
    /// A run that an earlier session had finished is kept.
    Kept(RunId),
    /// Something happened in a run.
    Run(Event),
    /// A run ended.
    Ended(RunId, Ending),
}

/// How an experiment ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// All runs that came to an end, in order.
    pub summary: Summary,
    /// Why runs diverged, a line each.
    pub diverged: Vec<String>,
    /// Whether everything was done or the stop flag ended it.
    pub completion: Completion,
}

/// Whether everything was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Every run came to an end.
    Complete,
    /// The stop flag was raised; `--resume` goes on from here.
    Interrupted,
}

/// Runs `config`'s experiment on its device, on its own worker threads.
///
/// # Errors
/// [`ExperimentError`]; what earlier runs left in the output folder stays.
pub fn run(
    config: &ExperimentConfig,
    start: Start,
    stop: &AtomicBool,
    watch: &mut (dyn FnMut(Notice) + Send),
) -> Result<Outcome, ExperimentError> {
    config.validate()?;
    on_device(config, config.threads, Whole { config, start, stop, watch })?
}

/// Work that runs on whichever backend a configuration names.
pub(crate) trait OnDevice {
    /// What it gives.
    type Output: Send;
    /// Does the work.
    fn run<B: Neural>(self, b: &B) -> Self::Output;
}

/// Does `job` on the device of a validated configuration, on `threads` worker threads of its own; 0 takes every
/// core.
pub(crate) fn on_device<J: OnDevice + Send>(
    config: &ExperimentConfig,
    threads: usize,
    job: J,
) -> Result<J::Output, ExperimentError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| ExperimentError::Threads { threads, message: e.to_string() })?;
    pool.install(|| {
        Ok(match config.device {
            #[cfg(feature = "openblas")]
            Device::CpuOpenblas => job.run(&Cpu::<f32, lr_linalg::OpenBlas>::new()),
            #[cfg(feature = "cuda")]
            Device::Cuda(index) => job.run(&lr_linalg::Cuda::<f32>::new(index.unwrap_or(0))?),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(index) => job.run(&lr_linalg::Wgpu::new(index)?),
            Device::Cpu if config.precision == Precision::Bf16 => job.run(&Cpu::<f32, Bf16>::new()),
            // Validation has refused every device that is not built in.
            _ => job.run(&Cpu::<f32>::new()),
        })
    })
}

/// All runs of an experiment.
struct Whole<'a> {
    config: &'a ExperimentConfig,
    start: Start,
    stop: &'a AtomicBool,
    watch: &'a mut (dyn FnMut(Notice) + Send),
}

impl OnDevice for Whole<'_> {
    type Output = Result<Outcome, ExperimentError>;

    fn run<B: Neural>(self, b: &B) -> Self::Output {
        on(b, self.config, self.start, self.stop, self.watch)
    }
}

fn on<B: Neural>(
    b: &B,
    config: &ExperimentConfig,
    start: Start,
    stop: &AtomicBool,
    watch: &mut (dyn FnMut(Notice) + Send),
) -> Result<Outcome, ExperimentError> {
    let out = config.out.as_path();
    let start = if folder::holds_experiment(out) { start } else { Start::Fresh };
    let corpus = load_corpus(config, &mut |progress| watch(Notice::Tokenizing(progress)))?;
    // Every loader is made before the first run: a corpus that is too short should fail at once.
    let mut loaders = Vec::new();
    for seed in &config.seeds {
        loaders.push((*seed, load_batches(config, &corpus, *seed)?));
    }
    if start == Start::Fresh
        && let Some(aside) = folder::move_aside(out)?
    {
        watch(Notice::MovedAside(aside));
    }
    let runs: Vec<RunId> = config
        .seeds
        .iter()
        .flat_map(|&seed| config.optimizers.iter().map(move |&optimizer| RunId { optimizer, seed }))
        .collect();
    let (mut past, mut metrics) = folder::open(config, &runs, start)?;
    if let Some((_, loader)) = loaders.first() {
        let described = describe(config, &corpus, loader);
        described.write(out)?;
        watch(Notice::Corpus(described));
    }

    let mut summary = Summary {
        runs: std::mem::take(&mut past.finished),
        config: config.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::detect(rayon::current_num_threads()),
    };
    let mut diverged = Vec::new();
    for id in runs {
        if summary.runs.iter().any(|run| run.id() == id) {
            watch(Notice::Kept(id));
            continue;
        }
        let checkpoint = past.take_checkpoint(id);
        let Some((_, loader)) = loaders.iter_mut().find(|(seed, _)| *seed == id.seed) else { continue };
        let mut tell = |event| watch(Notice::Run(event));
        let mut around = Surroundings { config, out, metrics: &mut metrics, stop, watch: &mut tell };
        let ending = run::run(b, id, loader, checkpoint, &mut around)?;
        watch(Notice::Ended(id, ending.clone()));
        match ending {
            Ending::Interrupted { .. } => {
                return Ok(Outcome { summary, diverged, completion: Completion::Interrupted });
            }
            Ending::Finished(run) => summary.runs.push(run),
            Ending::Diverged { summary: run, reason } => {
                summary.runs.push(run);
                diverged.push(reason);
            }
        }
        summary.write(out)?;
    }
    summary.write(out)?;
    Report::from_folders(&[out])?.write(out)?;
    Ok(Outcome { summary, diverged, completion: Completion::Complete })
}

/// The batches of `seed`, of a corpus that [`load_corpus`] has loaded.
pub(crate) fn load_batches(
    config: &ExperimentConfig,
    corpus: &data::Corpus,
    seed: u64,
) -> Result<Loader, ExperimentError> {
    let loader_config = LoaderConfig {
        sequence: config.model.sequence,
        batch: config.model.batch,
        seed,
        validation_fraction: config.validation_fraction,
        order: match config.data_order {
            DataOrder::Documents => TrainingOrder::Documents,
            DataOrder::Windows => TrainingOrder::Windows,
        },
        vocabulary: match config.model.vocabulary {
            GPT2_VOCABULARY => VocabularyLimit::Full,
            size => VocabularyLimit::MostFrequent(size),
        },
    };
    Loader::new(corpus.shard.clone(), &loader_config)
        .map_err(|source| ExperimentError::Batches { corpus: corpus.source.clone(), source })
}

/// The tokens of the configuration's corpus, made where the cache does not have them.
pub(crate) fn load_corpus(
    config: &ExperimentConfig,
    watch: &mut (dyn FnMut(data::Progress) + Send),
) -> Result<data::Corpus, ExperimentError> {
    let source: CorpusSource =
        config.corpus.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
    let options = CorpusOptions::new(source, config.corpus_max_bytes);
    let watch = std::sync::Mutex::new(watch);
    let progress = |p| {
        if let Ok(mut watch) = watch.lock() {
            watch(p);
        }
    };
    Ok(data::load_corpus(&options, &progress)?)
}

/// What a report says about the corpus behind `loader`.
pub(crate) fn describe(
    config: &ExperimentConfig,
    corpus: &data::Corpus,
    loader: &Loader,
) -> output::CorpusSummary {
    let corpus = corpus.summary();
    let tokens = |batches: &data::Batches| (batches.windows() * config.model.sequence) as u64;
    output::CorpusSummary {
        source: corpus.source,
        bytes: corpus.bytes,
        documents: corpus.documents,
        train_tokens: tokens(&loader.training),
        validation_tokens: tokens(&loader.validation),
        vocabulary: loader.vocabulary.size(),
        checksum: corpus.fingerprint,
    }
}
