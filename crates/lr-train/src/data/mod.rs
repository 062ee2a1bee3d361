//! Text to batches: corpus sources, GPT-2 tokenizer, the cache of token shards and the paper's loader.
//!
//! A [`CorpusSource`] names the documents; [`load_corpus`] finds their tokens in the cache or makes them with
//! the [`Tokenizer`], and maps them as a [`TokenShard`]; a [`Loader`] splits the documents into training and
//! validation and cuts them into [`TokenBatch`]es. Which tokens a batch holds is a function of the corpus, the
//! [`LoaderConfig`] and the batch's index alone.
//!
//! | file | what |
//! |---|---|
//! | `source` | names and plans of the sources |
//! | `crates`, `files`, `parquet`, `fineweb` | one kind of source each |
//! | `tokenizer` | text to tokens and back |
//! | `cache`, `shard`, `temporary` | finding, building, checking and mapping tokens |
//! | `loader`, `split`, `vocabulary`, `random` | batches |

mod cache;
mod crates;
mod error;
mod files;
mod fineweb;
mod loader;
mod parquet;
mod random;
mod shard;
mod source;
mod split;
mod temporary;
mod tokenizer;
mod vocabulary;

use std::path::PathBuf;
use std::sync::Arc;

pub use cache::load_corpus;
pub use error::DataError;
pub use loader::{Batches, IGNORE, Loader, LoaderConfig, TokenBatch, TrainingOrder};
pub use shard::{Fingerprint, TokenShard};
pub use source::CorpusSource;
pub use tokenizer::{END_OF_TEXT, Tokenizer, VOCABULARY};
pub use vocabulary::{Vocabulary, VocabularyLimit};

/// Which corpus to load, how much of it, and where its tokens are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusOptions {
    /// Where the documents come from.
    pub source: CorpusSource,
    /// Bytes of text at most; the first document that goes beyond, and all after it, are left out.
    pub max_bytes: u64,
    /// Folder of the token cache; `None`: `$LOWRANK_CACHE`, `$XDG_CACHE_HOME/lowrank` or `~/.cache/lowrank`.
    pub cache: Option<PathBuf>,
    /// The Cargo workspace whose dependencies [`CorpusSource::Crates`] takes; usually `.`.
    pub workspace: PathBuf,
}

impl CorpusOptions {
    /// At most `max_bytes` of `source`, seen from the current folder, in the default cache.
    pub fn new(source: CorpusSource, max_bytes: u64) -> Self {
        Self { source, max_bytes, cache: None, workspace: PathBuf::from(".") }
    }
}

/// A loaded corpus.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// The source's name or path.
    pub source: String,
    /// Its tokens.
    pub shard: Arc<TokenShard>,
}

impl Corpus {
    /// The figures that a report states.
    pub fn summary(&self) -> CorpusSummary {
        CorpusSummary {
            source: self.source.clone(),
            documents: self.shard.documents() as u64,
            tokens: self.shard.tokens().len() as u64,
            bytes: self.shard.text_bytes(),
            fingerprint: self.shard.fingerprint().to_string(),
        }
    }
}

/// What a report says about a corpus.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CorpusSummary {
    /// The source's name or path.
    pub source: String,
    /// Documents.
    pub documents: u64,
    /// GPT-2 tokens, without the end-of-text tokens between documents.
    pub tokens: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// 32 hexadecimal digits; equal for equal sources, limits and tokenizers.
    pub fingerprint: String,
}

/// How far tokenizing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of text tokenized.
    pub bytes_done: u64,
    /// Bytes of text to tokenize at most; fewer where some of the source is filtered out, or where only its
    /// compressed size is known.
    pub bytes_total: u64,
}
