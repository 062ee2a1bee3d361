//! Settings reach the optimizers: each changes the steps of those it is for, leaves the others alone, and counts
//! what it repairs.

use lr_linalg::{Bf16, Cpu};
use lr_optim::BankMeasures;
use lr_train::{
    config::{
        Averaging, Cadence, ExperimentConfig, FixedRetraction, GradientRepair, MomentumRepair, Normalize,
        OptimizerName::{self, *},
        Position, Precision, Preset, RankGuard, Retraction,
    },
    train::trainer::Trainer,
};
use lr_training_tests::batch;

const STEPS: usize = 6;

/// Losses of a few steps in f64, and what is measured then.
fn train(config: &ExperimentConfig, optimizer: OptimizerName) -> (Vec<f64>, BankMeasures) {
    let config = ExperimentConfig { optimizers: vec![optimizer], ..config.clone() };
    config.validate().unwrap();
    let batch = batch(&config, 0);
    let mut trainer = Trainer::new(&Cpu::<f64>::new(), &config, optimizer, 1).unwrap();
    let losses = (0..STEPS).map(|_| trainer.step(&batch).unwrap().0).collect();
    trainer.differentiate(&batch);
    (losses, trainer.measure().unwrap())
}

fn smoke() -> ExperimentConfig {
    ExperimentConfig {
        momentum: 0.5,
        warmup_steps: 0,
        lr_qkvo: Some(0.1),
        ..ExperimentConfig::preset(Preset::Smoke)
    }
}

/// `change` matters for all of `concerned` and for none of `others`.
#[track_caller]
fn assert_concerns(
    change: impl Fn(&mut ExperimentConfig),
    concerned: &[OptimizerName],
    others: &[OptimizerName],
) {
    for (names, expected) in [(concerned, true), (others, false)] {
        for &name in names {
            let base = if name.is_grid() {
                ExperimentConfig { optimizers: Vec::new(), ..grouped() }
            } else {
                smoke()
            };
            let mut changed = base.clone();
            change(&mut changed);
            let (losses, measures) = train(&changed, name);
            assert!(losses.iter().all(|l| l.is_finite()) && measures.broken.is_none(), "{name}: {losses:?}");
            assert_eq!(losses != train(&base, name).0, expected, "{name}");
        }
    }
}

fn grouped() -> ExperimentConfig {
    ExperimentConfig { model: ExperimentConfig::gqa(Preset::Smoke).model, ..smoke() }
}

/// Products by dot products of bf16 train like products in f32, a little differently.
#[test]
fn products_in_bf16() {
    let config = ExperimentConfig { precision: Precision::Bf16, ..ExperimentConfig::preset(Preset::Small) };
    let batch = batch(&config, 0);
    let single = Cpu::<f32>::new();
    let mut trainer = Trainer::new(&single, &config, FixedEmbedded, 1).unwrap();
    let losses: Vec<f64> = (0..3).map(|_| trainer.step(&batch).unwrap().0).collect();
    let mut trainer = Trainer::new(&Cpu::<f32, Bf16>::new(), &config, FixedEmbedded, 1).unwrap();
    let rounded: Vec<f64> = (0..3).map(|_| trainer.step(&batch).unwrap().0).collect();
    assert_eq!(losses != rounded, Bf16::is_available());
    // Each of 2^-8 relative, in random directions, averaged over 128 and more terms and all tokens.
    assert!(losses.iter().zip(&rounded).all(|(a, b)| (a - b).abs() < 2e-3 * a), "{losses:?} {rounded:?}");
}

#[test]
fn averaging_and_weight_decay() {
    assert_concerns(
        |c| (c.averaging, c.normalize) = (Averaging::HeavyBall, Normalize::None),
        &[FixedEmbedded, FixedQuotient, PartialEmbedded, PartialQuotient, GridPartialCanonical],
        &[Adamw, Muon, PreconditionedAdamw],
    );
    assert_concerns(
        |c| c.weight_decay = 0.1,
        &[FixedEmbedded, FixedQuotient, GridFixedEmbedded, GridFixedQuotient],
        &[Adamw, Muon, PreconditionedAdamw],
    );
}

