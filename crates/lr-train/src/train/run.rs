//! One run: training steps, validation, observation, checkpoints, and a clean stop on request.

use super::{
    checkpoint::{Checkpoint, History, remove_checkpoint},
    metrics::{MetricsWriter, Record, RunId, Split},
    output::{OutputError, RunSummary, peak_rss_mb},
    repairs::Repairs,
    trainer::{LossReading, StepTime, Trainer},
};
use crate::{
    config::ExperimentConfig,
    data::{Batches, Loader, TokenBatch},
    neural::Neural,
};
use lr_linalg::DeviceError;
use lr_optim::{BankMeasures, OptimError, StateError};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Training losses that the final one is the mean of, at most.
pub const FINAL_WINDOW: usize = 50;

/// Wall clock between checkpoints of a run that nobody interrupts.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(600);

/// What ends a run early or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The optimizer cannot follow the configuration, or memory is short.
    #[error(transparent)]
    Optimizer(#[from] OptimError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A file cannot be written or read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A checkpoint does not fit the run.
    #[error("the checkpoint of {run} does not fit: {source}")]
    State {
        /// Which run.
        run: RunId,
        /// What does not fit.
        source: StateError,
    },
    /// A checkpoint was made on other data.
    #[error(
        "the checkpoint of {run} was trained with another vocabulary; restore the corpus, or start \
         again without --resume"
    )]
    Vocabulary {
        /// Which run.
        run: RunId,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All steps were taken.
    Finished(RunSummary),
    /// The loss or a factorization broke down; the summary says how far it came.
    Diverged {
        /// What was reached.
        summary: RunSummary,
        /// What broke, where, and what helps.
        reason: String,
    },
    /// The stop flag was raised; a checkpoint lies in the output folder.
    Interrupted {
        /// Steps taken.
        step: usize,
    },
}

/// What a run tells whoever watches it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A run begins, at step `from` of `steps`.
    Started {
        /// Which run.
        run: RunId,
        /// Steps already taken by an earlier session.
        from: usize,
        /// Steps in all.
        steps: usize,
    },
    /// A step was taken.
    Stepped {
        /// Steps taken.
        step: usize,
        /// Training loss of the step, nats a token.
        loss: f64,
        /// Tokens of a step.
        tokens: usize,
        /// Wall clock of the step.
        time: Duration,
    },
    /// The validation loss was measured.
    Validated {
        /// Steps taken.
        step: usize,
        /// Mean loss, nats a token.
        loss: f64,
    },
}

/// What a run needs from the experiment around it.
pub struct Surroundings<'a> {
    /// The configuration.
    pub config: &'a ExperimentConfig,
    /// Output folder.
    pub out: &'a Path,
    /// Where records go.
    pub metrics: &'a mut MetricsWriter,
    /// Raised when the user asks to stop.
    pub stop: &'a AtomicBool,
    /// Told what happens.
    pub watch: &'a mut dyn FnMut(Event),
}

/// One run in progress.
struct Run<'a, 'b, B: Neural> {
    id: RunId,
    around: &'a mut Surroundings<'b>,
    trainer: Trainer<B>,
    history: History,
    repairs: Option<Repairs>,
    last_validation: f64,
    unsettled: Vec<Unsettled>,
    /// When the first unsettled step began.
    since: Instant,
}

/// A step whose loss is still on the device.
struct Unsettled {
    /// All of it but the loss and the time of the step.
    record: Record,
    time: StepTime,
    observed: Option<BankMeasures>,
}

/// Trains `id.optimizer` from `id.seed`, continuing from `checkpoint` if there is one.
///
/// # Errors
/// [`RunError`]. A run that diverges is no error: it ends as [`Ending::Diverged`].
pub fn run<B: Neural>(
    b: &B,
    id: RunId,
    loader: &mut Loader,
    checkpoint: Option<Checkpoint<B::Elem>>,
    around: &mut Surroundings<'_>,
) -> Result<Ending, RunError> {
    let mut trainer = Trainer::new(b, around.config, id.optimizer, id.seed)?;
    let mut history = History::default();
    let beginning = if checkpoint.is_some() { Beginning::Checkpoint } else { Beginning::Initialization };
    if let Some(checkpoint) = checkpoint {
        if checkpoint.vocabulary != loader.vocabulary.fingerprint() {
            return Err(RunError::Vocabulary { run: id });
        }
        trainer.load(&checkpoint.state).map_err(|source| RunError::State { run: id, source })?;
        history = checkpoint.history;
    }
    let repairs = id.optimizer.counts_repairs().then(Repairs::default);
    let mut run = Run {
        id,
        around,
        trainer,
        history,
        repairs,
        last_validation: f64::NAN,
        unsettled: Vec::new(),
        since: Instant::now(),
    };
    run.go(loader, beginning)
}

