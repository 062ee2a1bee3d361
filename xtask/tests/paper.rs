//! `cargo xtask experiment paper` and `report` as a user meets them: every part end to end at the smallest size,
//! sessions that go on, shards, and what is said of bad input.

mod common;

use common::Sandbox;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

impl Sandbox {
    fn paper(&self, part: &str, out: &str, arguments: &[&str]) -> Command {
        let mut command = self.xtask(&["experiment", "paper", "--part", part, "--preset", "smoke"]);
        command.arg("--corpus").arg(self.path("corpus")).arg("--out").arg(self.path(out)).args(arguments);
        command
    }

    /// The curves of every finished cell of a part, by file name.
    fn curves(&self, out: &str, part: &str) -> BTreeMap<String, (Value, Value)> {
        let folder = self.path(out).join(part).join("cells");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files
            .map(|path| {
                let cell: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, (cell["validation"].clone(), cell["training"].clone()))
            })
            .collect()
    }
}

fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fail(mut command: Command) -> String {
    let output = command.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One of each kind, so that every table has a row and every figure a curve.
const FEW: [&str; 2] = ["--optimizers", "adamw,fixed-embedded,partial-canonical,grid-fixed-quotient"];

#[test]
fn every_part_leaves_its_cells_and_pages() {
    let sandbox = Sandbox::new();
    let cells = [("baseline", 30), ("normalization", 58), ("momentum", 66), ("scaling", 10)];
    for (part, count) in cells {
        let said = succeed(sandbox.paper(part, "all", &FEW));
        assert_eq!(sandbox.curves("all", part).len(), count, "{part}: {said}");
        let folder = sandbox.path("all").join(part);
        for file in ["report.html", "report.md"] {
            let page = fs::read_to_string(folder.join(file)).unwrap();
            for name in ["adamw", "fixed-embedded", "grid-fixed-quotient"] {
                assert!(page.contains(name), "{part}/{file}: {name}");
            }
            assert!(!page.contains("no result yet"), "{part}/{file}");
        }
        assert!(fs::read_to_string(folder.join("report.html")).unwrap().contains("<svg"), "{part}");
        assert_eq!(
            fs::read_dir(folder.join("work")).unwrap().count(),
            0,
            "{part}: nothing is left in progress"
        );
        let untuned = said.contains("no complete baseline");
        assert!(!untuned, "{part} builds on the baseline that ran first: {said}");
    }
    let index = fs::read_to_string(sandbox.path("all").join("index.html")).unwrap();
    assert_eq!(index.matches("<h1>").count(), 4);

    let again = succeed(sandbox.paper("baseline", "all", &FEW));
    assert!(again.contains("30 cells of 8 steps, 30 of them finished before"), "{again}");
    assert!(!again.contains("corpus"), "nothing is read for nothing: {again}");
}

#[test]
fn a_cell_is_the_same_alone_in_company_and_in_a_shard() {
    let sandbox = Sandbox::new();
    succeed(sandbox.paper("baseline", "alone", &[&FEW[..], &["--jobs", "1", "--threads", "2"]].concat()));
    for shard in ["1/2", "2/2"] {
        succeed(sandbox.paper(
            "baseline",
            "shards",
            &[&FEW[..], &["--jobs", "3", "--shard", shard]].concat(),
        ));
    }
    let (alone, shards) = (sandbox.curves("alone", "baseline"), sandbox.curves("shards", "baseline"));
    assert_eq!(alone.len(), 30);
    assert!(alone == shards);
}

#[test]
fn a_dry_run_lists_cells_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let said =
        succeed(sandbox.paper("momentum", "dry", &["--dry-run", "--attention", "mha", "--shard", "1/6"]));
    let listed = said.lines().filter(|line| line.starts_with("mha-")).count();
    assert_eq!(listed, 16, "{said}");
    assert!(said.contains("16 of the part's 96 cells") && said.contains("about"), "{said}");
    assert!(!sandbox.path("dry").exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_part_goes_on_bit_for_bit() {
    let sandbox = Sandbox::new();
    let arguments =
        ["--attention", "mha", "--optimizers", "adamw,fixed-quotient", "--steps", "1500", "--seeds", "0"];
    succeed(sandbox.paper("scaling", "whole", &arguments));

    let mut command = sandbox.paper("scaling", "cut", &arguments);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let work = sandbox.path("cut").join("scaling/work");
    let metrics =
        |name: &str| fs::metadata(work.join(name).join("metrics.jsonl")).map_or(0, |file| file.len());
    let started = Instant::now();
    while metrics("mha-adamw-metric-nu0-lr2p-12-seed0") < 2000 {
        assert!(
            started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(),
            "no chance to interrupt"
        );
        sleep(Duration::from_millis(2));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("continue with: cargo xtask experiment paper --part scaling"), "{said}");

    succeed(sandbox.paper("scaling", "cut", &arguments));
    assert!(sandbox.curves("cut", "scaling") == sandbox.curves("whole", "scaling"));
}

#[test]
fn a_diverging_cell_is_a_result() {
    let sandbox = Sandbox::new();
    // AdamW's rates of 2^-13 to 2^-11 are harmless; without normalization the tenth power of two is not.
    let arguments = ["--optimizers", "adamw,partial-quotient", "--attention", "mha", "--seeds", "0"];
    let said = succeed(sandbox.paper("normalization", "wild", &arguments));
    let cells = sandbox.curves("wild", "normalization");
    assert_eq!(cells.len(), 9, "{said}");
    let page = fs::read_to_string(sandbox.path("wild").join("normalization/report.md")).unwrap();
    assert!(page.contains("| partial-quotient |"), "{page}");
}

#[test]
fn bad_input_is_named() {
    let sandbox = Sandbox::new();
    let message = fail(sandbox.paper("baseline", "bad", &["--optimizers", "fixed-embedded"]));
    assert!(message.contains("gqa") && message.contains("--attention"), "{message}");
    let message = fail(sandbox.paper("baseline", "bad", &["--seeds", "1,1"]));
    assert!(message.contains("seeds"), "{message}");
    let message = fail(sandbox.paper("baseline", "bad", &["--steps", "0"]));
    assert!(message.contains("steps"), "{message}");
    for wrong in ["0/3", "4/3", "three"] {
        let output = sandbox.paper("baseline", "bad", &["--shard", wrong]).output().unwrap();
        assert!(output.status.code() == Some(2) && stderr(&output).contains("i/n"), "{}", stderr(&output));
    }
    assert!(!sandbox.path("bad").exists());

    let arguments = ["--attention", "mha", "--optimizers", "adamw", "--seeds", "0"];
    succeed(sandbox.paper("scaling", "good", &arguments));
    let message = fail(sandbox.paper("scaling", "good", &[&arguments[..], &["--steps", "9"]].concat()));
    assert!(message.contains("`steps` is 64") && message.contains("--out"), "{message}");
    let cell = sandbox.path("good").join("scaling/cells/mha-adamw-metric-nu0-lr2p-12-seed0.json");
    fs::write(&cell, b"{ not json").unwrap();
    let message = fail(sandbox.paper("scaling", "good", &arguments));
    assert!(message.contains("lr2p-12-seed0.json") && message.contains("delete it"), "{message}");
}

#[test]
fn report_joins_folders_and_says_what_it_cannot_join() {
    let sandbox = Sandbox::new();
    let path = |name: &str| sandbox.path(name).display().to_string();
    for (out, extra) in [("a", ["--momentum", "0"]), ("b", ["--momentum", "0.5"])] {
        let mut command = sandbox.xtask(&["experiment", "mha", "--preset", "smoke", "--optimizers"]);
        command.args(["adamw,fixed-quotient", "--corpus", &path("corpus"), "--out", &path(out)]).args(extra);
        succeed(command);
    }
    succeed(sandbox.xtask(&["report", &path("a"), &path("b"), "--out", &path("both.html")]));
    let page = fs::read_to_string(sandbox.path("both.html")).unwrap();
    for part in [format!("fixed-quotient ({})", path("a")), format!("adamw ({})", path("b"))] {
        assert!(page.contains(&part), "{part}");
    }
    assert!(page.contains("The folders differ in: momentum."));

    for (shard, out) in [("1/2", "one"), ("2/2", "two")] {
        let few =
            ["--attention", "mha", "--optimizers", "adamw,fixed-quotient", "--seeds", "0", "--shard", shard];
        succeed(sandbox.paper("scaling", out, &few));
    }
    succeed(sandbox.xtask(&["report", &path("one"), &path("two"), "--out", &path("joined")]));
    let page = fs::read_to_string(sandbox.path("joined").join("scaling/report.md")).unwrap();
    assert!(page.contains("2 runs of 64 steps") && !page.contains("no result yet"), "{page}");
    assert!(sandbox.path("joined").join("index.html").is_file());

    fs::create_dir(sandbox.path("empty")).unwrap();
    let cases: [(&[String], &str); 5] = [
        (&[path("a"), path("a")], "with the same settings"),
        (&[path("a"), path("one")], "make a page for each"),
        (&[path("empty")], "holds no finished run"),
        (&[path("nowhere")], "does not exist"),
        (&[path("both.html")], "is a file"),
    ];
    for (folders, fragment) in cases {
        let mut command = sandbox.xtask(&["report", "--out", &path("never")]);
        let message = fail({
            command.args(folders);
            command
        });
        assert!(message.contains(fragment), "{message}");
    }
    assert!(!sandbox.path("never").exists());
}
