//! A copy of the sources in the build folder, so that planted errors never touch the checkout and builds stay
//! incremental from one error to the next. Other people's crates are shared with the checkout's own builds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::cargo::cargo;

/// What of the workspace a build of the tests reads.
const PARTS: [&str; 9] =
    [".cargo", "Cargo.lock", "Cargo.toml", "README.md", "benches", "crates", "kernels", "tests", "xtask"];

/// Settings for our own crates, of which there are many small rebuilds: quick to make rather than to run.
/// Nothing here touches other people's crates, whose builds are those of the checkout.
const QUICK_TO_MAKE: [&str; 3] = ["opt-level=1", "debug=false", "codegen-units=64"];

/// Our crates that a test runs through.
const OURS: [&str; 7] =
    ["lr-apps", "lr-linalg", "lr-manifolds", "lr-optim", "lr-report", "lr-tests", "lr-train"];

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
    /// Copies the [`PARTS`] of `root` into `build/mutants`. Files that are as they should be are not touched, so
    /// that cargo does not build them again; others are removed.
    ///
    /// # Errors
    /// What the file system said, naming the file.
    pub fn copy(root: &Path, build: &Path) -> Result<Self, String> {
        let tree = Self { sources: build.join("mutants"), build: build.to_owned() };
        let mut listed = BTreeSet::new();
        for part in PARTS {
            collect(root, Path::new(part), &mut listed)?;
        }
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
        let settings = OURS.iter().flat_map(|package| {
            QUICK_TO_MAKE.iter().map(move |setting| format!("profile.release.package.{package}.{setting}"))
        });
        let settings: Vec<_> = settings.chain(["profile.release.incremental=true".to_owned()]).collect();
        let succeeds = |more: &[&str]| {
            cargo(&self.sources)
                .args(["test", "--release"])
                .args(settings.iter().flat_map(|setting| ["--config", setting]))
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

/// Adds the files at and below `root/path`, relative to `root`; what is not there is passed over.
fn collect(root: &Path, path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), String> {
    let fail = |error| format!("cannot read {}: {error}", path.display());
    let full = root.join(path);
    if full.is_file() {
        files.insert(path.to_owned());
    } else if full.is_dir() {
        for entry in fs::read_dir(full).map_err(fail)? {
            collect(root, &path.join(entry.map_err(fail)?.file_name()), files)?;
        }
    }
    Ok(())
}
