//! The paper's loader: documents shuffled by seed, an end-of-text token before each, cut into consecutive
//! windows; what is left of a document is discarded, and a window's last position predicts nothing.

use std::sync::Arc;

use super::random::SplitMix64;
use super::split::DocumentSplit;
use super::{DataError, END_OF_TEXT, TokenShard, Vocabulary, VocabularyLimit};

/// The target of a position whose prediction does not count.
pub const IGNORE: u32 = u32::MAX;

const VALIDATION_STREAM: u64 = 2;
const FIRST_TRAINING_STREAM: u64 = 3;

/// The order in which training takes its windows; reshuffled every epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainingOrder {
    /// Documents are shuffled, and a document's windows follow one another: the paper's order.
    Documents,
    /// Windows are shuffled, so that a batch mixes documents even where they are much longer than a window.
    Windows,
}

/// What decides which tokens a batch holds, beside the corpus.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// Tokens a window, at least 2.
    pub sequence: usize,
    /// Windows a batch, at least 1.
    pub batch: usize,
    /// Decides the split and every order.
    pub seed: u64,
    /// Fraction of the documents held out for validation, in (0, 1); either split gets at least one document.
    pub validation_fraction: f64,
    /// The order of the training windows.
    pub order: TrainingOrder,
    /// The model's vocabulary.
    pub vocabulary: VocabularyLimit,
}

/// Training and validation batches of one corpus.
#[derive(Debug)]
pub struct Loader {
    /// Batches of the training split.
    pub training: Batches,
    /// Batches of the validation split: the same for every run with the same corpus, seed and sizes.
    pub validation: Batches,
    /// The map from GPT-2's tokens to the ids in the batches.
    pub vocabulary: Arc<Vocabulary>,
}

impl Loader {
    /// Splits the documents and lists both splits' windows.
    ///
    /// # Errors
    /// [`DataError::InvalidSetting`] for a field of `config` out of its range, [`DataError::TooFewDocuments`]
    /// and [`DataError::ShorterThanBatch`] for a corpus that is too small for it.
    pub fn new(shard: Arc<TokenShard>, config: &LoaderConfig) -> Result<Self, DataError> {
        at_least("sequence", config.sequence, 2)?;
        at_least("batch", config.batch, 1)?;
        let split = DocumentSplit::new(shard.documents(), config.validation_fraction, config.seed)?;
        let vocabulary = Arc::new(Vocabulary::new(&shard, &split.training, config.vocabulary)?);
        let batches = |documents, role| {
            Batches::new(Arc::clone(&shard), Arc::clone(&vocabulary), documents, role, config)
        };
        Ok(Self {
            training: batches(split.training, Role::Training(config.order))?,
            validation: batches(split.validation, Role::Validation)?,
            vocabulary,
        })
    }
}

fn at_least(field: &'static str, value: usize, least: usize) -> Result<(), DataError> {
    if value < least {
        return Err(DataError::InvalidSetting {
            field,
            message: format!("{value} is out of range; give at least {least}"),
        });
    }
    Ok(())
}

/// Token ids of a batch, window after window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// `[batch * sequence]` ids, all below the vocabulary's size.
    pub inputs: Vec<u32>,
    /// `[batch * sequence]` ids: the next one of the same window, [`IGNORE`] at a window's last position.
    pub targets: Vec<u32>,
}

impl TokenBatch {
    /// A batch of `batch` windows of `sequence` tokens, to be filled.
    pub fn new(batch: usize, sequence: usize) -> Self {
        Self { inputs: vec![0; batch * sequence], targets: vec![IGNORE; batch * sequence] }
    }
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Training(TrainingOrder),
    Validation,
}

/// A window: the `number`-th of a document. Window 0 opens with the end-of-text token.
#[derive(Debug, Clone, Copy)]
struct Window {
    document: u32,
    number: u32,
}

/// The batches of a split. Batch `index` is a function of the corpus, the [`LoaderConfig`] and `index` alone,
/// so that a resumed run needs to know nothing but its step.
#[derive(Debug)]
pub struct Batches {
    shard: Arc<TokenShard>,
    vocabulary: Arc<Vocabulary>,
    role: Role,
    sequence: usize,
    batch: usize,
    seed: u64,
    /// The split as it was drawn, from which every epoch's order starts.
    documents: Vec<u32>,
    shuffled: Vec<u32>,
    windows: Vec<Window>,
    epoch: u64,
}

