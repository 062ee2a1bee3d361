//! [`Trainer`]: model, optimizers and one training step.
//!
//! A step reads top to bottom: forward, saving what backward needs; backward, every layer writing its
//! gradient straight into the banks; then the QK bank and the VO bank by the low-rank optimizer and
//! everything else by AdamW.

use super::optimizers::{bank_optimizer, choices, grids};
use crate::{
    config::{self, ExperimentConfig, ModelConfig, OptimizerName, Precision},
    data::TokenBatch,
    model::{self, ModelShape, Parameters, Transformer},
    neural::Neural,
};
use lr_linalg::{DeviceError, Dims, Mats, MatsMut, MatsRef, Scalar};
use lr_optim::{
    AdamW, AdamWConfig, BankMeasures, BankOptimizer, Decay, Group, OptimError, Schedule, StateDict,
    StateError,
};
use std::time::{Duration, Instant};

/// A model with its optimizers, on one backend.
pub struct Trainer<B: Neural> {
    b: B,
    transformer: Transformer<B>,
    /// What the optimizers move: f32 masters where the model reads rounded copies.
    parameters: Parameters<B>,
    rounded: Option<Parameters<B>>,
    gradients: Parameters<B>,
    qk: Group<Box<dyn BankOptimizer<B>>>,
    vo: Group<Box<dyn BankOptimizer<B>>>,
    other: Group<AdamW<B>>,
    steps: u64,
    /// Losses that nobody has read yet, and how many.
    losses: Mats<B>,
    unread: usize,
}

/// Losses that stay on a device before it is waited for.
const UNREAD_LOSSES: usize = 32;

/// Whether losses that were kept should be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReading {
    /// Looking costs nothing, or there is no room for another one.
    Now,
    /// The device would have to be waited for.
    Later,
}

/// Wall clock of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTime {
    /// Forward, backward and all optimizers.
    pub step: Duration,
    /// The optimizers of the two attention banks; on a GPU, what it takes to queue their work.
    pub attention_optimizer: Duration,
}

impl From<&ModelConfig> for ModelShape {
    fn from(c: &ModelConfig) -> Self {
        Self {
            layers: c.layers,
            heads: c.heads,
            kv_heads: c.kv_heads,
            d_model: c.d_model,
            head_dim: c.head_dim,
            d_ff: c.d_ff,
            sequence: c.sequence,
            batch: c.batch,
            vocabulary: c.vocabulary,
        }
    }
}

impl<B: Neural> Trainer<B> {
    /// The model of `config`, initialized from `seed`, with `optimizer` on its attention pairs.
    ///
    /// # Errors
    /// [`OptimError`] when the memory cannot be had or the optimizer cannot follow the configuration.
    pub fn new(
        b: &B,
        config: &ExperimentConfig,
        optimizer: OptimizerName,
        seed: u64,
    ) -> Result<Self, OptimError> {
        let shape = ModelShape::from(&config.model);
        let parameters = Parameters::random(b, &shape, seed)?;
        let schedule = Schedule {
            warm_up: config.warmup_steps as u64,
            decay: match config.schedule {
                config::Schedule::Constant => Decay::Constant,
                config::Schedule::Cosine => Decay::Cosine,
                config::Schedule::Linear => Decay::Linear,
            },
            total: config.steps as u64,
        };
        let bank = |name: &str, grid, bank| -> Result<Group<_>, OptimError> {
            Ok(Group {
                name: name.to_owned(),
                learning_rate: config.lr_qkvo_of(optimizer),
                schedule,
                optimizer: bank_optimizer(b, config, optimizer, grid, bank)?,
            })
        };
        let [qk_grid, vo_grid] = grids(&shape);
        let shapes: Vec<_> = parameters
            .tensors()
            .into_iter()
            .filter(|t| t.group == model::Group::Other)
            .map(|t| t.mats.dims())
            .collect();
        Ok(Self {
            b: b.clone(),
            transformer: Transformer::new(b, &shape, &choices(config))?,
            rounded: match config.precision {
                Precision::F32 => None,
                Precision::Bf16 => Some(Parameters::zeros(b, &shape)?),
            },
            gradients: Parameters::zeros(b, &shape)?,
            qk: bank("qk", qk_grid, &parameters.qk)?,
            vo: bank("vo", vo_grid, &parameters.vo)?,
            other: Group {
                name: "other".to_owned(),
                learning_rate: config.lr_other,
                schedule,
                optimizer: AdamW::new(b, AdamWConfig::default(), &shapes)?,
            },
            parameters,
            steps: 0,
            losses: Mats::zeros(b, Dims::new(1, 1, UNREAD_LOSSES))?,
            unread: 0,
        })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Learning rate of the attention pairs at the next step.
    pub fn attention_rate(&self) -> f64 {
        self.qk.rate(self.steps)
    }

    /// Forward and backward on one batch; the gradients stay in the trainer until [`Trainer::update`].
    /// The result is the mean loss, a scalar on the device.
    ///
    /// # Panics
    /// If the batch has another shape than the model.
    pub fn differentiate(&mut self, batch: &TokenBatch) -> MatsRef<'_, B> {
        let Self { b, transformer, parameters, rounded, gradients, .. } = self;
        let weights = weights(b, parameters, rounded);
        transformer.forward_backward(b, weights, &batch.inputs, &batch.targets, gradients)
    }

