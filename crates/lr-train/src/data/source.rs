//! Where documents come from: the sources' names, and the plan that lists a source's inputs without reading
//! them.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use super::crates::CrateSources;
use super::files::CorpusFiles;
use super::{DataError, fineweb};

/// Documents in a stable order; ends after the first error.
pub(super) type DocumentStream = Box<dyn Iterator<Item = Result<String, DataError>> + Send>;

/// A corpus, by its name on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorpusSource {
    /// `crates`: the Rust and Markdown files of the dependency crates that Cargo.lock pins.
    Crates,
    /// `fineweb`: the sample-10BT of FineWeb, fetched from its hub and cached there.
    FineWeb,
    /// Anything else: a .txt, .jsonl or .parquet file, or a folder of them.
    Path(PathBuf),
}

impl FromStr for CorpusSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "crates" => Self::Crates,
            "fineweb" => Self::FineWeb,
            path => Self::Path(PathBuf::from(path)),
        })
    }
}

impl std::fmt::Display for CorpusSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Crates => f.write_str("crates"),
            Self::FineWeb => f.write_str("fineweb"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A source's inputs, listed but not read: enough to know whether the cache holds their tokens.
pub(super) enum Plan {
    Crates(CrateSources),
    Files(CorpusFiles),
    FineWeb,
}

impl Plan {
    /// Lists the inputs of `source`; `workspace` is the folder whose Cargo.lock `crates` reads.
    pub(super) fn new(source: &CorpusSource, workspace: &std::path::Path) -> Result<Self, DataError> {
        Ok(match source {
            CorpusSource::Crates => Self::Crates(CrateSources::locate(workspace)?),
            CorpusSource::FineWeb => Self::FineWeb,
            CorpusSource::Path(path) => Self::Files(CorpusFiles::list(path)?),
        })
    }

    /// A text that changes whenever the documents may have changed.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Crates(sources) => sources.identity(),
            Self::Files(files) => files.identity(),
            Self::FineWeb => fineweb::IDENTITY.to_owned(),
        }
    }

    /// The documents, and about how many bytes of text they have (`None`: unknown).
    pub(super) fn documents(self) -> Result<(DocumentStream, Option<u64>), DataError> {
        match self {
            Self::Crates(sources) => sources.documents(),
            Self::Files(files) => Ok(files.documents()),
            Self::FineWeb => Ok((fineweb::documents()?, None)),
        }
    }
}
