//! Tests of the configuration: defaults, presets, round trip, and the messages of what is refused.

use super::*;

fn refused(change: impl FnOnce(&mut ExperimentConfig)) -> String {
    let mut config = ExperimentConfig::default();
    change(&mut config);
    config.validate().expect_err("must be refused").to_string()
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn defaults_are_the_papers() {
    let config = ExperimentConfig::default();
    assert_eq!(config.preset, Preset::Small);
    assert_eq!(
        config.optimizers.iter().map(|o| o.as_str()).collect::<Vec<_>>(),
        [
            "adamw",
            "fixed-embedded",
            "fixed-quotient",
            "partial-embedded",
            "partial-quotient",
            "partial-canonical"
        ]
    );
    assert_eq!(config.lr_qkvo_of(OptimizerName::Adamw), 1.0 / 4096.0);
    for &geometry in OptimizerName::MHA[1..].iter().chain(&OptimizerName::GQA[1..]) {
        assert_eq!(config.lr_qkvo_of(geometry), 1.0 / 256.0);
    }
    assert_eq!(config.lr_other, 1.0 / 1024.0);
    assert_eq!((config.warmup_steps, config.schedule), (10, Schedule::Constant));
    assert_eq!((config.normalize, config.momentum), (Normalize::Metric, 0.0));
    assert_eq!((config.retraction, config.final_norm), (Retraction::Polar, FinalNorm::On));
    assert_eq!((config.model.position, config.model.qk_norm), (Position::None, QkNorm::Off));
    for &preset in Preset::ALL {
        ExperimentConfig::preset(preset).validate().unwrap();
        ExperimentConfig::gqa(preset).validate().unwrap();
    }
}

#[test]
fn key_value_heads_are_the_heads_unless_given() {
    let read = |text| ExperimentConfig::from_toml(text, "x").unwrap().model;
    assert_eq!(read("[model]\nheads = 6").kv_heads, 6);
    assert_eq!(read("preset = \"paper\"").kv_heads, 8);
    assert_eq!(read("[model]\nheads = 6\nkv_heads = 2").kv_heads, 2);
    // As summaries of older experiments are read: without the merge.
    let older: ExperimentConfig = toml::from_str("[model]\nheads = 6").unwrap();
    assert_eq!(older.model.kv_heads, 6);

    let grouped = |text| ExperimentConfig::from_toml_over(text, "x", ExperimentConfig::gqa).unwrap();
    assert_eq!(grouped("preset = \"paper\""), ExperimentConfig::gqa(Preset::Paper));
    assert_eq!(grouped("[model]\nheads = 6").model.kv_heads, 1);
    let config = grouped("optimizers = [\"muon\"]\n[model]\nkv_heads = 2");
    assert_eq!((config.model.kv_heads, config.optimizers), (2, vec![OptimizerName::Muon]));
}

#[test]
fn a_geometry_must_fit_the_key_value_heads() {
    assert_says(&refused(|c| c.model.kv_heads = 3), &["model.kv_heads", "divisor of 4"]);
    assert_says(&refused(|c| c.model.kv_heads = 0), &["model.kv_heads"]);
    assert_says(
        &refused(|c| c.model.kv_heads = 2),
        &["optimizers", "fixed-embedded", "model.kv_heads = 4", "grid-fixed-embedded"],
    );
    let grid = refused(|c| c.optimizers = vec![OptimizerName::GridPartialQuotient]);
    assert_says(&grid, &["optimizers", "grid-partial-quotient", "model.kv_heads", "use partial-quotient"]);
    for kv_heads in [1, 2, 4] {
        let mut config = ExperimentConfig::default();
        config.model.kv_heads = kv_heads;
        config.optimizers =
            vec![OptimizerName::Adamw, OptimizerName::Muon, OptimizerName::PreconditionedAdamw];
        config.validate().unwrap();
    }
}

#[test]
fn an_empty_file_is_the_default_and_a_preset_brings_its_own_defaults() {
    assert_eq!(ExperimentConfig::from_toml("", "x").unwrap(), ExperimentConfig::default());
    let paper =
        ExperimentConfig::from_toml("preset = \"paper\"\nsteps = 7\n[model]\nlayers = 3", "x").unwrap();
    let mut expected = ExperimentConfig::preset(Preset::Paper);
    expected.steps = 7;
    expected.model.layers = 3;
    assert_eq!(paper, expected);
    assert_eq!(paper.model.d_model, 512);
}

#[test]
fn toml_round_trip_keeps_every_field() {
    for &preset in Preset::ALL {
        let config = ExperimentConfig::preset(preset);
        assert_eq!(ExperimentConfig::from_toml(&config.to_toml().unwrap(), "x").unwrap(), config);
    }
    let cadences = [
        Cadence::Never,
        Cadence::EveryStep,
        Cadence::EveryKSteps { k: 12 },
        Cadence::WhenDefect { tolerance: 1e-5 },
    ];
    for (i, reorthogonalize) in cadences.into_iter().enumerate() {
        let config = ExperimentConfig {
            preset: Preset::Smoke,
            optimizers: vec![OptimizerName::PartialCanonical, OptimizerName::Adamw],
            steps: 3,
            seeds: vec![5, 1],
            lr_qkvo: Some(0.1 + 0.2),
            lr_other: 1e-7,
            warmup_steps: 0,
            schedule: Schedule::Cosine,
            normalize: Normalize::None,
            momentum: 0.9,
            averaging: Averaging::HeavyBall,
            weight_decay: 0.25,
            retraction: Retraction::Cayley,
            fixed_retraction: FixedRetraction::Orthographic,
            reorthogonalize,
            momentum_repair: MomentumRepair::Reset,
            momentum_repair_cadence: cadences[(i + 1) % 4],
            gradient_repair: Some(GradientRepair::LeastSquares),
            gradient_repair_cadence: cadences[(i + 2) % 4],
            rank_guard: [RankGuard::Off, RankGuard::Report, RankGuard::Limit { share: 0.5 }][i % 3],
            final_norm: FinalNorm::Off,
            precision: Precision::Bf16,
            data_order: DataOrder::Windows,
            corpus: "/a \"quoted\" path".to_owned(),
            corpus_max_bytes: 17,
            validation_fraction: 0.25,
            validate_every: 2,
            validation_batches: 3,
            observe_every: 4,
            out: PathBuf::from("elsewhere"),
            device: Device::CpuOpenblas,
            threads: 2,
            model: ModelConfig {
                layers: 1,
                heads: 6,
                kv_heads: 2,
                position: Position::Rope,
                qk_norm: QkNorm::On,
                ..ModelConfig::preset(Preset::Paper)
            },
        };
        let text = config.to_toml().unwrap();
        assert_eq!(ExperimentConfig::from_toml(&text, "x").unwrap(), config, "{text}");
    }
}

#[test]
fn an_unknown_key_names_the_key_the_line_and_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "steps = 5\nlerning_rate = 0.1\n").unwrap();
    let message = ExperimentConfig::load(&path).unwrap_err().to_string();
    assert_says(&message, &["mine.toml", "line 2", "lerning_rate", "lr_other"]);

    std::fs::write(&path, "[model]\nwidth = 5\n").unwrap();
    let message = ExperimentConfig::load(&path).unwrap_err().to_string();
    assert_says(&message, &["mine.toml", "line 2", "width", "d_model"]);

    std::fs::write(&path, "reorthogonalize = { every-k-steps = { k = 1, j = 2 } }").unwrap();
    assert_says(
        &ExperimentConfig::load(&path).unwrap_err().to_string(),
        &["mine.toml", "unexpected keys in table: j"],
    );
}

