//! A smaller vocabulary for quick runs: GPT-2's token ids mapped onto fewer.

use std::cmp::Reverse;

use xxhash_rust::xxh3::xxh3_64;

use super::{DataError, END_OF_TEXT, TokenShard, VOCABULARY};

/// How much of GPT-2's vocabulary a model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VocabularyLimit {
    /// All 50257 tokens.
    Full,
    /// This many ids, from 2 to 50257: end-of-text, the tokens that are most frequent in the training split,
    /// and one id for all others.
    MostFrequent(usize),
}

/// The map from GPT-2's tokens to a model's ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    ids: Vec<u32>,
    size: usize,
    coverage: f64,
}

impl Vocabulary {
    /// Every token keeps its id.
    pub fn full() -> Self {
        Self { ids: (0..VOCABULARY as u32).collect(), size: VOCABULARY, coverage: 1.0 }
    }

    /// Counts the tokens of the documents numbered in `training` and applies `limit`. With
    /// [`VocabularyLimit::MostFrequent`]`(k)`, end-of-text is 0, the others follow by falling frequency (equal
    /// ones by token), and `k - 1` stands for every token without an id of its own.
    ///
    /// # Errors
    /// [`DataError::InvalidSetting`] for a limit out of its range.
    ///
    /// # Panics
    /// When a number in `training` is not below [`TokenShard::documents`].
    pub fn new(shard: &TokenShard, training: &[u32], limit: VocabularyLimit) -> Result<Self, DataError> {
        let size = match limit {
            VocabularyLimit::Full => return Ok(Self::full()),
            VocabularyLimit::MostFrequent(size) => size,
        };
        if !(2..=VOCABULARY).contains(&size) {
            return Err(DataError::InvalidSetting {
                field: "vocabulary",
                message: format!("{size} is out of range; give 2 to {VOCABULARY}"),
            });
        }
        let mut counts = vec![0u64; VOCABULARY];
        for &document in training {
            for &token in shard.document(document as usize) {
                counts[usize::from(token)] += 1;
            }
        }
        let total: u64 = counts.iter().sum();
        // First whatever the text says: it opens every document.
        counts[usize::from(END_OF_TEXT)] = u64::MAX;
        let mut by_frequency: Vec<usize> = (0..VOCABULARY).collect();
        by_frequency.sort_by_key(|&token| (Reverse(counts[token]), token));
        let unknown = size - 1;
        let mut ids = vec![unknown as u32; VOCABULARY];
        for (id, &token) in by_frequency[..unknown].iter().enumerate() {
            ids[token] = id as u32;
        }
        let covered: u64 = by_frequency[1..unknown].iter().map(|&token| counts[token]).sum();
        let coverage = if total == 0 { 1.0 } else { covered as f64 / total as f64 };
        Ok(Self { ids, size, coverage })
    }

    /// Number of ids; all are below it.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The id of a token below [`VOCABULARY`].
    ///
    /// # Panics
    /// When `token` is not below [`VOCABULARY`].
    #[inline]
    #[track_caller]
    pub fn id(&self, token: u16) -> u32 {
        self.ids[usize::from(token)]
    }

    /// Fraction of the training split's tokens that have an id of their own, from 0 to 1.
    pub fn coverage(&self) -> f64 {
        self.coverage
    }

    /// A hash of the map, for checkpoints to verify: a model only fits the vocabulary that it was trained with.
    pub fn fingerprint(&self) -> u64 {
        let bytes: Vec<u8> = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        xxh3_64(&bytes)
    }
}
