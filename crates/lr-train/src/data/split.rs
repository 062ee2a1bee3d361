//! Which documents train and which validate.

use super::DataError;
use super::random::SplitMix64;

const SPLIT_STREAM: u64 = 1;

/// The numbers of the documents of either split, each in shuffled order.
pub(super) struct DocumentSplit {
    pub(super) training: Vec<u32>,
    pub(super) validation: Vec<u32>,
}

impl DocumentSplit {
    /// Shuffles `documents` documents by `seed` and holds out `validation_fraction` of them, rounded, but at
    /// least one for either split.
    pub(super) fn new(documents: usize, validation_fraction: f64, seed: u64) -> Result<Self, DataError> {
        if !(validation_fraction > 0.0 && validation_fraction < 1.0) {
            return Err(DataError::InvalidSetting {
                field: "validation_fraction",
                message: format!("{validation_fraction} is not between 0 and 1; give for example 0.05"),
            });
        }
        if documents < 2 {
            return Err(DataError::TooFewDocuments { documents });
        }
        let count = u32::try_from(documents).map_err(|_| DataError::InvalidSetting {
            field: "corpus",
            message: format!("{documents} documents are more than 2^32 - 1; limit the bytes of text"),
        })?;
        let mut order: Vec<u32> = (0..count).collect();
        SplitMix64::new(seed, SPLIT_STREAM).shuffle(&mut order);
        let held_out = ((validation_fraction * documents as f64).round() as usize).clamp(1, documents - 1);
        let training = order.split_off(held_out);
        Ok(Self { training, validation: order })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_in_one_split() {
        for (documents, fraction, held_out) in
            [(2, 0.001, 1), (2, 0.999, 1), (3, 0.9, 2), (100, 0.05, 5), (101, 0.5, 51)]
        {
            let split = DocumentSplit::new(documents, fraction, 3).expect("splits");
            assert_eq!(split.validation.len(), held_out);
            let mut all = [split.training, split.validation].concat();
            all.sort_unstable();
            assert_eq!(all, (0..documents as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_seed_decides_who_validates() {
        let validation = |seed| DocumentSplit::new(100, 0.1, seed).expect("splits").validation;
        assert_eq!(validation(1), validation(1));
        assert_ne!(validation(1), validation(2));
    }

    #[test]
    fn impossible_splits_are_errors() {
        assert!(matches!(DocumentSplit::new(1, 0.1, 0), Err(DataError::TooFewDocuments { documents: 1 })));
        for fraction in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(DocumentSplit::new(10, fraction, 0).is_err(), "{fraction}");
        }
    }
}
