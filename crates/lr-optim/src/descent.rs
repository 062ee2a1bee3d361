//! [`RiemannianDescent`]: the paper's schematic iteration (section 2.1), once, for every geometry.
//!
//! ```text
//! 0    frame    <- factor(x)                           first step only; later the retraction makes it
//! 1-2  rgrad    <- egrad_to_rgrad(x, egrad)            [gradient consistency]
//! 3    momentum <- nu momentum + (1 - nu) rgrad        [momentum coherence]; nu = 0 keeps no momentum
//!      mu       <- norm(momentum);  gamma <- -lr / max(mu, c)      [rank guard]
//! 4    x', frame' <- retract(x, gamma momentum)        [orthogonality]
//! 5    momentum <- transport(x, x', momentum)          skipped when nu = 0
//! 6    x', frame', momentum <- homothety               skipped without weight decay
//! ```
//!
//! What stands in brackets runs on a cadence of its own; see [`repairs`]. Where nothing comes between them, steps 1
//! to 3 are one operation of the geometry, in which a projection of step 5 may wait for the next step 3; see
//! [`Course`] and [`Timing`]. The momentum kept is then one whose projection is the momentum.

mod config;
mod measure;
mod repairs;
mod step;

use crate::{BankMeasures, BankOptimizer, OptimError, RepairCounts, StateDict, StateError};
use lr_linalg::{DeviceError, Dims, Linalg, Mats, Scalar, Scratch};
use lr_manifolds::{
    Factors, FactorsMut, FactorsRef, Health, Manifold, Retraction, State, Tangent, Timing, Transport,
};
use measure::{MEASURES, measure};
use repairs::KINDS;
use step::{Course, step};

pub use config::{Averaging, Cadence, DescentConfig, Normalization, RankGuard};

/// Riemannian gradient descent over a bank of problems of one shape.
#[derive(Debug)]
pub struct RiemannianDescent<B: Linalg, M: Manifold<B>, R, T> {
    rule: Rule<M, R, T>,
    slices: Vec<Slice<B, M>>,
    workers: Vec<Worker<B, M>>,
    problems_per_slice: usize,
    progress: Progress,
}

/// The four choices that make an optimizer, and what follows from them.
#[derive(Clone, Debug)]
struct Rule<M, R, T> {
    manifold: M,
    retraction: R,
    transport: T,
    config: DescentConfig,
    course: Course,
    /// When the momentum is transported.
    timing: Timing,
}

/// Steps taken, before the first of which the frames are not yet made, and the rate of the last.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Progress {
    steps: u64,
    rate: f64,
}

/// What a slice of problems keeps from step to step.
#[derive(Debug)]
struct Slice<B: Linalg, M: Manifold<B>> {
    momentum: Option<Tangent<B>>,
    frame: M::Frame,
    health: Health<B>,
    counts: Mats<B>,
    measures: Mats<B>,
}

