//! The loader against a plain reimplementation of its definition, on a corpus small enough to enumerate.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::data::shard::ShardWriter;
use crate::data::{Fingerprint, VOCABULARY};

/// Documents whose every token tells where it comes from: token `100 * document + position`.
fn traceable(lengths: &[usize]) -> Vec<Vec<u16>> {
    let document = |(number, &length): (usize, &usize)| {
        (0..length).map(|position| (100 * number + position) as u16).collect()
    };
    lengths.iter().enumerate().map(document).collect()
}

fn shard(documents: &[Vec<u16>]) -> Arc<TokenShard> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("shard");
    let mut writer = ShardWriter::create(&path).expect("creates");
    for document in documents {
        writer.push(document, 1).expect("writes");
    }
    writer.finish(Fingerprint([1, 2])).expect("finishes");
    Arc::new(TokenShard::open(&path).expect("opens"))
}

const LENGTHS: [usize; 12] = [0, 2, 3, 4, 7, 8, 9, 20, 31, 33, 50, 99];

fn config() -> LoaderConfig {
    LoaderConfig {
        sequence: 4,
        batch: 3,
        seed: 5,
        validation_fraction: 0.3,
        order: TrainingOrder::Documents,
        vocabulary: VocabularyLimit::Full,
    }
}

fn loader(config: &LoaderConfig) -> Loader {
    Loader::new(shard(&traceable(&LENGTHS)), config).expect("loads")
}

/// Windows (inputs and targets) of the batches in `indices`, in order.
fn take(batches: &mut Batches, indices: impl IntoIterator<Item = usize>) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut batch = TokenBatch::new(batches.batch, batches.sequence);
    let mut windows = Vec::new();
    for index in indices {
        batches.fill(index, &mut batch);
        let inputs = batch.inputs.chunks(batches.sequence).map(<[u32]>::to_vec);
        windows.extend(inputs.zip(batch.targets.chunks(batches.sequence).map(<[u32]>::to_vec)));
    }
    windows
}

fn epoch(batches: &mut Batches, number: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
    let per_epoch = batches.batches_per_epoch();
    take(batches, number * per_epoch..(number + 1) * per_epoch)
}

/// The windows that a document must give, straight from the definition.
fn brute_force(document: &[u16], sequence: usize) -> Vec<Vec<u32>> {
    let mut text = vec![50_256u32];
    text.extend(document.iter().map(|&token| u32::from(token)));
    text.chunks(sequence).filter(|chunk| chunk.len() == sequence).map(<[u32]>::to_vec).collect()
}

#[test]
fn batches_are_the_documents_windows_in_shuffled_document_order() {
    let documents = traceable(&LENGTHS);
    for (sequence, batch) in [(2, 1), (4, 3), (5, 4), (10, 2)] {
        let config = LoaderConfig { sequence, batch, ..config() };
        let mut loader = loader(&config);
        let training = loader.training.documents.clone();
        for number in 0..3 {
            let windows = epoch(&mut loader.training, number);
            // The order of the documents is the shuffle's own business; all else follows from it.
            let order = loader.training.shuffled.clone();
            assert_eq!(BTreeSet::from_iter(&order), BTreeSet::from_iter(&training));
            let expected: Vec<_> = order
                .iter()
                .flat_map(|&document| brute_force(&documents[document as usize], sequence))
                .collect();
            let used = expected.len() / batch * batch;
            assert_eq!(loader.training.windows(), expected.len());
            let inputs: Vec<_> = windows.into_iter().map(|(inputs, _)| inputs).collect();
            assert_eq!(inputs, expected[..used], "sequence {sequence}, batch {batch}, epoch {number}");
        }
    }
}

#[test]
fn targets_are_the_next_tokens_and_the_last_one_is_ignored() {
    let mut loader = loader(&config());
    for (inputs, targets) in
        epoch(&mut loader.training, 0).into_iter().chain(epoch(&mut loader.validation, 0))
    {
        assert_eq!(targets[..3], inputs[1..]);
        assert_eq!(targets[3], u32::MAX);
    }
}

