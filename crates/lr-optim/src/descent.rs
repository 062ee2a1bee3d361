//! [`RiemannianDescent`]: the paper's schematic iteration (section 2.1), once, for every geometry.
//!
//! ```text
//! 0    frame    <- factor(x)                           first step only; later the retraction makes it
//! 1-2  rgrad    <- egrad_to_rgrad(x, egrad)
//! 3    momentum <- nu momentum + (1 - nu) rgrad        no bias correction; nu = 0 keeps no momentum
//!      mu       <- norm(momentum);  gamma <- -lr / max(mu, c)
//! 4    x', frame' <- retract(x, gamma momentum)        then reorthogonalize on its cadence
//! 5    momentum <- transport(x, x', momentum)          skipped when nu = 0
//! ```

use crate::{BankMeasures, BankOptimizer, OptimError, StateDict, StateError};
use lr_linalg::{Coef, DeviceError, Dims, Linalg, Map, Mats, Scalar, Scope, Scratch};
use lr_manifolds::{
    Base, Factors, FactorsMut, FactorsRef, HealthMut, Manifold, NormKind, Ray, Retraction, State, Tangent,
    Transport,
};
use std::num::NonZeroU64;

/// How the step length is made from the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalization {
    /// `gamma = -lr`.
    None,
    /// `gamma = -lr / max(mu, clamp)`, `mu` a norm of the momentum at the current point.
    Unit {
        /// Which norm.
        norm: NormKind,
        /// Least divisor, positive; the paper's is 2^-23.
        clamp: f64,
    },
}

impl Normalization {
    /// Normalization by `norm` with the paper's clamp.
    pub fn by(norm: NormKind) -> Self {
        Self::Unit { norm, clamp: f64::from(f32::EPSILON) }
    }
}

/// When a repair runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cadence {
    /// After every step.
    EveryStep,
    /// After every k-th step.
    EverySteps(NonZeroU64),
    /// After a step that leaves a defect above this tolerance.
    WhenDefect(f64),
}

/// Settings of the descent; the default is the paper's: metric normalization, no momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DescentConfig {
    /// Momentum coefficient `nu` in `[0, 1)`.
    pub momentum: f64,
    /// Step length.
    pub normalization: Normalization,
    /// When factors that ought to be orthonormal are made so again.
    pub reorthogonalize: Cadence,
}

impl Default for DescentConfig {
    fn default() -> Self {
        Self {
            momentum: 0.0,
            normalization: Normalization::by(NormKind::Metric),
            reorthogonalize: Cadence::EveryStep,
        }
    }
}

/// Riemannian gradient descent over a bank of problems of one shape.
#[derive(Debug)]
pub struct RiemannianDescent<B: Linalg, M: Manifold<B>, R, T> {
    rule: Rule<M, R, T>,
    slices: Vec<Slice<B, M>>,
    workers: Vec<Worker<B, M>>,
    problems_per_slice: usize,
    progress: Progress,
}

/// The four choices that make an optimizer.
#[derive(Clone, Debug)]
struct Rule<M, R, T> {
    manifold: M,
    retraction: R,
    transport: T,
    config: DescentConfig,
}

/// Steps taken; before the first one the frames are not yet made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    steps: u64,
}

/// What a slice of problems keeps from step to step.
#[derive(Debug)]
struct Slice<B: Linalg, M: Manifold<B>> {
    momentum: Option<Tangent<B>>,
    frame: M::Frame,
    breakdown: Mats<B>,
    repairs: Mats<B>,
    measures: Mats<B>,
}

impl<B: Linalg, M: Manifold<B>> Slice<B, M> {
    fn new(b: &B, manifold: &M, config: &DescentConfig, problems: usize) -> Result<Self, DeviceError> {
        let momentum = match config.momentum {
            0.0 => None,
            _ => Some(Tangent::zeros(b, manifold.grid(), problems)?),
        };
        let scalars = Dims::scalars(problems);
        Ok(Self {
            momentum,
            frame: manifold.new_frame(b, problems)?,
            breakdown: Mats::zeros(b, scalars)?,
            repairs: Mats::zeros(b, scalars)?,
            measures: Mats::zeros(b, Dims::new(problems, 1, MEASURES))?,
        })
    }
}

/// Gradient norm, momentum norm, orthogonality defect, coherence defect.
const MEASURES: usize = 4;

