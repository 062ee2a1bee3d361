//! `cargo xtask experiment mha` and `gqa`: train the transformer with every optimizer and write the report;
//! `paper`: the paper's protocol; `sphere-fit`, `graph-sim`, `sync` and `markov`: applications of bounded rank.

mod apps;
mod display;
mod options;
mod paper;
mod sparkline;

use crate::rebuild::{self, Needed};
use apps::{GraphSimOptions, MarkovOptions, SphereFitOptions, SyncOptions};
use clap::Subcommand;
use display::Display;
use lr_train::{
    config::ExperimentConfig,
    train::experiment::{self, Completion, Start},
};
use options::{GqaOptions, MhaOptions};
use paper::PaperOptions;
use std::{
    error::Error,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    /// Grouped-query attention: AdamW and the five grid geometries on pairs that share keys and values
    ///
    /// As `mha`, with fewer key-value heads than heads. The heads of a group share one key map and one value
    /// map, so that their pairs are a grid of blocks with a shared factor, and every such grid is one point of
    /// a grid geometry (grid-fixed-embedded and so on). Without options: one key-value head for all heads
    /// (--kv-heads 1, multi-query attention), into runs/gqa.
    Gqa(Box<GqaOptions>),
    /// The protocol of the paper's section 6, one part at a time: tuned rates, normalization, momentum, long runs
    ///
    /// A part is a list of small runs, each of which leaves one file in the output folder. Finished ones are
    /// kept, Ctrl-C loses nothing, and --shard deals them to several machines whose files can be copied into one
    /// folder. Every session ends with report.html and report.md in the part's folder and index.html above it.
    Paper(Box<PaperOptions>),
    /// Spherical data fitting: a matrix of rank 6 with unit rows from few entries, and completion beside it
    ///
    /// Trust regions, conjugate gradients and gradient descent on M_h from several starts, over-estimated ranks, and the
    /// baselines LRGeomCG, LR factors and projected gradients. Leaves summary.json, metrics.jsonl and report.html, as
    /// the three experiments below.
    SphereFit(SphereFitOptions),
    /// Graph similarity of a cycle and a random graph on the unit sphere, against the closed form
    GraphSim(GraphSimOptions),
    /// Synchronization of camera rotations, generated or from a g2o file, with a certificate of global optimality
    Sync(SyncOptions),
    /// Markov chains of low nonnegative rank from trips, a list of transitions or a generator
    Markov(MarkovOptions),
}

/// Runs the experiment; errors go to standard error with exit status 1, Ctrl-C ends with 130.
pub fn run(experiment: &Experiment) -> ExitCode {
    let done = match experiment {
        Experiment::Mha(options) => {
            options.resolve().and_then(|(config, start)| train("mha", &config, start))
        }
        Experiment::Gqa(options) => {
            options.resolve().and_then(|(config, start)| train("gqa", &config, start))
        }
        Experiment::Paper(options) => paper::run(options),
        Experiment::SphereFit(options) => apps::sphere_fit(options),
        Experiment::GraphSim(options) => apps::graph_sim(options),
        Experiment::Sync(options) => apps::sync(options),
        Experiment::Markov(options) => apps::markov(options),
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is::<Needed>() => rebuild::with_gpus(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the experiment `name`, as it is called on the command line.
fn train(name: &str, config: &ExperimentConfig, start: Start) -> Result<ExitCode, Box<dyn Error>> {
    let stop = stop_flag()?;
    let mut display = Display::new(config);
    let outcome = experiment::run(config, start, &stop, &mut |notice| display.show(notice))?;
    display.finish();
    if outcome.completion == Completion::Interrupted {
        println!(
            "interrupted; continue with: cargo xtask experiment {name} --out {} --resume",
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

/// A flag that Ctrl-C raises.
fn stop_flag() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        // The first asks for a checkpoint, the second does not wait for it.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })?;
    Ok(stop)
}
