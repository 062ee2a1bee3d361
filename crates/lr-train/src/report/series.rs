//! From records to curves: one sequence a run, smoothed, compared with AdamW, and averaged over seeds.

use std::collections::BTreeMap;

use super::Shown;
use crate::config::OptimizerName;
use crate::train::metrics::{Record, RunId, Split};
pub use lr_report::plot::Point;

/// One run's values by step, in order of steps.
pub type Sequence = Vec<(usize, f64)>;

/// What a curve shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    TrainLoss,
    ValidationLoss,
    OrthogonalityDefect,
    CoherenceDefect,
    ConsistencyDefect,
    RankMargin,
}

/// Collects a measure from every run that has it. Of two records of one step the later one counts.
pub fn sequences<'a>(
    records: impl Iterator<Item = (Shown, &'a Record)>,
    measure: Measure,
) -> BTreeMap<Shown, Sequence> {
    let mut by_run: BTreeMap<Shown, BTreeMap<usize, f64>> = BTreeMap::new();
    for (shown, record) in records {
        let value = match measure {
            Measure::TrainLoss => (record.split == Split::Train).then_some(record.loss),
            Measure::ValidationLoss => (record.split == Split::Validation).then_some(record.loss),
            Measure::OrthogonalityDefect => record.orthogonality_defect,
            Measure::CoherenceDefect => record.coherence_defect,
            Measure::ConsistencyDefect => record.consistency_defect,
            Measure::RankMargin => record.rank_margin,
        };
        if let Some(value) = value {
            by_run.entry(shown).or_default().insert(record.step, value);
        }
    }
    by_run.into_iter().map(|(run, values)| (run, values.into_iter().collect())).collect()
}

/// The sequence up to its first value that is not finite.
pub fn finite_prefix(sequence: &[(usize, f64)]) -> &[(usize, f64)] {
    let end = sequence.iter().position(|(_, value)| !value.is_finite()).unwrap_or(sequence.len());
    &sequence[..end]
}

