//! `cargo xtask mutants`: plants errors into a copy of the sources, one at a time, and sees whether the tests
//! catch them. The errors stand in `tests/mutations/list.toml`.
//!
//! A planted error is caught when the tests build and fail. One that does not build proves nothing, one that
//! no longer fits the sources is stale: both are failures of the list, as a survivor is one of the tests.

mod list;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cargo::target_folder;
use crate::tidy::workspace_root;
use list::{List, Mutation};
use tree::{Outcome, Tree};

/// Options of the command.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Plant only the error of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Plant only the errors marked `quick`
    #[arg(long, conflicts_with = "only")]
    quick: bool,
}

/// Which planted errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// Those marked `quick`.
    Quick,
    /// Those of these names.
    Named(Vec<String>),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> ExitCode {
    let selection = match (arguments.only.is_empty(), arguments.quick) {
        (false, _) => Selection::Named(arguments.only.clone()),
        (true, true) => Selection::Quick,
        (true, false) => Selection::All,
    };
    match hunt(&selection) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("mutants: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What became of a planted error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Caught,
    Survived,
    DoesNotBuild,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Caught => "caught",
            Self::Survived => "SURVIVED",
            Self::DoesNotBuild => "DOES NOT BUILD",
        })
    }
}

/// Plants the selected errors and prints a table of what became of them.
///
/// # Errors
/// What keeps the hunt from starting (a stale list, an unknown name, tests that fail as they are), or the
/// errors that were not caught.
pub fn hunt(selection: &Selection) -> Result<(), String> {
    let root = workspace_root();
    let list = List::read(&root)?;
    let mutations = list.select(selection)?;
    let tree = Tree::copy(&root, &target_folder())?;
    let mut suites: Vec<&str> = mutations.iter().map(|mutation| mutation.suite.as_str()).collect();
    suites.sort_unstable();
    suites.dedup();
    for suite in suites {
        let started = Instant::now();
        match tree.test(list.suite(suite))? {
            Outcome::Passed => println!("mutants: {suite} passes unchanged, {}", seconds(started.elapsed())),
            Outcome::Failed | Outcome::NotBuilt => {
                return Err(format!(
                    "the suite `{suite}` fails without any planted error; run `cargo test {}`",
                    list.suite(suite).join(" ")
                ));
            }
        }
    }
    let width = mutations.iter().map(|mutation| mutation.name.len()).max().unwrap_or(0);
    let mut missed = Vec::new();
    for mutation in &mutations {
        let started = Instant::now();
        let verdict = plant(&tree, &list, mutation)?;
        let Mutation { name, suite, what, .. } = mutation;
        println!("{name:width$}  {verdict:14}  {suite:12}  {:>6}  {what}", seconds(started.elapsed()));
        if verdict != Verdict::Caught {
            missed.push(name.as_str());
        }
    }
    println!("mutants: {} of {} planted errors caught", mutations.len() - missed.len(), mutations.len());
    if missed.is_empty() { Ok(()) } else { Err(format!("not caught: {}", missed.join(", "))) }
}

fn plant(tree: &Tree, list: &List, mutation: &Mutation) -> Result<Verdict, String> {
    let original = tree.read(&mutation.file)?;
    tree.write(&mutation.file, &mutation.apply(&original)?)?;
    let outcome = tree.test(list.suite(&mutation.suite));
    tree.write(&mutation.file, &original)?;
    Ok(match outcome? {
        Outcome::Passed => Verdict::Survived,
        Outcome::Failed => Verdict::Caught,
        Outcome::NotBuilt => Verdict::DoesNotBuild,
    })
}

fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}
