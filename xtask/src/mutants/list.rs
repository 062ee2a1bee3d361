//! `tests/mutations/list.toml`: the planted errors and the test suites that must catch them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Selection;

/// Where the list stands, relative to the workspace.
pub const FILE: &str = "tests/mutations/list.toml";

/// The whole list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Arguments of `cargo test` by name.
    suites: BTreeMap<String, Vec<String>>,
    /// The planted errors.
    mutation: Vec<Mutation>,
}

/// One planted error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutation {
    /// Its name on the command line.
    pub name: String,
    /// The file, relative to the workspace.
    pub file: PathBuf,
    /// Text that occurs there exactly once.
    pub find: String,
    /// What replaces it.
    pub replace: String,
    /// The mistake in words.
    pub what: String,
    /// The suite that must catch it.
    pub suite: String,
    /// Whether `cargo xtask test` plants it, too.
    #[serde(default)]
    pub quick: bool,
}

impl List {
    /// Reads the list of the workspace `root` and checks that it fits the sources.
    ///
    /// # Errors
    /// What is wrong with it, naming the file and the entry.
    pub fn read(root: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(root.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        let list = Self::parse(&text)?;
        for mutation in &list.mutation {
            let source = fs::read_to_string(root.join(&mutation.file)).map_err(|error| {
                format!("{FILE}: {}: {}: {error}", mutation.name, mutation.file.display())
            })?;
            mutation.apply(&source)?;
        }
        Ok(list)
    }

    /// Parses a list and checks what can be checked without the sources.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let list: Self = toml::from_str(text).map_err(|error| format!("{FILE}: {error}"))?;
        let mut names = BTreeSet::new();
        for Mutation { name, suite, find, replace, .. } in &list.mutation {
            if !names.insert(name) {
                return Err(format!("{FILE}: {name}: two entries have this name"));
            }
            if !list.suites.contains_key(suite) {
                return Err(format!("{FILE}: {name}: there is no suite `{suite}`"));
            }
            if find == replace {
                return Err(format!("{FILE}: {name}: it changes nothing"));
            }
        }
        Ok(list)
    }

    /// Arguments of `cargo test` for a suite that an entry names.
    pub fn suite(&self, name: &str) -> &[String] {
        self.suites.get(name).map_or(&[], Vec::as_slice)
    }

    /// The selected entries, in the list's order.
    ///
    /// # Errors
    /// A name that no entry has, or a selection without entries.
    pub fn select(&self, selection: &Selection) -> Result<Vec<&Mutation>, String> {
        if let Selection::Named(names) = selection
            && let Some(unknown) =
                names.iter().find(|name| self.mutation.iter().all(|mutation| mutation.name != **name))
        {
            let known: Vec<&str> = self.mutation.iter().map(|mutation| mutation.name.as_str()).collect();
            return Err(format!("no planted error is called `{unknown}`; there are {}", known.join(", ")));
        }
        let selected: Vec<&Mutation> = self
            .mutation
            .iter()
            .filter(|mutation| match selection {
                Selection::All => true,
                Selection::Quick => mutation.quick,
                Selection::Named(names) => names.contains(&mutation.name),
            })
            .collect();
        if selected.is_empty() { Err(format!("{FILE}: no entry is selected")) } else { Ok(selected) }
    }
}

impl Mutation {
    /// `source` with the error planted.
    ///
    /// # Errors
    /// When the text to replace does not occur exactly once: the entry is stale.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.find).count() {
            1 => Ok(source.replacen(&self.find, &self.replace, 1)),
            found => Err(format!(
                "{FILE}: {}: the text to replace occurs {found} times in {}, not once; adapt the entry to the \
                 sources",
                self.name,
                self.file.display()
            )),
        }
    }
}
