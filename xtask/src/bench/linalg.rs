//! `bench linalg`: rates of the products and factorizations that the optimizers are made of, on every engine
//! that is built in.

use std::time::Instant;

use lr_linalg::{
    Cpu, DeviceError, Dims, Epilogue, Linalg, Mats, PivotGuard, PolarMethod, Scratch, Side, Triangle,
};
use serde::Serialize;

use super::bank::Random;
use super::conditions::Conditions;
use super::options::{Format, LinalgPlan};
use super::output;
use super::plot::{Mark, dot_plot};
use super::race::{Contender, race};
use super::statistics::{Rounds, rounded};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// `m x r` times `r x r`.
    TallTimesSmall,
    /// The Gram matrix of an `m x r` matrix.
    Gram,
    /// A product of `r x r` matrices.
    SmallTimesSmall,
    /// Cholesky of an `r x r` matrix.
    Cholesky,
    /// Inverse of a general `r x r` matrix.
    Invert,
    /// Solution of `m` right sides of an `r x r` triangle.
    Solve,
    /// Thin Householder QR of an `m x r` matrix.
    Qr,
    /// The same through Gram matrices.
    CholeskyQr,
    /// SVD of the `2r x 2r` core.
    Svd,
    /// Symmetric eigendecomposition of an `r x r` matrix.
    Eigh,
    /// Polar factor of an `m x r` matrix.
    Polar,
}

