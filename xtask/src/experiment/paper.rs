//! `cargo xtask experiment paper`: a part of the protocol of the paper's section 6, or a shard of it.

use super::sparkline::sparkline;
use crate::rebuild;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lr_train::{
    config::{Device, OptimizerName, Preset},
    protocol::{
        Attention, Cell, Ending, INDEX_FILE, Part, Settings, Shard, cost,
        plan::Origin,
        session::{self, Notice, Outlook},
    },
    report::{REPORT_FILE, shell_word},
    train::experiment::Completion,
};
use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

/// Options of `experiment paper`.
#[derive(Debug, Args)]
pub struct PaperOptions {
    /// baseline, normalization, momentum or scaling
    #[arg(long)]
    part: Part,
    /// Size and defaults: paper as published, small (default) in minutes on two cores, smoke in seconds
    #[arg(long)]
    preset: Option<Preset>,
    /// Take every n-th cell, beginning with the i-th: one of the n tasks of a job array
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Kinds of attention: mha, gqa (default: both)
    #[arg(long, value_delimiter = ',', value_name = "KIND,...")]
    attention: Option<Vec<Attention>>,
    /// Optimizers, each on the kinds of attention that it belongs to (default: adamw and the ten geometries)
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    optimizers: Option<Vec<OptimizerName>>,
    /// Optimizer steps of every cell
    #[arg(long)]
    steps: Option<usize>,
    /// Seeds of initialization and data order (default: 0,1,2; fewer for scaling)
    #[arg(long, value_delimiter = ',', value_name = "SEED,...")]
    seeds: Option<Vec<u64>>,
    /// `crates` (default: the text of this workspace's dependencies), `fineweb`, or a .txt, .jsonl or
    /// .parquet file or a folder of them
    #[arg(long, value_name = "SOURCE")]
    corpus: Option<String>,
    /// Folder of the whole protocol (default: runs/paper); finished cells there are kept
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Cells at the same time, each on its share of the threads (default: one a thread; preset paper: one)
    #[arg(long)]
    jobs: Option<usize>,
    /// Worker threads in all (default: all cores)
    #[arg(long)]
    threads: Option<usize>,
    /// Where to compute: cpu (default), cpu-openblas, wgpu, cuda; wgpu:1 and cuda:1 are the second devices
    #[arg(long)]
    device: Option<Device>,
    /// List the cells and how long they will take, and run nothing
    #[arg(long)]
    dry_run: bool,
}

impl PaperOptions {
    fn settings(&self) -> Settings {
        let mut settings = Settings::preset(self.part, self.preset.unwrap_or(Preset::Small));
        fn set<T: Clone>(field: &mut T, given: &Option<T>) {
            if let Some(value) = given {
                field.clone_from(value);
            }
        }
        set(&mut settings.attention, &self.attention);
        set(&mut settings.optimizers, &self.optimizers);
        if let Some(steps) = self.steps {
            settings.set_steps(steps);
        }
        set(&mut settings.base.seeds, &self.seeds);
        set(&mut settings.base.corpus, &self.corpus);
        set(&mut settings.base.out, &self.out);
        set(&mut settings.base.threads, &self.threads);
        set(&mut settings.base.device, &self.device);
        set(&mut settings.jobs, &self.jobs);
        settings
    }
}

/// Runs a part, or says what it would run.
pub fn run(options: &PaperOptions) -> Result<ExitCode, Box<dyn Error>> {
    let settings = options.settings();
    rebuild::unless_built(settings.base.device)?;
    let outlook = session::look(&settings, options.shard)?;
    say_rates(&outlook);
    if options.dry_run {
        return dry_run(&settings, &outlook);
    }
    let stop = super::stop_flag()?;
    let mut display = Display::new(outlook.mine.len());
    let completion = session::run(&settings, options.shard, &stop, &mut |notice| display.show(notice));
    display.bar.finish_and_clear();
    if completion? == Completion::Interrupted {
        let words: Vec<String> = std::env::args().skip(1).map(|word| shell_word(&word)).collect();
        println!(
            "interrupted after {} of {} cells; continue with: cargo xtask {}",
            display.done,
            display.cells,
            words.join(" ")
        );
        return Ok(ExitCode::from(super::INTERRUPTED));
    }
    println!("report: {}", settings.folder().join(REPORT_FILE).display());
    println!("all parts: {}", settings.base.out.join(INDEX_FILE).display());
    Ok(ExitCode::SUCCESS)
}