#[test]
fn normed_descent_and_retractions() {
    for normalize in [Normalize::Spectral, Normalize::Schatten1, Normalize::SchattenInfinity] {
        assert_concerns(|c| c.normalize = normalize, &[FixedEmbedded, GridFixedEmbedded], &[Adamw, Muon]);
    }
    for retraction in [Retraction::Qr, Retraction::Cayley] {
        assert_concerns(
            |c| c.retraction = retraction,
            &[PartialQuotient, PartialCanonical, GridPartialEmbedded, GridPartialQuotient],
            &[Adamw, FixedEmbedded, FixedQuotient],
        );
    }
    assert_concerns(
        |c| c.fixed_retraction = FixedRetraction::Orthographic,
        &[FixedEmbedded, GridFixedEmbedded],
        &[Adamw, FixedQuotient, PartialEmbedded, PartialCanonical],
    );
}

#[test]
fn the_rank_guard_reports_and_shortens() {
    let long = ExperimentConfig { lr_qkvo: Some(2.0), ..smoke() };
    let guarded = |guard, name| train(&ExperimentConfig { rank_guard: guard, ..long.clone() }, name).1;
    for name in [FixedEmbedded, FixedQuotient] {
        assert_eq!(guarded(RankGuard::Off, name).rank_margin, None);
        let reported = guarded(RankGuard::Report, name);
        let margin = reported.rank_margin.unwrap();
        assert!(margin > 0.0 && reported.repairs.shortened_steps == 0, "{name}: {reported:?}");
        let limited = guarded(RankGuard::Limit { share: margin.min(1.0) / 4.0 }, name);
        assert!(limited.repairs.shortened_steps > 0, "{name}: {limited:?}");
    }
}

#[test]
fn repairs_are_counted_by_kind_on_their_cadences() {
    let problems = (2 * smoke().model.layers * smoke().model.kv_heads) as u64;
    let every_second = Cadence::EveryKSteps { k: 2 };
    let count = |config: &ExperimentConfig| train(config, PartialQuotient).1.repairs;
    let base = ExperimentConfig { reorthogonalize: Cadence::Never, ..smoke() };
    assert_eq!(count(&base), Default::default());
    let worn = ExperimentConfig { reorthogonalize: every_second, ..base.clone() };
    assert_eq!(train(&worn, PartialEmbedded).1.repairs.reorthogonalizations, 3 * problems);
    assert_eq!(count(&worn), Default::default(), "every retraction restores these factors");
    for repair in [MomentumRepair::Project, MomentumRepair::Reset] {
        let config = ExperimentConfig {
            momentum_repair: repair,
            momentum_repair_cadence: every_second,
            ..base.clone()
        };
        assert_eq!(count(&config).momenta, 3 * problems);
    }
    for repair in [GradientRepair::Project, GradientRepair::LeastSquares] {
        let config = ExperimentConfig { gradient_repair: Some(repair), ..base.clone() };
        assert_eq!(count(&config).gradients, STEPS as u64 * problems);
    }
}

#[test]
fn rotated_queries_and_keys_contradict_themselves_and_are_repaired_by_default() {
    let mut rope = smoke();
    rope.model.position = Position::Rope;
    for name in [FixedEmbedded, FixedQuotient, PartialEmbedded, PartialQuotient, PartialCanonical] {
        assert!(train(&smoke(), name).1.consistency_defect < 1e-10, "{name}");
        let (losses, measures) = train(&rope, name);
        assert!(measures.consistency_defect > 1e-3, "{name}: {measures:?}");
        assert!(measures.repairs.gradients > 0 && measures.coherence_defect < 1e-10, "{name}: {measures:?}");
        assert!(losses[STEPS - 1] < losses[0], "{name}: {losses:?}");
    }
}