impl Operation {
    const ALL: [Self; 11] = [
        Self::TallTimesSmall,
        Self::Gram,
        Self::SmallTimesSmall,
        Self::Cholesky,
        Self::Invert,
        Self::Solve,
        Self::Qr,
        Self::CholeskyQr,
        Self::Svd,
        Self::Eigh,
        Self::Polar,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::TallTimesSmall => "gemm tall x small",
            Self::Gram => "gemm gram",
            Self::SmallTimesSmall => "gemm small x small",
            Self::Cholesky => "cholesky",
            Self::Invert => "invert",
            Self::Solve => "trsm tall",
            Self::Qr => "qr",
            Self::CholeskyQr => "cholesky-qr",
            Self::Svd => "svd",
            Self::Eigh => "eigh",
            Self::Polar => "polar",
        }
    }

    /// Rows and columns of the argument, for tall matrices of `m x r`.
    fn shape(self, m: usize, r: usize) -> (usize, usize) {
        match self {
            Self::TallTimesSmall | Self::Gram | Self::Solve | Self::Qr | Self::CholeskyQr | Self::Polar => {
                (m, r)
            }
            Self::SmallTimesSmall | Self::Cholesky | Self::Invert | Self::Eigh => (r, r),
            Self::Svd => (2 * r, 2 * r),
        }
    }

    /// Floating-point operations of the textbook's algorithm (Golub and Van Loan 2013): whoever does with less,
    /// or needs more, has the rate that its time is worth.
    fn flops(self, rows: usize, cols: usize) -> f64 {
        let (m, n) = (rows as f64, cols as f64);
        match self {
            Self::TallTimesSmall | Self::Gram | Self::SmallTimesSmall => 2.0 * m * n * n,
            Self::Cholesky => n.powi(3) / 3.0,
            Self::Invert => 2.0 * n.powi(3),
            Self::Solve => m * n * n,
            // Factorization and explicit Q.
            Self::Qr | Self::CholeskyQr => 4.0 * m * n * n - 4.0 * n.powi(3) / 3.0,
            Self::Svd => 14.0 * m * n * n + 8.0 * n.powi(3),
            Self::Eigh => 9.0 * n.powi(3),
            // Gram matrix, eigendecomposition, two r x r products and one tall one.
            Self::Polar => 4.0 * m * n * n + 13.0 * n.powi(3),
        }
    }
}

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
    for operation in Operation::ALL {
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
    let mut calls = made.map_err(|error| error.to_string())?;
    let mut contender = OnPool { pool: &pool, calls: &mut calls };
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

/// An operation's arguments, and what it overwrites.
struct Calls<B: Linalg> {
    b: B,
    operation: Operation,
    /// A positive definite matrix for those that need one.
    source: Mats<B>,
    small: Mats<B>,
    target: Mats<B>,
    square: Mats<B>,
    values: Mats<B>,
    status: Mats<B>,
    scratch: Scratch<B>,
}

impl<B: Linalg> Calls<B> {
    fn new(b: &B, operation: Operation, dims: Dims) -> Result<Self, DeviceError> {
        let square = Dims::square(dims.batch, dims.cols);
        let mut random = Random(3);
        let mut source = Mats::from_slice(b, dims, &random.values(dims))?;
        let mut small = Mats::from_slice(b, square, &random.values(square))?;
        if operation == Operation::Solve {
            // A well-conditioned triangle.
            b.add_diagonal(dims.cols as f64, small.as_mut());
        }
        if matches!(operation, Operation::Cholesky | Operation::Eigh) {
            let mut gram = Mats::zeros(b, square)?;
            b.gemm(1.0, source.as_ref().t(), source.as_ref().n(), Epilogue::Overwrite, gram.as_mut());
            b.add_diagonal(1.0, gram.as_mut());
            source = gram;
        }
        Ok(Self {
            b: b.clone(),
            operation,
            source,
            small,
            target: Mats::zeros(b, dims)?,
            square: Mats::zeros(b, square)?,
            values: Mats::zeros(b, Dims::new(dims.batch, 1, dims.cols))?,
            status: Mats::zeros(b, Dims::scalars(dims.batch))?,
            scratch: Scratch::new(b)?,
        })
    }

    /// One call on all problems; milliseconds without the copy of the argument that it overwrites.
    fn call(&mut self) -> Result<f64, DeviceError> {
        let Self { b, source, small, target, square, values, status, scratch, .. } = self;
        let source = source.as_ref();
        b.copy(source.n(), target.as_mut());
        let (target, square) = (target.as_mut(), square.as_mut());
        let started = Instant::now();
        match self.operation {
            Operation::TallTimesSmall | Operation::SmallTimesSmall => {
                b.gemm(1.0, source.n(), small.as_ref().n(), Epilogue::Overwrite, target);
            }
            Operation::Gram => b.gemm(1.0, source.t(), source.n(), Epilogue::Overwrite, square),
            Operation::Cholesky => b.cholesky(PivotGuard::Report, target, status.as_mut()),
            Operation::Invert => b.invert(target, status.as_mut()),
            Operation::Solve => b.trsm(Side::Right, Triangle::Upper, small.as_ref().n(), target),
            Operation::Qr => b.qr(target, square, status.as_mut()),
            Operation::CholeskyQr => {
                scratch.scope(|scope| b.cholesky_qr(target, square, status.as_mut(), scope));
            }
            Operation::Svd => b.svd(target, values.as_mut(), square, status.as_mut()),
            Operation::Eigh => b.eigh(target, values.as_mut(), status.as_mut()),
            Operation::Polar => {
                scratch.scope(|scope| b.polar(PolarMethod::default(), target, status.as_mut(), scope));
            }
        }
        b.sync()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }
}

struct OnPool<'a, B: Linalg> {
    pool: &'a rayon::ThreadPool,
    calls: &'a mut Calls<B>,
}

impl<B: Linalg> Contender for OnPool<'_, B> {
    fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
        let Self { pool, calls } = self;
        let times: Result<Vec<f64>, DeviceError> =
            pool.install(|| (0..warm + steps).map(|_| calls.call()).collect());
        Ok(times.map_err(|error| error.to_string())?.split_off(warm))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_succeeds_on_its_argument() {
        for operation in Operation::ALL {
            let (rows, cols) = operation.shape(24, 6);
            let mut calls = Calls::new(&Cpu::<f64>::new(), operation, Dims::new(2, rows, cols)).unwrap();
            calls.call().unwrap();
            assert_eq!(calls.status.to_vec(&calls.b).unwrap(), [0.0; 2], "{operation:?}");
        }
    }

    #[test]
    fn operations_are_counted_as_in_the_textbook() {
        assert_eq!(Operation::TallTimesSmall.flops(512, 64), 4_194_304.0);
        assert_eq!(Operation::Cholesky.flops(6, 6), 72.0);
        assert_eq!(Operation::Qr.flops(3, 3), 72.0);
    }
}
