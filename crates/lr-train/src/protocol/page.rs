//! The pages: `report.html`, `report.md` and `figure.svg` in each part's folder, `index.html` with all parts above them.

use super::{
    Part, ProtocolError, Results, Settings,
    figures::part_figure,
    plan::Origin,
    result::CELL_FOLDER,
    results::{Group, best},
    statistics::{SPIKE_DEVIATIONS, SPIKE_WINDOW},
    tables::{of, optimizers, tables},
};
use crate::{
    config::{ExperimentConfig, Normalize, OptimizerName},
    report::{
        REPORT_FILE, ReportError,
        html::{definitions, document, escape, figure_element, grouped, power_of_two, warning_list},
        shell_word,
    },
    train::output::{create_folder, write_atomically},
};
use lr_report::plot::Ground;
use std::{collections::BTreeSet, fmt::Write, path::Path};

/// Name of the page with all parts, in the protocol's folder.
pub const INDEX_FILE: &str = "index.html";
/// Name of a part's tables in Markdown, in its folder.
pub const MARKDOWN_FILE: &str = "report.md";

/// Name of a part's figure, in its folder.
pub const FIGURE_FILE: &str = "figure.svg";

/// What is known of the published result: the paper's abstract, in our words.
const CLAIM: &str = "The published result to hold these tables against, from the paper\u{2019}s abstract: after \
     tuning of the learning rates the methods do not conclusively outperform an AdamW baseline. The paper\u{2019}s \
     own figures are not reproduced here.";

/// Whether a folder holds finished cells of any part.
pub fn holds_protocol(folder: &Path) -> bool {
    Part::ALL.iter().any(|part| folder.join(part.as_str()).join(CELL_FOLDER).is_dir())
}

/// Writes the pages of every part with a finished cell in the protocol's folder, and the index.
///
/// # Errors
/// [`ProtocolError`] naming a file that is damaged, does not fit the others, or cannot be written.
pub fn write_pages(folder: &Path) -> Result<(), ProtocolError> {
    write_merged(&[folder], folder)
}

/// Writes the pages about the cells of several protocol folders, as left by shards on different machines or by
/// parts kept apart, into the folder `out`.
///
/// # Errors
/// [`ProtocolError`] naming a file that is damaged, does not fit the others, or cannot be written.
pub fn write_merged(folders: &[&Path], out: &Path) -> Result<(), ProtocolError> {
    let mut index = String::new();
    for &part in Part::ALL {
        let mut merged: Option<Results> = None;
        for folder in folders {
            let Some(results) = Results::read(&folder.join(part.as_str()), part)? else { continue };
            match &mut merged {
                Some(merged) => merged.merge(results)?,
                None => merged = Some(results),
            }
        }
        let Some(results) = merged else { continue };
        let body = section(&results)?;
        let folder = out.join(part.as_str());
        create_folder(&folder)?;
        let page = document(&format!("Section 6, {part}"), &body);
        write_atomically(&folder.join(REPORT_FILE), page.as_bytes())?;
        write_atomically(&folder.join(MARKDOWN_FILE), markdown(&results).as_bytes())?;
        if let Some(figure) = part_figure(&results, Ground::White).map_err(ReportError::Draw)? {
            write_atomically(&folder.join(FIGURE_FILE), figure.svg.as_bytes())?;
        }
        index.push_str(&body);
    }
    if !index.is_empty() {
        let page = document("The protocol of section 6", &index);
        write_atomically(&out.join(INDEX_FILE), page.as_bytes())?;
    }
    Ok(())
}

fn heading(part: Part) -> &'static str {
    match part {
        Part::Baseline => "Section 6, baseline: learning rates",
        Part::Normalization => "Section 6, normalization of the step",
        Part::Momentum => "Section 6, momentum",
        Part::Scaling => "Section 6, long runs",
    }
}

/// A part's share of a page.
fn section(results: &Results) -> Result<String, ProtocolError> {
    let mut body = format!("<h1>{}</h1>\n", heading(results.part));
    let _ = writeln!(body, "<p class=\"brief\">{}</p>", escape(&brief(results)));
    body.push_str(&warning_list(&warnings(results)));
    for table in tables(results) {
        body.push_str(&table.html());
    }
    for note in notes(results) {
        let _ = writeln!(body, "<p class=\"note\">{}</p>", escape(&note));
    }
    match part_figure(results, Ground::Page).map_err(ReportError::Draw)? {
        Some(figure) => body.push_str(&figure_element(&figure)),
        None => body.push_str("<p>No run came to a finite loss: there is nothing to draw.</p>\n"),
    }
    body.push_str("<h2>What was run</h2>\n");
    body.push_str(&definitions(&provenance(results)));
    Ok(body)
}