#[test]
fn wrong_values_and_missing_files_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "optimizers = [\"adamw\", \"sgd\"]").unwrap();
    let message = ExperimentConfig::load(&path).unwrap_err().to_string();
    assert_says(&message, &["mine.toml", "sgd", "fixed-embedded"]);

    std::fs::write(&path, "steps = -1").unwrap();
    assert_says(&ExperimentConfig::load(&path).unwrap_err().to_string(), &["mine.toml", "line 1", "-1"]);

    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert_says(&ExperimentConfig::load(&path).unwrap_err().to_string(), &["mine.toml", "UTF-8"]);

    let missing = folder.path().join("missing.toml");
    assert_says(&ExperimentConfig::load(&missing).unwrap_err().to_string(), &["missing.toml"]);
}

#[test]
fn impossible_values_name_the_field_and_the_remedy() {
    assert_says(
        &refused(|c| c.model.head_dim = 256),
        &[
            "model.head_dim",
            "rank r = head_dim = 256 exceeds min(m, n) = d_model = 128; lower model.head_dim",
        ],
    );
    assert_says(&refused(|c| c.normalize = Normalize::Spectral), &["normalize", "fixed-quotient", "metric"]);
    for momentum in [1.0, -0.1, f64::NAN] {
        assert_says(&refused(|c| c.momentum = momentum), &["momentum", "[0, 1)"]);
    }
    for rate in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert_says(&refused(|c| c.lr_other = rate), &["lr_other", "positive"]);
        assert_says(&refused(|c| c.lr_qkvo = Some(rate)), &["lr_qkvo", "positive"]);
    }
    for fraction in [0.0, 1.0, f64::NAN] {
        assert_says(&refused(|c| c.validation_fraction = fraction), &["validation_fraction", "0.05"]);
    }
    assert_says(&refused(|c| c.optimizers.clear()), &["optimizers", "adamw"]);
    assert_says(&refused(|c| c.optimizers.push(OptimizerName::Adamw)), &["optimizers", "adamw", "twice"]);
    assert_says(&refused(|c| c.seeds.clear()), &["seeds"]);
    assert_says(&refused(|c| c.seeds = vec![3, 3]), &["seeds", "3"]);
    assert_says(&refused(|c| c.seeds = vec![u64::MAX]), &["seeds", "2^63"]);
    assert_says(&refused(|c| c.steps = 0), &["steps"]);
    assert_says(&refused(|c| c.validate_every = 0), &["validate_every"]);
    assert_says(&refused(|c| c.validation_batches = 0), &["validation_batches"]);
    assert_says(&refused(|c| c.observe_every = 0), &["observe_every"]);
    assert_says(&refused(|c| c.corpus = " ".to_owned()), &["corpus", "crates"]);
    assert_says(&refused(|c| c.corpus_max_bytes = 0), &["corpus_max_bytes"]);
    assert_says(&refused(|c| c.out = PathBuf::new()), &["out"]);
    assert_says(&refused(|c| c.model.sequence = 1), &["model.sequence", "2"]);
    assert_says(&refused(|c| c.model.heads = 0), &["model.heads"]);
    let odd = refused(|c| (c.model.head_dim, c.model.position) = (31, Position::Rope));
    assert_says(&odd, &["model.position", "model.head_dim = 31", "even"]);
    assert_says(&refused(|c| c.model.d_ff = usize::MAX), &["model.d_ff"]);
    assert_says(&refused(|c| c.model.vocabulary = 50_258), &["model.vocabulary", "50257"]);
}