/// What a step needs only while it lasts; one for each slice in flight.
#[derive(Debug)]
struct Worker<B: Linalg, M: Manifold<B>> {
    rgrad: Tangent<B>,
    direction: M::Direction,
    next: Factors<B>,
    next_frame: M::Frame,
    gamma: Mats<B>,
    scratch: Scratch<B>,
}

impl<B: Linalg, M: Manifold<B>> Worker<B, M> {
    fn new(b: &B, manifold: &M, problems: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            rgrad: Tangent::zeros(b, manifold.grid(), problems)?,
            direction: manifold.new_direction(b, problems)?,
            next: Factors::zeros(b, manifold.grid(), problems)?,
            next_frame: manifold.new_frame(b, problems)?,
            gamma: Mats::zeros(b, Dims::scalars(problems))?,
            scratch: Scratch::new(b)?,
        })
    }
}

impl<B, M, R, T> RiemannianDescent<B, M, R, T>
where
    B: Linalg,
    M: Manifold<B>,
    R: Retraction<B, M>,
    T: Transport<B, M>,
{
    /// An optimizer over `problems` problems of the manifold's shape.
    ///
    /// # Errors
    /// [`OptimError`] for settings that make no sense or a norm that the geometry lacks.
    pub fn new(
        b: &B,
        manifold: M,
        retraction: R,
        transport: T,
        config: DescentConfig,
        problems: usize,
    ) -> Result<Self, OptimError> {
        if !(0.0..1.0).contains(&config.momentum) {
            return Err(OptimError::Momentum(config.momentum));
        }
        if let Normalization::Unit { norm, clamp } = config.normalization {
            if !manifold.has_norm(norm) {
                return Err(OptimError::NoSuchNorm { geometry: manifold.name() });
            }
            if clamp.is_nan() || clamp <= 0.0 {
                return Err(OptimError::Clamp(clamp));
            }
        }
        let slicing = b.slicing(problems);
        let size = slicing.problems_per_slice.max(1);
        let slices = (0..problems / size)
            .map(|_| Slice::new(b, &manifold, &config, size))
            .collect::<Result<_, DeviceError>>()?;
        let workers = (0..slicing.workers)
            .map(|_| Worker::new(b, &manifold, size))
            .collect::<Result<_, DeviceError>>()?;
        let rule = Rule { manifold, retraction, transport, config };
        Ok(Self { rule, slices, workers, problems_per_slice: size, progress: Progress { steps: 0 } })
    }

    /// The geometry.
    pub fn manifold(&self) -> &M {
        &self.rule.manifold
    }
}

/// One step of one slice of problems.
#[allow(clippy::too_many_arguments)]
fn step<B, M, R, T>(
    b: &B,
    rule: &Rule<M, R, T>,
    progress: Progress,
    slice: &mut Slice<B, M>,
    worker: &mut Worker<B, M>,
    mut x: FactorsMut<'_, B>,
    egrad: FactorsRef<'_, B>,
    lr: f64,
) where
    B: Linalg,
    M: Manifold<B>,
    R: Retraction<B, M>,
    T: Transport<B, M>,
{
    let Rule { manifold, retraction, transport, config } = rule;
    let Slice { momentum, frame, breakdown, repairs, .. } = slice;
    let Worker { rgrad, direction, next, next_frame, gamma, scratch } = worker;
    let mut health = HealthMut { breakdown: breakdown.as_mut(), repairs: repairs.as_mut() };
    scratch.scope(|scope| {
        if progress.steps == 0 {
            let _span = tracing::trace_span!("factor").entered();
            manifold.factor(b, x.as_ref(), frame, health.as_mut(), scope);
        }
        let at = Base { x: x.as_ref(), frame: &*frame };
        {
            let _span = tracing::trace_span!("egrad_to_rgrad").entered();
            manifold.egrad_to_rgrad(b, at, egrad, rgrad.as_mut(), scope);
        }
        let tangent = match momentum {
            Some(momentum) => {
                let nu = config.momentum;
                momentum.as_mut().axpby(b, Coef::Host(1.0 - nu), rgrad.as_ref(), nu);
                momentum.as_ref()
            }
            None => rgrad.as_ref(),
        };
        {
            let _span = tracing::trace_span!("aim").entered();
            manifold.aim(b, at, tangent, direction, health.as_mut(), scope);
        }
        let ray = Ray { at, tangent, direction: &*direction };
        let t = match config.normalization {
            Normalization::None => Coef::Host(-lr),
            Normalization::Unit { norm, clamp } => {
                let _span = tracing::trace_span!("norm").entered();
                manifold.norm(b, ray, norm, gamma.as_mut(), health.as_mut(), scope);
                b.map(Map::Ratio { numerator: -lr, floor: clamp }, gamma.as_mut());
                Coef::Device(gamma.as_ref())
            }
        };
        {
            let _span = tracing::trace_span!("retract").entered();
            retraction.retract(b, manifold, ray, t, next.as_mut(), next_frame, health.as_mut(), scope);
            let taken = progress.steps + 1;
            reorthogonalize(b, manifold, config, taken, next.as_mut(), next_frame, health, scope);
        }
        if let Some(momentum) = momentum {
            let _span = tracing::trace_span!("transport").entered();
            let to = Base { x: next.as_ref(), frame: &*next_frame };
            transport.transport(b, manifold, at, to, momentum.as_mut(), scope);
        }
        x.copy_from(b, next.as_ref());
        std::mem::swap(frame, next_frame);
    });
}

