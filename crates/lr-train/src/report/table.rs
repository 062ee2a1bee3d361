//! The table of final losses and timings, averaged over seeds.

use std::collections::BTreeMap;

use super::Report;
use super::html::escape;
use super::palette::{colour, hex};
use super::series;
use super::spread::{Spread, finite, number, signed};
use crate::config::OptimizerName;
use crate::train::metrics::RunId;
use crate::train::output::RunSummary;

/// The table as HTML; empty when no run has ended.
pub fn results(report: &Report) -> String {
    let runs: Vec<&RunSummary> = report.runs().collect();
    if runs.is_empty() {
        return "<p>No run has ended yet.</p>".to_owned();
    }
    let ids: Vec<RunId> = runs.iter().map(|run| id_of(run)).collect();
    let adamw: BTreeMap<u64, f64> = runs
        .iter()
        .filter(|run| run.optimizer == OptimizerName::Adamw)
        .map(|run| (run.seed, run.final_val_loss))
        .collect();
    let mut html = String::from(
        "<div class=\"wide\"><table><thead><tr><th>optimizer</th><th>seeds</th><th>steps</th>\
         <th>training<br><small>loss, nats/token</small></th><th>validation<br><small>loss, nats/token</small></th>\
         <th>minus AdamW<br><small>validation</small></th><th>tokens/s</th><th>step<br><small>ms, median</small></th>\
         <th>optimizer<br><small>ms, median</small></th><th>share<br><small>of the step</small></th>\
         <th>memory<br><small>peak, MB</small></th><th>repairs</th></tr></thead><tbody>\n",
    );
    for optimizer in series::optimizers(ids.iter()) {
        let mine: Vec<&RunSummary> = runs.iter().copied().filter(|run| run.optimizer == optimizer).collect();
        html.push_str(&row(optimizer, &mine, &adamw));
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn row(optimizer: OptimizerName, runs: &[&RunSummary], adamw: &BTreeMap<u64, f64>) -> String {
    let over =
        |field: fn(&RunSummary) -> f64| Spread::of(&runs.iter().map(|run| field(run)).collect::<Vec<_>>());
    let differences: Vec<f64> = runs
        .iter()
        .filter_map(|run| Some(run.final_val_loss - adamw.get(&run.seed)?))
        .filter(|_| optimizer != OptimizerName::Adamw)
        .collect();
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
        hex(colour(optimizer)).replace("#000000", "var(--ink)"),
        escape(optimizer.as_str()),
        cells.join("</td><td>")
    )
}

fn id_of(run: &RunSummary) -> RunId {
    RunId { optimizer: run.optimizer, seed: run.seed }
}