/// A warning where a part builds on rates that nobody has tuned.
fn say_rates(outlook: &Outlook) {
    let untuned: Vec<String> = outlook
        .plan
        .rates
        .iter()
        .filter(|rate| rate.origin == Origin::Default)
        .map(|rate| format!("{} {}", rate.attention, rate.optimizer))
        .collect();
    if !untuned.is_empty() {
        println!(
            "no complete baseline in the folder for {}: the default rates are used; run --part baseline first to \
             tune them",
            untuned.join(", ")
        );
    }
}

fn dry_run(settings: &Settings, outlook: &Outlook) -> Result<ExitCode, Box<dyn Error>> {
    for cell in &outlook.mine {
        println!("{}{}", cell.id(), if outlook.todo.contains(cell) { "" } else { "  finished" });
    }
    let (jobs, threads) = settings.jobs_and_threads();
    println!(
        "{} of the part's {} cells, {} of them to run, {} steps each; {jobs} at a time on {threads} thread(s) each",
        outlook.mine.len(),
        outlook.plan.cells.len(),
        outlook.todo.len(),
        settings.base.steps,
    );
    let time = cost::estimate(settings, &outlook.todo)?;
    println!("about {} by the time of a step just now", duration(time));
    Ok(ExitCode::SUCCESS)
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

/// The terminal view: one bar over the steps of all cells, one line for every finished cell.
struct Display {
    bar: ProgressBar,
    cells: usize,
    done: usize,
    steps: usize,
    running: Vec<Running>,
}

/// A cell in progress.
struct Running {
    cell: Cell,
    step: usize,
    losses: Vec<f64>,
    validation: f64,
}

impl Display {
    fn new(cells: usize) -> Self {
        Self { bar: ProgressBar::new(0), cells, done: 0, steps: 0, running: Vec::new() }
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    fn show(&mut self, notice: Notice) {
        match notice {
            Notice::Planned { cells, kept, steps } => {
                (self.done, self.steps) = (kept, steps);
                self.say(&format!("{cells} cells of {steps} steps, {kept} of them finished before"));
            }
            Notice::Tokenizing(progress) => {
                self.style("tokenizing {bar:32} {bytes}/{total_bytes} ({eta} left)");
                self.bar.set_length(progress.bytes_total);
                self.bar.set_position(progress.bytes_done);
            }
            Notice::Corpus(c) => {
                self.say(&format!(
                    "corpus {}: {} documents, {} tokens for training, {} for validation, vocabulary {}",
                    c.source, c.documents, c.train_tokens, c.validation_tokens, c.vocabulary
                ));
                self.style("[{prefix}] {bar:24} {percent}% {msg} ({eta} left)");
                self.bar.set_length(((self.cells - self.done) * self.steps) as u64);
                self.bar.set_position(0);
                self.bar.reset_eta();
                self.bar.enable_steady_tick(Duration::from_secs(1));
            }
            Notice::Started { cell, from } => {
                self.bar.set_prefix(format!("{}/{}", self.done, self.cells));
                self.bar.inc(from as u64);
                self.running.push(Running { cell, step: from, losses: Vec::new(), validation: f64::NAN });
            }
            Notice::Stepped { cell, step, loss } => {
                self.bar.inc(1);
                if let Some(running) = self.running.iter_mut().find(|running| running.cell == cell) {
                    running.step = step;
                    running.losses.push(loss);
                }
                self.message();
            }
            Notice::Validated { cell, loss, .. } => {
                if let Some(running) = self.running.iter_mut().find(|running| running.cell == cell) {
                    running.validation = loss;
                }
            }
            Notice::Ended { cell, score, ending } => {
                self.done += 1;
                if let Some(index) = self.running.iter().position(|running| running.cell == cell) {
                    let ended = self.running.remove(index);
                    self.bar.inc((self.steps - ended.step) as u64);
                }
                self.bar.set_prefix(format!("{}/{}", self.done, self.cells));
                let how = match ending {
                    Ending::Finished => format!("validation loss {score:.4}"),
                    Ending::Diverged { reason } => format!("diverged: {reason}"),
                };
                self.say(&format!("{}/{} {}: {how}", self.done, self.cells, cell.id()));
            }
        }
    }

    /// The cell that has run longest, and how many run beside it.
    fn message(&self) {
        let Some(first) = self.running.first() else { return };
        let others = match self.running.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        self.bar.set_message(format!(
            "{} {} loss {:.3} validation {:.3}{others}",
            first.cell.id(),
            sparkline(&first.losses, 16),
            first.losses.last().copied().unwrap_or(f64::NAN),
            first.validation,
        ));
    }

    /// A line that stays, also where there is no terminal to draw a bar on.
    fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }
}
