//! A copy of the sources in the build folder, with a build folder of its own, so that planted errors never
//! touch the checkout and builds stay incremental from one error to the next.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::cargo;

/// Result of a test run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All tests passed.
    Passed,
    /// Some test failed.
    Failed,
    /// The tests could not be built.
    NotBuilt,
}

/// The copy.
#[derive(Debug)]
pub struct Tree {
    sources: PathBuf,
    build: PathBuf,
}

impl Tree {
    /// Copies what git tracks in `root`, and new files that it does not ignore, into `folder/tree`. Files that
    /// are as they should be are not touched, so that cargo does not build them again; others are removed.
    ///
    /// # Errors
    /// What git or the file system said, naming the file.
    pub fn copy(root: &Path, folder: &Path) -> Result<Self, String> {
        let tree = Self { sources: folder.join("tree"), build: folder.join("build") };
        let listed = listed(root)?;
        for path in &listed {
            let fail = |error| format!("cannot copy {}: {error}", path.display());
            let content = fs::read(root.join(path)).map_err(fail)?;
            let target = tree.sources.join(path);
            if fs::read(&target).is_ok_and(|old| old == content) {
                continue;
            }
            target.parent().map_or(Ok(()), fs::create_dir_all).map_err(fail)?;
            fs::write(&target, content).map_err(fail)?;
        }
        tree.remove_others(Path::new(""), &listed)?;
        Ok(tree)
    }

    fn remove_others(&self, folder: &Path, listed: &BTreeSet<PathBuf>) -> Result<(), String> {
        let fail = |error| format!("cannot tidy {}: {error}", self.sources.join(folder).display());
        for entry in fs::read_dir(self.sources.join(folder)).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let path = folder.join(entry.file_name());
            if entry.file_type().map_err(fail)?.is_dir() {
                self.remove_others(&path, listed)?;
            } else if !listed.contains(&path) {
                fs::remove_file(entry.path()).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Reads a file of the copy.
    ///
    /// # Errors
    /// What the file system said, naming the file.
    pub fn read(&self, path: &Path) -> Result<String, String> {
        fs::read_to_string(self.sources.join(path)).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes a file of the copy.
    ///
    /// # Errors
    /// What the file system said, naming the file.
    pub fn write(&self, path: &Path, text: &str) -> Result<(), String> {
        fs::write(self.sources.join(path), text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// `cargo test` with `arguments`, in the copy. Its output is not shown: failures are what is hoped for.
    ///
    /// # Errors
    /// When cargo cannot be started.
    pub fn test(&self, arguments: &[String]) -> Result<Outcome, String> {
        let succeeds = |more: &[&str]| {
            cargo(&self.sources)
                .args(["test", "--profile", "mutants"])
                .args(arguments)
                .args(more)
                .env("CARGO_TARGET_DIR", &self.build)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map(|status| status.success())
                .map_err(|error| format!("cannot start cargo: {error}"))
        };
        Ok(match succeeds(&["--no-run"])? {
            false => Outcome::NotBuilt,
            true if succeeds(&[])? => Outcome::Passed,
            true => Outcome::Failed,
        })
    }
}

/// Files of the workspace that exist, as git lists them.
fn listed(root: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot start git, which lists the files to copy: {error}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`git ls-files`, which lists the files to copy: {}", message.trim()));
    }
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let paths = names.map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()));
    // A tracked file may have been deleted in the checkout.
    Ok(paths.filter(|path| root.join(path).is_file()).collect())
}
