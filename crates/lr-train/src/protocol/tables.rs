//! The tables of each part: rows of optimizers, columns of attention, rate, normalization or momentum.

use super::{
    Attention, Part, Results,
    markup::{Entry, Table, Weight},
    results::{Group, best},
};
use crate::{
    config::{Normalize, OptimizerName},
    report::html::power_of_two,
};
use std::collections::BTreeSet;

/// How differences are made, for the notes.
const DIFFERENCES: &str = "Differences are means over the seeds of the difference at the same seed, hence on the same \
     batches, \u{b1} their sample standard deviation; \u{201c}in \u{3c3}\u{201d} divides the one by the other.";

/// All tables of a part, the most telling first.
pub(super) fn tables(results: &Results) -> Vec<Table> {
    let groups = results.groups();
    let mut tables = Vec::new();
    for attention in results.attention() {
        let mine: Vec<&Group<'_>> = groups.iter().filter(|g| g.setting.attention == attention).collect();
        tables.extend(match results.part {
            Part::Baseline => vec![tuned(attention, &mine), rates(attention, &mine, Normalize::Metric)],
            Part::Normalization => {
                vec![normalizations(attention, &mine), rates(attention, &mine, Normalize::None)]
            }
            Part::Momentum => vec![best_of_momenta(attention, &mine), momenta(attention, &mine)],
            Part::Scaling => vec![long_runs(attention, &mine)],
        });
    }
    tables.retain(|table| !table.rows.is_empty());
    tables
}

