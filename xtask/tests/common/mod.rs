//! A sandbox for tests of the commands: a small corpus, a token cache of its own, and room for outputs.

use std::{fs, path::PathBuf, process::Command};
use tempfile::TempDir;

const WORDS: [&str; 12] =
    ["matrix", "rank", "of", "the", "a", "point", "moves", "along", "its", "tangent", "and", "stays"];

/// A folder with a small corpus, a token cache of its own, and room for outputs.
pub struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// Writes the corpus: 24 documents of 300 words.
    pub fn new() -> Self {
        let sandbox = Self { dir: tempfile::tempdir().unwrap() };
        let corpus = sandbox.path("corpus");
        fs::create_dir(&corpus).unwrap();
        let mut state = 1u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            WORDS[(state >> 33) as usize % WORDS.len()]
        };
        for document in 0..24 {
            let text: Vec<&str> = (0..300).map(|_| word()).collect();
            fs::write(corpus.join(format!("{document:02}.txt")), text.join(" ")).unwrap();
        }
        sandbox
    }

    /// A path in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command of the workspace with the sandbox's token cache.
    pub fn xtask(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.env("LOWRANK_CACHE", self.path("cache")).args(arguments);
        command
    }
}
