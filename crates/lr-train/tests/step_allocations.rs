//! A warmed-up training step, from the batch to the moved parameters, allocates nothing on the CPU.

#[path = "../../../tests/support/counting_allocator.rs"]
mod counting_allocator;

use counting_allocator::assert_settles;
use lr_linalg::Cpu;
use lr_train::{
    config::{ExperimentConfig, OptimizerName, Preset},
    data::{IGNORE, TokenBatch},
    train::trainer::Trainer,
};

#[test]
fn a_warm_training_step_allocates_nothing() {
    let config = ExperimentConfig { momentum: 0.875, ..ExperimentConfig::preset(Preset::Smoke) };
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
        for optimizer in OptimizerName::MHA {
            let mut trainer = Trainer::new(&Cpu::<f32>::new(), &config, *optimizer, 0).unwrap();
            assert_settles(optimizer.as_str(), || {
                trainer.differentiate(&batch);
                trainer.update();
            });
        }
    });
}
