//! Tests of planning, sharding, files and pages on made-up results.

use super::{
    plan::{Origin, PLAN_FILE, plan},
    *,
};
use crate::{
    config::{ExperimentConfig, Normalize, OptimizerName, Preset},
    train::{
        metrics::{Record, RunId, Split},
        output::{CorpusSummary, RunSummary, write_json},
    },
};
use std::{collections::BTreeSet, fs, path::Path};

fn settings(part: Part, out: &Path) -> Settings {
    let mut settings = Settings::preset(part, Preset::Smoke);
    settings.base.out = out.to_owned();
    settings
}

fn corpus() -> CorpusSummary {
    CorpusSummary {
        source: "crates".to_owned(),
        bytes: 1000,
        documents: 10,
        train_tokens: 200,
        validation_tokens: 20,
        vocabulary: 512,
        checksum: "00ff".to_owned(),
    }
}

/// A finished cell whose validation loss is `score` all along.
fn finished(settings: &Settings, cell: Cell, score: f64) -> CellResult {
    let run = RunId { optimizer: cell.optimizer, seed: cell.seed };
    let steps = settings.base.steps;
    let mut records: Vec<Record> =
        (0..=steps).map(|step| Record::new(run, step, Split::Validation, score)).collect();
    records.extend((1..=steps).map(|step| Record::new(run, step, Split::Train, score + 0.1)));
    let summary = RunSummary {
        optimizer: cell.optimizer,
        seed: cell.seed,
        steps,
        final_train_loss: score,
        final_val_loss: score,
        tokens_per_s: 1e4,
        step_ms_median: 5.0,
        optimizer_ms_median: 1.0,
        peak_rss_mb: None,
        repairs: None,
        repairs_by_kind: None,
    };
    let ending = match score.is_finite() {
        true => Ending::Finished,
        false => Ending::Diverged { reason: "made up".to_owned() },
    };
    CellResult::new(cell, cell.config(&settings.base), corpus(), ending, summary, &records)
}

/// Finishes every cell of a part with the loss that `score` gives it.
fn finish(settings: &Settings, baseline: Option<&Results>, score: impl Fn(&Cell) -> Option<f64>) {
    let plan = plan(settings, baseline);
    let folder = settings.folder();
    fs::create_dir_all(&folder).unwrap();
    write_json(&folder.join(PLAN_FILE), &plan).unwrap();
    for cell in plan.cells {
        if let Some(score) = score(&cell) {
            finished(settings, cell, score).write(&folder).unwrap();
        }
    }
}

/// Seeds differ by a tenth, optimizers by a hundredth, and the second rate is the best.
fn plausible(settings: &Settings, cell: &Cell) -> f64 {
    let off = (cell.lr_qkvo / settings.middle_rate(cell.optimizer)).log2();
    let place = OptimizerName::ALL.iter().position(|name| *name == cell.optimizer).unwrap();
    3.0 + 0.05 * off * off + 0.1 * cell.seed as f64 - 0.01 * place as f64
        + 0.001 * (cell.seed as f64).powi(2) * place as f64
}

fn read(settings: &Settings) -> Results {
    Results::read(&settings.folder(), settings.part).unwrap().unwrap()
}

