//! Under which conditions something was measured: the machine, how busy it was, and settings of the environment
//! that change a library's kernels.

use lr_train::train::output::Machine;
use serde::Serialize;

/// Variables by which OpenBLAS can be made to take other kernels than those for this processor. It reads them
/// when it is loaded.
pub const OPENBLAS_VARIABLES: [&str; 2] = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"];

/// Load on a core from which a machine counts as busy before the bench has started.
const BUSY: f64 = 0.25;

/// The conditions of a measurement, written beside it.
#[derive(Debug, Clone, Serialize)]
pub struct Conditions {
    /// Processor, cores, threads used, memory.
    pub machine: Machine,
    /// Load averages over 1, 5 and 15 minutes at the start; absent where the system does not tell.
    pub load_before: Option<[f64; 3]>,
    /// The same at the end.
    pub load_after: Option<[f64; 3]>,
    /// Those of [`OPENBLAS_VARIABLES`] that are set.
    pub openblas_variables: Vec<(&'static str, String)>,
    /// Version of PyTorch, when it was raced.
    pub torch: Option<String>,
}

impl Conditions {
    /// The conditions at the start; warns on standard error of what makes figures doubtful.
    pub fn begin(threads: usize, torch: Option<String>) -> Self {
        let conditions = Self {
            machine: Machine::detect(threads),
            load_before: load(),
            load_after: None,
            openblas_variables: OPENBLAS_VARIABLES
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?.to_string_lossy().into_owned())))
                .collect(),
            torch,
        };
        conditions.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
        conditions
    }

    /// The same with the load at the end.
    pub fn end(self) -> Self {
        Self { load_after: load(), ..self }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, value) in &self.openblas_variables {
            warnings.push(format!(
                "{name}={value} makes OpenBLAS choose other kernels than this processor's; unset it \
                 (the peer runs without it)"
            ));
        }
        let cores = self.machine.cores as f64;
        if let Some([minute, ..]) = self.load_before.filter(|load| load[0] > BUSY * cores) {
            warnings.push(format!(
                "the machine is busy (load {minute} on {cores} cores): times are too long, and ratios to \
                 PyTorch flatter, because its threads wait for one another"
            ));
        }
        warnings
    }

    /// The conditions in one line.
    pub fn line(&self) -> String {
        let load =
            |load: Option<[f64; 3]>| load.map_or("unknown".to_owned(), |load| format!("{:.2}", load[0]));
        format!(
            "{}, cores {}, threads {}; load {} before, {} after{}",
            self.machine.cpu.as_deref().unwrap_or("unknown processor"),
            self.machine.cores,
            self.machine.threads,
            load(self.load_before),
            load(self.load_after),
            self.torch.as_ref().map_or(String::new(), |version| format!("; PyTorch {version}")),
        )
    }
}

fn load() -> Option<[f64; 3]> {
    parse_load(&std::fs::read_to_string("/proc/loadavg").ok()?)
}

fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_the_first_three_numbers() {
        assert_eq!(parse_load("1.23 2.61 3.18 1/85 16593\n"), Some([1.23, 2.61, 3.18]));
        assert_eq!(parse_load("1.23 busy 3.18"), None);
        assert_eq!(parse_load("1.23"), None);
    }

    #[test]
    fn a_busy_machine_and_foreign_kernels_are_warned_of() {
        let mut conditions = Conditions {
            machine: Machine { cores: 4, ..Machine::detect(2) },
            load_before: Some([0.5, 9.0, 9.0]),
            load_after: None,
            openblas_variables: Vec::new(),
            torch: None,
        };
        assert!(conditions.warnings().is_empty());
        conditions.load_before = Some([1.5, 0.0, 0.0]);
        conditions.openblas_variables = vec![("OPENBLAS_CORETYPE", "Haswell".to_owned())];
        let warnings = conditions.warnings();
        assert!(warnings[0].contains("OPENBLAS_CORETYPE=Haswell") && warnings[1].contains("load 1.5 on 4"));
    }
}
