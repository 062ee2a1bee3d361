//! How long cells will take: one step of each kind of attention, timed, times the steps.

use super::{Cell, ProtocolError, Settings};
use crate::{
    data::TokenBatch,
    neural::Neural,
    train::{
        experiment::{OnDevice, on_device},
        trainer::Trainer,
    },
};
use std::time::{Duration, Instant};

/// A validation batch costs a forward pass: a third of a training step.
const FORWARD_SHARE: f64 = 1.0 / 3.0;
/// Steps are timed for at least this long, or one step.
const PROBE: Duration = Duration::from_millis(500);

/// Expected wall clock of `cells`: a step of one optimizer on each kind of attention is timed on made-up tokens,
/// on the threads that a cell gets, and `jobs` cells are taken to run at the same time undisturbed.
///
/// # Errors
/// [`ProtocolError`] when a model cannot be made.
pub fn estimate(settings: &Settings, cells: &[Cell]) -> Result<Duration, ProtocolError> {
    let (jobs, threads) = settings.jobs_and_threads();
    let base = &settings.base;
    let validations = (base.steps / base.validate_every + 1) * base.validation_batches;
    let steps_of_a_cell = base.steps as f64 + FORWARD_SHARE * validations as f64;
    let mut seconds = 0.0;
    for attention in &settings.attention {
        let mine = || cells.iter().filter(|cell| cell.attention == *attention);
        // The last one is a geometry where there is any: these are the slower ones.
        if let Some(cell) = mine().next_back() {
            let step = on_device(base, threads, Probe { settings, cell })??;
            seconds += step * steps_of_a_cell * mine().count() as f64;
        }
    }
    Ok(Duration::from_secs_f64(seconds / jobs as f64))
}

struct Probe<'a> {
    settings: &'a Settings,
    cell: &'a Cell,
}

impl OnDevice for Probe<'_> {
    type Output = Result<f64, ProtocolError>;

    /// Seconds of a step, after a first one that warms up.
    fn run<B: Neural>(self, b: &B) -> Self::Output {
        let config = self.cell.config(&self.settings.base);
        let failed =
            |source: crate::train::run::RunError| ProtocolError::Run { cell: self.cell.id(), source };
        let mut trainer =
            Trainer::new(b, &config, self.cell.optimizer, self.cell.seed).map_err(|e| failed(e.into()))?;
        let mut batch = TokenBatch::new(config.model.batch, config.model.sequence);
        for (place, (input, target)) in batch.inputs.iter_mut().zip(&mut batch.targets).enumerate() {
            *input = (place % config.model.vocabulary) as u32;
            *target = *input;
        }
        trainer.step(&batch).map_err(|e| failed(e.into()))?;
        let (started, mut steps) = (Instant::now(), 0);
        while steps == 0 || started.elapsed() < PROBE {
            trainer.step(&batch).map_err(|e| failed(e.into()))?;
            steps += 1;
        }
        Ok(started.elapsed().as_secs_f64() / f64::from(steps))
    }
}
