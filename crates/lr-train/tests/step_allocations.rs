//! A warmed-up training step, from the batch to the moved parameters, allocates nothing on the CPU.

#[path = "../../../tests/support/counting_allocator.rs"]
mod counting_allocator;

use counting_allocator::assert_settles;
use lr_linalg::Cpu;
use lr_train::{
    config::{
        Cadence, ExperimentConfig, FixedRetraction, GradientRepair, MomentumRepair, OptimizerName, Position,
        Preset, QkNorm, RankGuard, Retraction,
    },
    data::{IGNORE, TokenBatch},
    train::trainer::Trainer,
};

/// Steps of every optimizer of `config`, on a fixed batch.
#[track_caller]
fn assert_steps_settle(config: &ExperimentConfig) {
    config.validate().unwrap();
    let (sequence, vocabulary) = (config.model.sequence, config.model.vocabulary as u32);
    let mut batch = TokenBatch::new(config.model.batch, sequence);
    for (t, token) in batch.inputs.iter_mut().enumerate() {
        *token = (t as u32 * 7919) % vocabulary;
    }
    for (t, target) in batch.targets.iter_mut().enumerate() {
        *target = if (t + 1) % sequence == 0 { IGNORE } else { (t as u32 * 104_729) % vocabulary };
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        for optimizer in &config.optimizers {
            let mut trainer = Trainer::new(&Cpu::<f32>::new(), config, *optimizer, 0).unwrap();
            assert_settles(optimizer.as_str(), || {
                trainer.differentiate(&batch);
                trainer.update();
            });
        }
    });
}

#[test]
fn a_warm_training_step_allocates_nothing() {
    let mut config = ExperimentConfig { momentum: 0.875, ..ExperimentConfig::preset(Preset::Smoke) };
    config.optimizers.extend([OptimizerName::Muon, OptimizerName::PreconditionedAdamw]);
    assert_steps_settle(&config);
}

#[test]
fn neither_does_one_on_grids_of_almost_low_rank_attention_with_every_repair() {
    let mut config = ExperimentConfig {
        momentum: 0.875,
        retraction: Retraction::Cayley,
        fixed_retraction: FixedRetraction::Orthographic,
        reorthogonalize: Cadence::WhenDefect { tolerance: 1e-6 },
        momentum_repair: MomentumRepair::Project,
        gradient_repair: Some(GradientRepair::LeastSquares),
        rank_guard: RankGuard::Limit { share: 0.5 },
        ..ExperimentConfig::gqa(Preset::Smoke)
    };
    config.model.position = Position::Rope;
    config.model.qk_norm = QkNorm::On;
    assert_steps_settle(&config);
}