/// Runs the orthogonality repair when its cadence says so; `taken` counts the step just made.
#[allow(clippy::too_many_arguments)]
fn reorthogonalize<B: Linalg, M: Manifold<B>>(
    b: &B,
    manifold: &M,
    config: &DescentConfig,
    taken: u64,
    mut x: FactorsMut<'_, B>,
    frame: &mut M::Frame,
    health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    match config.reorthogonalize {
        Cadence::EveryStep => manifold.reorthogonalize(b, x, frame, health, scope),
        Cadence::EverySteps(k) => {
            if taken.is_multiple_of(k.get()) {
                manifold.reorthogonalize(b, x, frame, health, scope);
            }
        }
        Cadence::WhenDefect(tolerance) => scope.nest(|scope| {
            let mut defect = scope.take(Dims::scalars(x.problems()));
            let mut worn = scope.status(x.problems());
            let at = Base { x: x.as_ref(), frame: &*frame };
            manifold.orthogonality_defect(b, at, defect.as_mut(), scope);
            b.flag_above(tolerance, defect.as_ref(), worn.as_mut());
            // Mending a slice's healthy problems with the worn ones does them no harm.
            b.when_any(worn.as_ref(), || manifold.reorthogonalize(b, x.as_mut(), frame, health, scope));
        }),
    }
}

/// Fills `slice.measures` at `x`; the momentum is the one before this step's gradient.
fn measure<B: Linalg, M: Manifold<B>>(
    b: &B,
    manifold: &M,
    progress: Progress,
    slice: &mut Slice<B, M>,
    worker: &mut Worker<B, M>,
    x: FactorsRef<'_, B>,
    egrad: FactorsRef<'_, B>,
) {
    let Slice { momentum, frame, breakdown, repairs, measures } = slice;
    let Worker { rgrad, direction, scratch, .. } = worker;
    let mut health = HealthMut { breakdown: breakdown.as_mut(), repairs: repairs.as_mut() };
    scratch.scope(|scope| {
        if progress.steps == 0 {
            manifold.factor(b, x, frame, health.as_mut(), scope);
        }
        let at = Base { x, frame: &*frame };
        manifold.egrad_to_rgrad(b, at, egrad, rgrad.as_mut(), scope);
        let tangent = momentum.as_ref().map_or(rgrad.as_ref(), Tangent::as_ref);
        for (column, v) in [(0, rgrad.as_ref()), (1, tangent)] {
            manifold.aim(b, at, v, direction, health.as_mut(), scope);
            let ray = Ray { at, tangent: v, direction: &*direction };
            let out = measures.as_mut().block(0..1, column..column + 1);
            manifold.norm(b, ray, NormKind::Metric, out, health.as_mut(), scope);
        }
        manifold.orthogonality_defect(b, at, measures.as_mut().block(0..1, 2..3), scope);
        manifold.coherence_defect(b, at, tangent, measures.as_mut().block(0..1, 3..4), scope);
    });
}

