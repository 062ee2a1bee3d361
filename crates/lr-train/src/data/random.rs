//! Seeded shuffling that never changes: the order of the documents is part of an experiment's definition, so it
//! rests on this generator (SplitMix64, Steele, Lea and Flood 2014) and on no library's current choice.

/// SplitMix64. Small, full period, and good enough to shuffle with.
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator for one purpose (`stream`) of one seed; two purposes never share a sequence.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut seeder = Self(seed);
        let mixed = seeder.next() ^ Self(stream.wrapping_mul(0xD605_BBB5_8C8A_BBFD)).next();
        Self(mixed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound` (Lemire's multiplication with rejection); `bound` is at least 1.
    fn below(&mut self, bound: u64) -> u64 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Permutes `items` uniformly (Fisher and Yates), in place.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last as u64 + 1) as usize;
            items.swap(last, chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_sequence() {
        let mut generator = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| generator.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn every_permutation_is_as_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            SplitMix64::new(seed, 0).shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(SplitMix64::new(7, 0).next(), SplitMix64::new(7, 1).next());
        assert_ne!(SplitMix64::new(7, 0).next(), SplitMix64::new(8, 0).next());
    }
}
