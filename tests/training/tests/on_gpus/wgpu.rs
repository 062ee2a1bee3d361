//! `wgpu`: the smoke preset's losses are the CPU's, and a warm step neither waits for the device nor asks
//! it for memory.

use crate::devices;
use lr_linalg::{Cpu, Wgpu};
use lr_train::{
    config::{ExperimentConfig, OptimizerName, Position, Preset, QkNorm},
    neural::Neural,
    train::trainer::{LossReading, Trainer},
};
use lr_training_tests::batch;

fn losses<B: Neural>(b: &B, config: &ExperimentConfig, optimizer: OptimizerName) -> Vec<f64> {
    let mut trainer = Trainer::new(b, config, optimizer, 7).unwrap();
    let mut losses = Vec::new();
    for step in 0..config.steps {
        trainer.differentiate(&batch(config, step));
        if trainer.keep_loss() == LossReading::Now {
            losses.extend(trainer.read_losses().unwrap());
        }
        trainer.update();
    }
    losses.extend(trainer.read_losses().unwrap());
    losses
}

/// Two f32 computations of one run, whose sums are added up in different orders, drift apart by a rounding
/// (`2^-24` of the loss, about 6) in each of a few hundred operations a step, amplified by what 8 steps of training
/// do to a perturbation: 1e-4 is that with a factor of ten to spare.
const TOLERANCE: f64 = 1e-4;

#[track_caller]
fn losses_agree(config: &ExperimentConfig) {
    let Some(b) = devices::wgpu() else { return };
    config.validate().unwrap();
    for &optimizer in &config.optimizers {
        let (expected, found) = (losses(&Cpu::<f32>::new(), config, optimizer), losses(b, config, optimizer));
        assert_eq!(found.len(), config.steps);
        for (step, (x, y)) in expected.iter().zip(&found).enumerate() {
            assert!((x - y).abs() <= TOLERANCE * x.abs(), "{optimizer}, step {step}: {y} instead of {x}");
        }
    }
}

#[test]
fn the_smoke_presets_losses_are_the_cpus() {
    let mut config = ExperimentConfig { momentum: 0.875, ..ExperimentConfig::preset(Preset::Smoke) };
    config.optimizers.extend([OptimizerName::Muon, OptimizerName::PreconditionedAdamw]);
    losses_agree(&config);
}

#[test]
fn those_of_grids_of_almost_low_rank_attention_are_too() {
    let mut config = ExperimentConfig { momentum: 0.875, ..ExperimentConfig::gqa(Preset::Smoke) };
    config.model.position = Position::Rope;
    config.model.qk_norm = QkNorm::On;
    // Here the loss is no function of the pairs' products. From gradients that contradict one another the embedded
    // geometry of fixed rank makes a step that depends on the gauge of its bases, which every backend picks for
    // itself: `Reference<f64>` and `Cpu<f64>` differ by 3e-3 after one step.
    config.optimizers.retain(|&optimizer| optimizer != OptimizerName::GridFixedEmbedded);
    losses_agree(&config);
}

#[test]
fn a_warm_step_neither_waits_nor_allocates() {
    if devices::wgpu().is_none() {
        return;
    }
    let config = ExperimentConfig { momentum: 0.875, ..ExperimentConfig::preset(Preset::Smoke) };
    let batch = batch(&config, 0);
    for &optimizer in &config.optimizers {
        // A device of its own: counters are the device's.
        let b = Wgpu::new(None).unwrap();
        let mut trainer = Trainer::new(&b, &config, optimizer, 7).unwrap();
        let mut step = || {
            trainer.differentiate(&batch);
            assert_eq!(trainer.keep_loss(), LossReading::Later);
            trainer.update();
        };
        (0..3).for_each(|_| step());
        let warm = b.counters();
        (0..3).for_each(|_| step());
        let now = b.counters();
        assert!(now.launches > warm.launches);
        assert_eq!(
            (now.allocations, now.downloads),
            (warm.allocations, warm.downloads),
            "{optimizer}: after {warm:?}"
        );
        assert_eq!(trainer.read_losses().unwrap().len(), 6);
    }
}