/// Centred moving average over up to `half_width` records on either side. Near the start, where a loss is
/// steep, the window shrinks on both sides; near the end, where it is flat, only its right side is cut.
pub fn smooth(sequence: &[(usize, f64)], half_width: usize) -> Sequence {
    let mut sums = vec![0.0];
    for (_, value) in sequence {
        sums.push(sums[sums.len() - 1] + value);
    }
    let window_mean = |index: usize| {
        let width = half_width.min(index);
        let (from, to) = (index - width, (index + width + 1).min(sequence.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    sequence.iter().enumerate().map(|(index, (step, _))| (*step, window_mean(index))).collect()
}

/// Every run minus the AdamW run of the same seed at the same step, which saw the same batches: that of its own
/// experiment, or the only one there is. Runs whose seed AdamW did not run are left out, and so is AdamW itself.
pub fn minus_adamw(sequences: &BTreeMap<Shown, Sequence>) -> BTreeMap<Shown, Sequence> {
    let mut differences = BTreeMap::new();
    for (shown, sequence) in sequences.iter().filter(|(shown, _)| shown.run.optimizer != OptimizerName::Adamw)
    {
        let Some(baseline) = adamw_of(*shown, sequences.keys()).and_then(|adamw| sequences.get(&adamw))
        else {
            continue;
        };
        let baseline: BTreeMap<usize, f64> = baseline.iter().copied().collect();
        let difference: Sequence =
            sequence.iter().filter_map(|(step, value)| Some((*step, value - baseline.get(step)?))).collect();
        differences.insert(*shown, difference);
    }
    differences
}

/// The AdamW run among `runs` that `shown` is compared with.
pub fn adamw_of<'a>(shown: Shown, runs: impl Iterator<Item = &'a Shown>) -> Option<Shown> {
    let adamw = RunId { optimizer: OptimizerName::Adamw, seed: shown.run.seed };
    let candidates: Vec<Shown> = runs.filter(|other| other.run == adamw).copied().collect();
    match candidates[..] {
        [only] => Some(only),
        _ => candidates.into_iter().find(|other| other.experiment == shown.experiment),
    }
}

/// Mean and range over the seeds of each optimizer, at the steps that all of its seeds reached: a mean over
/// the survivors of a diverged seed would flatter.
pub fn over_seeds(sequences: &BTreeMap<Shown, Sequence>) -> BTreeMap<(usize, OptimizerName), Vec<Point>> {
    let mut by_optimizer: BTreeMap<(usize, OptimizerName), Vec<&Sequence>> = BTreeMap::new();
    for (shown, sequence) in sequences {
        by_optimizer.entry((shown.experiment, shown.run.optimizer)).or_default().push(sequence);
    }
    by_optimizer.into_iter().map(|(optimizer, seeds)| (optimizer, mean_and_range(&seeds))).collect()
}

/// Mean and range at the steps that all `seeds` reached.
pub fn mean_and_range(seeds: &[&Sequence]) -> Vec<Point> {
    let mut by_step: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (step, value) in seeds.iter().flat_map(|sequence| sequence.iter()) {
        by_step.entry(*step).or_default().push(*value);
    }
    by_step
        .into_iter()
        .filter(|(_, values)| values.len() == seeds.len())
        .map(|(step, values)| Point {
            x: step as f64,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
        .collect()
}

/// The runs that met a loss that is not finite, with the first such step.
pub fn diverged<'a>(records: impl Iterator<Item = (Shown, &'a Record)>) -> BTreeMap<Shown, usize> {
    let mut first = BTreeMap::new();
    for (shown, record) in records.filter(|(_, record)| !record.loss.is_finite()) {
        let step = first.entry(shown).or_insert(record.step);
        *step = record.step.min(*step);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(optimizer: OptimizerName, seed: u64) -> Shown {
        Shown { experiment: 0, run: RunId { optimizer, seed } }
    }

    #[test]
    fn smoothing_keeps_constants_lines_and_the_first_value() {
        let line: Sequence = (0..50).map(|step| (step, 3.0 - 0.5 * step as f64)).collect();
        let smoothed = smooth(&line, 5);
        assert_eq!(smoothed[0], line[0]);
        for index in 0..45 {
            assert!((smoothed[index].1 - line[index].1).abs() < 1e-12, "a centred window has no lag");
        }
        let constant: Sequence = (0..7).map(|step| (step, 2.5)).collect();
        assert_eq!(smooth(&constant, 3), constant);
        assert!(smooth(&[], 3).is_empty());
    }

    #[test]
    fn smoothing_averages_the_window() {
        let sequence: Sequence = [0.0, 0.0, 3.0, 0.0, 0.0].into_iter().enumerate().collect();
        let values: Vec<f64> = smooth(&sequence, 1).into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [0.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn differences_pair_seeds_and_steps() {
        let sequences = BTreeMap::from([
            (run(OptimizerName::Adamw, 0), vec![(1, 5.0), (2, 4.0)]),
            (run(OptimizerName::Adamw, 1), vec![(1, 50.0)]),
            (run(OptimizerName::FixedEmbedded, 0), vec![(1, 5.5), (2, 4.25), (3, 1.0)]),
            (run(OptimizerName::FixedEmbedded, 1), vec![(1, 51.0)]),
            (run(OptimizerName::FixedEmbedded, 2), vec![(1, 7.0)]),
        ]);
        let differences = minus_adamw(&sequences);
        assert_eq!(
            differences,
            BTreeMap::from([
                (run(OptimizerName::FixedEmbedded, 0), vec![(1, 0.5), (2, 0.25)]),
                (run(OptimizerName::FixedEmbedded, 1), vec![(1, 1.0)]),
            ])
        );
    }

    #[test]
    fn side_by_side_a_run_is_compared_with_its_own_adamw_or_the_only_one() {
        let at = |experiment, optimizer| Shown { experiment, ..run(optimizer, 0) };
        let (adamw, rival) = (OptimizerName::Adamw, OptimizerName::FixedEmbedded);
        let both = [at(0, adamw), at(1, adamw)];
        assert_eq!(adamw_of(at(1, rival), both.iter()), Some(at(1, adamw)));
        assert_eq!(adamw_of(at(1, rival), both[..1].iter()), Some(at(0, adamw)));
        assert_eq!(adamw_of(at(2, rival), both.iter()), None, "neither has the better claim");
    }

    #[test]
    fn a_mean_over_seeds_ends_where_the_first_seed_ends() {
        let sequences = BTreeMap::from([
            (run(OptimizerName::Adamw, 0), vec![(1, 1.0), (2, 2.0)]),
            (run(OptimizerName::Adamw, 1), vec![(1, 4.0)]),
        ]);
        assert_eq!(
            over_seeds(&sequences)[&(0, OptimizerName::Adamw)],
            [Point { x: 1.0, mean: 2.5, low: 1.0, high: 4.0 }]
        );
    }

    #[test]
    fn what_is_not_finite_ends_a_sequence_and_is_reported() {
        let sequence = vec![(1, 1.0), (2, f64::NAN), (3, 1.0)];
        assert_eq!(finite_prefix(&sequence), &sequence[..1]);
        let id = run(OptimizerName::Adamw, 0);
        let records = [
            Record::new(id.run, 3, Split::Train, f64::NAN),
            Record::new(id.run, 2, Split::Train, f64::NAN),
            Record::new(id.run, 1, Split::Train, 1.0),
        ];
        assert_eq!(diverged(records.iter().map(|record| (id, record))), BTreeMap::from([(id, 2)]));
    }
}