#[test]
fn parts_have_the_cells_of_the_protocol() {
    let count = |part, preset| plan(&Settings::preset(part, preset), None).cells.len();
    // Two kinds of attention, six optimizers each, three seeds.
    assert_eq!(count(Part::Baseline, Preset::Small), 2 * 6 * 7 * 3);
    assert_eq!(count(Part::Baseline, Preset::Paper), 2 * 6 * 9 * 3);
    // AdamW once; five geometries with 1 + 7, the two embedded ones with 3 more.
    assert_eq!(count(Part::Normalization, Preset::Small), 2 * (1 + 5 * 8 + 2 * 3) * 3);
    assert_eq!(count(Part::Momentum, Preset::Small), 2 * (3 + 5 * 9) * 3);
    assert_eq!(count(Part::Scaling, Preset::Small), 2 * 6 * 2);
    assert_eq!(count(Part::Scaling, Preset::Paper), 2 * 6);

    let momentum = plan(&Settings::preset(Part::Momentum, Preset::Small), None).cells;
    let of = |optimizer| -> BTreeSet<String> {
        momentum
            .iter()
            .filter(|cell| cell.optimizer == optimizer && cell.seed == 0)
            .map(|cell| format!("{} {}", cell.momentum, cell.lr_qkvo))
            .collect()
    };
    let expected = |momenta: &[f64], middle: f64| -> BTreeSet<String> {
        let rates = [middle / 2.0, middle, middle * 2.0];
        momenta.iter().flat_map(|nu| rates.map(|rate| format!("{nu} {rate}"))).collect()
    };
    assert_eq!(of(OptimizerName::FixedQuotient), expected(&[0.0, 0.125, 0.875], 0.125));
    assert_eq!(of(OptimizerName::Adamw), expected(&[0.0], 2f64.powi(-8)));
}

#[test]
fn cells_have_names_of_their_own_and_valid_configurations() {
    for &part in Part::ALL {
        for &preset in Preset::ALL {
            let settings = Settings::preset(part, preset);
            settings.validate().unwrap();
            let cells = plan(&settings, None).cells;
            let names: BTreeSet<String> = cells.iter().map(Cell::id).collect();
            assert_eq!(names.len(), cells.len());
            assert!(names.iter().all(|name| !name.contains(['/', '\\', ' ', ':'])), "{names:?}");
            for cell in cells {
                cell.config(&settings.base).validate().unwrap();
            }
        }
    }
    let cell = plan(&Settings::preset(Part::Baseline, Preset::Paper), None).cells[0];
    assert_eq!(cell.id(), "mha-adamw-metric-nu0-lr2p-16-seed0");
}

#[test]
fn shards_share_all_cells_out() {
    let cells = plan(&Settings::preset(Part::Baseline, Preset::Small), None).cells;
    for count in [1, 2, 3, 7, 300] {
        let mut dealt: Vec<Cell> = Vec::new();
        for index in 1..=count {
            let shard: Shard = format!("{index}/{count}").parse().unwrap();
            let mine = shard.of(&cells);
            assert!(mine.iter().all(|cell| !dealt.contains(cell)), "{shard} takes what another has");
            assert!(mine.len().abs_diff(cells.len() / count) <= 1);
            dealt.extend(mine);
        }
        assert_eq!(dealt.len(), cells.len());
    }
    for wrong in ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2", ""] {
        let message = wrong.parse::<Shard>().unwrap_err().to_string();
        assert!(message.contains(wrong) && message.contains("i/n"), "{message}");
    }
}

#[test]
fn settings_that_leave_nothing_to_run_are_refused() {
    let mut settings = Settings::preset(Part::Baseline, Preset::Smoke);
    settings.optimizers = vec![OptimizerName::FixedEmbedded];
    let message = settings.validate().unwrap_err().to_string();
    assert!(message.contains("gqa") && message.contains("grid-fixed-embedded"), "{message}");
    settings.attention = vec![Attention::Mha];
    settings.validate().unwrap();
    settings.attention.clear();
    assert!(settings.validate().unwrap_err().to_string().contains("attention"));
}

#[test]
fn later_parts_build_on_a_complete_baseline_only() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = settings(Part::Baseline, folder.path());
    let middle = baseline.middle_rate(OptimizerName::FixedQuotient);
    let best_is_high = |cell: &Cell| 3.0 - (cell.lr_qkvo / baseline.middle_rate(cell.optimizer)).log2();
    let hole = |cell: &Cell| {
        let missing =
            cell.optimizer == OptimizerName::FixedEmbedded && cell.seed == 1 && cell.lr_qkvo > middle;
        (!missing).then(|| best_is_high(cell))
    };
    finish(&baseline, None, hole);
    let results = read(&baseline);
    let scaling = plan(&settings(Part::Scaling, folder.path()), Some(&results));
    for rate in scaling.rates {
        let (factor, origin) = match rate.optimizer {
            OptimizerName::FixedEmbedded => (1.0, Origin::Default),
            _ => (2.0, Origin::Baseline),
        };
        assert_eq!((rate.lr_qkvo, rate.origin), (factor * baseline.middle_rate(rate.optimizer), origin));
    }
    assert_eq!(results.missing(), 1);
}

