//! The repairs of paper appendix B on their cadences: orthogonality of the factors, coherence of the momentum,
//! consistency of the gradient; and the rank guard that shortens steps. Each counts what it did on the
//! device, so that nothing waits for the host.

use super::{Cadence, DescentConfig, RankGuard};
use lr_linalg::{Coef, Dims, Linalg, Map, Mats, MatsMut, MatsRef, Scope};
use lr_manifolds::{Base, FactorsMut, FactorsRef, HealthMut, Manifold, MomentumRepair, Ray};

/// Columns of a slice's counters, `[problems, 1, KINDS]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Reorthogonalized,
    MomentumMended,
    GradientMended,
    StepShortened,
}

/// Number of [`Kind`]s.
pub(super) const KINDS: usize = 4;

/// A slice's counters.
#[derive(Debug)]
pub(super) struct Counters<'a, B: Linalg> {
    counts: MatsMut<'a, B>,
}

impl<'a, B: Linalg> Counters<'a, B> {
    pub fn new(counts: &'a mut Mats<B>) -> Self {
        Self { counts: counts.as_mut() }
    }

    fn column(&mut self, kind: Kind) -> MatsMut<'_, B> {
        let k = kind as usize;
        self.counts.as_mut().block(0..1, k..k + 1)
    }

    /// Adds the flags (1 or 0 a problem).
    fn add(&mut self, b: &B, kind: Kind, flags: MatsRef<'_, B>) {
        b.axpby(Coef::Host(1.0), flags, 1.0, self.column(kind));
    }
}

/// Flags of the problems that are due for a repair at step number `taken` (from 1), if the cadence asks for
/// any; `measure` writes the defects.
fn due<'s, B: Linalg>(
    b: &B,
    cadence: Cadence,
    taken: u64,
    problems: usize,
    measure: impl FnOnce(MatsMut<'_, B>, &Scope<'_, B>),
    scope: &'s Scope<'_, B>,
) -> Option<MatsMut<'s, B>> {
    let tolerance = match cadence {
        Cadence::Never => return None,
        Cadence::EverySteps(k) if !taken.is_multiple_of(k.get()) => return None,
        Cadence::EveryStep | Cadence::EverySteps(_) => None,
        Cadence::WhenDefect(tolerance) => Some(tolerance),
    };
    let mut flags = scope.status(problems);
    match tolerance {
        None => b.fill(1.0, flags.as_mut()),
        Some(tolerance) => scope.nest(|scope| {
            let mut defect = scope.take(Dims::scalars(problems));
            scope.nest(|scope| measure(defect.as_mut(), scope));
            b.flag_above(tolerance, defect.as_ref(), flags.as_mut());
        }),
    }
    Some(flags)
}

/// Orthogonality of the factors of the new point `x`, where the geometry carries orthonormal ones. Mending a slice's healthy problems with the worn ones
/// does them no harm.
#[allow(clippy::too_many_arguments)]
pub(super) fn reorthogonalize<B: Linalg, M: Manifold<B>>(
    b: &B,
    manifold: &M,
    config: &DescentConfig,
    taken: u64,
    mut x: FactorsMut<'_, B>,
    frame: &mut M::Frame,
    health: HealthMut<'_, B>,
    counters: &mut Counters<'_, B>,
    scope: &Scope<'_, B>,
) {
    if !manifold.carries_orthonormal_factors() {
        return;
    }
    scope.nest(|scope| {
        let at = Base { x: x.as_ref(), frame: &*frame };
        let measure = |out: MatsMut<'_, B>, scope: &Scope<'_, B>| {
            manifold.orthogonality_defect(b, at, out, scope);
        };
        let Some(worn) = due(b, config.reorthogonalize, taken, x.problems(), measure, scope) else { return };
        counters.add(b, Kind::Reorthogonalized, worn.as_ref());
        scope.nest(|scope| {
            b.when_any(worn.as_ref(), || manifold.reorthogonalize(b, x.as_mut(), frame, health, scope));
        });
    });
}

/// Coherence of the momentum at the current point.
#[allow(clippy::too_many_arguments)]
pub(super) fn mend_momentum<B: Linalg, M: Manifold<B>>(
    b: &B,
    manifold: &M,
    config: &DescentConfig,
    taken: u64,
    at: Base<'_, B, M>,
    mut momentum: FactorsMut<'_, B>,
    counters: &mut Counters<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let v = momentum.as_ref();
        let measure = |out: MatsMut<'_, B>, scope: &Scope<'_, B>| {
            manifold.coherence_defect(b, at, v, out, scope);
        };
        let Some(worn) = due(b, config.momentum_cadence, taken, v.problems(), measure, scope) else { return };
        counters.add(b, Kind::MomentumMended, worn.as_ref());
        scope.nest(|scope| {
            b.when_any(worn.as_ref(), || match config.momentum_repair {
                MomentumRepair::Projection => manifold.project(b, at, momentum.as_mut(), scope),
                MomentumRepair::Reset => {
                    for side in [momentum.left.as_mut(), momentum.right.as_mut()] {
                        scope.nest(|scope| {
                            let mut zero = scope.take(side.dims());
                            b.fill(0.0, zero.as_mut());
                            b.copy_where(worn.as_ref(), zero.as_ref(), side);
                        });
                    }
                }
            });
        });
    });
}

/// Consistency of the gradient `rgrad` that was made from `egrad`.
#[allow(clippy::too_many_arguments)]
pub(super) fn mend_gradient<B: Linalg, M: Manifold<B>>(
    b: &B,
    manifold: &M,
    config: &DescentConfig,
    taken: u64,
    at: Base<'_, B, M>,
    egrad: FactorsRef<'_, B>,
    rgrad: FactorsMut<'_, B>,
    health: HealthMut<'_, B>,
    counters: &mut Counters<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let measure = |out: MatsMut<'_, B>, scope: &Scope<'_, B>| {
            manifold.consistency_defect(b, at, egrad, out, scope);
        };
        let problems = rgrad.problems();
        let Some(worn) = due(b, config.gradient_cadence, taken, problems, measure, scope) else { return };
        counters.add(b, Kind::GradientMended, worn.as_ref());
        scope.nest(|scope| {
            let repair = config.gradient_repair;
            b.when_any(worn.as_ref(), || manifold.make_consistent(b, at, repair, rgrad, health, scope));
        });
    });
}

/// Shortens the steps `gamma` (`[problems, 1, 1]`) to the guard's share of the safe length.
#[allow(clippy::too_many_arguments)]
pub(super) fn limit_step<B: Linalg, M: Manifold<B>>(
    b: &B,
    manifold: &M,
    guard: RankGuard,
    ray: Ray<'_, B, M>,
    gamma: MatsMut<'_, B>,
    health: HealthMut<'_, B>,
    counters: &mut Counters<'_, B>,
    scope: &Scope<'_, B>,
) {
    let RankGuard::Limit { share } = guard else { return };
    scope.nest(|scope| {
        let mut excess = scope.take(gamma.dims());
        let mut long = scope.status(gamma.dims().batch);
        manifold.hazard(b, ray, excess.as_mut(), health, scope);
        // Steps go against the gradient: -gamma is the length.
        b.multiply(gamma.as_ref(), excess.as_mut());
        b.map(Map::Scale(-1.0 / share), excess.as_mut());
        b.flag_above(1.0, excess.as_ref(), long.as_mut());
        counters.add(b, Kind::StepShortened, long.as_ref());
        b.map(Map::Ratio { numerator: 1.0, floor: 1.0 }, excess.as_mut());
        b.multiply(excess.as_ref(), gamma);
    });
}
