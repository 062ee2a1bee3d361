//! Tests of the report on made-up experiments: complete, partial, diverged, empty and hostile.

use super::*;
use crate::config::{ExperimentConfig, OptimizerName};
use crate::train::metrics::{MetricsWriter, Split};
use crate::train::output::{Machine, RunSummary};

/// An experiment whose losses fall from ln(8192) like a power of the step, each optimizer a little apart.
fn experiment(optimizers: &[OptimizerName], seeds: &[u64], steps: usize) -> Source {
    let config = ExperimentConfig {
        optimizers: optimizers.to_vec(),
        seeds: seeds.to_vec(),
        steps,
        ..ExperimentConfig::default()
    };
    let mut records = Vec::new();
    let mut runs = Vec::new();
    for (place, &optimizer) in optimizers.iter().enumerate() {
        for &seed in seeds {
            let run = RunId { optimizer, seed };
            let noise = |step: usize| ((step * 7919 + seed as usize * 104_729) as f64).sin() * 0.15;
            let loss = |step: usize| {
                3.4 + 5.6 * (1.0 + step as f64 / (20.0 + 3.0 * place as f64)).powf(-0.7)
                    + 0.02 * place as f64
                    + 0.03 * ((seed as usize * 31 + place * 17) as f64).sin()
            };
            for step in 0..=steps {
                let defect = 1e-7 * (1.0 + place as f64 + step as f64 / 100.0);
                if step > 0 {
                    records.push(Record {
                        lr: Some(1.0 / 256.0),
                        orthogonality_defect: (place > 2 && step.is_multiple_of(10)).then_some(defect),
                        consistency_defect: (place > 2 && step.is_multiple_of(10)).then_some(0.5 * defect),
                        ..Record::new(run, step, Split::Train, loss(step) + noise(step))
                    });
                }
                if step.is_multiple_of((steps / 20).max(1)) {
                    records.push(Record::new(run, step, Split::Validation, loss(step) + 0.05));
                }
            }
            runs.push(RunSummary {
                optimizer,
                seed,
                steps,
                final_train_loss: loss(steps),
                final_val_loss: loss(steps) + 0.05,
                tokens_per_s: 25_000.0 - 100.0 * place as f64,
                step_ms_median: 40.0 + place as f64,
                optimizer_ms_median: 0.7 * place as f64,
                peak_rss_mb: Some(412.5),
                repairs: (place > 0).then_some(0),
                repairs_by_kind: (place > 0).then(Default::default),
            });
        }
    }
    let machine = Machine {
        cpu: Some("A <b>fast</b> processor".to_owned()),
        cores: 2,
        threads: 2,
        os: "linux x86_64".to_owned(),
        memory_mb: Some(8192),
    };
    let corpus = CorpusSummary {
        source: "crates".to_owned(),
        bytes: 33_554_432,
        documents: 4096,
        train_tokens: 9_000_000,
        validation_tokens: 450_000,
        vocabulary: 8192,
        checksum: "00ff".to_owned(),
    };
    Source {
        folder: PathBuf::from("runs/mha"),
        summary: Summary { runs, config, version: "0.1.0".to_owned(), machine },
        corpus: Some(corpus),
        records,
    }
}

fn html_of(source: Source) -> String {
    Report::new(vec![source]).unwrap().html().unwrap()
}

fn assert_sound(html: &str) {
    for tag in ["svg", "table", "figure", "main", "pre", "ul", "dl"] {
        let opened = html.matches(&format!("<{tag}")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "<{tag}> is not closed");
    }
    for external in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!html.contains(external), "the page must need nothing else: {external}");
    }
    assert_eq!(html.matches("http").count(), html.matches("http://www.w3.org/2000/svg").count());
    let drawings: Vec<&str> =
        html.split("<svg").skip(1).filter_map(|part| part.split("</svg>").next()).collect();
    for drawing in drawings {
        assert!(
            !drawing.contains("NaN") && !drawing.contains("inf"),
            "a figure has a coordinate that is not finite"
        );
    }
}

#[test]
fn a_whole_experiment_has_every_part() {
    let html = html_of(experiment(OptimizerName::ALL, &[0, 1, 2], 200));
    assert_sound(&html);
    assert_eq!(html.matches("<figure>").count(), 3);
    for part in [
        "Training loss",
        "Validation loss",
        "relative to AdamW",
        "Orthogonality",
        "Consistency of the gradients",
        "step",
        "nats per token",
    ] {
        assert!(html.contains(part), "{part} is missing");
    }
    for name in OptimizerName::NAMES {
        assert!(html.matches(name).count() >= 4, "{name} belongs in legends, table and configuration");
    }
    assert!(html.contains("A &lt;b&gt;fast&lt;/b&gt; processor"), "text from files is escaped");
    assert!(html.contains("--config runs/mha/config.toml"));
    assert!(html.contains("opacity=\"0.15\""), "three seeds span a band");
    assert!(!html.contains("class=\"warning\""));
}

#[test]
fn the_table_holds_the_paired_difference() {
    let mut source = experiment(&[OptimizerName::Adamw, OptimizerName::FixedQuotient], &[0, 1], 10);
    for (run, loss) in source.summary.runs.iter_mut().zip([4.0, 5.0, 3.5, 4.75]) {
        run.final_val_loss = loss;
    }
    // Per seed -0.5 and -0.25.
    assert!(html_of(source).contains("\u{2212}0.375 <small>\u{b1}\u{202f}0.177</small>"));
}

