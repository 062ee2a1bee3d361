//! The figures of each part: (1) loss against learning rate, (2) normalizations, (3) momentum, (4) long runs.

use super::{
    CellResult, Part, Results,
    results::{Group, best},
    tables::{adamw, eighths, of, optimizers},
};
use crate::{
    config::{Normalize, OptimizerName},
    report::{
        figures::Figure,
        palette::{Look, OptimizerLook},
        series::{Point, Sequence, finite_prefix, mean_and_range, smooth},
    },
};
use lr_report::{
    axis::{Axis, Scale},
    plot::{Ground, Line, Markers, Panel, figure},
};

/// The vertical range leaves out this part of the worst values, so that the good ones can be told apart.
const WORST: f64 = 0.15;
/// Training losses are averaged over this part of the run to either side.
const SMOOTHING: f64 = 0.01;
/// The vertical range of a long run is set by the steps after this part of it.
const SETTLED: f64 = 0.03;
/// Curves over choices stand this far apart, in steps between choices.
const APART: f64 = 0.07;

/// The part's figure; none when there is nothing finite to draw.
pub(super) fn part_figure(results: &Results, ground: Ground) -> Result<Option<Figure>, String> {
    let groups = results.groups();
    let mut panels = Vec::new();
    for attention in results.attention() {
        let mine: Vec<&Group<'_>> = groups.iter().filter(|g| g.setting.attention == attention).collect();
        let name = attention.title();
        match results.part {
            Part::Baseline => panels.push(over_rates(name, &mine, Normalize::Metric)),
            Part::Normalization => {
                panels.push(over_normalizations(name, &mine));
                panels.push(over_rates(&format!("{name}, without normalization"), &mine, Normalize::None));
            }
            Part::Momentum => panels.push(over_momenta(name, &mine)),
            Part::Scaling => {
                panels.push(long_run(&format!("{name}, training"), &mine, Curve::Training));
                panels.push(long_run(&format!("{name}, validation"), &mine, Curve::Validation));
            }
        }
    }
    let panels: Vec<Panel> = panels.into_iter().flatten().collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let (description, caption) = words(results.part);
    Ok(Some(Figure { svg: figure(&panels, description, ground)?, caption: caption.to_owned() }))
}

/// What a figure shows, for readers that do not see, and its caption.
fn words(part: Part) -> (&'static str, &'static str) {
    match part {
        Part::Baseline => (
            "Validation loss against learning rate, one curve an optimizer",
            "Figure 1. Mean of the last five validation losses against the learning rate of the attention pairs, \
             mean over the seeds with \u{b1} \u{3c3} as bars. Rates at which a seed diverged have no point; the \
             worst values lie above the range.",
        ),
        Part::Normalization => (
            "Validation loss by normalization and by learning rate without one, one curve an optimizer",
            "Figure 2. Left: steps divided by nothing, by the metric's norm and by the spectral norm (embedded \
             geometries only), each at its best rate; the line across is AdamW. Right: the rates tried without \
             normalization. Bars are \u{b1} \u{3c3} over the seeds; the worst values lie above the range.",
        ),
        Part::Momentum => (
            "Validation loss by momentum coefficient, one curve an optimizer",
            "Figure 3. Validation loss against the momentum coefficient \u{3bd}, each at the best of its rates; \
             the line across is AdamW. Bars are \u{b1} \u{3c3} over the seeds.",
        ),
        Part::Scaling => (
            "Training and validation loss of the long runs by step, one curve an optimizer",
            "Figure 4. The long runs: means over the seeds, shaded from the lowest seed to the highest. The \
             training loss is a centred moving average over \u{b1}1\u{202f}% of the steps; triangles mark the \
             peaks of its spikes in any seed, at the top where they leave the range. A cross ends a curve with a \
             seed that diverged.",
        ),
    }
}

/// The mean of a group with its sigma as a range.
fn point(x: f64, group: &Group<'_>) -> Option<Point> {
    let score = group.score().filter(|score| score.mean.is_finite())?;
    let sigma = score.deviation.unwrap_or(0.0);
    Some(Point { x, mean: score.mean, low: score.mean - sigma, high: score.mean + sigma })
}

/// A vertical axis around the points of `lines` and what they are compared with.
fn loss_axis(lines: &[Line], baseline: Option<f64>) -> Option<Axis> {
    let mut highs: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(|point| point.high).collect();
    highs.extend(baseline);
    highs.sort_by(f64::total_cmp);
    let kept = ((highs.len() as f64 * (1.0 - WORST)).ceil() as usize).max(1) - 1;
    let high = *highs.get(kept)?;
    let lows = lines.iter().flat_map(|line| &line.points).map(|point| point.low);
    let low = lows.chain(baseline).fold(f64::INFINITY, f64::min);
    let margin = 0.06 * (high - low).max(1e-3);
    Some(Axis::new("validation loss (nats per token)", Scale::Linear, low - margin, high + margin))
}

