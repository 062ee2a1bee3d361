//! The figures of a report: which curves go into which panel, over which range, and the captions that say so.

use std::collections::{BTreeMap, BTreeSet};

use super::palette::{Look, OptimizerLook};
use super::series::{self, Measure, Sequence, finite_prefix, minus_adamw, over_seeds, smooth};
use super::{Report, Shown};
use crate::config::OptimizerName;
use lr_report::axis::{Axis, Scale};
pub use lr_report::page::Figure;
use lr_report::plot::{Ground, Line, Markers, Panel, figure};

/// The training loss is averaged over this part of the records to either side.
const SMOOTHING: f64 = 0.02;
/// The vertical range of a difference is set by the steps after this part of the run.
const SETTLED: f64 = 0.1;
/// A difference of more nats than this is a failure, not a nuance, and does not set the vertical range.
const LARGEST_DIFFERENCE: f64 = 2.0;

/// The training and validation losses, full range; `None` without any finite loss.
pub fn losses(report: &Report) -> Result<Option<Figure>, String> {
    let caption = format!(
        "Cross-entropy on the training batches (left) and on the held-out documents (right). The training loss \
         is a centred moving average over \u{b1}{:.0}\u{202f}% of the steps, narrower near the start; the \
         validation loss is as measured, a dot an evaluation. Left the steps are on a logarithmic scale, which \
         shows the early descent; right on a linear one. {}",
        SMOOTHING * 100.0,
        loss_caption(report)
    );
    let panels: Vec<Panel> = [Measure::TrainLoss, Measure::ValidationLoss]
        .into_iter()
        .filter_map(|measure| loss_panel(report, measure))
        .collect();
    drawn(&panels, "Training and validation loss by step, one curve an optimizer", caption)
}

/// The losses minus AdamW's; `None` when AdamW did not run.
pub fn relative_to_adamw(report: &Report) -> Result<Option<Figure>, String> {
    let caption = format!(
        "The same losses minus AdamW's at the same step and seed, hence on the same batches; below zero is \
         better than AdamW. Smoothed after the subtraction. The vertical range fits the steps after the first \
         {:.0}\u{202f}%; earlier parts of a curve may leave it, and so may differences above \
         {LARGEST_DIFFERENCE} nats. {}",
        SETTLED * 100.0,
        loss_caption(report)
    );
    let panels: Vec<Panel> = [Measure::TrainLoss, Measure::ValidationLoss]
        .into_iter()
        .filter_map(|measure| relative_panel(report, measure))
        .collect();
    drawn(&panels, "Loss minus the loss of AdamW by step, one curve an optimizer", caption)
}

/// The defects on a logarithmic scale; `None` when none were measured.
pub fn defects(report: &Report) -> Result<Option<Figure>, String> {
    let caption = format!(
        "How far the largest factor is from orthogonality, the momentum from its tangent or horizontal space (only \
         kept with momentum), and the gradients of a pair from agreeing with each other, as measured, before any \
         repair. With a rank guard, the share of the safe step length that a step takes: above 1 the rank is in \
         danger. Flat curves near the rounding error mean that the constraint holds; exact zeros have no place on \
         this scale. {}",
        seeds_caption(report)
    );
    let panels: Vec<Panel> = [
        (Measure::OrthogonalityDefect, "Orthogonality", "\u{2016}U\u{1d40}U \u{2212} I\u{2016}"),
        (Measure::CoherenceDefect, "Coherence of the momentum", "relative defect"),
        (Measure::ConsistencyDefect, "Consistency of the gradients", "relative defect"),
        (Measure::RankMargin, "Share of the safe step length", "share"),
    ]
    .into_iter()
    .filter_map(|(measure, title, label)| defect_panel(report, measure, title, label))
    .collect();
    drawn(&panels, "Defects of the factors by step, one curve an optimizer", caption)
}

/// The picture for a README: losses beside their difference to AdamW, on a white plate.
pub fn picture(report: &Report) -> Result<String, String> {
    let measure = [Measure::ValidationLoss, Measure::TrainLoss]
        .into_iter()
        .find(|measure| loss_panel(report, *measure).is_some())
        .unwrap_or(Measure::ValidationLoss);
    let mut panels: Vec<Panel> =
        [loss_panel(report, measure), relative_panel(report, measure)].into_iter().flatten().collect();
    let mut description = "Loss by step, and its difference to AdamW, one curve an optimizer";
    if panels.is_empty() {
        description = "No loss was recorded";
        panels.push(Panel {
            title: description.to_owned(),
            x: step_axis(1.0),
            y: Axis::new("loss (nats per token)", Scale::Linear, 0.0, 1.0),
            baseline: None,
            lines: Vec::new(),
        });
    }
    figure(&panels, description, Ground::White)
}

fn drawn(panels: &[Panel], description: &str, caption: String) -> Result<Option<Figure>, String> {
    if panels.is_empty() {
        return Ok(None);
    }
    Ok(Some(Figure { svg: figure(panels, description, Ground::Page)?, caption }))
}

