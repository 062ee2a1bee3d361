//! Each rule on a planted violation and on its harmless neighbours, and all rules on this workspace.

use super::*;

/// A workspace with one file, and what tidy says about it.
fn planted(source: &str) -> Vec<String> {
    workspace(&[("crates/a/src/lib.rs", source)])
}

fn workspace(files: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    for (path, source) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    tidy(root.path()).iter().map(Violation::to_string).collect()
}

fn assert_one(violations: &[String], start: &str, part: &str) {
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].starts_with(start) && violations[0].contains(part), "{violations:?}");
}

#[test]
fn this_workspace_is_tidy() {
    let violations: Vec<String> = tidy(&workspace_root()).iter().map(Violation::to_string).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn a_file_opens_with_a_module_doc() {
    for source in
        ["", "fn main() {}\n", "// plain\n//! late\n", "//!\n//! after an empty line\n", "\n//! late\n"]
    {
        assert_one(&planted(source), "crates/a/src/lib.rs:1: ", "module doc");
    }
    assert!(planted("//! Says what lives here.\n").is_empty());
}

#[test]
fn a_file_has_at_most_500_lines() {
    let of_lines = |lines: usize| format!("//! Long.\n{}", "// line\n".repeat(lines - 1));
    assert!(planted(&of_lines(500)).is_empty());
    assert_one(&planted(&of_lines(501)), "crates/a/src/lib.rs: 501 lines", "aim for 300");
}

#[test]
fn nothing_is_left_undone() {
    for word in [
        concat!("to", "do!()"),
        concat!("unimple", "mented!(\"x\")"),
        concat!("// FIX", "ME"),
        concat!("// XX", "X:"),
    ] {
        assert_one(
            &planted(&format!("//! Doc.\nfn f() {{\n{word}\n}}\n")),
            "crates/a/src/lib.rs:3: ",
            "not allowed",
        );
    }
    for attribute in [concat!("#[ig", "nore]"), concat!("#[ig", "nore = \"slow\"]")] {
        assert_one(
            &planted(&format!("//! Doc.\n{attribute}\nfn f() {{}}\n")),
            "crates/a/src/lib.rs:2: ",
            "proves nothing",
        );
    }
    let longer = concat!("//! Doc.\n// PREFIX", "MED FIX", "MES XX", "XX\n");
    assert!(planted(longer).is_empty(), "parts of longer words are harmless");
}

#[test]
fn public_signatures_have_no_bool() {
    for signature in [
        "pub fn f(a: u8, b: bool) {}",
        "pub fn f(a: &mut bool) {}",
        "pub fn f(a: Option<bool>) {}",
        "pub const unsafe fn f<T>(a: T, b: ::core::primitive::bool) {}",
        "pub struct S; impl S { pub fn f(&self, b: bool) {} }",
        "pub trait T { fn f(&self, b: bool); }",
        "mod inner { pub fn f(b: bool) {} }",
    ] {
        let source = format!("//! Doc.\n\n{signature}\n");
        assert_one(
            &planted(&source),
            "crates/a/src/lib.rs:3: ",
            "public function `f` has a `bool` parameter",
        );
    }
    assert_one(
        &planted("//! Doc.\npub fn f(\n    a: u8,\n    b: bool,\n) {}\n"),
        "crates/a/src/lib.rs:4: ",
        "`f`",
    );
    for signature in [
        "fn f(b: bool) {}",
        "pub(crate) fn f(b: bool) {}",
        "pub fn f(b: u8) -> bool { b > 0 }",
        "pub fn f(mask: &[bool], keep: impl Fn(u8) -> bool) {}",
        "trait T { fn f(&self, b: bool); }",
        "pub struct S; impl From<bool> for S { fn from(b: bool) -> S { S } }",
        "// pub fn f(b: bool) {}",
    ] {
        assert_eq!(planted(&format!("//! Doc.\n{signature}\n")), Vec::<String>::new(), "{signature}");
    }
}

#[test]
fn what_does_not_parse_is_reported() {
    assert_one(&planted("//! Doc.\nfn f( {}\n"), "crates/a/src/lib.rs:2: ", "does not parse");
}

#[test]
fn generated_folders_and_other_files_are_left_alone() {
    let files = ["target/debug/a.rs", "runs/a.rs", "crates/a/target/b.rs", ".git/c.rs", "docs/d.md"]
        .map(|path| (path, "bad"));
    assert!(workspace(&files).is_empty());
    let found = workspace(&[("kernels/a.rs", "bad"), ("tests/b.rs", "bad"), ("xtask/src/target.rs", "bad")]);
    assert!(
        ["kernels/a.rs", "tests/b.rs", "xtask/src/target.rs"]
            .iter()
            .all(|path| found.iter().any(|violation| violation.starts_with(path)))
    );
}

#[test]
fn backends_have_the_same_files_in_the_same_order() {
    let reference = "crates/lr-linalg/src/reference";
    let cpu = "crates/lr-linalg/src/cpu";
    let gpus = ["wgpu", "cuda"].map(|gpu| format!("crates/lr-linalg/src/{gpu}"));
    // The CPU's files come last.
    let files = |cpu_modules: &'static str| {
        let with_modules = |folder: &str, modules: &'static str| {
            vec![
                (format!("{folder}/mod.rs"), modules),
                (format!("{folder}/blas.rs"), "//! Doc.\n"),
                (format!("{folder}/factor.rs"), "//! Doc.\n"),
            ]
        };
        let plain = "//! Doc.\nmod blas;\nmod factor;\n";
        let [wgpu, cuda] = &gpus;
        let folders = [(reference, plain), (wgpu, plain), (cuda, plain), (cpu, cpu_modules)];
        folders.into_iter().flat_map(|(folder, modules)| with_modules(folder, modules)).collect::<Vec<_>>()
    };
    let tidied = |files: &[(String, &str)]| {
        workspace(&files.iter().map(|(path, source)| (path.as_str(), *source)).collect::<Vec<_>>())
    };
    let good = files("//! Doc.\nmod threads;\nmod blas;\nmod factor;\n");
    assert!(tidied(&good).is_empty(), "{:?}", tidied(&good));
    assert_one(&tidied(&good[..11]), &format!("{cpu}/factor.rs: "), "lacks factor.rs");
    assert_one(&tidied(&files("//! Doc.\nmod factor;\nmod blas;\n")), &format!("{cpu}/mod.rs: "), "order");
}
