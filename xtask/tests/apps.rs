//! `cargo xtask experiment sync`, `markov` and `graph-sim` as a user meets them: their files, and what they say of bad
//! input.

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn experiment(name: &str, out: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["experiment", name, "--threads", "1", "--out"]).arg(out).args(arguments);
    command.output().unwrap()
}

fn summary(out: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(out.join("summary.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["experiment"], name);
    assert!(out.join("report.html").exists());
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().count() > 1);
    metrics.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
    json["runs"].as_array().unwrap().clone()
}

#[test]
fn sync_certifies_a_small_graph() {
    let out = tempfile::tempdir().unwrap();
    let output = experiment("sync", out.path(), &["--cameras", "12", "--ranks", "4"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runs = summary(out.path(), "sync");
    assert_eq!((runs.len(), runs[0]["rank"].as_u64()), (1, Some(4)));
    for key in [
        "solver",
        "omega",
        "iterations",
        "inner_iterations",
        "cost",
        "gradient_norm",
        "cone_measure",
        "seconds",
    ] {
        assert!(!runs[0][key].is_null(), "{key}");
    }
    assert!(String::from_utf8_lossy(&output.stdout).contains("Certified"));
}

#[test]
fn markov_reads_a_list_and_bad_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (list, out) = (folder.path().join("chain.txt"), folder.path().join("out"));
    let lines: String =
        (0..600).map(|k| format!("{} {} {}\n", k % 7, (k * 5 + k / 7) % 7, 1 + k % 4)).collect();
    fs::write(&list, lines).unwrap();
    let path = list.display().to_string();
    let output = experiment("markov", &out, &["--transitions", &path, "--ranks", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(summary(&out, "markov").iter().any(|run| run["solver"] == "truncated SVD"));

    fs::write(&list, "1 2\n2 1\n1 2 3 4\n").unwrap();
    let output = experiment("markov", &out, &["--transitions", &path]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("chain.txt, line 3"), "{message}");
    let poses = folder.path().join("poses.g2o");
    fs::write(&poses, "EDGE_SE3:QUAT 0 1 0 0 0 0 0 0 1\nEDGE_SE3:QUAT 2 3 0 0 0 0 0 0 1\n").unwrap();
    let output = experiment("sync", &out, &["--g2o", &poses.display().to_string()]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("falls into 2 parts"), "{message}");
}
