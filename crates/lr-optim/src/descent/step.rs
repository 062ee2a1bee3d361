//! One step of the schematic, for a slice of problems.

use super::repairs::{self, Counters};
use super::{Averaging, Cadence, DescentConfig, Normalization, Progress, RankGuard, Rule, Slice, Worker};
use lr_linalg::{Coef, Linalg, Map, Mats, Scope};
use lr_manifolds::{
    Base, Blend, FactorsMut, FactorsRef, HealthMut, Manifold, Ray, Retraction, Room, Tangent, Timing,
    Transport,
};

/// How a step comes by what it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// By one operation of the geometry, [`Manifold::aim_gradient`] or [`Manifold::aim_momentum`].
    Together,
    /// Gradient, momentum and aiming one by one, because repairs or normed descent come in between.
    InTurn,
}

impl Course {
    pub fn of(config: &DescentConfig) -> Self {
        let momentum_repairs = config.momentum > 0.0 && config.momentum_cadence != Cadence::Never;
        let repairs = config.gradient_cadence != Cadence::Never || momentum_repairs;
        match config.normalization {
            Normalization::None | Normalization::Unit { .. } if !repairs => Self::Together,
            _ => Self::InTurn,
        }
    }
}

/// One step of one slice of problems.
#[allow(clippy::too_many_arguments)]
pub(super) fn step<B, M, R, T>(
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
    let Rule { manifold, retraction, transport, config, course, timing } = rule;
    let Slice { momentum, frame, health, counts, .. } = slice;
    let Worker { rgrad, direction, next, next_frame, gamma, scratch } = worker;
    let mut health = health.as_mut();
    let (mut counters, taken) = (Counters::new(counts), progress.steps + 1);
    scratch.scope(|scope| {
        if progress.steps == 0 {
            let _span = tracing::trace_span!("factor").entered();
            manifold.factor(b, x.as_ref(), frame, health.as_mut(), scope);
        }
        let at = Base { x: x.as_ref(), frame: &*frame };
        let in_place = *course == Course::Together && momentum.is_none() && manifold.takes_egrad();
        match (course, momentum.as_mut()) {
            (Course::Together, None) if in_place => {
                let _span = tracing::trace_span!("aim").entered();
                manifold.aim(b, at, egrad, direction, health.as_mut(), scope);
            }
            (Course::Together, None) => {
                let _span = tracing::trace_span!("aim_gradient").entered();
                manifold.aim_gradient(b, at, egrad, rgrad.as_mut(), direction, health.as_mut(), scope);
            }
            (Course::Together, Some(momentum)) => {
                let _span = tracing::trace_span!("aim_momentum").entered();
                let blend = Blend { nu: config.momentum, weight: weight(config), transport: *timing };
                let (momentum, rgrad, health) = (momentum.as_mut(), rgrad.as_mut(), health.as_mut());
                manifold.aim_momentum(b, at, egrad, blend, momentum, rgrad, direction, health, scope);
            }
            (Course::InTurn, momentum) => {
                let rgrad = rgrad.as_mut();
                let health = health.as_mut();
                aim_in_turn(
                    b,
                    rule,
                    taken,
                    at,
                    egrad,
                    momentum,
                    rgrad,
                    direction,
                    health,
                    &mut counters,
                    scope,
                );
            }
        }
        let tangent = match (&momentum, config.normalization) {
            (None, _) if in_place => egrad,
            (None, _) | (_, Normalization::Steepest(_)) => rgrad.as_ref(),
            (Some(momentum), _) => momentum.as_ref(),
        };
        let ray = Ray { at, tangent, direction: &*direction };
        let t = {
            let _span = tracing::trace_span!("norm").entered();
            step_length(b, manifold, config, lr, ray, gamma, health.as_mut(), &mut counters, scope)
        };
        let looks_back = momentum.is_some() && *timing == Timing::AfterRetraction;
        if looks_back {
            {
                let _span = tracing::trace_span!("retract").entered();
                retraction.retract(b, manifold, ray, t, next.as_mut(), next_frame, health.as_mut(), scope);
                let next = next.as_mut();
                repairs::reorthogonalize(
                    b,
                    manifold,
                    config,
                    taken,
                    next,
                    next_frame,
                    health,
                    &mut counters,
                    scope,
                );
            }
            if let Some(momentum) = momentum.as_mut() {
                let _span = tracing::trace_span!("transport").entered();
                let to = Base { x: next.as_ref(), frame: &*next_frame };
                match config.normalization {
                    Normalization::Steepest(_) => {
                        transport.transport(b, manifold, at, to, momentum.as_mut(), scope);
                    }
                    Normalization::None | Normalization::Unit { .. } => {
                        let ray = Ray { at, tangent: momentum.as_ref(), direction: &*direction };
                        transport.carry(b, manifold, ray, to, rgrad.as_mut(), scope);
                        std::mem::swap(momentum, rgrad);
                    }
                }
            }
            x.copy_from(b, next.as_ref());
            std::mem::swap(frame, next_frame);
        } else {
            let _span = tracing::trace_span!("retract").entered();
            let along = (tangent, &*direction);
            let room = Room { x: next.as_mut(), frame: next_frame };
            retraction.advance(b, manifold, x.as_mut(), frame, along, t, room, health.as_mut(), scope);
            repairs::reorthogonalize(
                b,
                manifold,
                config,
                taken,
                x.as_mut(),
                frame,
                health,
                &mut counters,
                scope,
            );
        }
        if config.weight_decay > 0.0 {
            let shrink = 1.0 / (1.0 + lr * config.weight_decay);
            manifold.dilate(b, shrink, x, frame, momentum.as_mut().map(Tangent::as_mut));
        }
    });
}