fn over_rates(title: &str, groups: &[&Group<'_>], by: Normalize) -> Option<Panel> {
    let groups: Vec<&Group<'_>> = groups.iter().copied().filter(|g| g.setting.normalize == by).collect();
    let lines: Vec<Line> = optimizers(&groups)
        .into_iter()
        .map(|optimizer| {
            let points =
                of(&groups, optimizer).filter_map(|group| point(group.setting.lr_qkvo, group)).collect();
            Line::new(Look::of(optimizer), points, Markers::Bars)
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let rates = || lines.iter().flat_map(|line| &line.points).map(|point| point.x);
    let (low, high) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    Some(Panel {
        title: title.to_owned(),
        y: loss_axis(&lines, None)?,
        x: Axis::new("learning rate of the attention pairs", Scale::PowersOfTwo, low / 1.3, high * 1.3),
        baseline: None,
        lines,
    })
}

/// A panel over choices: for each optimizer the best group of each choice.
fn over_choices<'g, 'a: 'g>(
    title: &str,
    axis: Axis,
    groups: &[&'g Group<'a>],
    best_of: impl Fn(OptimizerName) -> Vec<(usize, &'g Group<'a>)>,
) -> Option<Panel> {
    let geometries: Vec<OptimizerName> =
        optimizers(groups).into_iter().filter(|name| *name != OptimizerName::Adamw).collect();
    let shift = |index: usize| APART * (index as f64 - 0.5 * (geometries.len() as f64 - 1.0));
    let lines: Vec<Line> = geometries
        .iter()
        .enumerate()
        .map(|(index, &optimizer)| {
            let points = best_of(optimizer)
                .into_iter()
                .filter_map(|(choice, group)| point(choice as f64 + shift(index), group))
                .collect();
            Line::new(Look::of(optimizer), points, Markers::Bars)
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let baseline = adamw(groups).map(Group::mean);
    Some(Panel {
        title: title.to_owned(),
        y: loss_axis(&lines, baseline)?,
        x: axis,
        baseline: baseline.map(|mean| (mean, Look::of(OptimizerName::Adamw))),
        lines,
    })
}

fn over_normalizations(title: &str, groups: &[&Group<'_>]) -> Option<Panel> {
    let kinds = [Normalize::None, Normalize::Metric, Normalize::Spectral];
    let axis = Axis::choices("step divided by", kinds.map(|kind| kind.to_string()).into());
    over_choices(title, axis, groups, |optimizer| {
        let at = |kind| best(of(groups, optimizer).filter(move |group| group.setting.normalize == kind));
        kinds.into_iter().enumerate().filter_map(|(place, kind)| Some((place, at(kind)?))).collect()
    })
}

fn over_momenta(title: &str, groups: &[&Group<'_>]) -> Option<Panel> {
    let mut momenta: Vec<f64> = groups.iter().map(|group| group.setting.momentum).collect();
    momenta.sort_by(f64::total_cmp);
    momenta.dedup();
    let axis = Axis::choices("momentum coefficient", momenta.iter().map(|nu| eighths(*nu)).collect());
    over_choices(title, axis, groups, |optimizer| {
        let at = |nu| best(of(groups, optimizer).filter(move |group| group.setting.momentum == nu));
        momenta.iter().enumerate().filter_map(|(place, &nu)| Some((place, at(nu)?))).collect()
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Curve {
    Training,
    Validation,
}

impl Curve {
    /// A cell's curve up to its first value that is not finite.
    fn of(self, cell: &CellResult) -> Sequence {
        match self {
            Self::Validation => finite_prefix(&cell.validation).to_vec(),
            Self::Training => {
                let finite = finite_prefix(&cell.training);
                smooth(finite, (finite.len() as f64 * SMOOTHING).round() as usize)
            }
        }
    }
}

fn long_run(title: &str, groups: &[&Group<'_>], curve: Curve) -> Option<Panel> {
    let lines: Vec<Line> = groups
        .iter()
        .map(|group| {
            let curves: Vec<Sequence> = group.cells.iter().map(|cell| curve.of(cell)).collect();
            let spikes = group.cells.iter().flat_map(|cell| &cell.spikes);
            let points = mean_and_range(&curves.iter().collect::<Vec<_>>());
            Line {
                diverged: group.diverged() > 0,
                events: match curve {
                    Curve::Training => spikes.map(|spike| (spike.peak as f64, spike.loss)).collect(),
                    Curve::Validation => Vec::new(),
                },
                ..Line::new(Look::of(group.setting.optimizer), points, Markers::None)
            }
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let points = || lines.iter().flat_map(|line| &line.points);
    let last = points().map(|point| point.x).reduce(f64::max)?;
    let settled = || points().filter(|point| point.x >= SETTLED * last);
    let low = settled().map(|point| point.low).fold(f64::INFINITY, f64::min);
    let high = settled().map(|point| point.high).fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.04 * (high - low);
    Some(Panel {
        title: title.to_owned(),
        x: Axis::new("step", Scale::Linear, 0.0, last),
        y: Axis::new("loss (nats per token)", Scale::Linear, low - margin, high + margin),
        baseline: None,
        lines,
    })
}
