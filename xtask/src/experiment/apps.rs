//! `cargo xtask experiment sphere-fit`, `graph-sim`, `sync` and `markov`: the applications of bounded-rank
//! optimization.

use super::INTERRUPTED;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lr_apps::{
    error::AppError,
    graph_similarity, markov,
    page::REPORT_FILE,
    session::{Notice, RunSummary, Session},
    sphere_fit::{self, Size},
    synchronization,
};
use lr_linalg::Threads;
use lr_optim::solve::Flag;
use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

/// What every application can be given.
#[derive(Debug, Args)]
struct Common {
    /// The published sizes instead of those that finish in under three minutes on two cores
    #[arg(long)]
    full: bool,
    /// Output folder (default: runs/ and the experiment's name)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Seed of data and starts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Worker threads (default: all cores)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Options of `experiment sphere-fit`.
#[derive(Debug, Args)]
pub struct SphereFitOptions {
    #[command(flatten)]
    common: Common,
    /// Over-estimated ranks, separated by commas (default: 7,8; with --full 7,8,9,10)
    #[arg(long, value_delimiter = ',', value_name = "RANK,...")]
    ranks: Option<Vec<usize>>,
    /// Weights omega of the metric, separated by commas (default: 0.5; with --full 0.1,0.5,10,50)
    #[arg(long, value_delimiter = ',', value_name = "OMEGA,...")]
    omegas: Option<Vec<f64>>,
}

/// Options of `experiment graph-sim`.
#[derive(Debug, Args)]
pub struct GraphSimOptions {
    #[command(flatten)]
    common: Common,
    /// Bounds on the rank, separated by commas (default: 1,2,3,4)
    #[arg(long, value_delimiter = ',', value_name = "RANK,...")]
    ranks: Option<Vec<usize>>,
}

/// Options of `experiment sync`.
#[derive(Debug, Args)]
pub struct SyncOptions {
    #[command(flatten)]
    common: Common,
    /// A pose graph in the format of g2o (3D) instead of the generator
    #[arg(long, value_name = "FILE")]
    g2o: Option<PathBuf>,
    /// Cameras of the generator (default: 150; with --full 500)
    #[arg(long, value_name = "N")]
    cameras: Option<usize>,
    /// Standard deviation of the measurements, radians an axis (default: 0.1)
    #[arg(long, value_name = "SIGMA")]
    noise: Option<f64>,
    /// Bounds on the rank, at least 3, separated by commas (default: 3,4,5)
    #[arg(long, value_delimiter = ',', value_name = "RANK,...")]
    ranks: Option<Vec<usize>>,
}

/// Options of `experiment markov`.
#[derive(Debug, Args)]
pub struct MarkovOptions {
    #[command(flatten)]
    common: Common,
    /// TLC-style trips, .parquet or CSV with PULocationID and DOLocationID, instead of the generator
    #[arg(long, value_name = "FILE", conflicts_with = "transitions")]
    trips: Option<PathBuf>,
    /// A list of transitions `from to [count]` instead of the generator
    #[arg(long, value_name = "FILE")]
    transitions: Option<PathBuf>,
    /// States reached or left fewer times than this are left out (default: 30)
    #[arg(long, value_name = "N")]
    least_visits: Option<u64>,
    /// Bounds on the rank of X, separated by commas (default: 2,3,4)
    #[arg(long, value_delimiter = ',', value_name = "RANK,...")]
    ranks: Option<Vec<usize>>,
}

fn set<T: Clone>(target: &mut T, option: &Option<T>) {
    if let Some(value) = option {
        target.clone_from(value);
    }
}

impl Common {
    fn size(&self) -> Size {
        if self.full { Size::Full } else { Size::Small }
    }