/// What a gradient counts in the momentum.
fn weight(config: &DescentConfig) -> f64 {
    match config.averaging {
        Averaging::Exponential => 1.0 - config.momentum,
        Averaging::HeavyBall => 1.0,
    }
}

/// Steps 1 to 3 with the repairs that are due, and aiming: along `rgrad` without momentum and for normed descent,
/// which replaces it, otherwise along the momentum.
#[allow(clippy::too_many_arguments)]
fn aim_in_turn<B: Linalg, M: Manifold<B>, R, T>(
    b: &B,
    rule: &Rule<M, R, T>,
    taken: u64,
    at: Base<'_, B, M>,
    egrad: FactorsRef<'_, B>,
    mut momentum: Option<&mut Tangent<B>>,
    mut rgrad: FactorsMut<'_, B>,
    direction: &mut M::Direction,
    mut health: HealthMut<'_, B>,
    counters: &mut Counters<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Rule { manifold, config, .. } = rule;
    {
        let _span = tracing::trace_span!("egrad_to_rgrad").entered();
        manifold.egrad_to_rgrad(b, at, egrad, rgrad.as_mut(), scope);
        let (rgrad, health) = (rgrad.as_mut(), health.as_mut());
        repairs::mend_gradient(b, manifold, config, taken, at, egrad, rgrad, health, counters, scope);
    }
    if let Some(momentum) = &mut momentum {
        repairs::mend_momentum(b, manifold, config, taken, at, momentum.as_mut(), counters, scope);
        momentum.as_mut().axpby(b, Coef::Host(weight(config)), rgrad.as_ref(), config.momentum);
    }
    if let Normalization::Steepest(norm) = config.normalization {
        let _span = tracing::trace_span!("steepest").entered();
        if let Some(momentum) = &momentum {
            rgrad.copy_from(b, momentum.as_ref());
        }
        manifold.steepest(b, at, norm, rgrad.as_mut(), direction, health.as_mut(), scope);
    }
    let tangent = match (&momentum, config.normalization) {
        (None, _) | (_, Normalization::Steepest(_)) => rgrad.as_ref(),
        (Some(momentum), _) => momentum.as_ref(),
    };
    let _span = tracing::trace_span!("aim").entered();
    manifold.aim(b, at, tangent, direction, health, scope);
}

/// The signed length of the step along `ray`: a constant, or one device scalar a problem in `gamma`.
#[allow(clippy::too_many_arguments)]
fn step_length<'a, B: Linalg, M: Manifold<B>>(
    b: &B,
    manifold: &M,
    config: &DescentConfig,
    lr: f64,
    ray: Ray<'_, B, M>,
    gamma: &'a mut Mats<B>,
    mut health: HealthMut<'_, B>,
    counters: &mut Counters<'_, B>,
    scope: &Scope<'_, B>,
) -> Coef<'a, B> {
    match (config.normalization, config.rank_guard) {
        (Normalization::Unit { norm, clamp }, _) => {
            manifold.norm(b, ray, norm, gamma.as_mut(), health.as_mut(), scope);
            b.map(Map::Ratio { numerator: -lr, floor: clamp }, gamma.as_mut());
        }
        (_, RankGuard::Limit { .. }) => b.fill(-lr, gamma.as_mut()),
        (_, RankGuard::Off | RankGuard::Report) => return Coef::Host(-lr),
    }
    repairs::limit_step(b, manifold, config.rank_guard, ray, gamma.as_mut(), health, counters, scope);
    Coef::Device(gamma.as_ref())
}
