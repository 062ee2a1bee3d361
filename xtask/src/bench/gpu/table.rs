//! The figures of one case on one device, as a row, as JSON and as a mark of the plot.

use lr_linalg::Dims;
use serde::Serialize;

use super::super::bank::Case;
use super::super::operations::Operation;
use super::super::output::{digits, spread};
use super::super::plot::Mark;
use super::super::statistics::{Rounds, rounded};
use super::devices::{Found, Kind};

/// A case on a device.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    device: String,
    name: String,
    kind: Kind,
    case: &'static str,
    /// Momentum coefficient of a step.
    nu: Option<f64>,
    problems: usize,
    rows: usize,
    cols: usize,
    /// Largest difference from the CPU, relative.
    error: f64,
    /// Milliseconds for all problems; absent where times are not taken.
    median_ms: Option<f64>,
    /// The same on the CPU, all threads.
    cpu_ms: Option<f64>,
    /// 10^9 operations a second, of those that compute.
    gflops: Option<f64>,
    /// 10^9 bytes a second, counting what must be read and written at least.
    gbytes: Option<f64>,
    /// Time of a step over AdamW's on this device.
    adamw_ratio: Option<f64>,
    /// Every time in milliseconds, on the GPU, on the CPU, and AdamW's.
    ms: Vec<Rounds>,
    #[serde(skip)]
    flops: f64,
    #[serde(skip)]
    bytes: f64,
}

impl Line {
    fn new(device: &Found, case: &'static str, dims: Dims) -> Self {
        Self {
            device: device.option(),
            name: device.name.clone(),
            kind: device.kind,
            case,
            nu: None,
            problems: dims.batch,
            rows: dims.rows,
            cols: dims.cols,
            error: f64::NAN,
            median_ms: None,
            cpu_ms: None,
            gflops: None,
            gbytes: None,
            adamw_ratio: None,
            ms: Vec::new(),
            flops: 0.0,
            bytes: 0.0,
        }
    }

    /// An operation on `dims`.
    pub fn operation(device: &Found, operation: Operation, dims: Dims) -> Self {
        let batch = dims.batch as f64;
        Self {
            flops: batch * operation.flops(dims.rows, dims.cols),
            bytes: 4.0 * batch * operation.elements(dims.rows, dims.cols),
            ..Self::new(device, operation.name(), dims)
        }
    }

    /// A step of an optimizer: `rows` and `cols` are those of the left factors.
    pub fn step(device: &Found, case: &Case) -> Self {
        let bank = case.bank;
        let dims = Dims::new(bank.problems, bank.blocks * bank.m, bank.rank);
        Self { nu: Some(case.nu), ..Self::new(device, case.optimizer.as_str(), dims) }
    }

    /// The case in words.
    pub fn name(&self) -> String {
        let nu = self.nu.map_or(String::new(), |nu| format!(" nu {nu}"));
        format!("{}{nu}, {} of {} x {}", self.case, self.problems, self.rows, self.cols)
    }

    /// Notes how far it is from the CPU.
    pub fn agrees_to(&mut self, error: f64) {
        self.error = rounded(error);
    }

    /// Notes the times on the GPU, on the CPU and, for steps, of AdamW on the GPU.
    pub fn took(&mut self, times: Vec<Rounds>) {
        let median = |rounds: &Rounds| rounds.spread().median;
        if let [gpu, cpu, rest @ ..] = times.as_slice() {
            let ms = median(gpu);
            self.median_ms = Some(rounded(ms));
            self.cpu_ms = Some(rounded(median(cpu)));
            self.gflops = (self.flops > 0.0).then(|| rounded(self.flops / ms / 1e6));
            self.gbytes = (self.bytes > 0.0).then(|| rounded(self.bytes / ms / 1e6));
            self.adamw_ratio = rest.first().map(|adamw| rounded(gpu.over(adamw).median));
        }
        self.ms = times;
    }

    /// The table's row.
    pub fn row(&self) -> String {
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), digits);
        let times = |index: usize| self.ms.get(index).map_or("-".to_owned(), |ms| spread(ms.spread()));
        format!(
            "{:<52} {:>9.1e}  {:<24} {:<24} {:>9} {:>9} {:>8}",
            self.name(),
            self.error,
            times(0),
            times(1),
            shown(self.gflops),
            shown(self.gbytes),
            shown(self.adamw_ratio)
        )
    }
}

/// Head of the table.
pub fn head() -> String {
    format!(
        "{:<52} {:>9}  {:<24} {:<24} {:>9} {:>9} {:>8}",
        "case", "error", "GPU ms (min..max)", "CPU ms (min..max)", "GFLOP/s", "GB/s", "/ AdamW"
    )
}

/// The rows of the plot: what was timed.
pub fn marks(lines: &[Line]) -> Vec<Mark> {
    let timed = lines.iter().filter(|line| line.ms.len() >= 2);
    timed
        .map(|line| {
            let gpu = if line.kind == Kind::Software { "software adapter" } else { "GPU" };
            let nu = line.nu.map_or(String::new(), |nu| format!(", nu {nu}"));
            Mark {
                label: format!("{} {}{nu}", line.device, line.case),
                values: vec![(gpu, line.ms[0].spread()), ("CPU", line.ms[1].spread())],
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::devices::Driver;
    use super::*;

    #[test]
    fn rates_follow_from_times() {
        let device = Found { driver: Driver::Wgpu, index: 0, name: "X".to_owned(), kind: Kind::Hardware };
        let mut line = Line::operation(&device, Operation::SmallTimesSmall, Dims::new(2, 100, 100));
        line.took(vec![Rounds(vec![vec![2.0]]), Rounds(vec![vec![8.0]])]);
        // 2 matrices, 2e6 operations and 3e4 elements each, in 2 ms.
        assert_eq!((line.median_ms, line.cpu_ms), (Some(2.0), Some(8.0)));
        assert_eq!((line.gflops, line.gbytes, line.adamw_ratio), (Some(2.0), Some(0.12), None));
        assert_eq!(marks(&[line]).len(), 1);
    }
}