#[test]
fn shuffled_windows_are_the_same_windows_in_another_order() {
    let config = LoaderConfig { batch: 1, ..config() };
    let by_document = epoch(&mut loader(&config).training, 0);
    let mut mixed = loader(&LoaderConfig { order: TrainingOrder::Windows, ..config });
    let (first, second) = (epoch(&mut mixed.training, 0), epoch(&mut mixed.training, 1));
    let sorted = |mut windows: Vec<_>| {
        windows.sort();
        windows
    };
    assert_ne!(first, by_document);
    assert_ne!(first, second);
    assert_eq!(sorted(first), sorted(by_document.clone()));
    assert_eq!(sorted(second), sorted(by_document));
}

#[test]
fn equal_seeds_agree_and_others_do_not() {
    let all = |seed| {
        let mut loader = loader(&LoaderConfig { seed, ..config() });
        (take(&mut loader.training, 0..40), take(&mut loader.validation, 0..3))
    };
    assert_eq!(all(5), all(5));
    assert_ne!(all(5).0, all(6).0);
    assert_ne!(all(5).1, all(6).1);
}

#[test]
fn resuming_at_a_batch_equals_running_to_it() {
    for order in [TrainingOrder::Documents, TrainingOrder::Windows] {
        let config = LoaderConfig { order, ..config() };
        let run = take(&mut loader(&config).training, 0..100);
        let per_epoch = loader(&config).training.batches_per_epoch();
        assert!(per_epoch < 40, "several epochs are run");
        for start in [1, per_epoch - 1, per_epoch, per_epoch + 1, 99] {
            assert_eq!(take(&mut loader(&config).training, [start]), run[3 * start..3 * start + 3]);
        }
        let mut backwards = loader(&config);
        assert_eq!(take(&mut backwards.training, [99, 0]), [&run[297..], &run[..3]].concat());
    }
}

#[test]
fn epochs_differ() {
    let mut loader = loader(&config());
    assert_ne!(epoch(&mut loader.training, 0), epoch(&mut loader.training, 1));
}

#[test]
fn training_and_validation_share_no_document_and_validation_repeats() {
    let mut loader = loader(&LoaderConfig { batch: 1, ..config() });
    let documents_in = |windows: &[(Vec<u32>, Vec<u32>)]| -> BTreeSet<u32> {
        let tokens = windows.iter().flat_map(|(inputs, _)| inputs);
        tokens.filter(|&&token| token != u32::from(END_OF_TEXT)).map(|token| token / 100).collect()
    };
    let training = documents_in(&epoch(&mut loader.training, 0));
    let validation = epoch(&mut loader.validation, 0);
    assert!(!training.is_empty() && !documents_in(&validation).is_empty());
    assert!(training.is_disjoint(&documents_in(&validation)));
    assert_eq!(loader.training.documents() + loader.validation.documents(), LENGTHS.len());
    assert_eq!(epoch(&mut loader.validation, 1), validation);
}

#[test]
fn a_corpus_shorter_than_one_batch_is_an_error() {
    let error = Loader::new(shard(&traceable(&[9, 9, 9])), &LoaderConfig { batch: 5, ..config() });
    let error = error.map(|_| ()).expect_err("two training documents have four windows").to_string();
    assert!(
        error.contains("shorter than one batch: the training split has 4 windows of 4 tokens, needs 5"),
        "{error}"
    );
    let error = Loader::new(shard(&traceable(&[2, 2])), &LoaderConfig { batch: 1, ..config() });
    assert!(matches!(error, Err(DataError::ShorterThanBatch { windows: 0, .. })));
    let error = Loader::new(shard(&traceable(&[50])), &config());
    assert!(matches!(error, Err(DataError::TooFewDocuments { documents: 1 })));
}