#[test]
fn impossible_repairs_name_the_field_and_the_remedy() {
    type Field = fn(&mut ExperimentConfig) -> &mut Cadence;
    let fields: [(&str, Field); 3] = [
        ("reorthogonalize", |c| &mut c.reorthogonalize),
        ("momentum_repair_cadence", |c| &mut c.momentum_repair_cadence),
        ("gradient_repair_cadence", |c| &mut c.gradient_repair_cadence),
    ];
    for (name, field) in fields {
        let never = refused(|c| *field(c) = Cadence::EveryKSteps { k: 0 });
        assert_says(&never, &[name, "every-k-steps.k", "at least 1"]);
        for tolerance in [-1.0, 0.0, f64::NAN] {
            let message = refused(|c| *field(c) = Cadence::WhenDefect { tolerance });
            assert_says(&message, &[name, "when-defect.tolerance", "positive"]);
        }
    }
    let forgetful = refused(|c| c.momentum_repair = MomentumRepair::Reset);
    assert_says(&forgetful, &["momentum_repair_cadence", "when-defect", "project"]);
    for share in [0.0, 1.5, f64::NAN] {
        let message = refused(|c| c.rank_guard = RankGuard::Limit { share });
        assert_says(&message, &["rank_guard.limit.share", "(0, 1]", "0.5"]);
    }
    for decay in [-0.1, f64::NAN, f64::INFINITY] {
        assert_says(&refused(|c| c.weight_decay = decay), &["weight_decay", "at least 0"]);
    }
    let isometries = refused(|c| c.weight_decay = 0.1);
    assert_says(&isometries, &["weight_decay", "partial-embedded", "leave partial-embedded out"]);
    let normed = refused(|c| c.normalize = Normalize::Schatten1);
    assert_says(&normed, &["normalize", "normed descent", "fixed-quotient"]);
}

#[test]
fn what_only_some_geometries_have_is_accepted_for_those() {
    use OptimizerName::{Adamw, FixedEmbedded, FixedQuotient, GridFixedEmbedded, GridFixedQuotient};
    let small = ExperimentConfig::default();
    let optimizers = vec![Adamw, FixedEmbedded, FixedQuotient];
    ExperimentConfig { weight_decay: 0.1, optimizers, ..small.clone() }.validate().unwrap();
    let normalize = Normalize::SchattenInfinity;
    ExperimentConfig { normalize, optimizers: vec![Adamw, FixedEmbedded], ..small }.validate().unwrap();
    let grouped = ExperimentConfig::gqa(Preset::Small);
    let optimizers = vec![GridFixedEmbedded, GridFixedQuotient];
    ExperimentConfig { weight_decay: 0.1, optimizers, ..grouped.clone() }.validate().unwrap();
    ExperimentConfig { normalize, optimizers: vec![GridFixedEmbedded], ..grouped }.validate().unwrap();
}

