//! `cargo xtask experiment mha` and `gqa` as a user meets them: the folder it leaves, Ctrl-C and --resume, and what
//! it says of bad input.

mod common;

use common::Sandbox;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

const OPTIMIZERS: [&str; 6] = [
    "adamw",
    "fixed-embedded",
    "fixed-quotient",
    "partial-embedded",
    "partial-quotient",
    "partial-canonical",
];

impl Sandbox {
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).display().to_string()
    }

    fn command(&self, out: &str, arguments: &[&str]) -> Command {
        self.experiment("mha", out, arguments)
    }

    fn experiment(&self, name: &str, out: &str, arguments: &[&str]) -> Command {
        let mut command = self.xtask(&["experiment", name, "--out"]);
        command.arg(self.path(out)).args(arguments);
        command
    }

    fn smoke(&self, out: &str, arguments: &[&str]) -> Command {
        self.smoke_of("mha", out, arguments)
    }

    fn smoke_of(&self, name: &str, out: &str, arguments: &[&str]) -> Command {
        let mut command = self.experiment(name, out, &["--preset", "smoke", "--corpus"]);
        command.arg(self.path("corpus")).args(arguments);
        command
    }
}

fn succeed(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn summary(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("summary.json")).unwrap()).unwrap()
}

/// The records without what depends on the clock.
fn timeless_metrics(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let timeless = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let fields = record.as_object_mut().unwrap();
        fields.remove("step_ms");
        fields.remove("optimizer_ms");
        record
    };
    text.lines().map(timeless).collect()
}

