//! Planted faults: do the checks and the cases of a kernel notice a change of one line?
//!
//! A fault counts as killed when the text no longer parses, a check fails, a result is wrong, or the launch runs
//! far longer than the kernel itself does. What survives must be in the reviewed list.

mod plant;
mod reviewed;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lr_kernels::ptx::{self, Kernel, Precision};

pub use plant::{Planted, plant};
pub use reviewed::{Reviewed, Survivor};

use crate::suite::{self, Progress, Suite};
use crate::{Options, Schedule};

/// Share of the planted faults that must be killed.
pub const FLOOR: f64 = 0.9;

/// Which of the faults to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// About one in so many, always the same ones.
    OneIn(usize),
}

/// What became of one kernel's faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The kernel.
    pub kernel: &'static str,
    /// Faults planted.
    pub planted: usize,
    /// Faults that nothing noticed.
    pub survivors: Vec<Planted>,
}

impl Outcome {
    /// Faults that were noticed.
    pub fn killed(&self) -> usize {
        self.planted - self.survivors.len()
    }
}

/// A schedule of the healthy kernel, and a fault that only another order of threads shows.
const SCHEDULES: [Schedule; 2] = [Schedule::InOrder, Schedule::Random(7)];

/// Instructions that a launch may take beyond what the healthy kernel's longest takes.
fn limit(progress: &Progress) -> u64 {
    4 * progress.most_steps + 20_000
}

/// Whether some check or case notices a fault.
fn is_killed(suite: &Suite, text: &str, precisions: &[Precision], limits: &[u64]) -> bool {
    for (&precision, &step_limit) in precisions.iter().zip(limits) {
        for schedule in SCHEDULES {
            let options = Options { schedule, step_limit };
            if suite.run(text, precision, options, &mut Progress::default()).is_err() {
                return true;
            }
        }
    }
    false
}

/// A number that depends on a fault only, so that a sample does not change with the rest of the text.
fn hash(kernel: &str, planted: &Planted) -> u64 {
    let bytes = kernel.bytes().chain(planted.original.bytes()).chain(planted.fault.bytes());
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    (hash ^ (planted.line as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// Plants faults in a kernel, runs its cases on each, on all processors, and tells what survived.
///
/// # Errors
/// The kernel has no cases, or fails them as it is.
pub fn hunt(kernel: &Kernel, selection: Selection) -> Result<Outcome, String> {
    let Some(suite) = suite::of(kernel) else {
        return Err(format!("no cases for the kernel {}", kernel.name));
    };
    let precisions = suite::precisions(kernel.source);
    let mut limits = Vec::new();
    for &precision in precisions {
        let mut progress = Progress::default();
        for schedule in SCHEDULES {
            let options = Options { schedule, ..Options::default() };
            suite
                .run(kernel.source, precision, options, &mut progress)
                .map_err(|message| format!("{} {precision:?} without a fault: {message}", kernel.name))?;
        }
        limits.push(limit(&progress));
    }
    let mut faults = plant(kernel.source);
    if let Selection::OneIn(most) = selection {
        faults.retain(|planted| hash(kernel.name, planted).is_multiple_of(most as u64));
    }
    let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(planted) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !is_killed(suite, &planted.text, precisions, &limits) {
                        survivors.lock().unwrap_or_else(|e| e.into_inner()).push(planted.clone());
                    }
                }
            });
        }
    });
    let mut survivors = survivors.into_inner().unwrap_or_else(|e| e.into_inner());
    survivors.sort_by(|a, b| (a.line, &a.fault).cmp(&(b.line, &b.fault)));
    Ok(Outcome { kernel: kernel.name, planted: faults.len(), survivors })
}

/// What became of the faults of all kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Faults planted.
    pub planted: usize,
    /// Faults that were noticed.
    pub killed: usize,
    /// What must not be, a line each: survivors that nobody reviewed, entries of the list that fit no kernel, fewer
    /// killed than [`FLOOR`].
    pub wrong: Vec<String>,
}

/// Plants faults in every kernel and compares the survivors with the reviewed list; `done` sees every kernel's outcome
/// as it comes.
///
/// # Errors
/// A kernel without cases, or one that fails them as it is.
pub fn check(
    selection: Selection,
    reviewed: &Reviewed,
    mut done: impl FnMut(&Outcome),
) -> Result<Summary, String> {
    let all: Vec<(&str, Vec<Planted>)> =
        ptx::ALL.iter().map(|kernel| (kernel.name, plant(kernel.source))).collect();
    let mut summary = Summary::default();
    summary
        .wrong
        .extend(reviewed.stale(&all).into_iter().map(|entry| format!("no such fault to review: {entry}")));
    for kernel in ptx::ALL {
        let outcome = hunt(kernel, selection)?;
        summary.planted += outcome.planted;
        summary.killed += outcome.killed();
        let unknown = outcome.survivors.iter().filter(|planted| !reviewed.holds(kernel.name, planted));
        summary.wrong.extend(unknown.map(|planted| {
            let Planted { line, original, fault, .. } = planted;
            format!("not noticed: kernels/ptx/{}.ptx, line {line}: `{original}` -> `{fault}`", kernel.name)
        }));
        done(&outcome);
    }
    if (summary.killed as f64) < FLOOR * summary.planted as f64 {
        summary
            .wrong
            .push(format!("{} of {} faults noticed: below the floor", summary.killed, summary.planted));
    }
    Ok(summary)
}

/// The reviewed list of this crate, `survivors.toml`.
///
/// # Errors
/// What is wrong with its text.
pub fn reviewed() -> Result<Reviewed, String> {
    Reviewed::parse(include_str!("../../survivors.toml"))
}
