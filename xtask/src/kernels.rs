//! `cargo xtask kernels`: everything that can be said of the GPU kernels without a GPU. Every WGSL file is parsed
//! and validated, every PTX file is assembled in both precisions for several generations of hardware, and what
//! the assembler counts is compared with the ceilings that `kernels/src/ptx.rs` gives.

mod assembler;
mod listed;
mod shaders;

use std::process::ExitCode;

use assembler::{Assembler, Resources};
use lr_kernels::ptx::{self, Precision};
use lr_ptx::mutation::{self, Selection, Summary};
use rayon::prelude::*;

/// Generations of NVIDIA hardware for which the PTX must assemble: Ampere, Hopper, Blackwell.
const ARCHITECTURES: [&str; 4] = ["sm_80", "sm_90", "sm_100", "sm_120"];

/// Options of the command.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Download the assembler `ptxas` with pip (41 MB, from PyPI) where this machine has none
    #[arg(long)]
    fetch: bool,
    /// Plant every single-line fault into the PTX and see whether the kernels' cases notice it (five minutes on two cores)
    #[arg(long)]
    mutants: bool,
}

/// Whether a missing assembler may be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is said that the check was skipped.
    Say,
    /// It is downloaded into the build folder.
    Fetch,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> ExitCode {
    let checked = check(if arguments.fetch { Missing::Fetch } else { Missing::Say })
        .and_then(|skipped| if arguments.mutants { hunt().map(|()| skipped) } else { Ok(skipped) });
    match checked {
        Ok(skipped) => {
            skipped.iter().for_each(|skipped| println!("skipped: {skipped}"));
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("kernels: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Plants all faults and prints a line a kernel.
fn hunt() -> Result<(), String> {
    let summary = mutation::check(Selection::All, &mutation::reviewed()?, |outcome| {
        println!(
            "{:<26} {:>5} of {:>5} planted faults noticed",
            outcome.kernel,
            outcome.killed(),
            outcome.planted
        );
    })?;
    let Summary { planted, killed, wrong } = summary;
    println!(
        "ptx: {killed} of {planted} planted faults noticed, {:.1} %",
        100.0 * killed as f64 / planted as f64
    );
    if wrong.is_empty() { Ok(()) } else { Err(format!("\n{}", wrong.join("\n"))) }
}

/// Checks all kernels and prints a line on each kind; what could not be checked here is returned.
///
/// # Errors
/// All that is wrong, a line each.
pub fn check(missing: Missing) -> Result<Vec<String>, String> {
    let mut skipped = Vec::new();
    let mut faults = listed::faults()?;
    faults.extend(shaders::faults());
    match Assembler::find(missing)? {
        Some(assembler) => faults.extend(assemble(&assembler)?),
        None => skipped.push(
            "assembly of the PTX kernels (no ptxas; `cargo xtask kernels --fetch` downloads it, or set LR_PTXAS)"
                .to_owned(),
        ),
    }
    if faults.is_empty() { Ok(skipped) } else { Err(format!("\n{}", faults.join("\n"))) }
}

/// Assembles every PTX file in both precisions for every architecture; what is wrong.
fn assemble(assembler: &Assembler) -> Result<Vec<String>, String> {
    let mut jobs = Vec::new();
    for kernel in ptx::ALL {
        for (precision, ceiling) in [Precision::Single, Precision::Double].into_iter().zip(kernel.ceilings) {
            jobs.extend(ARCHITECTURES.map(|architecture| (kernel, precision, ceiling, architecture)));
        }
    }
    let results: Vec<Result<Vec<String>, String>> = jobs
        .par_iter()
        .map(|(kernel, precision, ceiling, architecture)| {
            let name = format!("{}.ptx, {precision:?}, {architecture}", kernel.name);
            let text = ptx::expand(kernel.source, *precision);
            match assembler.assemble(&text, architecture)? {
                Ok(entries) => Ok(entries.iter().flat_map(|entry| above(&name, entry, *ceiling)).collect()),
                Err(complaint) => Ok(vec![format!("{name}: {complaint}")]),
            }
        })
        .collect();
    let mut faults = Vec::new();
    for result in results {
        faults.extend(result?);
    }
    println!(
        "ptx: {} files in 2 precisions assembled for {}, {} faults",
        ptx::ALL.len(),
        ARCHITECTURES.join(", "),
        faults.len()
    );
    Ok(faults)
}

/// What of an entry's resources exceeds the ceilings.
fn above(name: &str, entry: &Resources, ceiling: ptx::Ceiling) -> Vec<String> {
    let mut faults = Vec::new();
    let mut compare = |what: &str, used: u32, most: u32| {
        if used > most {
            faults.push(format!("{name}: {} uses {used} {what}, its ceiling is {most}", entry.entry));
        }
    };
    compare("registers", entry.registers, ceiling.registers);
    compare("bytes of shared memory", entry.shared, ceiling.shared);
    compare("bytes of spilled registers", entry.spilled, 0);
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_above_a_ceiling_are_faults() {
        let entry =
            |registers, shared, spilled| Resources { entry: "e".to_owned(), registers, shared, spilled };
        let ceiling = ptx::Ceiling { registers: 32, shared: 1024 };
        assert!(above("k", &entry(32, 1024, 0), ceiling).is_empty());
        assert_eq!(above("k", &entry(33, 1025, 4), ceiling).len(), 3);
    }
}