#[test]
fn the_default_six_runs_leave_a_complete_folder() {
    let sandbox = Sandbox::new();
    succeed(sandbox.smoke("all", &[]));
    let out = sandbox.path("all");
    for file in ["config.toml", "corpus.json", "metrics.jsonl", "summary.json", "report.html", "curves.svg"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let summary = summary(&out);
    let runs = summary["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|r| r["optimizer"].as_str().unwrap()).collect::<Vec<_>>(), OPTIMIZERS);
    for run in runs {
        for field in
            ["final_train_loss", "final_val_loss", "tokens_per_s", "step_ms_median", "optimizer_ms_median"]
        {
            assert!(run[field].as_f64().is_some_and(f64::is_finite), "{field} in {run}");
        }
        assert_eq!((run["seed"].as_u64(), run["steps"].as_u64()), (Some(0), Some(8)));
    }
    for field in ["config", "version", "machine"] {
        assert!(!summary[field].is_null(), "{field}");
    }
    let first: Vec<f64> = timeless_metrics(&out)
        .iter()
        .filter(|r| r["step"] == 0 && r["split"] == "validation")
        .map(|r| r["loss"].as_f64().unwrap())
        .collect();
    assert_eq!(first.len(), 6);
    assert!(
        first.iter().all(|loss| (loss - 512f64.ln()).abs() < 0.3),
        "{first:?} is not near ln(vocabulary)"
    );
}

#[test]
fn grouped_query_attention_runs_on_grids_and_says_which_names_fit() {
    const GRIDS: [&str; 6] = [
        "adamw",
        "grid-fixed-embedded",
        "grid-fixed-quotient",
        "grid-partial-embedded",
        "grid-partial-quotient",
        "grid-partial-canonical",
    ];
    let sandbox = Sandbox::new();
    let almost_low_rank = ["--position", "rope", "--qk-norm", "on", "--momentum", "0.5"];
    for (out, arguments) in [("plain", &[][..]), ("rotated", &almost_low_rank[..])] {
        succeed(sandbox.smoke_of("gqa", out, arguments));
        let summary = summary(&sandbox.path(out));
        assert_eq!(summary["config"]["model"]["kv_heads"], 1);
        let runs = summary["runs"].as_array().unwrap();
        assert_eq!(runs.iter().map(|r| r["optimizer"].as_str().unwrap()).collect::<Vec<_>>(), GRIDS);
        for run in runs {
            for field in ["final_train_loss", "final_val_loss"] {
                assert!(run[field].as_f64().is_some_and(f64::is_finite), "{field} in {run}");
            }
            let gradients = run["repairs_by_kind"]["gradients"].as_u64();
            let repaired = run["optimizer"] != "adamw";
            assert_eq!(gradients, repaired.then_some(if out == "rotated" { 8 * 4 } else { 0 }), "{run}");
        }
    }
    let output = sandbox.smoke_of("gqa", "wrong", &["--optimizers", "fixed-quotient"]).output().unwrap();
    let message = stderr(&output);
    assert!(output.status.code() == Some(1) && message.contains("grid-fixed-quotient"), "{message}");
    succeed(sandbox.smoke_of("gqa", "pairs", &["--kv-heads", "2", "--optimizers", "muon,fixed-quotient"]));
}

#[test]
fn repairs_and_guards_are_set_from_the_command_line_and_measured() {
    let sandbox = Sandbox::new();
    succeed(sandbox.smoke(
        "mended",
        &[
            "--optimizers",
            "fixed-embedded,preconditioned-adamw",
            "--momentum",
            "0.5",
            "--momentum-repair",
            "reset",
            "--momentum-repair-cadence",
            "every-4-steps",
            "--gradient-repair",
            "least-squares",
            "--reorthogonalize",
            "every-step",
            "--rank-guard",
            "report",
            "--weight-decay",
            "0.5",
        ],
    ));
    let out = sandbox.path("mended");
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    for line in ["momentum_repair = \"reset\"", "gradient_repair = \"least-squares\"", "weight_decay = 0.5"] {
        assert!(config.contains(line), "{config}");
    }
    let observed: Vec<Value> = timeless_metrics(&out)
        .into_iter()
        .filter(|r| r["optimizer"] == "fixed-embedded" && !r["grad_norm"].is_null())
        .collect();
    assert_eq!(observed.len(), 4);
    for record in &observed {
        assert!(record["consistency_defect"].as_f64().is_some_and(|d| d < 1e-3), "{record}");
        assert!(record["rank_margin"].as_f64().is_some_and(f64::is_finite), "{record}");
        assert!(record["repairs"]["gradients"].is_u64(), "{record}");
    }
    let run = summary(&out)["runs"][0].clone();
    // Two layers with two heads: four problems in each of the two banks.
    assert_eq!(run["repairs_by_kind"]["gradients"], 8 * 8);
    assert_eq!(run["repairs_by_kind"]["momenta"], 2 * 8);
    // The total leaves the routine reorthogonalizations out.
    assert_eq!(run["repairs_by_kind"]["reorthogonalizations"], 8 * 8);
    assert_eq!(run["repairs"], (8 + 2) * 8);
}

#[test]
fn precision_is_set_from_the_command_line() {
    let sandbox = Sandbox::new();
    succeed(sandbox.smoke("rounded", &["--optimizers", "adamw", "--precision", "bf16"]));
    let config = fs::read_to_string(sandbox.path("rounded").join("config.toml")).unwrap();
    assert!(config.contains("precision = \"bf16\""), "{config}");
}

#[test]
fn the_same_configuration_gives_the_same_numbers_and_moves_the_older_folder_aside() {
    let sandbox = Sandbox::new();
    let arguments = ["--optimizers", "adamw,fixed-quotient", "--seeds", "3,4", "--momentum", "0.5"];
    succeed(sandbox.smoke("same", &arguments));
    succeed(sandbox.smoke("same", &arguments));
    let (now, before) = (sandbox.path("same"), sandbox.path("same.previous-1"));
    assert!(timeless_metrics(&now) == timeless_metrics(&before));
    assert_eq!(summary(&now)["runs"].as_array().unwrap().len(), 4);
}

#[cfg(unix)]
#[test]
fn an_interrupted_experiment_continues_bit_for_bit() {
    let sandbox = Sandbox::new();
    for precision in ["f32", "bf16"] {
        let config = format!(
            "preset = \"smoke\"\nsteps = 600\nprecision = \"{precision}\"\nmomentum = 0.5\n\
             optimizers = [\"adamw\", \"fixed-embedded\"]\ncorpus = \"{}\"\n",
            sandbox.path("corpus").display()
        );
        let config = sandbox.file("long.toml", config.as_bytes());
        let (whole, cut) = (format!("whole-{precision}"), format!("cut-{precision}"));
        succeed(sandbox.command(&whole, &["--config", &config]));

        let mut child = sandbox.command(&cut, &["--config", &config]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(300);
        let metrics = sandbox.path(&cut).join("metrics.jsonl");
        // The second run's middle: the first one is finished, the other needs its checkpoint.
        while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 1000 {
            assert!(
                Instant::now() < deadline && child.try_wait().unwrap().is_none(),
                "no chance to interrupt"
            );
            sleep(Duration::from_millis(2));
        }
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let checkpoints: Vec<_> = fs::read_dir(sandbox.path(&cut).join("checkpoints")).unwrap().collect();
        assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
        assert!(!sandbox.path(&cut).join("report.html").exists());

        succeed(sandbox.command(&cut, &["--resume"]));
        let (resumed, straight) = [&cut, &whole].map(|name| timeless_metrics(&sandbox.path(name))).into();
        let difference = resumed.iter().zip(&straight).find(|(r, s)| r != s);
        assert_eq!(difference, None, "{precision}");
        assert_eq!(resumed.len(), straight.len(), "{precision}");
        let losses = |folder: &str| -> Vec<(Value, Value)> {
            let summary = summary(&sandbox.path(folder));
            let runs = summary["runs"].as_array().unwrap();
            runs.iter().map(|r| (r["final_train_loss"].clone(), r["final_val_loss"].clone())).collect()
        };
        assert_eq!(losses(&cut), losses(&whole));
    }
}

#[test]
fn bad_input_is_named_and_nothing_is_left_under_a_final_name() {
    let sandbox = Sandbox::new();
    let empty = sandbox.file("empty.txt", b"");
    let binary = sandbox.file("binary.txt", &[0xff, 0xfe, 0, 1, 2]);
    let single = sandbox.file("single.txt", b"one document alone");
    fs::create_dir(sandbox.path("short")).unwrap();
    sandbox.file("short/1.txt", b"far too short");
    sandbox.file("short/2.txt", b"for one batch");
    let short = sandbox.path("short").display().to_string();
    let parquet = sandbox.file("cut.parquet", b"PAR1 and then nothing");
    let unknown = sandbox.file("unknown.toml", b"preset = \"smoke\"\nlearning_rate = 3\n");
    let rank = sandbox.file("rank.toml", b"preset = \"smoke\"\n[model]\nhead_dim = 17\n");
    let cases: [(&[&str], &[&str]); 10] = [
        (&["--corpus", &empty], &["empty.txt"]),
        (&["--corpus", &binary], &["binary.txt", "UTF-8"]),
        (&["--corpus", &single], &["single.txt", "1 document"]),
        (&["--corpus", &short], &["short", "batch", "16 tokens"]),
        (&["--corpus", &parquet], &["cut.parquet"]),
        (&["--corpus", "/no/such/file"], &["/no/such/file"]),
        (&["--config", &unknown], &["unknown.toml", "learning_rate"]),
        (&["--config", &rank], &["head_dim", "17", "16"]),
        (&["--normalize", "spectral", "--optimizers", "fixed-quotient"], &["normalize", "fixed-quotient"]),
        (&["--momentum", "1.5"], &["momentum", "1.5"]),
    ];
    // Other builds of xtask would have cargo build this one first.
    let on_gpu: (&[&str], &[&str]) = (&["--device", "cuda:7"], &["device", "cuda"]);
    let cases = cases.into_iter().chain(cfg!(feature = "gpu").then_some(on_gpu));
    for (arguments, fragments) in cases {
        let mut command = sandbox.command("bad", arguments);
        if !arguments.contains(&"--config") {
            command.args(["--preset", "smoke"]);
        }
        let output = command.output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        for fragment in fragments {
            assert!(message.contains(fragment), "{arguments:?}: no `{fragment}` in: {message}");
        }
        assert!(!message.contains("panicked"), "{message}");
        assert!(!sandbox.path("bad").join("summary.json").exists(), "{arguments:?}");
    }
    let blocked = sandbox.file("blocked", b"a file, not a folder");
    let output = sandbox.smoke("blocked/out", &[]).output().unwrap();
    assert!(output.status.code() == Some(1) && stderr(&output).contains(&blocked), "{}", stderr(&output));
}

#[test]
fn a_diverging_run_is_named_the_others_finish_and_the_status_tells() {
    let sandbox = Sandbox::new();
    let arguments = ["--optimizers", "adamw,partial-quotient", "--lr-other", "1e38", "--steps", "30"];
    let output = sandbox.smoke("diverged", &arguments).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for fragment in ["adamw seed 0", "partial-quotient seed 0", "at step", "--lr-other"] {
        assert!(message.contains(fragment), "no `{fragment}` in: {message}");
    }
    assert_eq!(summary(&sandbox.path("diverged"))["runs"].as_array().unwrap().len(), 2);
    assert!(sandbox.path("diverged").join("report.html").exists());
}

#[test]
fn a_last_update_that_breaks_the_model_is_no_success() {
    let sandbox = Sandbox::new();
    let arguments = ["--optimizers", "fixed-quotient", "--lr-other", "1e40", "--steps", "1"];
    let output = sandbox.smoke("last", &arguments).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("fixed-quotient seed 0: the validation loss is"), "{message}");
}

#[test]
fn resuming_where_nothing_is_starts_afresh() {
    let sandbox = Sandbox::new();
    succeed(sandbox.smoke("new", &["--optimizers", "adamw", "--resume"]));
    assert_eq!(summary(&sandbox.path("new"))["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn resuming_refuses_other_settings_and_damaged_checkpoints() {
    let sandbox = Sandbox::new();
    succeed(sandbox.smoke("done", &["--optimizers", "adamw"]));
    let output = sandbox.command("done", &["--resume", "--steps", "9"]).output().unwrap();
    assert!(
        output.status.code() == Some(1) && stderr(&output).contains("`steps` is 8"),
        "{}",
        stderr(&output)
    );

    fs::remove_file(sandbox.path("done").join("summary.json")).unwrap();
    let folder = sandbox.path("done").join("checkpoints");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("adamw-seed0.safetensors"), b"not a checkpoint").unwrap();
    let output = sandbox.command("done", &["--resume"]).output().unwrap();
    let message = stderr(&output);
    assert!(output.status.code() == Some(1) && message.contains("adamw-seed0.safetensors"), "{message}");
}