#[test]
fn a_baseline_of_another_model_is_not_built_on() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = settings(Part::Baseline, folder.path());
    finish(&baseline, None, |_| Some(3.0));
    let mut scaling = settings(Part::Scaling, folder.path());
    session::look(&scaling, Shard::WHOLE).unwrap();
    scaling.base.model.d_ff *= 2;
    let message = session::look(&scaling, Shard::WHOLE).unwrap_err().to_string();
    assert!(message.contains("baseline") && message.contains("`model.d_ff` is 32"), "{message}");
}

#[test]
fn a_rate_with_a_diverged_seed_is_never_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Part::Baseline, folder.path());
    finish(&settings, None, |cell| {
        let factor = cell.lr_qkvo / settings.middle_rate(cell.optimizer);
        Some(if factor > 1.0 && cell.seed == 1 { f64::INFINITY } else { 3.0 - factor })
    });
    let tuned = read(&settings).tuned_rate(Attention::Mha, OptimizerName::Adamw);
    assert_eq!(tuned, Some(settings.middle_rate(OptimizerName::Adamw)));
}

#[test]
fn a_result_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Part::Baseline, folder.path());
    let cells = plan(&settings, None).cells;
    for (cell, score) in [(cells[0], 3.25), (cells[1], f64::INFINITY)] {
        let result = finished(&settings, cell, score);
        result.write(&settings.folder()).unwrap();
        let again = CellResult::read(&CellResult::path(&settings.folder(), &cell)).unwrap();
        assert_eq!((again.score(), again.cell, &again.ending), (score, cell, &result.ending));
        assert_eq!(again.config, result.config);
    }
}

#[test]
fn damaged_renamed_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Part::Baseline, folder.path());
    finish(&settings, None, |cell| Some(plausible(&settings, cell)));
    let cells = plan(&settings, None).cells;
    let path = CellResult::path(&settings.folder(), &cells[0]);
    let good = fs::read_to_string(&path).unwrap();
    let message = |settings: &Settings| session::look(settings, Shard::WHOLE).unwrap_err().to_string();
    let read = || Results::read(&settings.folder(), Part::Baseline).unwrap_err().to_string();

    for bad in ["", "{}", &good[..good.len() / 2]] {
        fs::write(&path, bad).unwrap();
        for message in [message(&settings), read()] {
            assert!(message.contains(&cells[0].id()) && message.contains("delete it"), "{message}");
        }
    }
    let mut value: serde_json::Value = serde_json::from_str(&good).unwrap();
    value["config"]["momentum"] = 0.5.into();
    fs::write(&path, value.to_string()).unwrap();
    for message in [message(&settings), read()] {
        assert!(message.contains("`momentum` is 0.5 there, but 0.0 follows from its name"), "{message}");
    }
    let other = CellResult::path(&settings.folder(), &cells[1]);
    fs::copy(&other, &path).unwrap();
    assert!(message(&settings).contains(&format!("it holds the cell {}", cells[1].id())));

    fs::write(&path, good.replace("\"layers\":2", "\"layers\":3").replace("\"layers\": 2", "\"layers\": 3"))
        .unwrap();
    for message in [message(&settings), read()] {
        assert!(message.contains("`model.layers` is") && message.contains("--out"), "{message}");
    }
    fs::write(&path, good.replace("00ff", "ff00")).unwrap();
    assert!(read().contains("corpus checksum"), "{}", read());
    fs::write(&path, &good).unwrap();

    let mut asked = settings.clone();
    asked.base.lr_other *= 2.0;
    assert!(message(&asked).contains("`lr_other` is"), "{}", message(&asked));
    asked = settings.clone();
    asked.set_steps(99);
    assert!(message(&asked).contains("`steps` is 8"), "{}", message(&asked));
}

