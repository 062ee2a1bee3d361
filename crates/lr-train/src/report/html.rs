//! The page: figures, table and what the run was, in one file that a browser shows and prints as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::figures;
use super::{Report, Source, series, table};
use crate::config::{ExperimentConfig, OptimizerName};
use lr_report::axis;
pub use lr_report::page::{
    Figure, definitions, document, escape, figure_element, grouped, shell_word, warning_list,
};

/// The whole page.
pub fn page(report: &Report) -> Result<String, String> {
    let mut body = String::new();
    body.push_str("<h1>Low-rank attention pairs trained on their manifolds</h1>\n");
    for source in &report.sources {
        let _ = writeln!(body, "<p class=\"brief\">{}</p>", escape(&brief(&source.summary.config)));
    }
    body.push_str(&warnings(report));
    body.push_str("<h2>Final losses</h2>\n");
    body.push_str(&table::results(report));
    body.push_str(
        "<p class=\"note\">Means over the seeds, \u{b1} sample standard deviation. Peak memory is that of the \
         process up to the end of the run; runs before it in the same process count.</p>\n",
    );
    section(&mut body, "Losses", figures::losses(report)?, "No finite loss was recorded.");
    section(
        &mut body,
        "Relative to AdamW",
        figures::relative_to_adamw(report)?,
        "Nothing to compare: AdamW and another optimizer must share a seed.",
    );
    section(&mut body, "Defects", figures::defects(report)?, "No defects were measured.");
    body.push_str("<h2>What was run</h2>\n");
    for source in &report.sources {
        body.push_str(&provenance(source)?);
    }
    Ok(document("Low-rank attention pairs: report", &body))
}

fn section(body: &mut String, title: &str, figure: Option<Figure>, absent: &str) {
    let _ = match figure {
        Some(figure) => write!(body, "<h2>{title}</h2>\n{}", figure_element(&figure)),
        None => writeln!(body, "<h2>{title}</h2>\n<p>{absent}</p>"),
    };
}

/// The configuration in a sentence or two.
fn brief(config: &ExperimentConfig) -> String {
    let model = &config.model;
    let names: Vec<&str> = config.optimizers.iter().map(|name| name.as_str()).collect();
    let seeds: Vec<String> = config.seeds.iter().map(u64::to_string).collect();
    let key_value_heads = match model.kv_heads {
        all if all == model.heads => String::new(),
        1 => " with one key-value head".to_owned(),
        some => format!(" with {some} key-value heads"),
    };
    format!(
        "Preset {}: {} layers of {} heads{}, width {}, rank {} per head, feed-forward {}, vocabulary {}; {} steps of \
         {} \u{d7} {} tokens. {}; {} {}. Learning rate of the attention pairs {}, of everything else {}; \
         {} steps of warm-up, then {}; {} normalization, momentum {}.",
        config.preset,
        model.layers,
        model.heads,
        key_value_heads,
        model.d_model,
        model.head_dim,
        model.d_ff,
        model.vocabulary,
        config.steps,
        model.batch,
        model.sequence,
        names.join(", "),
        if config.seeds.len() == 1 { "seed" } else { "seeds" },
        seeds.join(", "),
        attention_rate(config),
        power_of_two(config.lr_other),
        config.warmup_steps,
        config.schedule,
        config.normalize,
        config.momentum,
    )
}

fn attention_rate(config: &ExperimentConfig) -> String {
    match config.lr_qkvo {
        Some(rate) => power_of_two(rate),
        None => format!(
            "{} (AdamW: {})",
            power_of_two(OptimizerName::FixedEmbedded.default_lr_qkvo()),
            power_of_two(OptimizerName::Adamw.default_lr_qkvo())
        ),
    }
}

/// A rate as a power of two where it is one.
pub fn power_of_two(rate: f64) -> String {
    let exponent = rate.log2();
    if exponent.fract() == 0.0 { axis::power_of_two(exponent as i32) } else { rate.to_string() }
}

