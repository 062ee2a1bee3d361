//! What tests of training share. They make a trainer for every backend and run it for a few tiny steps, so that this
//! package is built to be quick to build.

use lr_train::{
    config::ExperimentConfig,
    data::{IGNORE, TokenBatch},
};

/// A batch in which the next token follows from the one before, with ignored targets at the windows' ends; another for
/// every `step`.
pub fn batch(config: &ExperimentConfig, step: usize) -> TokenBatch {
    let (sequence, vocabulary) = (config.model.sequence, config.model.vocabulary as u32);
    let mut batch = TokenBatch::new(config.model.batch, sequence);
    let token = |t: usize| ((t + 131 * step) as u32 * 7919) % vocabulary;
    for (t, (input, target)) in batch.inputs.iter_mut().zip(&mut batch.targets).enumerate() {
        *input = token(t);
        *target = if (t + 1) % sequence == 0 { IGNORE } else { token(t + 1) };
    }
    batch
}