/// The same tables, to be pasted into a document.
fn markdown(results: &Results) -> String {
    let mut text = format!("## {}\n\n{}\n\n", heading(results.part), brief(results));
    let warnings = warnings(results);
    if !warnings.is_empty() {
        let _ = writeln!(text, "- {}\n", warnings.join("\n- "));
    }
    for table in tables(results) {
        text.push_str(&table.markdown());
    }
    for note in notes(results) {
        let _ = writeln!(text, "{note}\n");
    }
    for (name, value) in provenance(results) {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text
}

/// What the cells share, in a sentence or two.
fn brief(results: &Results) -> String {
    let Some(config) = results.base() else { return String::new() };
    let model = &config.model;
    let mut seeds: Vec<u64> = results.cells.iter().map(|cell| cell.cell.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!(
        "{} runs of {} steps of {} \u{d7} {} tokens, seeds {}. {} layers of {} heads (GQA: one key-value head), \
         width {}, rank {} per head, feed-forward {}, vocabulary {}. Learning rate of everything else {}; {} steps \
         of warm-up, then {}. A score is the mean of a run\u{2019}s last five validation losses, a validation every \
         {} steps over {} batches.",
        results.cells.len(),
        config.steps,
        model.batch,
        model.sequence,
        seeds.join(", "),
        model.layers,
        model.heads,
        model.d_model,
        model.head_dim,
        model.d_ff,
        model.vocabulary,
        power_of_two(config.lr_other),
        config.warmup_steps,
        config.schedule,
        config.validate_every,
        config.validation_batches,
    )
}

/// What a reader must know before believing the tables.
fn warnings(results: &Results) -> Vec<String> {
    let mut warnings = Vec::new();
    if results.missing() > 0 {
        warnings.push(format!("{} planned cells have no result yet.", results.missing()));
    }
    let untuned: Vec<String> = results
        .rates
        .iter()
        .filter(|rate| rate.origin == Origin::Default)
        .map(|rate| format!("{} {} ({})", rate.attention, rate.optimizer, power_of_two(rate.lr_qkvo)))
        .collect();
    if !untuned.is_empty() {
        warnings.push(format!(
            "Not built on a tuned rate, because the folder held no complete baseline: {}.",
            untuned.join(", ")
        ));
    }
    warnings.extend(edges(results));
    for group in results.groups().iter().filter(|group| group.diverged() > 0) {
        let setting = &group.setting;
        warnings.push(format!(
            "{} {} diverged in {} of {} seeds at rate {}, {} normalization, momentum {}.",
            setting.attention,
            setting.optimizer,
            group.diverged(),
            group.cells.len(),
            power_of_two(setting.lr_qkvo),
            setting.normalize,
            setting.momentum,
        ));
    }
    warnings
}

/// Optimizers whose best rate is the lowest or the highest of those tried: a better one may lie outside.
fn edges(results: &Results) -> Vec<String> {
    let searched = match results.part {
        Part::Baseline => Normalize::Metric,
        Part::Normalization => Normalize::None,
        Part::Momentum | Part::Scaling => return Vec::new(),
    };
    let groups = results.groups();
    let mut edges = Vec::new();
    for attention in results.attention() {
        let mine: Vec<&Group<'_>> = groups
            .iter()
            .filter(|group| group.setting.attention == attention && group.setting.normalize == searched)
            .collect();
        for optimizer in optimizers(&mine) {
            let rates: Vec<f64> = of(&mine, optimizer).map(|group| group.setting.lr_qkvo).collect();
            let Some(best) = best(of(&mine, optimizer)).map(|group| group.setting.lr_qkvo) else { continue };
            let edge = [(rates.first(), "lowest"), (rates.last(), "highest")];
            if let Some((_, which)) =
                edge.into_iter().find(|(rate, _)| rates.len() > 1 && *rate == Some(&best))
            {
                edges.push(format!(
                    "The best rate of {attention} {optimizer}, {}, is the {which} of those tried: a better one may \
                     lie outside.",
                    power_of_two(best)
                ));
            }
        }
    }
    edges
}

/// What stands below the tables.
fn notes(results: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    if results.part == Part::Baseline {
        notes.push(CLAIM.to_owned());
        notes.extend(verdicts(results));
    }
    if results.part == Part::Scaling {
        notes.push(format!(
            "A spike begins where the training loss of a step exceeds the median of the {SPIKE_WINDOW} steps before \
             it by more than {SPIKE_DEVIATIONS} robust standard deviations (1.4826 times their median absolute \
             deviation); it lasts, and counts once, until the loss is back below that threshold."
        ));
    }
    notes
}

/// How many optimizers are beyond two sigma of AdamW, by attention.
fn verdicts(results: &Results) -> Vec<String> {
    let groups = results.groups();
    let mut verdicts = Vec::new();
    for attention in results.attention() {
        let mine: Vec<&Group<'_>> = groups.iter().filter(|g| g.setting.attention == attention).collect();
        let Some(reference) = super::tables::adamw(&mine) else { continue };
        let rivals = optimizers(&mine).into_iter().filter(|name| *name != OptimizerName::Adamw);
        let in_sigma: Vec<f64> = rivals
            .filter_map(|optimizer| best(of(&mine, optimizer))?.minus(reference))
            .filter_map(|difference| {
                Some(difference.mean / difference.deviation.filter(|sigma| *sigma > 0.0)?)
            })
            .collect();
        if in_sigma.is_empty() {
            continue;
        }
        let (better, worse) =
            (in_sigma.iter().filter(|z| **z < -2.0).count(), in_sigma.iter().filter(|z| **z > 2.0).count());
        verdicts.push(format!(
            "{}: of {} optimizers compared with AdamW, each at its best rate, {better} are better and \
             {worse} are worse by more than 2\u{3c3} of the paired differences. With a handful of seeds \u{3c3} \
             itself is uncertain.",
            attention.title(),
            in_sigma.len()
        ));
    }
    verdicts
}

fn provenance(results: &Results) -> Vec<(&'static str, String)> {
    let Some(first) = results.cells.first() else { return Vec::new() };
    let folders: Vec<String> = results.folders.iter().map(|folder| folder.display().to_string()).collect();
    let mut machines: Vec<String> = results
        .cells
        .iter()
        .map(|cell| {
            let cpu = cell.machine.cpu.as_deref().unwrap_or("unknown processor");
            format!("{cpu}, {} cores, {}", cell.machine.cores, cell.machine.os)
        })
        .collect();
    machines.sort();
    machines.dedup();
    let step_seconds = |cell: &super::CellResult| cell.run.step_ms_median / 1e3 * cell.run.steps as f64;
    let hours: f64 =
        results.cells.iter().map(step_seconds).filter(|time| time.is_finite()).sum::<f64>() / 3600.0;
    let corpus = &first.corpus;
    vec![
        ("command", command(results, &first.config)),
        ("folder", folders.join(", ")),
        ("version", format!("lowrank {}", first.version)),
        ("machines", machines.join("; ")),
        ("training steps", format!("{hours:.2} hours in all, one cell after another")),
        (
            "corpus",
            format!(
                "{}: {} bytes in {} documents, checksum {}",
                corpus.source,
                grouped(corpus.bytes),
                grouped(corpus.documents),
                corpus.checksum
            ),
        ),
    ]
}

/// The command that runs these cells, with the options that differ from its defaults.
fn command(results: &Results, config: &ExperimentConfig) -> String {
    let (part, preset) = (results.part, config.preset);
    let default = Settings::preset(part, preset);
    let mut command = format!("cargo xtask experiment paper --part {part} --preset {preset}");
    let mut option = |name: &str, values: Vec<String>, defaults: Vec<String>| {
        if values != defaults {
            let _ = write!(command, " --{name} {}", shell_word(&values.join(",")));
        }
    };
    fn words<T: ToString>(values: &[T]) -> Vec<String> {
        values.iter().map(T::to_string).collect()
    }
    fn distinct<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Vec<T> {
        values.collect::<BTreeSet<_>>().into_iter().collect()
    }
    let cells = || results.cells.iter().map(|cell| cell.cell);
    option("attention", words(&results.attention()), words(&default.attention));
    // The defaults without what another choice of attention rules out.
    let possible = |name: &OptimizerName| results.attention().iter().any(|kind| kind.has(*name));
    let expected = distinct(default.optimizers.iter().copied().filter(possible));
    option("optimizers", words(&distinct(cells().map(|cell| cell.optimizer))), words(&expected));
    option("seeds", words(&distinct(cells().map(|cell| cell.seed))), words(&default.base.seeds));
    option("steps", words(&[config.steps]), words(&[default.base.steps]));
    option("corpus", words(&[&config.corpus]), words(&[&default.base.corpus]));
    command
}
