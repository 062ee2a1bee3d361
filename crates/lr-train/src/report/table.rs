//! The table of final losses and timings, averaged over seeds.

use std::collections::BTreeSet;

use super::html::escape;
use super::palette::{Look, hex};
use super::series;
use super::spread::{Spread, finite, number, signed};
use super::{Report, Shown};
use crate::config::OptimizerName;
use crate::train::output::RunSummary;

/// The table as HTML; empty when no run has ended.
pub fn results(report: &Report) -> String {
    let runs: Vec<(Shown, &RunSummary)> = report.runs().collect();
    if runs.is_empty() {
        return "<p>No run has ended yet.</p>".to_owned();
    }
    let mut html = String::from(
        "<div class=\"wide\"><table><thead><tr><th>optimizer</th><th>seeds</th><th>steps</th>\
         <th>training<br><small>loss, nats/token</small></th><th>validation<br><small>loss, nats/token</small></th>\
         <th>minus AdamW<br><small>validation</small></th><th>tokens/s</th><th>step<br><small>ms, median</small></th>\
         <th>optimizer<br><small>ms, median</small></th><th>share<br><small>of the step</small></th>\
         <th>memory<br><small>peak, MB</small></th><th>repairs</th></tr></thead><tbody>\n",
    );
    let rows: BTreeSet<(usize, OptimizerName)> =
        runs.iter().map(|(shown, _)| (shown.experiment, shown.run.optimizer)).collect();
    for (experiment, optimizer) in rows {
        let mine: Vec<(Shown, &RunSummary)> = runs
            .iter()
            .copied()
            .filter(|(shown, _)| (shown.experiment, shown.run.optimizer) == (experiment, optimizer))
            .collect();
        html.push_str(&row(&report.look(experiment, optimizer), &mine, &runs));
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// The row of one optimizer's `seeds`, of all `runs`.
fn row(look: &Look, seeds: &[(Shown, &RunSummary)], runs: &[(Shown, &RunSummary)]) -> String {
    let adamw = |shown: Shown| {
        let baseline = series::adamw_of(shown, runs.iter().map(|(other, _)| other))?;
        runs.iter().find(|(other, _)| *other == baseline).map(|(_, run)| run.final_val_loss)
    };
    let differences: Vec<f64> = seeds
        .iter()
        .filter(|(shown, _)| shown.run.optimizer != OptimizerName::Adamw)
        .filter_map(|(shown, run)| Some(run.final_val_loss - adamw(*shown)?))
        .collect();
    let runs: Vec<&RunSummary> = seeds.iter().map(|(_, run)| *run).collect();
    let over =
        |field: fn(&RunSummary) -> f64| Spread::of(&runs.iter().map(|run| field(run)).collect::<Vec<_>>());
    let memory = runs.iter().filter_map(|run| run.peak_rss_mb).reduce(f64::max);
    let repairs = runs.iter().filter_map(|run| run.repairs).reduce(|a, b| a + b);
    let steps: Vec<usize> = runs.iter().map(|run| run.steps).collect();
    let (fewest, most) = (steps.iter().min().copied(), steps.iter().max().copied());
    let steps = match (fewest, most) {
        (Some(fewest), Some(most)) if fewest == most => most.to_string(),
        (Some(fewest), Some(most)) => format!("{fewest}\u{2013}{most}"),
        _ => String::new(),
    };
    let share = over(|run| 100.0 * run.optimizer_ms_median / run.step_ms_median);
    let cells = [
        runs.len().to_string(),
        steps,
        number(over(|run| run.final_train_loss), 3),
        number(over(|run| run.final_val_loss), 3),
        signed(Spread::of(&differences), 3),
        number(over(|run| run.tokens_per_s), 0),
        number(over(|run| run.step_ms_median), 1),
        number(over(|run| run.optimizer_ms_median), 2),
        share.map_or_else(|| "\u{2013}".to_owned(), |share| format!("{}\u{202f}%", finite(share.mean, 1))),
        memory.map_or_else(|| "\u{2013}".to_owned(), |memory| format!("{memory:.0}")),
        repairs.map_or_else(|| "\u{2013}".to_owned(), |repairs| repairs.to_string()),
    ];
    format!(
        "<tr><th scope=\"row\"><span class=\"swatch\" style=\"--c:{}\"></span>{}</th><td>{}</td></tr>\n",
        hex(look.colour).replace("#000000", "var(--ink)"),
        escape(&look.label),
        cells.join("</td><td>")
    )
}