fn loss_panel(report: &Report, measure: Measure) -> Option<Panel> {
    let sequences = finite(report, measure);
    // A loss that climbs far above its start would flatten everything else.
    let start = sequences.values().filter_map(|sequence| sequence.first()).map(|(_, loss)| *loss);
    let ceiling = start.fold(f64::NEG_INFINITY, f64::max);
    let mut lines = lines(report, measure, &smoothed(measure, sequences));
    // The training axis is logarithmic, where step 0 has no place.
    let first_step = if measure == Measure::TrainLoss { 1.0 } else { 0.0 };
    for line in &mut lines {
        line.points.retain(|point| point.x >= first_step);
    }
    let lowest = values(&lines).fold(f64::INFINITY, f64::min);
    let highest = values(&lines).fold(f64::NEG_INFINITY, f64::max).min(ceiling * 1.05);
    let margin = 0.04 * (highest - lowest);
    Some(Panel {
        title: loss_title(measure).to_owned(),
        x: match measure {
            Measure::TrainLoss => Axis::new("step (log scale)", Scale::Log, 1.0, last_step(&lines)?),
            _ => step_axis(last_step(&lines)?),
        },
        y: Axis::new("loss (nats per token)", Scale::Linear, lowest - margin, highest + margin),
        baseline: None,
        lines,
    })
}

fn relative_panel(report: &Report, measure: Measure) -> Option<Panel> {
    let differences = minus_adamw(&finite(report, measure));
    let lines = lines(report, measure, &smoothed(measure, differences));
    let last = last_step(&lines)?;
    let settled = || {
        let points = lines.iter().flat_map(|line| &line.points);
        let late = points.filter(|point| point.x >= SETTLED * last);
        late.flat_map(|point| [point.low, point.high])
    };
    let low = settled().fold(0.0, f64::min).max(-LARGEST_DIFFERENCE);
    let high = settled().fold(0.0, f64::max).min(LARGEST_DIFFERENCE);
    let margin = (0.08 * (high - low)).max(0.005);
    Some(Panel {
        title: format!("{} relative to AdamW", loss_title(measure)),
        x: step_axis(last),
        y: Axis::new("difference (nats per token)", Scale::Linear, low - margin, high + margin),
        baseline: Some((0.0, Look::of(OptimizerName::Adamw))),
        lines,
    })
}

fn defect_panel(report: &Report, measure: Measure, title: &str, label: &str) -> Option<Panel> {
    let mut positive = finite(report, measure);
    for sequence in positive.values_mut() {
        sequence.retain(|(_, defect)| *defect > 0.0);
    }
    let lines = lines(report, measure, &positive);
    let lowest = values(&lines).fold(f64::INFINITY, f64::min);
    let highest = values(&lines).fold(f64::NEG_INFINITY, f64::max);
    Some(Panel {
        title: title.to_owned(),
        x: step_axis(last_step(&lines)?),
        y: Axis::new(label, Scale::Log, lowest / 2.0, highest * 2.0),
        baseline: None,
        lines,
    })
}

fn finite(report: &Report, measure: Measure) -> BTreeMap<Shown, Sequence> {
    let mut sequences = series::sequences(report.records(), measure);
    for sequence in sequences.values_mut() {
        *sequence = finite_prefix(sequence).to_vec();
    }
    sequences
}

fn smoothed(measure: Measure, mut sequences: BTreeMap<Shown, Sequence>) -> BTreeMap<Shown, Sequence> {
    if measure == Measure::TrainLoss {
        for sequence in sequences.values_mut() {
            let half_width = (sequence.len() as f64 * SMOOTHING).round() as usize;
            *sequence = smooth(sequence, half_width);
        }
    }
    sequences
}

fn lines(report: &Report, measure: Measure, sequences: &BTreeMap<Shown, Sequence>) -> Vec<Line> {
    let diverged: BTreeSet<(usize, OptimizerName)> = series::diverged(report.records())
        .keys()
        .map(|shown| (shown.experiment, shown.run.optimizer))
        .collect();
    let is_loss = matches!(measure, Measure::TrainLoss | Measure::ValidationLoss);
    let markers = if measure == Measure::ValidationLoss { Markers::Dots } else { Markers::None };
    over_seeds(sequences)
        .into_iter()
        .filter(|(_, points)| !points.is_empty())
        .map(|(optimizer, points)| Line {
            diverged: is_loss && diverged.contains(&optimizer),
            ..Line::new(report.look(optimizer.0, optimizer.1), points, markers)
        })
        .collect()
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| &line.points).flat_map(|point| [point.low, point.high])
}

fn last_step(lines: &[Line]) -> Option<f64> {
    lines.iter().flat_map(|line| &line.points).map(|point| point.x).reduce(f64::max)
}

fn step_axis(last: f64) -> Axis {
    Axis::new("step", Scale::Linear, 0.0, last)
}

fn loss_title(measure: Measure) -> &'static str {
    match measure {
        Measure::TrainLoss => "Training loss",
        _ => "Validation loss",
    }
}

fn seeds_caption(report: &Report) -> &'static str {
    let seeds: BTreeSet<u64> = report.records().map(|(shown, _)| shown.run.seed).collect();
    if seeds.len() > 1 {
        "Curves are means over the seeds, shaded from the lowest seed to the highest, and end where the first \
         seed ends."
    } else {
        "One seed."
    }
}

/// [`seeds_caption`] for losses: it explains the cross, if there is one.
fn loss_caption(report: &Report) -> String {
    let mut caption = seeds_caption(report).to_owned();
    if !series::diverged(report.records()).is_empty() {
        caption.push_str(" A cross marks the last finite loss of a run that diverged.");
    }
    caption
}
