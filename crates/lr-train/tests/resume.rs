//! A run that is stopped before its first step goes on as if it had not been: one validation of the start, and the
//! numbers of a run without a stop.

use lr_train::{
    config::{ExperimentConfig, OptimizerName, Preset},
    train::{
        experiment::{self, Completion, Start},
        metrics::{METRICS_FILE, Record, Split, read_metrics},
    },
};
use std::{path::Path, sync::atomic::AtomicBool};

fn config(folder: &Path, out: &str) -> ExperimentConfig {
    ExperimentConfig {
        optimizers: vec![OptimizerName::FixedQuotient],
        corpus: folder.join("corpus").display().to_string(),
        out: folder.join(out),
        ..ExperimentConfig::preset(Preset::Smoke)
    }
}

fn losses(config: &ExperimentConfig) -> Vec<(usize, Split, f64)> {
    let records: Vec<Record> = read_metrics(&config.out.join(METRICS_FILE)).unwrap();
    records.into_iter().map(|r| (r.step, r.split, r.loss)).collect()
}

#[test]
fn a_run_stopped_before_its_first_step_is_validated_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("corpus")).unwrap();
    for document in 0..24 {
        let words: Vec<String> = (0..300).map(|k| format!("word{}", (k * k + document) % 41)).collect();
        let file = folder.path().join("corpus").join(format!("{document:02}.txt"));
        std::fs::write(file, words.join(" ")).unwrap();
    }
    let run = |config: &ExperimentConfig, start, stop: bool| {
        experiment::run(config, start, &AtomicBool::new(stop), &mut |_| {}).unwrap().completion
    };
    let (whole, cut) = (config(folder.path(), "whole"), config(folder.path(), "cut"));
    assert_eq!(run(&whole, Start::Fresh, false), Completion::Complete);
    assert_eq!(run(&cut, Start::Fresh, true), Completion::Interrupted);
    assert_eq!(losses(&cut).len(), 1, "the start alone");
    assert_eq!(run(&cut, Start::Resume, false), Completion::Complete);
    assert_eq!(losses(&cut), losses(&whole));
}
