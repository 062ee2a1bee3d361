//! `cuda`: the same losses as on the CPU, to the rounding of f32, and steps that neither allocate on the
//! device nor copy anything back.

use crate::devices;
use lr_linalg::Cpu;
use lr_train::{
    config::{ExperimentConfig, ModelConfig, OptimizerName, Position, Precision, Preset, QkNorm},
    neural::Neural,
    train::trainer::Trainer,
};
use lr_training_tests::batch;

const STEPS: usize = 3;

/// The loss before each step and after the last.
fn losses<B: Neural>(b: &B, config: &ExperimentConfig, optimizer: OptimizerName) -> Vec<f64> {
    config.validate().unwrap();
    let mut trainer = Trainer::new(b, config, optimizer, 1).unwrap();
    let mut losses: Vec<f64> = (0..STEPS).map(|step| trainer.step(&batch(config, step)).unwrap().0).collect();
    losses.push(trainer.evaluate(&batch(config, 0)).unwrap());
    losses
}

/// Steps of half their usual peak, at once, so that what the optimizers do shows in the losses.
fn configuration(optimizer: OptimizerName) -> ExperimentConfig {
    let base = if optimizer.is_grid() { ExperimentConfig::gqa } else { ExperimentConfig::preset };
    let base = base(Preset::Smoke);
    ExperimentConfig { warmup_steps: 0, lr_other: 0.01, lr_qkvo: Some(0.02), ..base }
}

#[track_caller]
fn assert_trains_alike<B: Neural>(b: &B, config: &ExperimentConfig, optimizer: OptimizerName) {
    let expected = losses(&Cpu::<f32>::new(), config, optimizer);
    let actual = losses(b, config, optimizer);
    assert!(expected.iter().any(|x| (x - expected[0]).abs() > 1e-3), "{optimizer}: the steps do nothing");
    for (step, (e, a)) in expected.iter().zip(&actual).enumerate() {
        // Roundings of f32 grow with every step that follows them, and most where AdamW divides by the root of a
        // second moment that is a rounding itself.
        assert!((e - a).abs() <= 2e-5 * e.abs(), "{optimizer}, loss {step}: {a} instead of {e}");
    }
}

#[test]
fn every_optimizer_trains_as_on_the_cpu() {
    let Some(b) = devices::cuda::<f32>() else { return };
    for &optimizer in OptimizerName::ALL {
        assert_trains_alike(&b, &configuration(optimizer), optimizer);
    }
}

/// The loss of a batch and the length of the attention pairs' gradients.
fn first_pass<B: Neural>(b: &B, config: &ExperimentConfig) -> [f64; 2] {
    config.validate().unwrap();
    let mut trainer = Trainer::new(b, config, OptimizerName::FixedEmbedded, 1).unwrap();
    trainer.differentiate(&batch(config, 0));
    [trainer.last_loss().unwrap(), trainer.measure().unwrap().gradient_norm]
}

/// One pass only: steps along gradients that are small differences, as behind a norm, spread roundings at once.
#[test]
fn every_kind_of_model_has_the_gradients_of_the_cpu() {
    let Some(b) = devices::cuda::<f32>() else { return };
    let base = configuration(OptimizerName::FixedEmbedded);
    let model = base.model;
    let turned = ModelConfig { position: Position::Rope, qk_norm: QkNorm::On, ..model };
    let odd = ModelConfig { sequence: 37, vocabulary: 301, batch: 3, ..model };
    for (precision, model) in [(Precision::F32, turned), (Precision::F32, odd), (Precision::Bf16, model)] {
        let config = ExperimentConfig { precision, model, ..base.clone() };
        let (expected, actual) = (first_pass(&Cpu::<f32>::new(), &config), first_pass(&b, &config));
        for (e, a) in expected.iter().zip(actual) {
            assert!((e - a).abs() <= 1e-4 * e.abs(), "{config:?}: {actual:?} instead of {expected:?}");
        }
    }
}

#[test]
fn a_step_allocates_nothing_and_copies_nothing_back() {
    let Some(b) = devices::cuda::<f32>() else { return };
    for optimizer in [OptimizerName::Adamw, OptimizerName::FixedEmbedded, OptimizerName::GridPartialCanonical]
    {
        let config = configuration(optimizer);
        let batch = batch(&config, 0);
        let mut trainer = Trainer::new(&b, &config, optimizer, 1).unwrap();
        for _ in 0..2 {
            trainer.step(&batch).unwrap();
        }
        let before = b.counters();
        for _ in 0..2 {
            trainer.differentiate(&batch);
            trainer.update();
        }
        let after = b.counters();
        assert_eq!(
            (after.allocations, after.downloads),
            (before.allocations, before.downloads),
            "{optimizer}"
        );
        assert!(after.launches > before.launches);
        assert!(trainer.last_loss().unwrap().is_finite());
    }
}