/// Where a session finds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// Nothing has been recorded.
    Initialization,
    /// An earlier session has recorded what came before, the validation of the start included, even if it took
    /// no step.
    Checkpoint,
}

impl<B: Neural> Run<'_, '_, B> {
    fn go(&mut self, loader: &mut Loader, beginning: Beginning) -> Result<Ending, RunError> {
        let config = self.around.config;
        let (steps, mut step) = (config.steps, self.trainer.steps() as usize);
        let mut batch = TokenBatch::new(config.model.batch, config.model.sequence);
        let mut saved = Instant::now();
        (self.around.watch)(Event::Started { run: self.id, from: step, steps });
        if beginning == Beginning::Initialization {
            self.validate(0, &mut loader.validation, &mut batch)?;
        }
        while step < steps {
            let stop = self.around.stop.load(Ordering::Relaxed);
            let checkpoint = stop || saved.elapsed() > CHECKPOINT_EVERY;
            if checkpoint {
                if let Some(reason) = self.settle()? {
                    return Ok(Ending::Diverged { summary: self.summary(), reason });
                }
                self.write_checkpoint(loader)?;
                saved = Instant::now();
            }
            if stop {
                return Ok(Ending::Interrupted { step });
            }
            loader.training.fill(step, &mut batch);
            let reading = self.train(step, &batch)?;
            step += 1;
            let validate = step.is_multiple_of(config.validate_every) || step == steps;
            if (validate || reading == LossReading::Now)
                && let Some(reason) = self.settle()?
            {
                return Ok(Ending::Diverged { summary: self.summary(), reason });
            }
            if validate {
                self.validate(step, &mut loader.validation, &mut batch)?;
            }
        }
        // The last update comes after the last observation: what it broke would go unnoticed.
        let measures = self.trainer.measure()?;
        self.count_repairs(&measures);
        let reason = self.breakdown("validation", step, self.last_validation, Some(&measures));
        remove_checkpoint(self.around.out, self.id)?;
        let summary = self.summary();
        Ok(match reason {
            Some(reason) => Ending::Diverged { summary, reason },
            None => Ending::Finished(summary),
        })
    }

    /// Takes the step after `taken` others, to be recorded by [`Run::settle`].
    fn train(&mut self, taken: usize, batch: &TokenBatch) -> Result<LossReading, RunError> {
        let config = self.around.config;
        let rate = self.trainer.attention_rate();
        let started = Instant::now();
        if self.unsettled.is_empty() {
            self.since = started;
        }
        self.trainer.differentiate(batch);
        let mut reading = self.trainer.keep_loss();
        let gradient_time = started.elapsed();
        let observed = match taken.is_multiple_of(config.observe_every) {
            true => Some(self.trainer.measure()?),
            false => None,
        };
        let started = Instant::now();
        let attention_optimizer = self.trainer.update();
        let time = StepTime { step: gradient_time + started.elapsed(), attention_optimizer };

        let mut record = Record::new(self.id, taken + 1, Split::Train, f64::NAN);
        record.lr = Some(rate);
        record.optimizer_ms = Some(milliseconds(time.attention_optimizer));
        if let Some(measures) = &observed {
            self.note(&mut record, measures);
            // The device has been waited for.
            reading = LossReading::Now;
        }
        self.unsettled.push(Unsettled { record, time, observed });
        Ok(reading)
    }

