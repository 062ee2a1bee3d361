//! What can go wrong between a corpus on disk and a batch of tokens; every message names the file and the
//! remedy.

use std::path::PathBuf;

/// A corpus, cache or loader setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The corpus path does not exist.
    #[error("the corpus {} does not exist; give --corpus crates, fineweb, or an existing file or folder", path.display())]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// A corpus file or folder cannot be read.
    #[error("cannot read {}: {source}; check its permissions or leave it out of the corpus", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of a kind that holds no corpus.
    #[error("{}: not a corpus file; expected .txt, .jsonl, .parquet, or a folder of them", path.display())]
    UnsupportedFile {
        /// The file.
        path: PathBuf,
    },
    /// No document was found, or every one is empty.
    #[error("the corpus {corpus} is empty: {reason}")]
    Empty {
        /// The source's name or path.
        corpus: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A text file holds bytes that are no text.
    #[error("{}: not UTF-8 text at byte {offset}; convert the file or leave it out of the corpus", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        offset: u64,
    },
    /// A line of a .jsonl file is not an object with a string field `text`.
    #[error("{}, line {line}: {message}; every line must be an object with a string field \"text\"", path.display())]
    Jsonl {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with the line.
        message: String,
    },
    /// A parquet file is truncated or otherwise damaged.
    #[error("{}: damaged or unsupported parquet: {message}; fetch or write the file again", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        message: String,
    },
    /// A parquet file has no usable `text` column.
    #[error("{}: no string column \"text\"; it has {columns}; rename the column that holds the documents", path.display())]
    NoTextColumn {
        /// The file.
        path: PathBuf,
        /// The columns that exist.
        columns: String,
    },
    /// The sources of the dependency crates cannot be found.
    #[error("cannot find the dependency crates' sources: {message}")]
    Crates {
        /// What failed and what to do.
        message: String,
    },
    /// FineWeb cannot be had.
    #[error("cannot fetch FineWeb: {message}")]
    FineWeb {
        /// What failed and what to do.
        message: String,
    },
    /// The tokenizer cannot be built or gave up on a document.
    #[error("GPT-2 tokenizer: {message}")]
    Tokenizer {
        /// What it said.
        message: String,
    },
    /// A cached shard is truncated, altered, or of another version.
    #[error("the token cache {} is damaged: {message}; delete it, and the next run builds it again", path.display())]
    CorruptCache {
        /// The shard.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// The cache folder or a shard in it cannot be written: no permission, or the disk is full.
    #[error(
        "cannot write the token cache {}: {source}; free some space, or name another folder in LOWRANK_CACHE",
        path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No place for the cache is known.
    #[error(
        "no folder for the token cache: none of LOWRANK_CACHE, XDG_CACHE_HOME and HOME is set; set LOWRANK_CACHE"
    )]
    NoCacheFolder,
    /// A split has fewer windows than one batch.
    #[error(
        "corpus shorter than one batch: the {split} split has {windows} windows of {sequence} tokens, needs {batch}; \
         use a larger corpus, or a smaller sequence or batch"
    )]
    ShorterThanBatch {
        /// `training` or `validation`.
        split: &'static str,
        /// Whole windows in the split.
        windows: u64,
        /// Tokens a window.
        sequence: usize,
        /// Windows a batch.
        batch: usize,
    },
    /// The corpus cannot be split into training and validation.
    #[error("the corpus has {documents} document(s); training and validation need one each, so at least 2")]
    TooFewDocuments {
        /// How many there are.
        documents: usize,
    },
    /// A setting is out of its range.
    #[error("{field}: {message}")]
    InvalidSetting {
        /// The setting.
        field: &'static str,
        /// What is wrong and which values are possible.
        message: String,
    },
}