    /// Moves all parameters against the gradients of the last [`Trainer::differentiate`]; the time that
    /// the attention banks took.
    pub fn update(&mut self) -> Duration {
        let Self { b, parameters, gradients, qk, vo, other, steps, .. } = self;
        let started = Instant::now();
        for (group, x, g) in
            [(qk, &mut parameters.qk, &gradients.qk), (vo, &mut parameters.vo, &gradients.vo)]
        {
            let rate = group.rate(*steps);
            group.optimizer.step(b, x.as_mut(), g.as_ref(), rate);
        }
        let attention = started.elapsed();
        let rate = other.rate(*steps);
        let pairs = parameters.tensors_mut().into_iter().zip(gradients.tensors());
        let rest = pairs.filter(|(x, _)| x.group == model::Group::Other).map(|(x, g)| (x.mats, g.mats));
        other.optimizer.step_tensors(b, rest, rate);
        *steps += 1;
        attention
    }

    /// One training step: the loss before it, and its time.
    ///
    /// # Errors
    /// Any pending device error.
    ///
    /// # Panics
    /// If the batch has another shape than the model.
    pub fn step(&mut self, batch: &TokenBatch) -> Result<(f64, StepTime), DeviceError> {
        let started = Instant::now();
        self.differentiate(batch);
        let attention_optimizer = self.update();
        let loss = self.last_loss()?;
        Ok((loss, StepTime { step: started.elapsed(), attention_optimizer }))
    }

    /// The loss of the last [`Trainer::differentiate`].
    ///
    /// # Errors
    /// Any pending device error.
    pub fn last_loss(&self) -> Result<f64, DeviceError> {
        scalar(&self.b, self.transformer.last_loss())
    }

    /// Keeps the loss of the last [`Trainer::differentiate`] on the device, to be read with others by
    /// [`Trainer::read_losses`].
    ///
    /// # Panics
    /// If that was not called after [`LossReading::Now`].
    pub fn keep_loss(&mut self) -> LossReading {
        let Self { b, transformer, losses, unread, .. } = self;
        let loss = transformer.last_loss();
        b.copy(loss.n(), losses.as_mut().block(0..1, *unread..*unread + 1));
        *unread += 1;
        if *unread == UNREAD_LOSSES || b.glance(loss).is_some() {
            LossReading::Now
        } else {
            LossReading::Later
        }
    }

    /// The losses kept since the last time, in order.
    ///
    /// # Errors
    /// Any pending device error.
    pub fn read_losses(&mut self) -> Result<Vec<f64>, DeviceError> {
        if self.unread == 0 {
            return Ok(Vec::new());
        }
        let kept = self.b.download(self.losses.as_ref().block(0..1, 0..self.unread))?;
        self.unread = 0;
        Ok(kept.into_iter().map(Scalar::to_f64).collect())
    }

