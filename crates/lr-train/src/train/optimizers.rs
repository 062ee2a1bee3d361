//! From the names in a configuration to what they stand for: the model's choices, and the optimizer of a bank
//! with its momentum, step length, retraction, repairs and rank guard.

use crate::{
    config::{self, ExperimentConfig, Normalize, OptimizerName},
    model::{self, ModelShape},
    neural::Neural,
};
use lr_manifolds::{Factors, GradientRepair, Grid, MomentumRepair, NormKind, Schatten, StiefelRetraction};
use lr_optim::{
    AdamW, AdamWConfig, Averaging, BankOptimizer, Cadence, DescentConfig, FixedRankRetraction, Geometry,
    Muon, MuonConfig, Normalization, OptimError, PreconditionedAdamW, PreconditionedAdamWConfig, RankGuard,
    Retractions,
};
use std::num::NonZeroU64;

/// The model's choices.
pub(super) fn choices(config: &ExperimentConfig) -> model::Choices {
    model::Choices {
        final_norm: match config.final_norm {
            config::FinalNorm::On => model::FinalNorm::On,
            config::FinalNorm::Off => model::FinalNorm::Off,
        },
        position: match config.model.position {
            config::Position::None => model::Position::None,
            config::Position::Rope => model::Position::Rope,
        },
        qk_norm: match config.model.qk_norm {
            config::QkNorm::Off => model::QkNorm::Off,
            config::QkNorm::On => model::QkNorm::On,
        },
    }
}

/// What an optimizer's name stands for.
enum Rule {
    AdamW,
    Descent(Geometry),
    Muon,
    PreconditionedAdamW,
}

fn rule(name: OptimizerName) -> Rule {
    use OptimizerName as Name;
    match name {
        Name::Adamw => Rule::AdamW,
        Name::FixedEmbedded | Name::GridFixedEmbedded => Rule::Descent(Geometry::FixedEmbedded),
        Name::FixedQuotient | Name::GridFixedQuotient => Rule::Descent(Geometry::FixedQuotient),
        Name::PartialEmbedded | Name::GridPartialEmbedded => Rule::Descent(Geometry::PartialEmbedded),
        Name::PartialQuotient | Name::GridPartialQuotient => Rule::Descent(Geometry::PartialQuotient),
        Name::PartialCanonical | Name::GridPartialCanonical => Rule::Descent(Geometry::PartialCanonical),
        Name::Muon => Rule::Muon,
        Name::PreconditionedAdamw => Rule::PreconditionedAdamW,
    }
}

/// The grids of the QK and of the VO bank: a key-value head with the `g` query maps above one another on the
/// left, and with the `g` output maps on the right.
pub(super) fn grids(shape: &ModelShape) -> [Grid; 2] {
    let (one, group) = ([shape.d_model], vec![shape.d_model; shape.group()]);
    [Grid::new(&group, &one, shape.head_dim), Grid::new(&one, &group, shape.head_dim)]
}

fn cadence(cadence: config::Cadence) -> Cadence {
    match cadence {
        config::Cadence::Never => Cadence::Never,
        config::Cadence::EveryStep => Cadence::EveryStep,
        config::Cadence::EveryKSteps { k } => {
            NonZeroU64::new(k as u64).map_or(Cadence::EveryStep, Cadence::EverySteps)
        }
        config::Cadence::WhenDefect { tolerance } => Cadence::WhenDefect(tolerance),
    }
}

fn descent(config: &ExperimentConfig) -> DescentConfig {
    let (momentum_repair, momentum_cadence) = match config.momentum_repair {
        config::MomentumRepair::Off => (MomentumRepair::Projection, Cadence::Never),
        config::MomentumRepair::Project => {
            (MomentumRepair::Projection, cadence(config.momentum_repair_cadence))
        }
        config::MomentumRepair::Reset => (MomentumRepair::Reset, cadence(config.momentum_repair_cadence)),
    };
    let gradient_cadence = cadence(config.gradient_repair_cadence);
    let (gradient_repair, gradient_cadence) = match config.gradient_repair_in_use() {
        config::GradientRepair::Off => (GradientRepair::Projection, Cadence::Never),
        config::GradientRepair::Project => (GradientRepair::Projection, gradient_cadence),
        config::GradientRepair::LeastSquares => (GradientRepair::LeastSquares, gradient_cadence),
    };
    DescentConfig {
        momentum: config.momentum,
        averaging: match config.averaging {
            config::Averaging::Exponential => Averaging::Exponential,
            config::Averaging::HeavyBall => Averaging::HeavyBall,
        },
        normalization: match config.normalize {
            Normalize::None => Normalization::None,
            Normalize::Metric => Normalization::by(NormKind::Metric),
            Normalize::Spectral => Normalization::by(NormKind::Spectral),
            Normalize::Schatten1 => Normalization::Steepest(Schatten::One),
            Normalize::SchattenInfinity => Normalization::Steepest(Schatten::Infinity),
        },
        weight_decay: config.weight_decay,
        reorthogonalize: cadence(config.reorthogonalize),
        momentum_repair,
        momentum_cadence,
        gradient_repair,
        gradient_cadence,
        rank_guard: match config.rank_guard {
            config::RankGuard::Off => RankGuard::Off,
            config::RankGuard::Report => RankGuard::Report,
            config::RankGuard::Limit { share } => RankGuard::Limit { share },
        },
    }
}

fn retractions(config: &ExperimentConfig) -> Retractions {
    Retractions {
        stiefel: match config.retraction {
            config::Retraction::Polar => StiefelRetraction::Polar,
            config::Retraction::Qr => StiefelRetraction::Qr,
            config::Retraction::Cayley => StiefelRetraction::Cayley,
        },
        fixed_rank: match config.fixed_retraction {
            config::FixedRetraction::Svd => FixedRankRetraction::Svd,
            config::FixedRetraction::Orthographic => FixedRankRetraction::Orthographic,
        },
    }
}

/// The optimizer that a configuration names, for one bank of problems of shape `grid`.
///
/// # Errors
/// [`OptimError`] when the memory cannot be had or the optimizer cannot follow the configuration.
pub(super) fn bank_optimizer<B: Neural>(
    b: &B,
    config: &ExperimentConfig,
    optimizer: OptimizerName,
    grid: Grid,
    bank: &Factors<B>,
) -> Result<Box<dyn BankOptimizer<B>>, OptimError> {
    match rule(optimizer) {
        Rule::AdamW => Ok(Box::new(AdamW::for_bank(b, AdamWConfig::default(), bank.as_ref())?)),
        Rule::Descent(geometry) => {
            geometry.optimizer(b, grid, retractions(config), descent(config), bank.problems())
        }
        Rule::Muon => Ok(Box::new(Muon::new(b, MuonConfig::default(), grid, bank.problems())?)),
        Rule::PreconditionedAdamW => {
            let config = PreconditionedAdamWConfig::default();
            Ok(Box::new(PreconditionedAdamW::new(b, config, grid, bank.problems())?))
        }
    }
}
