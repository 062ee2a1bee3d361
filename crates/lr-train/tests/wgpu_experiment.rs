//! A whole experiment with `device = "wgpu"`: the records of the CPU's run, in order and none missing, though losses
//! are read from the device a few steps at a time.
#![cfg(feature = "wgpu")]

#[path = "../../lr-linalg/tests/common/devices.rs"]
mod devices;

use lr_train::{
    config::{Device, ExperimentConfig, OptimizerName, Preset},
    train::{
        experiment::{self, Completion, Start},
        metrics::{METRICS_FILE, Record, read_metrics},
        run::Event,
    },
};
use std::{path::Path, sync::atomic::AtomicBool};

fn corpus(folder: &Path) -> String {
    let corpus = folder.join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    for document in 0..24 {
        let words: Vec<String> = (0..300).map(|k| format!("word{}", (k * k + document) % 41)).collect();
        std::fs::write(corpus.join(format!("{document:02}.txt")), words.join(" ")).unwrap();
    }
    corpus.display().to_string()
}

/// The records, and the steps that the watcher was told.
fn run(config: &ExperimentConfig) -> (Vec<Record>, Vec<usize>) {
    let mut told = Vec::new();
    let outcome = experiment::run(config, Start::Fresh, &AtomicBool::new(false), &mut |notice| {
        if let experiment::Notice::Run(Event::Stepped { step, .. }) = notice {
            told.push(step);
        }
    });
    assert_eq!(outcome.unwrap().completion, Completion::Complete);
    (read_metrics(&config.out.join(METRICS_FILE)).unwrap(), told)
}

#[test]
fn an_experiment_on_wgpu_leaves_the_cpus_records() {
    if devices::wgpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path());
    // Observations, validations and the end come at different steps.
    let config = |device, out: &str| ExperimentConfig {
        optimizers: vec![OptimizerName::Adamw, OptimizerName::FixedQuotient, OptimizerName::PartialCanonical],
        corpus: corpus.clone(),
        out: folder.path().join(out),
        steps: 11,
        observe_every: 5,
        validate_every: 4,
        device,
        ..ExperimentConfig::preset(Preset::Smoke)
    };
    let (expected, told) = run(&config(Device::Cpu, "cpu"));
    let (found, told_too) = run(&config(Device::Wgpu(None), "wgpu"));
    assert_eq!(told, told_too);
    assert_eq!(found.len(), expected.len());
    for (x, y) in expected.iter().zip(&found) {
        assert_eq!((x.run, x.step, x.split), (y.run, y.step, y.split));
        assert!(
            (x.loss - y.loss).abs() <= 1e-4 * x.loss,
            "{} step {}: {} and {}",
            x.run,
            x.step,
            x.loss,
            y.loss
        );
        assert_eq!(x.grad_norm.is_some(), y.grad_norm.is_some());
        assert!(y.step_ms.is_some() == x.step_ms.is_some());
    }
}