#[test]
fn settings_out_of_range_are_errors() {
    let corpus = shard(&traceable(&LENGTHS));
    for (field, config) in [
        ("sequence", LoaderConfig { sequence: 1, ..config() }),
        ("batch", LoaderConfig { batch: 0, ..config() }),
        ("validation_fraction", LoaderConfig { validation_fraction: 1.0, ..config() }),
        ("vocabulary", LoaderConfig { vocabulary: VocabularyLimit::MostFrequent(1), ..config() }),
        ("vocabulary", LoaderConfig { vocabulary: VocabularyLimit::MostFrequent(50_258), ..config() }),
    ] {
        let error = Loader::new(Arc::clone(&corpus), &config).map(|_| ()).expect_err(field).to_string();
        assert!(error.starts_with(field), "{error}");
    }
}

#[test]
fn a_limited_vocabulary_keeps_the_most_frequent_training_tokens() {
    // In both documents 7 is the most frequent token, then 9; 3 and 4 tie; 11 is rare.
    let document: Vec<u16> = vec![7, 7, 7, 7, 9, 9, 9, 4, 4, 3, 3, 11];
    let corpus = shard(&[document.clone(), document]);
    let config = LoaderConfig { batch: 1, vocabulary: VocabularyLimit::MostFrequent(5), ..config() };
    let mut loader = Loader::new(Arc::clone(&corpus), &config).expect("loads");
    let vocabulary = Arc::clone(&loader.vocabulary);
    assert_eq!(vocabulary.size(), 5);
    let ids: Vec<u32> = [END_OF_TEXT, 7, 9, 3, 4, 11, 0].map(|token| vocabulary.id(token)).to_vec();
    assert_eq!(ids, [0, 1, 2, 3, 4, 4, 4], "ties go to the lower token, the rest shares the last id");
    assert!((vocabulary.coverage() - 9.0 / 12.0).abs() < 1e-15);
    let windows = take(&mut loader.training, 0..3);
    assert_eq!(windows[0], (vec![0, 1, 1, 1], vec![1, 1, 1, IGNORE]));
    assert_eq!(windows[2].0, [4, 4, 3, 3]);

    let full = Vocabulary::full();
    assert_eq!((full.size(), full.id(11), full.id(END_OF_TEXT)), (VOCABULARY, 11, 50_256));
    let again = Vocabulary::new(&corpus, &[1], VocabularyLimit::MostFrequent(5)).expect("counts");
    assert_eq!(again.fingerprint(), vocabulary.fingerprint());
    let other = Vocabulary::new(&corpus, &[1], VocabularyLimit::MostFrequent(6)).expect("counts");
    assert_ne!(other.fingerprint(), vocabulary.fingerprint());
    assert_ne!(full.fingerprint(), vocabulary.fingerprint());
}

#[test]
fn the_vocabulary_does_not_see_the_validation_split() {
    let mut lengths = BTreeMap::new();
    for seed in 0..8 {
        let config = LoaderConfig {
            seed,
            batch: 1,
            validation_fraction: 0.5,
            vocabulary: VocabularyLimit::MostFrequent(22),
            ..config()
        };
        let corpus = shard(&traceable(&[20, 20]));
        let loader = Loader::new(corpus, &config).expect("loads");
        let trained = 100 * loader.training.documents[0] as u16;
        let held_out = 100 * loader.validation.documents[0] as u16;
        assert!((0..20).all(|position| loader.vocabulary.id(trained + position) == 1 + u32::from(position)));
        assert!((0..20).all(|position| loader.vocabulary.id(held_out + position) == 21));
        *lengths.entry(trained).or_insert(0) += 1;
    }
    assert_eq!(lengths.len(), 2, "both documents get to train under some seed");
}

#[test]
#[should_panic(expected = "the loader fills 3 windows of 4")]
fn a_batch_of_other_sizes_is_a_broken_contract() {
    loader(&config()).training.fill(0, &mut TokenBatch::new(3, 5));
}