impl<B: Linalg, M: Manifold<B>> Slice<B, M> {
    fn new(b: &B, manifold: &M, config: &DescentConfig, problems: usize) -> Result<Self, DeviceError> {
        let momentum = match config.momentum {
            0.0 => None,
            _ => Some(Tangent::zeros(b, manifold.grid(), problems)?),
        };
        Ok(Self {
            momentum,
            frame: manifold.new_frame(b, problems)?,
            health: Health::new(b, problems)?,
            counts: Mats::zeros(b, Dims::new(problems, 1, KINDS))?,
            measures: Mats::zeros(b, Dims::new(problems, 1, MEASURES))?,
        })
    }
}

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
    /// [`OptimError`] for settings that make no sense, and for a norm, weight decay or normed descent that the
    /// geometry lacks.
    pub fn new(
        b: &B,
        manifold: M,
        retraction: R,
        transport: T,
        config: DescentConfig,
        problems: usize,
    ) -> Result<Self, OptimError> {
        config.validate(&manifold)?;
        let slicing = b.slicing(problems);
        let size = slicing.problems_per_slice.max(1);
        let slices = (0..problems / size)
            .map(|_| Slice::new(b, &manifold, &config, size))
            .collect::<Result<_, DeviceError>>()?;
        let workers = (0..slicing.workers)
            .map(|_| Worker::new(b, &manifold, size))
            .collect::<Result<_, DeviceError>>()?;
        let course = Course::of(&config);
        let timing = match course {
            Course::Together if config.weight_decay == 0.0 => transport.timing(),
            Course::Together | Course::InTurn => Timing::AfterRetraction,
        };
        let rule = Rule { manifold, retraction, transport, config, course, timing };
        Ok(Self {
            rule,
            slices,
            workers,
            problems_per_slice: size,
            progress: Progress { steps: 0, rate: 0.0 },
        })
    }

    /// The geometry.
    pub fn manifold(&self) -> &M {
        &self.rule.manifold
    }
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
        self.progress = Progress { steps: progress.steps + 1, rate: lr };
    }

    fn measure(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
    ) -> Result<BankMeasures, DeviceError> {
        let _span = tracing::trace_span!("measure").entered();
        let (rule, progress, size) = (&self.rule, self.progress, self.problems_per_slice);
        let slices = self.slices.iter_mut().zip(x.chunks(size)).zip(egrad.chunks(size));
        b.for_each_slice(slices, &mut self.workers, |b, ((slice, x), egrad), worker| {
            measure(b, rule, progress, slice, worker, x, egrad);
        });
        let mut bank = BankMeasures::default();
        for (i, slice) in self.slices.iter().enumerate() {
            let values = slice.measures.to_vec(b)?;
            for problem in values.chunks(MEASURES) {
                let [gradient, momentum, orthogonality, coherence, consistency, margin] =
                    std::array::from_fn(|k| problem[k].to_f64());
                bank.gradient_norm += gradient * gradient;
                bank.momentum_norm += momentum * momentum;
                bank.orthogonality_defect = larger(bank.orthogonality_defect, orthogonality);
                bank.coherence_defect = larger(bank.coherence_defect, coherence);
                bank.consistency_defect = larger(bank.consistency_defect, consistency);
                if rule.config.rank_guard != RankGuard::Off {
                    bank.rank_margin = Some(larger(bank.rank_margin.unwrap_or(0.0), margin));
                }
            }
            let broken = slice.health.breakdown.to_vec(b)?.iter().position(|s| s.to_f64() != 0.0);
            bank.broken = bank.broken.or(broken.map(|p| i * size + p));
            let whole = |x: &B::Elem| x.to_f64() as u64;
            let mut counts = [0; KINDS];
            for problem in slice.counts.to_vec(b)?.chunks(KINDS) {
                counts.iter_mut().zip(problem).for_each(|(sum, n)| *sum += whole(n));
            }
            let [reorthogonalizations, momenta, gradients, shortened_steps] = counts;
            let safeguards = slice.health.repairs.to_vec(b)?.iter().map(whole).sum();
            let exact_steps = slice.health.exact_steps.to_vec(b)?.iter().map(whole).sum();
            bank.repairs += RepairCounts {
                safeguards,
                reorthogonalizations,
                momenta,
                gradients,
                shortened_steps,
                exact_steps,
            };
        }
        bank.gradient_norm = bank.gradient_norm.sqrt();
        bank.momentum_norm = bank.momentum_norm.sqrt();
        Ok(bank)
    }

    fn save(&self, b: &B, prefix: &str, dict: &mut StateDict<B::Elem>) -> Result<(), StateError> {
        dict.counters.insert(format!("{prefix}.steps"), self.progress.steps);
        let health = || self.slices.iter().map(|s| &s.health);
        dict.save(b, format!("{prefix}.breakdown"), health().map(|h| h.breakdown.as_ref()))?;
        dict.save(b, format!("{prefix}.repairs"), health().map(|h| h.repairs.as_ref()))?;
        dict.save(b, format!("{prefix}.exact_steps"), health().map(|h| h.exact_steps.as_ref()))?;
        dict.save(b, format!("{prefix}.counts"), self.slices.iter().map(|s| s.counts.as_ref()))?;
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
        dict.load(b, &format!("{prefix}.breakdown"), slices.iter_mut().map(|s| s.health.breakdown.as_mut()))?;
        dict.load(b, &format!("{prefix}.repairs"), slices.iter_mut().map(|s| s.health.repairs.as_mut()))?;
        let exact = slices.iter_mut().map(|s| s.health.exact_steps.as_mut());
        dict.load(b, &format!("{prefix}.exact_steps"), exact)?;
        dict.load(b, &format!("{prefix}.counts"), slices.iter_mut().map(|s| s.counts.as_mut()))?;
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
        self.progress = Progress { steps, ..self.progress };
        Ok(())
    }
}

/// The larger of two numbers; NaN wins, so that a defect that cannot be measured is not hidden.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}
