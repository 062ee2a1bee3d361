//! The workspace's commands: `cargo xtask <command>`, one file a command.

mod bench;
mod cargo;
mod experiment;
#[cfg(feature = "gpu")]
mod kernels;
mod log;
mod mutants;
mod rebuild;
mod report;
#[cfg(feature = "gpu")]
mod stand_in;
#[cfg(feature = "gpu")]
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The workspace's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an experiment and write its report
    #[command(subcommand)]
    Experiment(experiment::Experiment),
    /// Join the folders of experiments into one page
    Report(report::Arguments),
    /// Measure speed: the optimizers' step, the training step, the linear algebra
    #[command(subcommand)]
    Bench(bench::Bench),
    #[cfg(feature = "gpu")]
    BenchGpu(bench::gpu::Options),
    /// Run every test, and try the tests on planted errors
    #[cfg(feature = "gpu")]
    Test(test::Arguments),
    /// Plant errors into a copy of the sources and see whether the tests catch them
    Mutants(mutants::Arguments),
    /// Validate and assemble the GPU kernels, and compare what they use with their ceilings
    #[cfg(feature = "gpu")]
    Kernels(kernels::Arguments),
    #[cfg(not(feature = "gpu"))]
    #[command(flatten)]
    Gpu(rebuild::Gpu),
    /// Check the rules of the house: module docs, file length, public signatures, backend file names
    Tidy,
}

fn main() -> ExitCode {
    if rebuild::is_needed_by(std::env::args().nth(1).as_deref()) {
        return rebuild::with_gpus();
    }
    let arguments = Arguments::parse();
    if let Err(message) = log::start() {
        eprintln!("error: {message}");
        return ExitCode::FAILURE;
    }
    match arguments.command {
        Command::Bench(bench) => bench::run(&bench),
        #[cfg(feature = "gpu")]
        Command::BenchGpu(options) => bench::gpu::run(&options),
        #[cfg(feature = "gpu")]
        Command::Test(arguments) => test::run(&arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Experiment(experiment) => experiment::run(&experiment),
        Command::Report(arguments) => report::run(&arguments),
        #[cfg(feature = "gpu")]
        Command::Kernels(arguments) => kernels::run(&arguments),
        #[cfg(not(feature = "gpu"))]
        Command::Gpu(_) => rebuild::with_gpus(),
        Command::Tidy => tidy::run(),
    }
}