    /// Reads the losses that are still on the device and records their steps; a reason when the run cannot go
    /// on. Steps after the one that broke down are forgotten.
    fn settle(&mut self) -> Result<Option<String>, RunError> {
        let losses = self.trainer.read_losses()?;
        // Steps that a device took while nobody waited for it took the same time, as far as anyone can tell.
        let each = self.since.elapsed() / losses.len().max(1) as u32;
        let mut records = Vec::new();
        let mut broken = None;
        for (step, loss) in std::mem::take(&mut self.unsettled).into_iter().zip(&losses) {
            let Unsettled { mut record, time, observed } = step;
            let time = if losses.len() == 1 { time.step } else { each };
            (record.loss, record.step_ms) = (*loss, Some(milliseconds(time)));
            self.history.step_ms.push(milliseconds(time));
            self.history.optimizer_ms.extend(record.optimizer_ms);
            if self.history.recent_losses.len() == FINAL_WINDOW {
                self.history.recent_losses.remove(0);
            }
            self.history.recent_losses.push(*loss);
            records.push(record);
            broken = self.breakdown("training", record.step, *loss, observed.as_ref());
            if broken.is_some() {
                break;
            }
        }
        self.around.metrics.append(&records)?;
        let tokens = self.around.config.model.tokens_per_step();
        for Record { step, loss, step_ms, .. } in records {
            let time = Duration::from_secs_f64(step_ms.unwrap_or(0.0) / 1e3);
            (self.around.watch)(Event::Stepped { step, loss, tokens, time });
        }
        Ok(broken)
    }

    fn note(&mut self, record: &mut Record, measures: &BankMeasures) {
        record.grad_norm = Some(measures.gradient_norm);
        record.momentum_norm = Some(measures.momentum_norm);
        if self.id.optimizer.is_geometry() {
            record.orthogonality_defect = Some(measures.orthogonality_defect);
            record.coherence_defect = Some(measures.coherence_defect);
            record.consistency_defect = Some(measures.consistency_defect);
            record.rank_margin = measures.rank_margin;
        }
        self.count_repairs(measures);
        record.repairs = self.repairs;
    }

    fn count_repairs(&mut self, measures: &BankMeasures) {
        self.repairs = self.repairs.map(|_| measures.repairs.into());
    }

    /// Why the run cannot go on, if it cannot; `split` says which loss is looked at.
    fn breakdown(
        &self,
        split: &str,
        step: usize,
        loss: f64,
        observed: Option<&BankMeasures>,
    ) -> Option<String> {
        let remedy = "lower --lr-qkvo or --lr-other";
        if !loss.is_finite() {
            return Some(format!("{}: the {split} loss is {loss} at step {step}; {remedy}", self.id));
        }
        let problem = observed?.broken?;
        let model = &self.around.config.model;
        let head = if model.kv_heads < model.heads { "key-value head" } else { "head" };
        Some(format!(
            "{}: a factorization of attention pair {problem} (layer {}, {head} {}) broke down by step {step}; {remedy}",
            self.id,
            problem / model.kv_heads,
            problem % model.kv_heads,
        ))
    }

    fn validate(
        &mut self,
        step: usize,
        batches: &mut Batches,
        batch: &mut TokenBatch,
    ) -> Result<(), RunError> {
        let count = self.around.config.validation_batches.min(batches.batches_per_epoch());
        let mut sum = 0.0;
        for index in 0..count {
            batches.fill(index, batch);
            sum += self.trainer.evaluate(batch)?;
        }
        let loss = sum / count as f64;
        self.last_validation = loss;
        self.around.metrics.append(&[Record::new(self.id, step, Split::Validation, loss)])?;
        (self.around.watch)(Event::Validated { step, loss });
        Ok(())
    }

    fn write_checkpoint(&self, loader: &Loader) -> Result<(), RunError> {
        let state = self.trainer.save().map_err(|source| RunError::State { run: self.id, source })?;
        let vocabulary = loader.vocabulary.fingerprint();
        Checkpoint { run: self.id, vocabulary, history: self.history.clone(), state }
            .write(self.around.out)?;
        Ok(())
    }

    fn summary(&self) -> RunSummary {
        let h = &self.history;
        let total_ms: f64 = h.step_ms.iter().sum();
        let tokens = self.around.config.model.tokens_per_step() * h.step_ms.len();
        RunSummary {
            optimizer: self.id.optimizer,
            seed: self.id.seed,
            steps: self.trainer.steps() as usize,
            final_train_loss: h.recent_losses.iter().sum::<f64>() / h.recent_losses.len() as f64,
            final_val_loss: self.last_validation,
            tokens_per_s: tokens as f64 / (total_ms / 1e3),
            step_ms_median: median(&h.step_ms),
            optimizer_ms_median: median(&h.optimizer_ms),
            peak_rss_mb: peak_rss_mb(),
            repairs: self.repairs.as_ref().map(Repairs::total),
            repairs_by_kind: self.repairs,
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_odd_list_is_its_middle() {
        assert_eq!(median(&[9.0, 1.0, 3.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