/// The optimizers that occur, in the order of their declaration.
pub(super) fn optimizers(groups: &[&Group<'_>]) -> Vec<OptimizerName> {
    groups.iter().map(|group| group.setting.optimizer).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The groups of one optimizer.
pub(super) fn of<'g, 'a>(
    groups: &[&'g Group<'a>],
    optimizer: OptimizerName,
) -> impl Iterator<Item = &'g Group<'a>> + Clone {
    groups.iter().copied().filter(move |group| group.setting.optimizer == optimizer)
}

/// AdamW at its best rate.
pub(super) fn adamw<'g, 'a>(groups: &[&'g Group<'a>]) -> Option<&'g Group<'a>> {
    best(of(groups, OptimizerName::Adamw))
}

/// Bold where a mean is the lowest of all in its column.
fn weight(group: &Group<'_>, lowest: f64) -> Weight {
    if group.mean() == lowest { Weight::Best } else { Weight::Plain }
}

fn lowest<'g, 'a: 'g>(groups: impl Iterator<Item = &'g Group<'a>>) -> f64 {
    groups.map(Group::mean).fold(f64::INFINITY, f64::min)
}

fn minus_adamw(group: &Group<'_>, adamw: Option<&Group<'_>>) -> [Entry; 2] {
    let difference = adamw
        .filter(|_| group.setting.optimizer != OptimizerName::Adamw)
        .and_then(|adamw| group.minus(adamw));
    Entry::difference(difference)
}

/// Each optimizer at its best rate.
fn tuned(attention: Attention, groups: &[&Group<'_>]) -> Table {
    let reference = adamw(groups);
    let tuned: Vec<&Group<'_>> =
        optimizers(groups).into_iter().filter_map(|optimizer| best(of(groups, optimizer))).collect();
    let lowest = lowest(tuned.iter().copied());
    let rows = tuned.iter().map(|group| {
        let [difference, in_sigma] = minus_adamw(group, reference);
        let entries = vec![
            Entry::plain(power_of_two(group.setting.lr_qkvo)),
            Entry::plain(group.cells.len().to_string()),
            Entry::score(group.score(), weight(group, lowest)),
            difference,
            in_sigma,
        ];
        (group.setting.optimizer, entries)
    });
    Table {
        title: format!("{}: each optimizer at its best rate", attention.title()),
        columns: ["rate", "seeds", "validation loss", "minus AdamW", "in \u{3c3}"].map(String::from).into(),
        rows: rows.collect(),
        note: format!("Validation loss in nats a token, \u{b1} \u{3c3} over the seeds. {DIFFERENCES}"),
    }
}

/// Every rate under one normalization, side by side relative to the middle one of each optimizer.
fn rates(attention: Attention, groups: &[&Group<'_>], by: Normalize) -> Table {
    let groups: Vec<&Group<'_>> = groups.iter().copied().filter(|g| g.setting.normalize == by).collect();
    let exponent = |group: &Group<'_>, middle: f64| (group.setting.lr_qkvo / middle).log2().round() as i32;
    let middles: Vec<(OptimizerName, f64)> = optimizers(&groups)
        .into_iter()
        .map(|optimizer| {
            let rates: Vec<f64> = of(&groups, optimizer).map(|group| group.setting.lr_qkvo).collect();
            (optimizer, rates[rates.len() / 2])
        })
        .collect();
    let exponents: BTreeSet<i32> = middles
        .iter()
        .flat_map(|(optimizer, middle)| of(&groups, *optimizer).map(|group| exponent(group, *middle)))
        .collect();
    let rows = middles.iter().map(|&(optimizer, middle)| {
        let lowest = lowest(of(&groups, optimizer));
        let mut entries = vec![Entry::plain(power_of_two(middle))];
        entries.extend(exponents.iter().map(|&wanted| {
            of(&groups, optimizer)
                .find(|group| exponent(group, middle) == wanted)
                .map_or_else(Entry::nothing, |group| Entry::score(group.score(), weight(group, lowest)))
        }));
        (optimizer, entries)
    });
    let division = match by {
        Normalize::None => "without normalization".to_owned(),
        by => format!("{by} normalization"),
    };
    let mut columns = vec!["middle rate".to_owned()];
    columns.extend(exponents.iter().map(|&exponent| format!("\u{d7}{}", power_of_two(2f64.powi(exponent)))));
    Table {
        title: format!("{}: validation loss over the rates, {division}", attention.title()),
        columns,
        rows: rows.collect(),
        note: "Columns are multiples of each optimizer's own middle rate; the best of a row is bold. A setting with \
               a seed that diverged counts as diverged."
            .to_owned(),
    }
}

/// Each normalization at its best rate.
fn normalizations(attention: Attention, groups: &[&Group<'_>]) -> Table {
    let kinds = [Normalize::None, Normalize::Metric, Normalize::Spectral];
    let at =
        |optimizer, kind| best(of(groups, optimizer).filter(move |group| group.setting.normalize == kind));
    let rows = optimizers(groups).into_iter().map(|optimizer| {
        let bests = kinds.map(|kind| at(optimizer, kind));
        let lowest = lowest(bests.iter().flatten().copied());
        let mut entries: Vec<Entry> = bests.iter().map(|group| score_and_rate(*group, lowest)).collect();
        let difference = match bests {
            [Some(none), Some(metric), _] => metric.minus(none),
            _ => None,
        };
        entries.extend(Entry::difference(difference));
        (optimizer, entries)
    });
    Table {
        title: format!("{}: normalization of the step", attention.title()),
        columns: ["none", "metric", "spectral", "metric minus none", "in \u{3c3}"].map(String::from).into(),
        rows: rows.collect(),
        note: format!(
            "Each at its best rate, which stands behind the loss; the best of a row is bold. Spectral normalization \
             exists for the embedded geometries only. AdamW divides by no norm of this kind: it stands under \
             \u{201c}metric\u{201d} for comparison. {DIFFERENCES}"
        ),
    }
}

/// Each momentum coefficient at its best rate.
fn best_of_momenta(attention: Attention, groups: &[&Group<'_>]) -> Table {
    let reference = adamw(groups);
    let mut momenta: Vec<f64> = groups.iter().map(|group| group.setting.momentum).collect();
    momenta.sort_by(f64::total_cmp);
    momenta.dedup();
    let rows = optimizers(groups).into_iter().map(|optimizer| {
        let at = |nu: f64| best(of(groups, optimizer).filter(move |group| group.setting.momentum == nu));
        let bests: Vec<Option<&Group<'_>>> = momenta.iter().map(|nu| at(*nu)).collect();
        let lowest = lowest(bests.iter().flatten().copied());
        let mut entries: Vec<Entry> = bests.iter().map(|group| score_and_rate(*group, lowest)).collect();
        entries.extend(
            best(of(groups, optimizer))
                .map_or_else(|| [Entry::nothing(), Entry::nothing()], |group| minus_adamw(group, reference)),
        );
        (optimizer, entries)
    });
    let mut columns: Vec<String> =
        momenta.iter().map(|momentum| format!("\u{3bd} = {}", eighths(*momentum))).collect();
    columns.extend(["best minus AdamW", "in \u{3c3}"].map(String::from));
    Table {
        title: format!("{}: momentum \u{3bd}", attention.title()),
        columns,
        rows: rows.collect(),
        note: format!(
            "Each at the best of its rates, which stands behind the loss; the best of a row is bold, and its \
             difference to the best of AdamW, which has a momentum of its own, is in the last two columns. \
             {DIFFERENCES}"
        ),
    }
}

/// The score of a group with its rate, bold where it is the lowest.
fn score_and_rate(group: Option<&Group<'_>>, lowest: f64) -> Entry {
    group.map_or_else(Entry::nothing, |group| {
        let score = Entry::score(group.score(), weight(group, lowest));
        Entry { text: format!("{} at {}", score.text, power_of_two(group.setting.lr_qkvo)), ..score }
    })
}

/// Momentum against the rate.
fn momenta(attention: Attention, groups: &[&Group<'_>]) -> Table {
    let mut settings: Vec<(f64, i32)> = Vec::new();
    let middle = |optimizer| {
        let distinct: BTreeSet<u64> =
            of(groups, optimizer).map(|group| group.setting.lr_qkvo.to_bits()).collect();
        distinct.iter().nth(distinct.len() / 2).map_or(1.0, |bits| f64::from_bits(*bits))
    };
    let place = |group: &Group<'_>| {
        let factor = (group.setting.lr_qkvo / middle(group.setting.optimizer)).log2().round() as i32;
        (group.setting.momentum, factor)
    };
    for group in groups {
        if !settings.contains(&place(group)) {
            settings.push(place(group));
        }
    }
    settings.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let rows = optimizers(groups).into_iter().map(|optimizer| {
        let lowest = lowest(of(groups, optimizer));
        let mut entries = vec![Entry::plain(power_of_two(middle(optimizer)))];
        entries.extend(settings.iter().map(|setting| {
            of(groups, optimizer)
                .find(|group| place(group) == *setting)
                .map_or_else(Entry::nothing, |group| Entry::score(group.score(), weight(group, lowest)))
        }));
        (optimizer, entries)
    });
    let mut columns = vec!["rate".to_owned()];
    columns.extend(settings.iter().map(|(momentum, factor)| {
        format!("{}, \u{d7}{}", eighths(*momentum), power_of_two(2f64.powi(*factor)))
    }));
    Table {
        title: format!("{}: momentum \u{3bd} and learning rate", attention.title()),
        columns,
        rows: rows.collect(),
        note: "Columns are \u{3bd} and the multiple of the rate in the first one; the best of a row is bold."
            .to_owned(),
    }
}

/// `7/8` for 0.875, the number itself for what is no eighth.
pub(super) fn eighths(momentum: f64) -> String {
    let eighths = momentum * 8.0;
    if eighths.fract() == 0.0 && eighths > 0.0 { format!("{eighths}/8") } else { momentum.to_string() }
}

/// Long runs with their spikes.
fn long_runs(attention: Attention, groups: &[&Group<'_>]) -> Table {
    let reference = adamw(groups);
    let lowest = lowest(groups.iter().copied());
    let rows = groups.iter().map(|group| {
        let [difference, in_sigma] = minus_adamw(group, reference);
        let spikes: usize = group.cells.iter().map(|cell| cell.spikes.len()).sum();
        let entries = vec![
            Entry::plain(power_of_two(group.setting.lr_qkvo)),
            Entry::plain(group.cells.len().to_string()),
            Entry::score(group.score(), weight(group, lowest)),
            difference,
            in_sigma,
            Entry::plain(spikes.to_string()),
            Entry::plain(group.diverged().to_string()),
        ];
        (group.setting.optimizer, entries)
    });
    Table {
        title: format!("{}: long runs", attention.title()),
        columns: ["rate", "seeds", "validation loss", "minus AdamW", "in \u{3c3}", "spikes", "diverged"]
            .map(String::from)
            .into(),
        rows: rows.collect(),
        note: format!(
            "Spikes are counted over all seeds; diverged are the seeds whose loss or factorization broke down. \
             {DIFFERENCES}"
        ),
    }
}
