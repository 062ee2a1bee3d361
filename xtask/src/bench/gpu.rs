//! `cargo xtask bench-gpu`: which GPUs this machine has, whether each computes what the CPU computes, and how long
//! every operation and every optimizer step takes on it, with the CPU beside it.
//!
//! Nothing is timed before it was compared. Software adapters and the stand-in driver are checked like any other
//! device, at small sizes, and labelled: their times say nothing about a GPU, so a stand-in's are not even taken.

mod agreement;
mod devices;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use lr_linalg::{Cpu, Dims, Linalg};
use lr_train::config::OptimizerName;

use self::devices::{Found, Kind, OnGpu};
use self::table::Line;
use super::bank::{Bank, Case, Steps};
use super::conditions::Conditions;
use super::operations::{Calls, OnPool, Operation};
use super::options::{Common, Format};
use super::output;
use super::plot::dot_plot;
use super::race::{Contender, Turns, race};
use super::statistics::Rounds;
use crate::cargo::target_folder;

/// Check and measure every GPU of this machine
///
/// Every operation and every optimizer step runs on each CUDA device and each wgpu adapter, is compared with the
/// CPU's result, and is then timed beside the CPU. With no GPU it says so, and still checks the software adapters
/// that there are.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder of bench-gpu.json and bench-gpu.svg (default: bench in cargo's build folder)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Tiny sizes and one round on every device: whether it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Print one JSON line a case and nothing else
    #[arg(long)]
    json: bool,
}

/// Sizes of what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The paper's shapes and one larger.
    Full,
    /// Tiny.
    Small,
}

impl Size {
    /// Rows and columns of the tall matrices and their number, for single operations.
    const fn operands(self) -> (usize, usize, usize) {
        match self {
            Self::Full => (512, 64, 96),
            Self::Small => (32, 8, 2),
        }
    }

    /// The optimizers' cases: the paper's multi-head and grouped-query attention, and a larger model.
    fn cases(self) -> Vec<Case> {
        let bank = |problems, rows, rank, blocks| Bank { problems, m: rows, n: rows, rank, blocks };
        let (pairs, grids, large) = match self {
            Self::Full => (bank(96, 512, 64, 1), bank(12, 512, 64, 8), Some(bank(16, 4096, 128, 1))),
            Self::Small => (bank(2, 32, 8, 1), bank(2, 16, 4, 4), None),
        };
        let mut cases = Vec::new();
        for (names, bank) in [
            (OptimizerName::MHA, Some(pairs)),
            (OptimizerName::GQA, Some(grids)),
            (OptimizerName::MHA, large),
        ] {
            let Some(bank) = bank else { continue };
            for &optimizer in &names[1..] {
                cases.extend([0.0, 0.875].map(|nu| Case { optimizer, nu, bank }));
            }
        }
        cases
    }
}

/// Runs the command; a device that computes something else than the CPU is a failure.
pub fn run(options: &Options) -> ExitCode {
    match bench(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<(), String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let turns = if options.quick {
        Turns { rounds: 1, warm: 1, steps: 1 }
    } else {
        Turns { rounds: 3, warm: 2, steps: 5 }
    };
    let common = Common {
        threads,
        turns,
        format: if options.json { Format::Json } else { Format::Table },
        out: options.out.clone().unwrap_or_else(|| target_folder().join("bench")),
    };
    let (devices, missing) = devices::find();
    let say = |text: &str| {
        if common.format == Format::Table {
            println!("{text}");
        }
    };
    missing.iter().for_each(|missing| say(missing));
    devices.iter().for_each(|device| say(&device.describe()));
    let conditions = Conditions::begin(threads, None);
    let mut lines = Vec::new();
    let mut faults = Vec::new();
    for device in &devices {
        let size = if options.quick || device.kind != Kind::Hardware { Size::Small } else { Size::Full };
        say(&format!("\n{}\n{}", device.describe(), table::head()));
        let session = Session { device, size, common: &common, lines: &mut lines, faults: &mut faults };
        if let Err(message) = devices::open(device, session) {
            faults.push(format!("{}: {message}", device.describe()));
        }
    }
    let plot = dot_plot("Milliseconds, GPU and CPU", &table::marks(&lines))?;
    output::finish(&common, "bench-gpu", &conditions.end(), &lines, &plot)?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// Everything that is done on one device.
struct Session<'a> {
    device: &'a Found,
    size: Size,
    common: &'a Common,
    lines: &'a mut Vec<Line>,
    faults: &'a mut Vec<String>,
}

impl OnGpu for Session<'_> {
    fn run<B: Linalg<Elem = f32>>(mut self, gpu: &B) -> Result<(), String> {
        let pool = output::pool(self.common.threads)?;
        let (m, r, problems) = self.size.operands();
        for &operation in Operation::ALL {
            let (rows, cols) = operation.shape(m, r);
            let line = Line::operation(self.device, operation, Dims::new(problems, rows, cols));
            self.measure(line, || one_operation(gpu, &pool, operation, Dims::new(problems, rows, cols)))?;
        }
        for case in self.size.cases() {
            self.measure(Line::step(self.device, &case), || one_step(gpu, &pool, &case))?;
        }
        Ok(())
    }
}