impl<B, M, R, T> BankOptimizer<B> for RiemannianDescent<B, M, R, T>
where
    B: Linalg,
    M: Manifold<B>,
    R: Retraction<B, M>,
    T: Transport<B, M>,
{
    fn name(&self) -> &'static str {
        self.rule.manifold.name()
    }

    fn step(&mut self, b: &B, x: FactorsMut<'_, B>, egrad: FactorsRef<'_, B>, lr: f64) {
        let _span = tracing::trace_span!("riemannian_step").entered();
        let (rule, progress, size) = (&self.rule, self.progress, self.problems_per_slice);
        let slices = self.slices.iter_mut().zip(x.chunks(size)).zip(egrad.chunks(size));
        b.for_each_slice(slices, &mut self.workers, |b, ((slice, x), egrad), worker| {
            step(b, rule, progress, slice, worker, x, egrad, lr);
        });
        self.progress.steps += 1;
    }

    fn measure(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
    ) -> Result<BankMeasures, DeviceError> {
        let _span = tracing::trace_span!("measure").entered();
        let (manifold, progress, size) = (&self.rule.manifold, self.progress, self.problems_per_slice);
        let slices = self.slices.iter_mut().zip(x.chunks(size)).zip(egrad.chunks(size));
        b.for_each_slice(slices, &mut self.workers, |b, ((slice, x), egrad), worker| {
            measure(b, manifold, progress, slice, worker, x, egrad);
        });
        let mut bank = BankMeasures::default();
        for (i, slice) in self.slices.iter().enumerate() {
            let values = slice.measures.to_vec(b)?;
            for problem in values.chunks(MEASURES) {
                let [gradient, momentum, orthogonality, coherence] =
                    [0, 1, 2, 3].map(|k| problem[k].to_f64());
                bank.gradient_norm += gradient * gradient;
                bank.momentum_norm += momentum * momentum;
                bank.orthogonality_defect = larger(bank.orthogonality_defect, orthogonality);
                bank.coherence_defect = larger(bank.coherence_defect, coherence);
            }
            let broken = slice.breakdown.to_vec(b)?.iter().position(|s| s.to_f64() != 0.0);
            bank.broken = bank.broken.or(broken.map(|p| i * size + p));
            bank.repairs += slice.repairs.to_vec(b)?.iter().map(|r| r.to_f64() as u64).sum::<u64>();
        }
        bank.gradient_norm = bank.gradient_norm.sqrt();
        bank.momentum_norm = bank.momentum_norm.sqrt();
        Ok(bank)
    }

    fn save(&self, b: &B, prefix: &str, dict: &mut StateDict<B::Elem>) -> Result<(), StateError> {
        dict.counters.insert(format!("{prefix}.steps"), self.progress.steps);
        dict.save(b, format!("{prefix}.breakdown"), self.slices.iter().map(|s| s.breakdown.as_ref()))?;
        dict.save(b, format!("{prefix}.repairs"), self.slices.iter().map(|s| s.repairs.as_ref()))?;
        if self.rule.config.momentum > 0.0 {
            let momenta = || self.slices.iter().filter_map(|s| s.momentum.as_ref());
            dict.save(b, format!("{prefix}.momentum.left"), momenta().map(|m| m.left.as_ref()))?;
            dict.save(b, format!("{prefix}.momentum.right"), momenta().map(|m| m.right.as_ref()))?;
        }
        let parts = self.slices.first().map_or(Vec::new(), |s| s.frame.parts());
        for (k, (name, _)) in parts.into_iter().enumerate() {
            let views = self.slices.iter().map(|s| s.frame.parts()[k].1.as_ref());
            dict.save(b, format!("{prefix}.frame.{name}"), views)?;
        }
        Ok(())
    }

    fn load(&mut self, b: &B, prefix: &str, dict: &StateDict<B::Elem>) -> Result<(), StateError> {
        let steps = dict.counter(&format!("{prefix}.steps"))?;
        let slices = &mut self.slices;
        dict.load(b, &format!("{prefix}.breakdown"), slices.iter_mut().map(|s| s.breakdown.as_mut()))?;
        dict.load(b, &format!("{prefix}.repairs"), slices.iter_mut().map(|s| s.repairs.as_mut()))?;
        if self.rule.config.momentum > 0.0 {
            let left = slices.iter_mut().filter_map(|s| s.momentum.as_mut()).map(|m| m.left.as_mut());
            dict.load(b, &format!("{prefix}.momentum.left"), left)?;
            let right = slices.iter_mut().filter_map(|s| s.momentum.as_mut()).map(|m| m.right.as_mut());
            dict.load(b, &format!("{prefix}.momentum.right"), right)?;
        }
        let names: Vec<_> =
            slices.first().map_or(Vec::new(), |s| s.frame.parts().iter().map(|(name, _)| *name).collect());
        for (k, name) in names.into_iter().enumerate() {
            let views = slices.iter_mut().map(|s| s.frame.parts_mut().swap_remove(k).1.as_mut());
            dict.load(b, &format!("{prefix}.frame.{name}"), views)?;
        }
        self.progress = Progress { steps };
        Ok(())
    }
}

/// The larger of two numbers; NaN wins, so that a defect that cannot be measured is not hidden.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}
