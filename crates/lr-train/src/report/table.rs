//! The table of final losses and timings, averaged over seeds.

use std::collections::BTreeMap;

use super::Report;
use super::html::escape;
use super::palette::{colour, hex};
use super::series;
use crate::config::OptimizerName;
use crate::train::metrics::RunId;
use crate::train::output::RunSummary;

/// Mean and sample standard deviation of what the seeds of one optimizer gave.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    mean: f64,
    /// Absent with a single seed.
    deviation: Option<f64>,
}

impl Spread {
    /// `None` when there is nothing to average.
    fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self { mean, deviation: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()) })
    }
}

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

fn finite(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "not finite".to_owned() }
}

fn number(spread: Option<Spread>, decimals: usize) -> String {
    let Some(spread) = spread else { return "\u{2013}".to_owned() };
    let mean = finite(spread.mean, decimals);
    match spread.deviation.filter(|deviation| deviation.is_finite()) {
        Some(deviation) => format!("{mean} <small>\u{b1}\u{202f}{deviation:.decimals$}</small>"),
        None => mean,
    }
}

fn signed(spread: Option<Spread>, decimals: usize) -> String {
    let sign = match spread {
        Some(Spread { mean, .. }) if mean >= 0.0 => "+",
        _ => "",
    };
    format!("{sign}{}", number(spread, decimals).replacen('-', "\u{2212}", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[2.0]), Some(Spread { mean: 2.0, deviation: None }));
        assert_eq!(Spread::of(&[1.0, 2.0, 3.0]), Some(Spread { mean: 2.0, deviation: Some(1.0) }));
    }

    #[test]
    fn numbers_carry_their_sign_and_spread() {
        assert_eq!(signed(Spread::of(&[-0.25]), 3), "\u{2212}0.250");
        assert_eq!(signed(Spread::of(&[0.25]), 3), "+0.250");
        assert_eq!(signed(None, 3), "\u{2013}");
        assert_eq!(number(Spread::of(&[f64::NAN]), 3), "not finite");
        assert_eq!(number(Spread::of(&[1.0, 3.0]), 1), "2.0 <small>\u{b1}\u{202f}1.4</small>");
    }
}
