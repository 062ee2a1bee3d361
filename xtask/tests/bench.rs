//! `cargo xtask bench` as a user meets it: its lines, its files, and what it says of bad input and of a missing
//! PyTorch. Nothing here says how long anything may take.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

const OPTIM_KEYS: [&str; 10] =
    ["case", "nu", "problems", "m", "n", "r", "threads", "median_ms", "adamw_ratio", "torch_ratio"];

fn bench(out: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("bench").args(arguments).args(["--quick", "--threads", "2", "--out"]).arg(out.path());
    command.env_remove("LR_PYTHON");
    command
}

fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(line: &Value) -> BTreeSet<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

fn document(out: &Path, name: &str) -> Value {
    let picture = fs::read_to_string(out.join(format!("{name}.svg"))).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    serde_json::from_str(&fs::read_to_string(out.join(format!("{name}.json"))).unwrap()).unwrap()
}

#[test]
fn optim_prints_one_line_for_each_of_the_ten_optimizers_and_momenta() {
    let out = tempfile::tempdir().unwrap();
    let output = succeed(bench(&out, &["optim", "--json"]));
    let lines = lines(&output);
    let cases: BTreeSet<_> =
        lines.iter().map(|line| (line["case"].as_str().unwrap(), line["nu"].to_string())).collect();
    assert_eq!((lines.len(), cases.len()), (20, 20));
    for line in &lines {
        assert_eq!(keys(line), BTreeSet::from(OPTIM_KEYS));
        assert!(line["median_ms"].as_f64().unwrap() > 0.0 && line["adamw_ratio"].as_f64().unwrap() > 0.0);
        assert!(line["torch_ratio"].is_null());
        assert_eq!((&line["threads"], &line["m"], &line["r"]), (&2.into(), &32.into(), &8.into()));
    }
    let document = document(out.path(), "optim");
    assert_eq!(document["cases"].as_array().unwrap().len(), 20);
    // Two rounds of one step.
    assert_eq!(document["cases"][0]["ms"].as_array().unwrap().len(), 2);
    assert_eq!(document["conditions"]["machine"]["threads"], 2);
}

#[test]
fn scaling_reports_every_point_and_the_exponent_beside_the_law() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["optim", "--scaling", "problems", "--optimizers", "fixed-quotient", "--json"];
    let lines = lines(&succeed(bench(&out, &arguments)));
    let problems: Vec<_> = lines.iter().map(|line| line["problems"].as_u64().unwrap()).collect();
    assert_eq!(problems, [1, 2, 4, 8, 16, 32]);
    let series = &document(out.path(), "optim-scaling-problems")["cases"][0];
    assert!(series["exponent"].is_f64());
    assert_eq!(series["law"], 1.0);
    assert_eq!(series["points"].as_array().unwrap().len(), 6);
}

#[test]
fn train_and_linalg_report_too() {
    let out = tempfile::tempdir().unwrap();
    let train = lines(&succeed(bench(&out, &["train", "--json"])));
    let names: Vec<_> = train.iter().map(|line| line["case"].as_str().unwrap()).collect();
    assert_eq!(names, ["adamw", "fixed-embedded"]);
    for line in &train {
        assert_eq!(line["preset"], "smoke");
        assert!(line["optimizer_ms"].as_f64().unwrap() < line["median_ms"].as_f64().unwrap());
    }
    assert_eq!(document(out.path(), "train")["cases"].as_array().unwrap().len(), 2);

    let output = succeed(bench(&out, &["linalg"]));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["GFLOP/s", "gemm tall x small", "cholesky-qr", "2 of 16 x 16", "load"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    document(out.path(), "linalg");
}

#[test]
fn without_torch_the_bench_says_how_to_get_it_and_goes_on() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["optim", "--vs", "torch", "--optimizers", "fixed-quotient", "--momentum", "0", "--json"];
    let mut command = bench(&out, &arguments);
    // Neither the one that is named nor `python3` can be found.
    command.env("LR_PYTHON", out.path().join("no-python")).env("PATH", out.path());
    let output = succeed(command);
    for part in ["PyTorch was not found", "$LR_PYTHON (", "no-python", "python3:", "pip install torch"] {
        assert!(stderr(&output).contains(part), "{part} is not in\n{}", stderr(&output));
    }
    let lines = lines(&output);
    assert_eq!(lines.len(), 1);
    assert!(lines[0]["torch_ratio"].is_null());
}

#[cfg(unix)]
#[test]
fn a_peer_is_raced_and_where_it_fails_the_bench_goes_on() {
    use std::os::unix::fs::PermissionsExt;
    let out = tempfile::tempdir().unwrap();
    // Stands in for Python: it has "torch", needs a million milliseconds a step, and may refuse what it is asked.
    let program = |name: &str, set_up: &str| {
        let path = out.path().join(name);
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = -c ]; then echo 9.9; exit; fi\nwhile read -r line; do case $line in\n\
             *setup*) echo '{set_up}';;\n*) echo '{{\"ms\": [1e6]}}';;\nesac; done\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let arguments = ["optim", "--vs", "torch", "--optimizers", "fixed-quotient", "--momentum", "0", "--json"];
    let mut command = bench(&out, &arguments);
    command.env("LR_PYTHON", program("willing", "{\"ready\": true}"));
    let lines = lines(&succeed(command));
    // The peer's time over ours.
    assert!(lines[0]["torch_ratio"].as_f64().unwrap() > 10.0);
    assert_eq!(document(out.path(), "optim")["conditions"]["torch"], "9.9");

    for (answer, part) in
        [("{\"error\": \"out of memory\"}", "out of memory"), ("nonsense", "answered \"nonsense\"")]
    {
        let mut command = bench(&out, &arguments);
        command.env("LR_PYTHON", program("unwilling", answer));
        let output = succeed(command);
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
        assert!(self::lines(&output)[0]["torch_ratio"].is_null());
    }
}

#[test]
fn bad_options_and_folders_are_errors() {
    let out = tempfile::tempdir().unwrap();
    let blocked = out.path().join("file");
    fs::write(&blocked, "").unwrap();
    let blocked = blocked.display().to_string();
    for (arguments, part) in [
        (vec!["optim", "--rank", "64"], "it may be at most 32"),
        (vec!["optim", "--optimizers", "muon"], "ten geometries"),
        (vec!["train", "--rounds", "0"], "--rounds 0"),
    ] {
        let output = bench(&out, &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["bench", "linalg", "--quick", "--out", &blocked]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&blocked), "{}", stderr(&output));
}