#[test]
fn finished_cells_are_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Part::Baseline, folder.path());
    finish(&settings, None, |cell| (cell.seed == 0).then_some(3.0));
    let outlook = session::look(&settings, Shard::WHOLE).unwrap();
    assert_eq!(outlook.todo.len() * 2, outlook.mine.len());
    assert!(outlook.todo.iter().all(|cell| cell.seed == 1));
}

fn pages(folder: &Path, part: Part) -> (String, String) {
    write_pages(folder).unwrap();
    let read = |name| fs::read_to_string(folder.join(part.as_str()).join(name)).unwrap();
    (read("report.html"), read("report.md"))
}

#[test]
fn every_part_renders_with_cells_missing_and_diverged() {
    let folder = tempfile::tempdir().unwrap();
    for &part in Part::ALL {
        let settings = settings(part, folder.path());
        finish(&settings, None, |cell| {
            let broken = cell.optimizer == OptimizerName::PartialQuotient;
            let missing = cell.optimizer == OptimizerName::GridFixedEmbedded && cell.seed == 1;
            (!missing).then(|| if broken { f64::INFINITY } else { plausible(&settings, cell) })
        });
        let (html, markdown) = pages(folder.path(), part);
        for text in [&html, &markdown] {
            assert!(text.contains("planned cells have no result yet"), "{part}");
            assert!(text.contains("partial-quotient diverged in"), "{part}");
            assert!(text.contains("MHA") || text.contains("mha"));
        }
        assert!(html.contains("<svg") && !html.contains("NaN") && !html.contains("#FED"), "{part}");
        assert!(markdown.contains("| optimizer |") && markdown.contains("**"), "{part}");
    }
    let index = fs::read_to_string(folder.path().join(INDEX_FILE)).unwrap();
    assert_eq!(index.matches("<h1>").count(), 4);
}

#[test]
fn the_baseline_table_holds_score_sigma_and_paired_difference() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Part::Baseline, folder.path());
    settings.attention = vec![Attention::Mha];
    settings.optimizers = vec![OptimizerName::Adamw, OptimizerName::FixedQuotient];
    finish(&settings, None, |cell| {
        let off = (cell.lr_qkvo / settings.middle_rate(cell.optimizer)).log2().abs();
        let base = match (cell.optimizer, cell.seed) {
            (OptimizerName::Adamw, 0) => 4.0,
            (OptimizerName::Adamw, _) => 5.0,
            (_, 0) => 3.5,
            (_, _) => 4.75,
        };
        Some(base + off)
    });
    let (html, markdown) = pages(folder.path(), Part::Baseline);
    let row = "| fixed-quotient | 2\u{207b}\u{2078} | 2 | **4.125 \u{b1} 0.884** | \u{2212}0.375 \u{b1} 0.177 | \u{2212}2.1 |";
    assert!(markdown.contains(row), "{markdown}");
    assert!(markdown.contains("1 are better and 0 are worse"), "{markdown}");
    let command = "--part baseline --preset smoke --attention mha --optimizers adamw,fixed-quotient";
    assert!(markdown.contains(&format!("{command}\n")), "{markdown}");
    assert!(markdown.contains("do not conclusively outperform"));
    assert!(!html.contains("better one may lie outside"), "the best rates are in the middle");
}

#[test]
fn a_best_rate_at_the_edge_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Part::Baseline, folder.path());
    finish(&settings, None, |cell| Some(3.0 - (cell.lr_qkvo / settings.middle_rate(cell.optimizer)).log2()));
    let (html, _) = pages(folder.path(), Part::Baseline);
    assert_eq!(html.matches("is the highest of those tried").count(), 12);
}

