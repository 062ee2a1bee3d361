//! Settings of the descent: momentum, step length, weight decay, repairs with their cadences, rank guard.

use crate::OptimError;
use lr_linalg::Linalg;
use lr_manifolds::{GradientRepair, Manifold, MomentumRepair, NormKind, Schatten};
use std::num::NonZeroU64;

/// How the step length, and for normed descent the direction, is made from the learning rate.
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
    /// Normed descent: `lr` times the direction of steepest descent in a Schatten norm of the ambient matrix.
    /// Only for geometries that [`Manifold::has_steepest`].
    Steepest(Schatten),
}

impl Normalization {
    /// Normalization by `norm` with the paper's clamp.
    pub fn by(norm: NormKind) -> Self {
        Self::Unit { norm, clamp: f64::from(f32::EPSILON) }
    }
}

/// How gradients add up to a momentum, without bias correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Averaging {
    /// `M <- nu M + (1 - nu) G`, the paper's exponential average.
    #[default]
    Exponential,
    /// `M <- nu M + G` (Polyak 1964): without normalization the same with steps longer by `1/(1 - nu)`.
    HeavyBall,
}

/// When a repair runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cadence {
    /// Not at all.
    Never,
    /// At every step.
    EveryStep,
    /// At every k-th step.
    EverySteps(NonZeroU64),
    /// At a step where the defect is above this tolerance, or not a number.
    WhenDefect(f64),
}

/// What happens with steps that may lose the rank; see [`Manifold::hazard`].
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum RankGuard {
    /// Nobody looks.
    #[default]
    Off,
    /// Observers report how much of the safe length the last step took.
    Report,
    /// That, and steps are shortened to `share` of the safe length, `0 < share <= 1`; shortened steps are
    /// counted.
    Limit {
        /// Largest share of the safe length.
        share: f64,
    },
}

/// Settings of the descent; the default is the paper's: metric normalization, no momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DescentConfig {
    /// Momentum coefficient `nu` in `[0, 1)`.
    pub momentum: f64,
    /// How gradients add up to the momentum.
    pub averaging: Averaging,
    /// Step length.
    pub normalization: Normalization,
    /// Decay `lambda >= 0` of the weights by a homothety after every step, `W <- W / (1 + lr lambda)`: the
    /// proximal step of `lambda |W|^2 / 2`. Only for geometries that are cones, which partial isometries are
    /// not.
    pub weight_decay: f64,
    /// When factors that ought to be orthonormal are made so again; the defect is `|U^T U - I|`.
    pub reorthogonalize: Cadence,
    /// When a momentum is brought back to the tangent space; the defect is relative.
    pub momentum_cadence: Cadence,
    /// How.
    pub momentum_repair: MomentumRepair,
    /// When gradients are made consistent; the defect is relative.
    pub gradient_cadence: Cadence,
    /// How.
    pub gradient_repair: GradientRepair,
    /// What happens with steps that may lose the rank.
    pub rank_guard: RankGuard,
}

/// Default period of the reorthogonalization. Short steps end in orthonormal factors by themselves; long ones,
/// through the SVD, wear them by about a rounding a step.
const REORTHOGONALIZATION_PERIOD: NonZeroU64 = NonZeroU64::new(32).unwrap();

impl Default for DescentConfig {
    fn default() -> Self {
        Self {
            momentum: 0.0,
            averaging: Averaging::Exponential,
            normalization: Normalization::by(NormKind::Metric),
            weight_decay: 0.0,
            reorthogonalize: Cadence::EverySteps(REORTHOGONALIZATION_PERIOD),
            momentum_cadence: Cadence::Never,
            momentum_repair: MomentumRepair::Projection,
            gradient_cadence: Cadence::Never,
            gradient_repair: GradientRepair::Projection,
            rank_guard: RankGuard::Off,
        }
    }
}

impl DescentConfig {
    /// Checks the ranges, and that `manifold` can do what is asked.
    pub(super) fn validate<B: Linalg, M: Manifold<B>>(&self, manifold: &M) -> Result<(), OptimError> {
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(OptimError::Momentum(self.momentum));
        }
        let geometry = manifold.name();
        match self.normalization {
            Normalization::None => {}
            Normalization::Unit { norm, clamp } => {
                if !manifold.has_norm(norm) {
                    return Err(OptimError::NoSuchNorm { geometry });
                }
                if clamp.is_nan() || clamp <= 0.0 {
                    return Err(OptimError::Clamp(clamp));
                }
            }
            Normalization::Steepest(_) if manifold.has_steepest() => {}
            Normalization::Steepest(_) => return Err(OptimError::NoSteepest { geometry }),
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(OptimError::WeightDecay(self.weight_decay));
        }
        if self.weight_decay > 0.0 && !manifold.is_cone() {
            return Err(OptimError::NoCone { geometry });
        }
        for cadence in [self.reorthogonalize, self.momentum_cadence, self.gradient_cadence] {
            if let Cadence::WhenDefect(tolerance) = cadence
                && (tolerance.is_nan() || tolerance < 0.0)
            {
                return Err(OptimError::Tolerance(tolerance));
            }
        }
        match self.rank_guard {
            RankGuard::Limit { share } if !(share > 0.0 && share <= 1.0) => {
                Err(OptimError::GuardShare(share))
            }
            _ => Ok(()),
        }
    }
}