#[test]
fn gradients_are_repaired_by_default_where_attention_is_low_rank_only_almost() {
    let mut config = ExperimentConfig::default();
    assert_eq!(config.gradient_repair_in_use(), GradientRepair::Off);
    config.model.position = Position::Rope;
    assert_eq!(config.gradient_repair_in_use(), GradientRepair::Project);
    config.gradient_repair = Some(GradientRepair::Off);
    assert_eq!(config.gradient_repair_in_use(), GradientRepair::Off);
    let qk_norm = ModelConfig { qk_norm: QkNorm::On, ..ModelConfig::preset(Preset::Small) };
    let config = ExperimentConfig { model: qk_norm, ..ExperimentConfig::default() };
    assert_eq!(config.gradient_repair_in_use(), GradientRepair::Project);
}

#[test]
fn cadences_and_guards_read_one_word() {
    for (word, cadence) in [
        ("never", Cadence::Never),
        ("every-step", Cadence::EveryStep),
        ("every-10-steps", Cadence::EveryKSteps { k: 10 }),
        ("when-defect-1e-5", Cadence::WhenDefect { tolerance: 1e-5 }),
    ] {
        assert_eq!(word.parse::<Cadence>().unwrap(), cadence);
    }
    for word in ["", "every--steps", "every-x-steps", "when-defect-", "sometimes"] {
        let message = word.parse::<Cadence>().unwrap_err().to_string();
        assert_says(&message, &["cadence", word, "every-10-steps, when-defect-1e-5"]);
    }
    assert_eq!("report".parse::<RankGuard>().unwrap(), RankGuard::Report);
    assert_eq!("0.25".parse::<RankGuard>().unwrap(), RankGuard::Limit { share: 0.25 });
    assert_says(&"half".parse::<RankGuard>().unwrap_err().to_string(), &["rank_guard", "half", "0.5"]);
}

#[test]
fn spectral_normalization_is_accepted_for_the_embedded_geometries() {
    let config = ExperimentConfig {
        normalize: Normalize::Spectral,
        optimizers: vec![OptimizerName::Adamw, OptimizerName::FixedEmbedded, OptimizerName::PartialEmbedded],
        ..ExperimentConfig::default()
    };
    config.validate().unwrap();
    let grids = ExperimentConfig {
        normalize: Normalize::Spectral,
        optimizers: vec![OptimizerName::GridFixedEmbedded, OptimizerName::GridPartialEmbedded],
        ..ExperimentConfig::gqa(Preset::Small)
    };
    grids.validate().unwrap();
}

#[test]
fn devices_that_are_not_compiled_in_say_so() {
    let devices = [
        (Device::CpuOpenblas, "openblas", cfg!(feature = "openblas")),
        (Device::Cuda(Some(1)), "cuda", cfg!(feature = "cuda")),
        (Device::Wgpu(None), "wgpu", cfg!(feature = "wgpu")),
    ];
    for (device, feature, compiled) in devices {
        if compiled {
            ExperimentConfig { device, ..ExperimentConfig::default() }.validate().unwrap();
        } else {
            let flag = format!("--features {feature}");
            assert_says(&refused(|c| c.device = device), &["device", &device.to_string(), &flag]);
        }
    }
}

#[test]
fn devices_have_numbers() {
    for text in ["cpu", "cpu-openblas", "cuda", "cuda:0", "cuda:12", "wgpu", "wgpu:1"] {
        assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
    }
    for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "wgpu:1:2", "CUDA"] {
        let error = text.parse::<Device>().unwrap_err().to_string();
        assert_says(&error, &["device", "cpu, cpu-openblas, cuda, cuda:N"]);
    }
}

#[test]
fn names_parse_as_they_print() {
    for &name in OptimizerName::ALL {
        assert_eq!(name.to_string().parse::<OptimizerName>().unwrap(), name);
    }
    let error = "Adam".parse::<OptimizerName>().unwrap_err().to_string();
    assert_says(&error, &["optimizers", "Adam", "adamw, fixed-embedded"]);
}