impl Batches {
    fn new(
        shard: Arc<TokenShard>,
        vocabulary: Arc<Vocabulary>,
        documents: Vec<u32>,
        role: Role,
        config: &LoaderConfig,
    ) -> Result<Self, DataError> {
        let &LoaderConfig { sequence, batch, seed, .. } = config;
        let windows: u64 =
            documents.iter().map(|&document| windows_of(&shard, document, sequence) as u64).sum();
        if windows < batch as u64 {
            let split = match role {
                Role::Training(_) => "training",
                Role::Validation => "validation",
            };
            return Err(DataError::ShorterThanBatch { split, windows, sequence, batch });
        }
        let windows = Vec::with_capacity(windows as usize);
        let shuffled = documents.clone();
        let mut batches =
            Self { shard, vocabulary, role, sequence, batch, seed, documents, shuffled, windows, epoch: 0 };
        batches.arrange(0);
        Ok(batches)
    }

    /// Batches until the windows repeat, at least 1; the windows left over sit out the epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.windows.len() / self.batch
    }

    /// Documents in the split.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// Windows in the split.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Fills `batch` with batch `index`. Training counts on over all epochs, each in a new order; validation
    /// starts over after [`Batches::batches_per_epoch`], with the same batches.
    ///
    /// Allocates nothing, and takes longer only for the first batch asked of another epoch than the last one.
    ///
    /// # Panics
    /// When `batch` was made for other sizes than this loader's.
    #[track_caller]
    pub fn fill(&mut self, index: usize, batch: &mut TokenBatch) {
        let length = self.batch * self.sequence;
        assert!(
            batch.inputs.len() == length && batch.targets.len() == length,
            "the batch holds {} inputs and {} targets, the loader fills {} windows of {}",
            batch.inputs.len(),
            batch.targets.len(),
            self.batch,
            self.sequence
        );
        let per_epoch = self.batches_per_epoch();
        let epoch = (index / per_epoch) as u64;
        if epoch != self.epoch && matches!(self.role, Role::Training(_)) {
            self.arrange(epoch);
        }
        let first = index % per_epoch * self.batch;
        let outputs =
            batch.inputs.chunks_exact_mut(self.sequence).zip(batch.targets.chunks_exact_mut(self.sequence));
        for (window, (inputs, targets)) in self.windows[first..first + self.batch].iter().zip(outputs) {
            self.read(*window, inputs);
            let (last, rest) = targets.split_last_mut().expect("a window has at least two tokens");
            rest.copy_from_slice(&inputs[1..]);
            *last = IGNORE;
        }
    }

    fn read(&self, window: Window, inputs: &mut [u32]) {
        let tokens = self.shard.document(window.document as usize);
        // Positions count the end-of-text token before the document: token t is at position t + 1.
        let start = window.number as usize * self.sequence;
        let (opening, tokens) = match start {
            0 => (Some(END_OF_TEXT), tokens),
            _ => (None, &tokens[start - 1..]),
        };
        for (input, &token) in inputs.iter_mut().zip(opening.iter().chain(tokens)) {
            *input = self.vocabulary.id(token);
        }
    }

    /// Lists the windows in the order of `epoch`.
    fn arrange(&mut self, epoch: u64) {
        self.shuffled.copy_from_slice(&self.documents);
        if let Role::Training(TrainingOrder::Documents) = self.role {
            self.generator(epoch).shuffle(&mut self.shuffled);
        }
        self.windows.clear();
        for &document in &self.shuffled {
            let numbers = 0..windows_of(&self.shard, document, self.sequence);
            self.windows.extend(numbers.map(|number| Window { document, number }));
        }
        if let Role::Training(TrainingOrder::Windows) | Role::Validation = self.role {
            self.generator(epoch).shuffle(&mut self.windows);
        }
        self.epoch = epoch;
    }

    fn generator(&self, epoch: u64) -> SplitMix64 {
        let stream = match self.role {
            Role::Training(_) => FIRST_TRAINING_STREAM.wrapping_add(epoch),
            Role::Validation => VALIDATION_STREAM,
        };
        SplitMix64::new(self.seed, stream)
    }
}

/// Whole windows in a document with its end-of-text token.
fn windows_of(shard: &TokenShard, document: u32, sequence: usize) -> u32 {
    let windows = (shard.document(document as usize).len() + 1) / sequence;
    u32::try_from(windows).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