/// What a reader must know before believing the curves: divergence, runs cut short, folders that differ.
fn warnings(report: &Report) -> String {
    let mut notes: Vec<String> = series::diverged(report.records())
        .into_iter()
        .map(|(shown, step)| {
            format!("{} diverged: its loss is not finite at step {step}.", report.run_label(shown))
        })
        .collect();
    for source in &report.sources {
        let config = &source.summary.config;
        let short = source.summary.runs.iter().filter(|run| run.steps < config.steps);
        notes.extend(short.map(|run| {
            format!(
                "{} seed {} ended after {} of {} steps.",
                run.optimizer, run.seed, run.steps, config.steps
            )
        }));
        let missing =
            (config.optimizers.len() * config.seeds.len()).saturating_sub(source.summary.runs.len());
        if missing > 0 {
            notes.push(format!("{missing} run(s) of {} have not ended.", source.folder.display()));
        }
    }
    let differing = differing_keys(&report.sources.iter().collect::<Vec<_>>());
    if !differing.is_empty() {
        notes.push(format!("The folders differ in: {}.", differing.join(", ")));
    }
    warning_list(&notes)
}

/// The configuration keys, and `corpus checksum`, in which the sources differ; what runs and where the results
/// go is theirs to choose.
pub fn differing_keys(sources: &[&Source]) -> Vec<String> {
    let configs: Vec<BTreeMap<String, serde_json::Value>> =
        sources.iter().map(|source| settings_of(&source.summary.config)).collect();
    let keys: BTreeSet<&String> = configs.iter().flat_map(BTreeMap::keys).collect();
    let mut differing: Vec<String> = keys
        .into_iter()
        .filter(|key| !["optimizers", "seeds", "out", "threads"].contains(&key.as_str()))
        .filter(|key| configs.windows(2).any(|pair| pair[0].get(*key) != pair[1].get(*key)))
        .cloned()
        .collect();
    let checksum = |source: &Source| source.corpus.as_ref().map(|corpus| corpus.checksum.clone());
    if sources.windows(2).any(|pair| checksum(pair[0]) != checksum(pair[1])) {
        differing.push("corpus checksum".to_owned());
    }
    differing
}

/// Every setting with its value, those of the model as `model.layers` and so on.
fn settings_of(config: &ExperimentConfig) -> BTreeMap<String, serde_json::Value> {
    let mut settings = BTreeMap::new();
    if let Ok(serde_json::Value::Object(config)) = serde_json::to_value(config) {
        for (key, value) in config {
            match value {
                serde_json::Value::Object(inner) if key == "model" => {
                    settings.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
                }
                value => {
                    settings.insert(key, value);
                }
            }
        }
    }
    settings
}

fn provenance(source: &Source) -> Result<String, String> {
    let machine = &source.summary.machine;
    let unknown = || "unknown".to_owned();
    let mut rows = vec![
        ("folder", source.folder.display().to_string()),
        ("version", format!("lowrank {}", source.summary.version)),
        ("processor", machine.cpu.clone().unwrap_or_else(unknown)),
        ("cores, threads", format!("{}, {}", machine.cores, machine.threads)),
        ("system", machine.os.clone()),
        ("memory", machine.memory_mb.map_or_else(unknown, |memory| format!("{memory} MB"))),
    ];
    if let Some(corpus) = &source.corpus {
        rows.push(("corpus", corpus.source.clone()));
        rows.push((
            "text",
            format!(
                "{} bytes in {} documents; {} tokens for training, {} held out; vocabulary {}",
                grouped(corpus.bytes),
                grouped(corpus.documents),
                grouped(corpus.train_tokens),
                grouped(corpus.validation_tokens),
                grouped(corpus.vocabulary as u64)
            ),
        ));
        rows.push(("checksum", corpus.checksum.clone()));
    }
    let config = source.summary.config.to_toml().map_err(|error| error.to_string())?;
    let folder = source.folder.display().to_string();
    let model = &source.summary.config.model;
    let command = format!(
        "cargo xtask experiment {} --config {} --out {}",
        if model.kv_heads < model.heads { "gqa" } else { "mha" },
        shell_word(&format!("{folder}/config.toml")),
        shell_word(&format!("{folder}-again"))
    );
    Ok(format!(
        "{}<p>To run it again:</p>\n<pre>{}</pre>\n<p>The configuration:</p>\n<pre>{}</pre>\n",
        definitions(&rows),
        escape(&command),
        escape(config.trim_end())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_formats() {
        assert_eq!(power_of_two(1.0 / 256.0), "2\u{207b}\u{2078}");
        assert_eq!(power_of_two(0.3), "0.3");
    }
}