    /// Mean loss of a batch at the current parameters.
    ///
    /// # Errors
    /// Any pending device error.
    ///
    /// # Panics
    /// If the batch has another shape than the model.
    pub fn evaluate(&mut self, batch: &TokenBatch) -> Result<f64, DeviceError> {
        let Self { b, transformer, parameters, rounded, .. } = self;
        let weights = weights(b, parameters, rounded);
        scalar(b, transformer.loss(b, weights, &batch.inputs, &batch.targets))
    }

    /// Norms and defects of the attention banks with the gradients of the last
    /// [`Trainer::differentiate`]: norms over both banks, the larger of the defects.
    ///
    /// # Errors
    /// Any pending device error.
    pub fn measure(&mut self) -> Result<BankMeasures, DeviceError> {
        let Self { b, parameters, gradients, qk, vo, .. } = self;
        let qk = qk.optimizer.measure(b, parameters.qk.as_ref(), gradients.qk.as_ref())?;
        let vo = vo.optimizer.measure(b, parameters.vo.as_ref(), gradients.vo.as_ref())?;
        Ok(BankMeasures {
            gradient_norm: qk.gradient_norm.hypot(vo.gradient_norm),
            momentum_norm: qk.momentum_norm.hypot(vo.momentum_norm),
            orthogonality_defect: qk.orthogonality_defect.max(vo.orthogonality_defect),
            coherence_defect: qk.coherence_defect.max(vo.coherence_defect),
            broken: qk.broken.or(vo.broken),
            consistency_defect: qk.consistency_defect.max(vo.consistency_defect),
            rank_margin: qk.rank_margin.zip(vo.rank_margin).map(|(qk, vo)| qk.max(vo)),
            repairs: qk.repairs + vo.repairs,
        })
    }

    /// Everything that decides the rest of the run.
    ///
    /// # Errors
    /// Any pending device error.
    pub fn save(&self) -> Result<StateDict<B::Elem>, StateError> {
        let mut dict = StateDict::default();
        dict.counters.insert("steps".to_owned(), self.steps);
        for tensor in self.parameters.tensors() {
            dict.save(&self.b, format!("model.{}", tensor.name), [tensor.mats])?;
        }
        for bank in [&self.qk, &self.vo] {
            bank.optimizer.save(&self.b, &bank.name, &mut dict)?;
        }
        self.other.optimizer.save(&self.b, &self.other.name, &mut dict)?;
        Ok(dict)
    }

    /// Continues from what [`Trainer::save`] returned.
    ///
    /// # Errors
    /// [`StateError`] when entries are missing or have other shapes.
    pub fn load(&mut self, dict: &StateDict<B::Elem>) -> Result<(), StateError> {
        let Self { b, parameters, qk, vo, other, steps, .. } = self;
        for tensor in parameters.tensors_mut() {
            let view: [MatsMut<'_, B>; 1] = [tensor.mats];
            dict.load(b, &format!("model.{}", tensor.name), view)?;
        }
        for bank in [qk, vo] {
            bank.optimizer.load(b, &bank.name, dict)?;
        }
        other.optimizer.load(b, &other.name, dict)?;
        *steps = dict.counter("steps")?;
        Ok(())
    }
}

/// What the model reads: the parameters, or their rounded copy, made afresh.
fn weights<'a, B: Neural>(
    b: &B,
    parameters: &'a Parameters<B>,
    rounded: &'a mut Option<Parameters<B>>,
) -> &'a Parameters<B> {
    match rounded {
        Some(rounded) => {
            rounded.round_to_bf16_from(b, parameters);
            rounded
        }
        None => parameters,
    }
}

fn scalar<B: Neural>(b: &B, view: MatsRef<'_, B>) -> Result<f64, DeviceError> {
    Ok(b.download(view)?.first().map_or(f64::NAN, |x| x.to_f64()))
}