/// The contenders of a case on the GPU and on the CPU, AdamW's step on the GPU where there is one to compare with,
/// and how far the results of GPU and CPU are apart.
struct Ready<'a> {
    gpu: Box<dyn Contender + 'a>,
    cpu: Box<dyn Contender + 'a>,
    adamw: Option<Box<dyn Contender + 'a>>,
    error: f64,
    bound: f64,
}

fn one_operation<'a, B: Linalg<Elem = f32>>(
    gpu: &B,
    pool: &'a rayon::ThreadPool,
    operation: Operation,
    dims: Dims,
) -> Result<Ready<'a>, String> {
    let explain = |error: lr_linalg::DeviceError| error.to_string();
    let mut ours = Calls::new(gpu, operation, dims).map_err(explain)?;
    let mut cpu = pool.install(|| Calls::new(&Cpu::<f32>::new(), operation, dims)).map_err(explain)?;
    let (error, bound) = agreement::of_calls(&mut ours, &mut cpu)?;
    let gpu = Box::new(OnPool { pool, calls: ours });
    Ok(Ready { gpu, cpu: Box::new(OnPool { pool, calls: cpu }), adamw: None, error, bound })
}

fn one_step<'a, B: Linalg<Elem = f32>>(
    gpu: &B,
    pool: &'a rayon::ThreadPool,
    case: &Case,
) -> Result<Ready<'a>, String> {
    let mut ours = Steps::new(gpu, pool, case)?;
    let mut cpu = pool.install(|| Steps::new(&Cpu::<f32>::new(), pool, case))?;
    let (error, bound) = agreement::of_steps(&mut ours, &mut cpu)?;
    let adamw = Steps::new(gpu, pool, &Case { optimizer: OptimizerName::Adamw, nu: 0.0, ..*case })?;
    Ok(Ready { gpu: Box::new(ours), cpu: Box::new(cpu), adamw: Some(Box::new(adamw)), error, bound })
}

impl Session<'_> {
    /// Compares, then times, one case. A case that fails is a fault; the others go on.
    fn measure<'r>(
        &mut self,
        mut line: Line,
        ready: impl FnOnce() -> Result<Ready<'r>, String>,
    ) -> Result<(), String> {
        let name = format!("{}: {}", self.device.describe(), line.name());
        match ready() {
            Err(message) => self.faults.push(format!("{name}: {message}")),
            Ok(ready) if ready.error.is_nan() || ready.error > ready.bound => {
                let Ready { error, bound, .. } = ready;
                self.faults
                    .push(format!("{name}: differs from the CPU by {error:.1e}, allowed are {bound:.1e}"));
            }
            Ok(mut ready) => {
                line.agrees_to(ready.error);
                if self.device.kind != Kind::StandIn {
                    let mut contenders: Vec<&mut dyn Contender> = vec![&mut *ready.gpu, &mut *ready.cpu];
                    if let Some(adamw) = &mut ready.adamw {
                        contenders.push(&mut **adamw);
                    }
                    let times: Result<Vec<Rounds>, String> =
                        race(&mut contenders, self.common.turns).into_iter().collect();
                    match times {
                        Ok(times) => line.took(times),
                        Err(message) => self.faults.push(format!("{name}: {message}")),
                    }
                }
                output::show(self.common.format, &line, || line.row())?;
                self.lines.push(line);
            }
        }
        Ok(())
    }
}
