//! `bench linalg`: rates of the products and factorizations that the optimizers are made of, on every engine
//! that is built in.

use lr_linalg::{Cpu, Dims, Linalg};
use serde::Serialize;

use super::conditions::Conditions;
use super::operations::{Calls, OnPool, Operation};
use super::options::{Format, LinalgPlan};
use super::output;
use super::plot::{Mark, dot_plot};
use super::race::race;
use super::statistics::{Rounds, rounded};

/// The products and factorizations; `bench-gpu` measures every operation.
const MEASURED: [Operation; 11] = [
    Operation::TallTimesSmall,
    Operation::Gram,
    Operation::SmallTimesSmall,
    Operation::Cholesky,
    Operation::Invert,
    Operation::Solve,
    Operation::Qr,
    Operation::CholeskyQr,
    Operation::Svd,
    Operation::Eigh,
    Operation::Polar,
];

/// What `--json` prints for a case.
#[derive(Debug, Clone, Serialize)]
struct Line {
    case: &'static str,
    engine: &'static str,
    problems: usize,
    rows: usize,
    cols: usize,
    threads: usize,
    /// Milliseconds for all problems.
    median_ms: f64,
    /// 10^9 operations a second, all threads together.
    gflops: f64,
}

#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    line: Line,
    ms: Rounds,
}

/// Measures every operation on every engine, prints the rates and writes `linalg.json` and `linalg.svg`.
///
/// # Errors
/// A case that cannot be measured, or a file that cannot be written.
pub fn run(plan: &LinalgPlan) -> Result<(), String> {
    let conditions = Conditions::begin(plan.common.threads, None);
    if plan.common.format == Format::Table {
        println!(
            "{:<20} {:<24} {:<13} {:<24} {:>16} {:>9}",
            "operation", "problems", "engine", "ms (min..max)", "us a problem", "GFLOP/s"
        );
    }
    let mut outcomes = Vec::new();
    for operation in MEASURED {
        let mut of_engine = |outcome: Result<Outcome, String>| {
            let outcome = outcome.map_err(|error| format!("{}: {error}", operation.name()))?;
            output::show(plan.common.format, &outcome.line, || row(&outcome))?;
            outcomes.push(outcome);
            Ok::<(), String>(())
        };
        of_engine(measure(&Cpu::<f32>::new(), "cpu", plan, operation))?;
        #[cfg(feature = "openblas")]
        of_engine(measure(&Cpu::<f32, lr_linalg::OpenBlas>::new(), "cpu-openblas", plan, operation))?;
    }
    let mark = |outcome: &Outcome| {
        let values = vec![(outcome.line.engine, outcome.ms.spread())];
        Mark { label: outcome.line.case.to_owned(), values }
    };
    let marks: Vec<Mark> = outcomes.iter().map(mark).collect();
    let title = format!("Milliseconds for {} problems", plan.problems);
    let plot = dot_plot(&title, &marks)?;
    output::finish(&plan.common, "linalg", &conditions.end(), &outcomes, &plot)
}

fn measure<B: Linalg>(
    b: &B,
    engine: &'static str,
    plan: &LinalgPlan,
    operation: Operation,
) -> Result<Outcome, String> {
    let (rows, cols) = operation.shape(plan.m, plan.rank);
    let pool = output::pool(plan.common.threads)?;
    let made = pool.install(|| Calls::new(b, operation, Dims::new(plan.problems, rows, cols)));
    let calls = made.map_err(|error| error.to_string())?;
    let mut contender = OnPool { pool: &pool, calls };
    let ms = race(&mut [&mut contender], plan.common.turns).pop().ok_or("no times were taken")??;
    let median = ms.spread().median;
    let line = Line {
        case: operation.name(),
        engine,
        problems: plan.problems,
        rows,
        cols,
        threads: plan.common.threads,
        median_ms: rounded(median),
        gflops: rounded(operation.flops(rows, cols) * plan.problems as f64 / median / 1e6),
    };
    Ok(Outcome { line, ms })
}

fn row(outcome: &Outcome) -> String {
    let Line { case, engine, problems, rows, cols, gflops, .. } = outcome.line;
    let spread = outcome.ms.spread();
    format!(
        "{case:<20} {:<24} {engine:<13} {:<24} {:>16} {:>9}",
        format!("{problems} of {rows} x {cols}"),
        output::spread(spread),
        output::digits(spread.median * 1e3 / problems as f64),
        output::digits(gflops),
    )
}