#[test]
fn shards_of_two_machines_merge_and_other_settings_do_not() {
    let (here, there, out) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, mut second) = (settings(Part::Scaling, here.path()), settings(Part::Scaling, there.path()));
    finish(&first, None, |cell| (cell.seed == 0).then_some(3.0));
    finish(&second, None, |_| Some(3.0));
    write_merged(&[here.path(), there.path()], out.path()).unwrap();
    let markdown = fs::read_to_string(out.path().join("scaling").join(MARKDOWN_FILE)).unwrap();
    assert!(!markdown.contains("no result yet"), "{markdown}");

    fs::remove_dir_all(second.folder()).unwrap();
    second.base.warmup_steps += 1;
    finish(&second, None, |_| Some(3.0));
    let message = write_merged(&[here.path(), there.path()], out.path()).unwrap_err().to_string();
    assert!(message.contains("`warmup_steps` is 11"), "{message}");
}

#[test]
fn normalizations_are_compared_at_their_own_rates() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Part::Normalization, folder.path());
    finish(&settings, None, |cell| {
        Some(match cell.normalize {
            Normalize::None => {
                3.5 + (cell.lr_qkvo / (16.0 * settings.middle_rate(cell.optimizer))).log2().abs()
            }
            Normalize::Metric => 3.25,
            Normalize::Spectral => 3.0 + cell.lr_qkvo,
            other => panic!("{other} is no part of the protocol"),
        })
    });
    let (_, markdown) = pages(folder.path(), Part::Normalization);
    let line = markdown.lines().find(|line| line.starts_with("| fixed-embedded | 3.5")).unwrap();
    assert!(line.contains("3.500 \u{b1} 0.000 at 2\u{207b}\u{2074}"), "{line}");
    assert!(line.contains("**3.001 \u{b1} 0.000 at 2\u{207b}\u{b9}\u{2070}**"), "{line}");
    assert!(line.contains("\u{2212}0.250"), "{line}");
    let line = markdown.lines().find(|line| line.starts_with("| fixed-quotient | 3.5")).unwrap();
    assert!(line.contains("| **3.250 \u{b1} 0.000 at 2\u{207b}\u{2078}** | \u{2013} |"), "{line}");
}

#[test]
fn momenta_are_compared_at_their_best_rates() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Part::Momentum, folder.path());
    finish(&settings, None, |cell| {
        let factor = cell.lr_qkvo / settings.middle_rate(cell.optimizer);
        // The larger the momentum the smaller the best rate.
        let best_factor = if cell.momentum > 0.5 { 0.5 } else { 1.0 };
        Some(4.0 - cell.momentum + (factor / best_factor).log2().abs())
    });
    let (_, markdown) = pages(folder.path(), Part::Momentum);
    let row = "| fixed-quotient | 4.000 \u{b1} 0.000 at 2\u{207b}\u{2078} | 3.875 \u{b1} 0.000 at 2\u{207b}\u{2078} \
               | **3.125 \u{b1} 0.000 at 2\u{207b}\u{2079}** | \u{2212}0.875 |";
    assert!(markdown.contains(row), "{markdown}");
    assert!(
        markdown.contains("| 0, \u{d7}2\u{207b}\u{b9} |") && markdown.contains("| 7/8, \u{d7}2\u{b9} |"),
        "{markdown}"
    );
}

#[test]
fn a_base_of_another_preset_is_not_mistaken() {
    let shared = |config: &ExperimentConfig| (config.model, config.steps);
    let paper = Settings::preset(Part::Baseline, Preset::Paper);
    assert_eq!(shared(&paper.base), shared(&ExperimentConfig::preset(Preset::Paper)));
    assert_eq!(paper.rates(OptimizerName::Adamw)[4], 2f64.powi(-12));
    assert_eq!(paper.rates(OptimizerName::GridPartialCanonical)[4], 2f64.powi(-8));
}
