//! How the commands call cargo: the one that runs them, in the workspace, with its output on the terminal.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tidy::workspace_root;

/// A call to cargo in `folder`.
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Cargo's build folder: `$CARGO_TARGET_DIR`, or `target` in the workspace.
pub fn target_folder() -> PathBuf {
    let root = workspace_root();
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Runs a command to its end.
///
/// # Errors
/// The command line and its exit status, or why it could not be started.
#[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "for `test`"))]
pub fn run(command: &mut Command) -> Result<(), String> {
    let line = line(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` failed: {status}")),
        Err(error) => Err(format!("`{line}` could not be started: {error}")),
    }
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(command.get_program()).to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
