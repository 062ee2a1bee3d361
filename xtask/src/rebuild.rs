//! The GPU backends, and what checks their kernels, are most of what xtask takes to build; training on a CPU should not
//! wait for them. They are the feature `gpu`, off by default: a command that needs them has cargo build xtask once
//! more, with it, and hands over.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::{env, error, fmt};

use lr_train::config::Device;

use crate::cargo::line;
use crate::tidy::workspace_root;

/// Commands that always need the feature.
#[cfg(not(feature = "gpu"))]
#[derive(Debug, clap::Subcommand)]
pub enum Gpu {
    /// Check and measure every GPU of this machine
    BenchGpu,
    /// Run every test, and try the tests on planted errors
    Test,
    /// Validate and assemble the GPU kernels, and compare what they use with their ceilings
    Kernels,
}

/// Their names on the command line.
const COMMANDS: [&str; 3] = ["bench-gpu", "test", "kernels"];

/// This build lacks what the command line asks for.
#[derive(Debug)]
pub struct Needed;

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this build of xtask has no GPU backends; build it with --features gpu")
    }
}

impl error::Error for Needed {}

/// Whether a command of this name needs another build.
pub fn is_needed_by(name: Option<&str>) -> bool {
    !cfg!(feature = "gpu") && name.is_some_and(|name| COMMANDS.contains(&name))
}

/// Nothing for devices that this build has.
///
/// # Errors
/// [`Needed`] for a GPU without the feature.
pub fn unless_built(device: Device) -> Result<(), Needed> {
    let on_gpu = matches!(device, Device::Cuda(_) | Device::Wgpu(_));
    if on_gpu && !cfg!(feature = "gpu") { Err(Needed) } else { Ok(()) }
}

/// Runs this very command line in a build with the GPU backends; its exit status.
pub fn with_gpus() -> ExitCode {
    let mut command = again(env::args_os().skip(1));
    eprintln!("this needs the GPU backends, which take cargo a few minutes the first time");
    hand_over(&mut command)
}

/// The call to cargo, in this process's folder, because paths on the command line are relative to it.
fn again(arguments: impl Iterator<Item = OsString>) -> Command {
    let built = [
        ("openblas", cfg!(feature = "openblas")),
        ("nalgebra", cfg!(feature = "nalgebra")),
        ("ndarray", cfg!(feature = "ndarray")),
    ];
    let mut features = "gpu".to_owned();
    for (feature, _) in built.into_iter().filter(|(_, built)| *built) {
        features = format!("{features},{feature}");
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--release", "--package", "xtask", "--features", &features, "--manifest-path"]);
    command.arg(workspace_root().join("Cargo.toml")).arg("--").args(arguments);
    command
}

/// Becomes the other process, so that Ctrl-C and the exit status are its own.
#[cfg(unix)]
fn hand_over(command: &mut Command) -> ExitCode {
    let error = std::os::unix::process::CommandExt::exec(command);
    eprintln!("error: `{}` could not be started: {error}", line(command));
    ExitCode::FAILURE
}

/// Cargo cannot replace a program that runs: says what to call.
#[cfg(not(unix))]
fn hand_over(command: &mut Command) -> ExitCode {
    eprintln!("error: {Needed}: {}", line(command));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_command_line_runs_with_the_feature() {
        let words = ["experiment", "mha", "--device", "wgpu"];
        let command = again(words.into_iter().map(OsString::from));
        let line = line(&command);
        assert!(line.contains("run --release --package xtask --features gpu"), "{line}");
        assert!(line.ends_with("-- experiment mha --device wgpu"), "{line}");
        assert_eq!(command.get_current_dir(), None);
    }

    #[test]
    fn only_builds_without_gpus_need_another() {
        let lacks = !cfg!(feature = "gpu");
        for device in [Device::Cuda(None), Device::Wgpu(Some(1))] {
            assert_eq!(unless_built(device).is_err(), lacks);
        }
        assert!(unless_built(Device::Cpu).is_ok() && unless_built(Device::CpuOpenblas).is_ok());
        assert!(COMMANDS.iter().all(|name| is_needed_by(Some(name)) == lacks));
        assert!(!is_needed_by(Some("experiment")) && !is_needed_by(None));
    }
}