#[test]
fn without_adamw_or_with_one_run_the_page_says_what_is_missing() {
    let html = html_of(experiment(&[OptimizerName::PartialEmbedded], &[0], 30));
    assert_sound(&html);
    assert!(html.contains("Nothing to compare"));
    assert!(!html.contains("opacity=\"0.15\""), "one seed has no band");
    assert_sound(&html_of(experiment(&[OptimizerName::Adamw], &[7], 1)));
}

#[test]
fn a_diverged_run_is_reported_and_does_not_flatten_the_others() {
    let mut source = experiment(&[OptimizerName::Adamw, OptimizerName::FixedEmbedded], &[0], 100);
    for record in &mut source.records {
        if record.run.optimizer == OptimizerName::FixedEmbedded && record.step >= 40 {
            record.loss = if record.step < 60 { 1e4 } else { f64::NAN };
        }
    }
    source.summary.runs[1].final_val_loss = f64::NAN;
    source.summary.runs[1].steps = 60;
    let html = html_of(source);
    assert_sound(&html);
    assert!(html.contains("fixed-embedded seed 0 diverged: its loss is not finite at step 60."));
    assert!(html.contains("ended after 60 of 100 steps"));
    assert!(html.contains("not finite</td>"));
    let has_label = |label: &str| html.lines().any(|line| line.trim() == label);
    assert!(has_label("6") && !has_label("10000"), "the axis stays with the losses that a reader compares");
}

#[test]
fn losses_that_are_never_finite_and_empty_metrics_still_give_a_page() {
    let mut never = experiment(&[OptimizerName::Adamw, OptimizerName::FixedEmbedded], &[0], 20);
    for record in &mut never.records {
        record.loss = f64::NAN;
    }
    assert_sound(&html_of(never));

    let mut empty = experiment(OptimizerName::MHA, &[0], 20);
    empty.records.clear();
    empty.summary.runs.clear();
    let report = Report::new(vec![empty]).unwrap();
    let html = report.html().unwrap();
    assert_sound(&html);
    assert!(html.contains("No finite loss was recorded") && html.contains("6 run(s)"));
    assert!(report.curves_svg().unwrap().contains("No loss was recorded"));
}

#[test]
fn folders_merge_and_differences_and_duplicates_are_named() {
    let mut first = experiment(&[OptimizerName::Adamw], &[0], 20);
    let mut second = experiment(&[OptimizerName::FixedQuotient], &[0], 20);
    first.folder = PathBuf::from("a");
    second.folder = PathBuf::from("b");
    second.summary.config.momentum = 0.9;
    let html = Report::new(vec![first.clone(), second]).unwrap().html().unwrap();
    assert_sound(&html);
    assert!(html.contains("The folders differ in: momentum."));
    assert!(html.contains("relative to AdamW"));

    let again = Source { folder: PathBuf::from("c"), ..first.clone() };
    let message = Report::new(vec![first, again]).unwrap_err().to_string();
    assert!(message.contains("adamw seed 0 is in both a and c"), "{message}");
}

#[test]
fn the_same_runs_with_other_settings_stand_side_by_side_by_folder() {
    let both = [OptimizerName::Adamw, OptimizerName::FixedQuotient];
    let mut first = experiment(&both, &[0], 20);
    let mut second = experiment(&both, &[0], 20);
    first.folder = PathBuf::from("runs/still");
    second.folder = PathBuf::from("runs/moving");
    second.summary.config.momentum = 0.9;
    second.summary.config.model.kv_heads = 1;
    for (source, losses) in [(&mut first, [4.0, 3.5]), (&mut second, [5.0, 4.75])] {
        for (run, loss) in source.summary.runs.iter_mut().zip(losses) {
            run.final_val_loss = loss;
        }
    }
    let html = Report::new(vec![first, second]).unwrap().html().unwrap();
    assert_sound(&html);
    for label in [
        "adamw (runs/still)",
        "fixed-quotient (runs/moving)",
        "The folders differ in: model.kv_heads, momentum.",
        "4 heads with one key-value head",
        "experiment gqa --config",
    ] {
        assert!(html.contains(label), "{label}");
    }
    // Each minus the AdamW of its own folder.
    assert!(html.contains("\u{2212}0.500") && html.contains("\u{2212}0.250"), "{html}");
    assert_eq!(html.matches("<tr><th scope=\"row\">").count(), 4);
}

#[test]
fn a_folder_is_read_and_both_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let source = experiment(OptimizerName::ALL, &[0], 40);
    source.summary.write(folder.path()).unwrap();
    let missing = Report::from_folders(&[folder.path()]).unwrap_err().to_string();
    assert!(missing.contains("metrics.jsonl"), "{missing}");

    source.corpus.as_ref().unwrap().write(folder.path()).unwrap();
    MetricsWriter::create(&folder.path().join(METRICS_FILE)).unwrap().append(&source.records).unwrap();
    let report = Report::from_folders(&[folder.path()]).unwrap();
    report.write(folder.path()).unwrap();
    let html = std::fs::read_to_string(folder.path().join(REPORT_FILE)).unwrap();
    assert_sound(&html);
    assert_eq!(html, report.html().unwrap(), "a report is a function of its folder");
    let svg = std::fs::read_to_string(folder.path().join(CURVES_FILE)).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"));
}
