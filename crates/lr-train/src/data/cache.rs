//! The cache of tokenized corpora: find a shard by what it was made from, or build it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::shard::ShardWriter;
use super::source::{DocumentStream, Plan};
use super::tokenizer::TOKENIZER_ID;
use super::{Corpus, CorpusOptions, DataError, Fingerprint, Progress, TokenShard, Tokenizer};

/// Text tokenized between two writes, which bounds the memory that a build needs.
const BATCH_BYTES: usize = 4 << 20;

/// Loads the tokens of a corpus from the cache, or tokenizes the corpus on all of rayon's threads and caches
/// the result first. A damaged shard in the cache is built again after a warning.
///
/// `progress` is called now and then while text is tokenized, and not at all when the cache has the tokens.
///
/// # Errors
/// Any [`DataError`] of the source or the cache; then nothing stays in the cache under a final name.
pub fn load_corpus(
    options: &CorpusOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Corpus, DataError> {
    let plan = Plan::new(&options.source, &options.workspace)?;
    let fingerprint = fingerprint(&plan, options.max_bytes);
    let folder = match &options.cache {
        Some(folder) => folder.clone(),
        None => default_folder(|name| std::env::var_os(name))?,
    };
    let path = folder.join(format!("{fingerprint}.tokens"));
    let source = options.source.to_string();
    let corpus = |shard| Corpus { source: source.clone(), shard: Arc::new(shard) };
    if path.exists() {
        let opened = TokenShard::open(&path).and_then(|shard| {
            if shard.fingerprint() == fingerprint {
                return Ok(shard);
            }
            Err(DataError::CorruptCache { path: path.clone(), message: "it holds another corpus".to_owned() })
        });
        match opened {
            Err(error @ DataError::CorruptCache { .. }) => {
                tracing::warn!(%error, "tokenizing the corpus again")
            }
            opened => return opened.map(corpus),
        }
    }
    // Opened before any text is read: an unwritable folder should fail at once.
    let mut writer = ShardWriter::create(&path)?;
    let (documents, bytes) = plan.documents()?;
    let total = bytes.map_or(options.max_bytes, |bytes| bytes.min(options.max_bytes));
    tokenize(documents, options, total, &mut writer, progress)?;
    if writer.tokens() == 0 {
        return Err(DataError::Empty {
            corpus: source,
            reason: format!(
                "none of its documents has text, or the first is longer than the limit of {} bytes",
                options.max_bytes
            ),
        });
    }
    writer.finish(fingerprint)?;
    TokenShard::open(&path).map(corpus)
}

fn fingerprint(plan: &Plan, max_bytes: u64) -> Fingerprint {
    let mut key = TOKENIZER_ID.to_vec();
    key.extend(max_bytes.to_le_bytes());
    key.extend(plan.identity().as_bytes());
    let hash = xxh3_128(&key);
    Fingerprint([(hash >> 64) as u64, hash as u64])
}

/// `$LOWRANK_CACHE`, `$XDG_CACHE_HOME/lowrank` or `~/.cache/lowrank`.
fn default_folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, DataError> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("LOWRANK_CACHE") {
        return Ok(folder);
    }
    // The XDG rules say to ignore a relative path.
    if let Some(folder) = set("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()) {
        return Ok(folder.join("lowrank"));
    }
    set("HOME").map(|home| home.join(".cache/lowrank")).ok_or(DataError::NoCacheFolder)
}

/// Writes the tokens of the first documents that together have at most `options.max_bytes` bytes.
fn tokenize(
    documents: DocumentStream,
    options: &CorpusOptions,
    total: u64,
    writer: &mut ShardWriter,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), DataError> {
    // Built with the first text, so that a bad source fails at once.
    let mut tokenizer = None;
    let (mut read, mut written) = (0, 0);
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    let mut flush = |batch: &mut Vec<String>| {
        let tokenizer = match &tokenizer {
            Some(tokenizer) => tokenizer,
            None => tokenizer.insert(Tokenizer::gpt2()?),
        };
        let tokens: Result<Vec<_>, _> = batch.par_iter().map(|text| tokenizer.encode(text)).collect();
        for (text, tokens) in batch.iter().zip(tokens?) {
            writer.push(&tokens, text.len() as u64)?;
            written += text.len() as u64;
        }
        batch.clear();
        progress(Progress { bytes_done: written, bytes_total: total.max(written) });
        Ok(())
    };
    for document in documents {
        let document = document?;
        if document.is_empty() {
            continue;
        }
        read += document.len() as u64;
        if read > options.max_bytes {
            break;
        }
        batch_bytes += document.len();
        batch.push(document);
        if batch_bytes >= BATCH_BYTES {
            flush(&mut batch)?;
            batch_bytes = 0;
        }
    }
    flush(&mut batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_the_environment() {
        let folder = |variables: &[(&str, &str)]| {
            default_folder(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            })
        };
        let home = ("HOME", "/home/a");
        let named = folder(&[("LOWRANK_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), home]);
        assert_eq!(named.expect("set"), PathBuf::from("/c"));
        let xdg = folder(&[("LOWRANK_CACHE", ""), ("XDG_CACHE_HOME", "/x"), home]);
        assert_eq!(xdg.expect("set"), PathBuf::from("/x/lowrank"));
        let relative = folder(&[("XDG_CACHE_HOME", "x"), home]);
        assert_eq!(relative.expect("set"), PathBuf::from("/home/a/.cache/lowrank"));
        assert!(matches!(folder(&[]), Err(DataError::NoCacheFolder)));
    }
}
