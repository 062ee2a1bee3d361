//! `cargo xtask bench optim`, `train` and `linalg`: how long things take on this machine, beside AdamW and, on
//! request, beside PyTorch in turns.

#[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "`bench-gpu` needs the rest"))]
mod bank;
mod conditions;
#[cfg(feature = "gpu")]
pub mod gpu;
mod linalg;
#[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "`bench-gpu` needs the rest"))]
mod operations;
mod optim;
mod options;
mod output;
mod peer;
mod plot;
mod race;
mod scaling;
mod statistics;
mod train;

use std::process::ExitCode;

use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// One step of the optimizers on a bank of factor pairs or grids, beside AdamW
    ///
    /// Default: 96 pairs of 512 x 512 matrices of rank 64 for the five singleton geometries, 12 grids of 8 x 1
    /// such blocks for the five grid geometries, without momentum and with momentum 7/8, in f32.
    Optim(options::OptimOptions),
    /// One training step of a preset on random tokens
    Train(options::TrainOptions),
    /// Rates of products and factorizations at the optimizers' shapes
    Linalg(options::LinalgOptions),
}

/// Runs the bench; errors go to standard error with exit status 1.
pub fn run(bench: &Bench) -> ExitCode {
    let done = match bench {
        Bench::Optim(options) => options.resolve().and_then(|plan| match options.scaling() {
            Some(axis) => scaling::run(&plan, axis),
            None => optim::run(&plan),
        }),
        Bench::Train(options) => options.resolve().and_then(|plan| train::run(&plan)),
        Bench::Linalg(options) => options.resolve().and_then(|plan| linalg::run(&plan)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
