//! What observers learn of a slice: norms and defects, measured on the device and downloaded together.

use super::{Normalization, Progress, RankGuard, Rule, Slice, Worker};
use lr_linalg::{Linalg, Map, MatsMut};
use lr_manifolds::{Base, FactorsRef, Manifold, NormKind, Ray, Timing};

/// Columns of a slice's measures, `[problems, 1, MEASURES]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    GradientNorm,
    MomentumNorm,
    OrthogonalityDefect,
    CoherenceDefect,
    ConsistencyDefect,
    RankMargin,
}

/// Number of [`Column`]s.
pub(super) const MEASURES: usize = 6;

/// Fills `slice.measures` at `x`; the momentum is the one before this step's gradient, transported to `x`.
pub(super) fn measure<B: Linalg, M: Manifold<B>, R, T>(
    b: &B,
    rule: &Rule<M, R, T>,
    progress: Progress,
    slice: &mut Slice<B, M>,
    worker: &mut Worker<B, M>,
    x: FactorsRef<'_, B>,
    egrad: FactorsRef<'_, B>,
) {
    let Rule { manifold, config, timing, .. } = rule;
    let Slice { momentum, frame, health, measures, .. } = slice;
    let Worker { rgrad, direction, next, gamma, scratch, .. } = worker;
    let mut health = health.as_mut();
    let column = |c: Column| c as usize..c as usize + 1;
    scratch.scope(|scope| {
        if progress.steps == 0 {
            manifold.factor(b, x, frame, health.as_mut(), scope);
        }
        let at = Base { x, frame: &*frame };
        manifold.egrad_to_rgrad(b, at, egrad, rgrad.as_mut(), scope);
        let tangent = match (momentum, timing) {
            (None, _) => rgrad.as_ref(),
            (Some(momentum), Timing::AfterRetraction) => momentum.as_ref(),
            (Some(momentum), Timing::WithNextGradient) => {
                // The step's room for the next point is free.
                next.as_mut().copy_from(b, momentum.as_ref());
                manifold.project(b, at, next.as_mut(), scope);
                next.as_ref()
            }
        };
        for (c, v) in [(Column::GradientNorm, rgrad.as_ref()), (Column::MomentumNorm, tangent)] {
            manifold.aim(b, at, v, direction, health.as_mut(), scope);
            let ray = Ray { at, tangent: v, direction: &*direction };
            let out = measures.as_mut().block(0..1, column(c));
            manifold.norm(b, ray, NormKind::Metric, out, health.as_mut(), scope);
        }
        let mut defect = |c: Column, work: &dyn Fn(MatsMut<'_, B>)| {
            work(measures.as_mut().block(0..1, column(c)));
        };
        defect(Column::OrthogonalityDefect, &|out| manifold.orthogonality_defect(b, at, out, scope));
        defect(Column::CoherenceDefect, &|out| manifold.coherence_defect(b, at, tangent, out, scope));
        defect(Column::ConsistencyDefect, &|out| manifold.consistency_defect(b, at, egrad, out, scope));
        if config.rank_guard == RankGuard::Off {
            return;
        }
        let ray = Ray { at, tangent, direction: &*direction };
        match config.normalization {
            Normalization::None | Normalization::Steepest(_) => b.fill(progress.rate, gamma.as_mut()),
            Normalization::Unit { norm, clamp } => {
                manifold.norm(b, ray, norm, gamma.as_mut(), health.as_mut(), scope);
                b.map(Map::Ratio { numerator: progress.rate, floor: clamp }, gamma.as_mut());
            }
        }
        scope.nest(|scope| {
            let mut hazard = scope.take(gamma.dims());
            manifold.hazard(b, ray, hazard.as_mut(), health.as_mut(), scope);
            b.multiply(hazard.as_ref(), gamma.as_mut());
        });
        b.copy(gamma.as_ref().n(), measures.as_mut().block(0..1, column(Column::RankMargin)));
    });
}
