//! `cargo xtask tidy`: the rules of the house, so that nobody must remember them.

mod backends;
mod signatures;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A rule broken at a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file or folder, relative to the workspace.
    pub path: PathBuf,
    /// The line, counted from 1; absent for what concerns the whole file.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Violation {
    fn whole(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, message: message.into() }
    }

    fn at(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Runs the command: prints every violation, and fails if there is one.
pub fn run() -> ExitCode {
    let violations = tidy(&workspace_root());
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        println!("tidy: no violations");
        ExitCode::SUCCESS
    } else {
        println!("tidy: {} violation(s)", violations.len());
        ExitCode::FAILURE
    }
}

/// The folder that holds the workspace's manifest.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Checks every Rust file below `root`, generated folders excepted, and the layout of the backends. A file or
/// folder that cannot be read is a violation too.
pub fn tidy(root: &Path) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut files = Vec::new();
    collect(root, Path::new(""), &mut files, &mut violations);
    for path in &files {
        match fs::read_to_string(root.join(path)) {
            Ok(source) => {
                violations.extend(text::check(path, &source));
                violations.extend(signatures::check(path, &source));
            }
            Err(error) => violations.push(Violation::whole(path, format!("cannot be read: {error}"))),
        }
    }
    violations.extend(backends::check(root));
    violations.sort();
    violations
}

/// Lists the Rust files below `root/folder`, relative to `root`.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>, violations: &mut Vec<Violation>) {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) => {
            violations.push(Violation::whole(folder, format!("cannot be read: {error}")));
            return;
        }
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let path = folder.join(&name);
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let generated = ["target", "runs"].iter().any(|skipped| name == *skipped);
        if is_folder && !generated && !name.to_string_lossy().starts_with('.') {
            collect(root, &path, files, violations);
        } else if !is_folder && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