    /// Runs `work` in the output folder on the threads asked for.
    fn run(
        &self,
        name: &str,
        work: impl FnOnce(Threads, &mut Session<'_>) -> Result<(), AppError> + Send,
    ) -> Result<ExitCode, Box<dyn Error>> {
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(name));
        let count = self.threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build()?;
        let threads = if count == 1 { Threads::Serial } else { Threads::Pool };
        let stop = Flag::default();
        let flag = stop.clone();
        ctrlc::set_handler(move || {
            // The first ends the run after its iteration, the second does not wait for it.
            if flag.raise() {
                std::process::exit(i32::from(INTERRUPTED));
            }
        })?;
        let interrupted = stop.clone();
        pool.install(|| -> Result<(), AppError> {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(200));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            let mut notify = |notice: Notice<'_>| show(&bar, &notice);
            let mut session = Session::open(name, &out, stop, &mut notify)?;
            let done = work(threads, &mut session);
            drop(session);
            bar.finish_and_clear();
            done
        })?;
        println!("report: {}", out.join(REPORT_FILE).display());
        Ok(if interrupted.is_raised() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
    }
}

fn show(bar: &ProgressBar, notice: &Notice<'_>) {
    match notice {
        Notice::Said(text) => say(bar, text),
        Notice::Iterated { label, now } => bar.set_message(format!(
            "{label}: iteration {}, cost {:.6e}, gradient {:.2e}, {:.1} s",
            now.iteration, now.cost, now.gradient_norm, now.seconds
        )),
        Notice::Ended(run) => say(bar, &line(run)),
    }
}

/// A line that stays; a bar that is not on a terminal would swallow it.
fn say(bar: &ProgressBar, text: &str) {
    if bar.is_hidden() { println!("{text}") } else { bar.println(text) }
}

fn line(run: &RunSummary) -> String {
    let error = |name: &str, x: Option<f64>| x.map_or_else(String::new, |x| format!(", {name} {x:.1e}"));
    format!(
        "{}, rank {}: {} iterations{}, {:.2} ms each, {:.2} s, cost {:.6e}{}{}{}{}",
        run.solver,
        run.rank,
        run.iterations,
        run.inner_iterations.map_or_else(String::new, |n| format!(" ({n} inner)")),
        run.milliseconds_per_iteration(),
        run.seconds,
        run.cost,
        error("gradient", run.gradient_norm),
        error("cone", run.cone_measure),
        error("train", run.train_error),
        error("test", run.test_error),
    )
}

/// `experiment sphere-fit`.
pub fn sphere_fit(options: &SphereFitOptions) -> Result<ExitCode, Box<dyn Error>> {
    let mut config = sphere_fit::Config::of(options.common.size());
    config.seed = options.common.seed;
    set(&mut config.ranks, &options.ranks);
    set(&mut config.omegas, &options.omegas);
    options.common.run("sphere-fit", |threads, session| sphere_fit::run(&config, threads, session))
}

/// `experiment graph-sim`.
pub fn graph_sim(options: &GraphSimOptions) -> Result<ExitCode, Box<dyn Error>> {
    let mut config = graph_similarity::Config::of(options.common.size());
    config.seed = options.common.seed;
    set(&mut config.ranks, &options.ranks);
    options.common.run("graph-sim", |threads, session| graph_similarity::run(&config, threads, session))
}

/// `experiment sync`.
pub fn sync(options: &SyncOptions) -> Result<ExitCode, Box<dyn Error>> {
    let mut config = synchronization::Config::of(options.common.size());
    config.seed = options.common.seed;
    config.g2o.clone_from(&options.g2o);
    set(&mut config.cameras, &options.cameras);
    set(&mut config.noise, &options.noise);
    set(&mut config.ranks, &options.ranks);
    options.common.run("sync", |threads, session| synchronization::run(&config, threads, session))
}

/// `experiment markov`.
pub fn markov(options: &MarkovOptions) -> Result<ExitCode, Box<dyn Error>> {
    let mut config = markov::Config::of(options.common.size());
    config.seed = options.common.seed;
    set(&mut config.least_visits, &options.least_visits);
    set(&mut config.ranks, &options.ranks);
    if let Some(path) = &options.trips {
        config.source = markov::Source::Trips(path.clone());
    }
    if let Some(path) = &options.transitions {
        config.source = markov::Source::List(path.clone());
    }
    options.common.run("markov", |threads, session| markov::run(&config, threads, session))
}
