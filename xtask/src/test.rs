//! `cargo xtask test`: every test of the workspace, the GPU kernels, each library crate built alone, and planted errors
//! that the tests must catch. What this machine lacks is skipped, and said.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use clap::ValueEnum;

use crate::cargo::{cargo, line, run as run_command, target_folder};
use crate::kernels::{self, Missing};
use crate::mutants;
use crate::stand_in;
use crate::tidy::workspace_root;

/// Crates that others may depend on, one without the rest.
const LIBRARIES: [&str; 5] = ["lr-linalg", "lr-manifolds", "lr-optim", "lr-train", "lr-apps"];

/// Features that need nothing of the system.
const FEATURES: [&str; 6] = ["fineweb", "nalgebra", "ndarray", "wgpu", "cuda", "gpu"];

/// A program that links only where the library has BLAS and LAPACK.
const PROBE: &str =
    "void dgemm_(void); void dgesdd_(void); int main(void) { dgemm_(); dgesdd_(); return 0; }\n";

/// Which planted errors the tests are tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Planted {
    /// None: only whether the list fits the sources
    Check,
    /// Those marked `quick`
    Quick,
    /// All of them
    All,
}

/// Which CUDA libraries the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cuda {
    /// The stand-in, which runs the kernels in an interpreter with all checks on
    StandIn,
    /// Those of this machine; with them a device is required
    System,
}

/// Options of the command.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which planted errors the tests must catch
    #[arg(long, value_enum, default_value = "quick")]
    planted: Planted,
    /// Which CUDA libraries the tests run against
    #[arg(long, value_enum, default_value = "stand-in")]
    cuda: Cuda,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> ExitCode {
    match test(arguments) {
        Ok(()) => {
            println!("test: everything passed");
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("test: {message}");
            ExitCode::FAILURE
        }
    }
}

fn test(arguments: &Arguments) -> Result<(), String> {
    let root = workspace_root();
    let mut features = FEATURES.to_vec();
    if openblas_links() {
        features.push("openblas");
    }
    let features = features.join(",");
    let mut skipped = kernels::check(Missing::Say)?;
    let devices = Devices::find(arguments.cuda)?;
    let step = |arguments: &[&str]| {
        let mut command = cargo(&root);
        command.args(arguments);
        devices.show(&mut command);
        println!("==> {}", line(&command));
        run_command(&mut command)
    };
    step(&["test", "--release", "--workspace", "--features", &features])?;
    for library in LIBRARIES {
        step(&["check", "--release", "--package", library])?;
    }
    let selection = match arguments.planted {
        Planted::Check => None,
        Planted::Quick => Some(mutants::Selection::Quick),
        Planted::All => Some(mutants::Selection::All),
    };
    // That the list fits the sources is a unit test of this package.
    selection.map_or(Ok(()), |selection| mutants::hunt(&selection))?;
    if !features.ends_with("openblas") {
        skipped.push("OpenBLAS engine (libopenblas not found; apt-get install libopenblas-dev)".to_owned());
    }
    skipped.extend(devices.missing);
    skipped.iter().for_each(|skipped| println!("skipped: {skipped}"));
    Ok(())
}

/// The GPUs that tests must find.
struct Devices {
    /// For `LR_REQUIRE_DEVICES`.
    required: Vec<&'static str>,
    /// In front of the libraries' search path.
    libraries: Option<OsString>,
    missing: Option<String>,
}

impl Devices {
    fn find(cuda: Cuda) -> Result<Self, String> {
        let mut devices = Self { required: vec!["cuda"], libraries: None, missing: None };
        if cuda == Cuda::StandIn {
            let path = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            let folders = std::iter::once(stand_in::folder()?).chain(env::split_paths(&path));
            devices.libraries = Some(env::join_paths(folders).map_err(|error| error.to_string())?);
        }
        if lr_linalg::Wgpu::adapters().is_empty() {
            let message = "wgpu backend (no adapter; apt-get install libvulkan1 mesa-vulkan-drivers for a software one)";
            devices.missing = Some(message.to_owned());
        } else {
            devices.required.push("wgpu");
        }
        Ok(devices)
    }

    fn show(&self, command: &mut Command) {
        command.env("LR_REQUIRE_DEVICES", self.required.join(","));
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
    }
}

/// Whether the system has an OpenBLAS to link with, LAPACK included: links a program that calls both.
fn openblas_links() -> bool {
    let target = target_folder();
    let program = target.join(format!("openblas-probe-{}", std::process::id()));
    let linked = fs::create_dir_all(&target).and_then(|()| {
        let mut compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-w", "-x", "c", "-", "-lopenblas", "-o"])
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let written = compiler.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(PROBE.as_bytes()));
        let status = compiler.wait()?;
        written.map(|()| status.success())
    });
    // Nothing depends on whether the probe could be removed.
    let _ = fs::remove_file(&program);
    linked.unwrap_or(false)
}
