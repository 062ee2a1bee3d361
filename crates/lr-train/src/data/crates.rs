//! The corpus `crates`: the text of the dependency crates that Cargo.lock pins.
//!
//! It is the same on every machine with the same manifests and Cargo.lock. `cargo metadata` lists the packages
//! for one fixed platform, whatever the machine is: the list then neither depends on the machine nor names
//! packages (bindings to other systems) that a build on common machines never downloads.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use super::DataError;
use super::random::SplitMix64;
use super::source::DocumentStream;

/// Changes when the rules below do, so that caches made under other rules are not taken.
const RULES: &str = "crates, rules 1";
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
const EXTENSIONS: [&str; 2] = ["rs", "md"];
const MAX_FILE_BYTES: u64 = 128 << 10;
const MAX_LINE_BYTES: usize = 2000;
const SHUFFLE_SEED: u64 = 0;
const SHUFFLE_STREAM: u64 = 0x6372_6174_6573;
const REMEDY: &str = "use --corpus PATH with text of your own";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    manifest_path: PathBuf,
}

/// The pinned packages from registries, sorted by name and version.
pub(super) struct CrateSources {
    packages: Vec<Package>,
}

impl CrateSources {
    /// Asks `cargo metadata` in `workspace`, first without network; packages not downloaded yet are fetched.
    pub(super) fn locate(workspace: &Path) -> Result<Self, DataError> {
        let offline = cargo_metadata(workspace, &["--offline"])?;
        let output = if offline.status.success() { offline } else { cargo_metadata(workspace, &[])? };
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let reason = stderr.trim().lines().take(6).collect::<Vec<_>>().join("; ");
            return Err(failure(format!(
                "`cargo metadata --locked` in {}: {reason}; run in a workspace with a Cargo.lock, run `cargo fetch` \
                 once with network, or {REMEDY}",
                workspace.display()
            )));
        }
        Self::parse(&output.stdout)
    }

    fn parse(metadata: &[u8]) -> Result<Self, DataError> {
        let metadata: Metadata = serde_json::from_slice(metadata).map_err(|error| {
            failure(format!("`cargo metadata` wrote what we cannot read: {error}; {REMEDY}"))
        })?;
        let is_registry = |source: &String| source.starts_with("registry+") || source.starts_with("sparse+");
        let mut packages = metadata.packages;
        packages.retain(|package| package.source.as_ref().is_some_and(is_registry));
        packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        if packages.is_empty() {
            return Err(failure(format!("Cargo.lock names no package from a registry; {REMEDY}")));
        }
        Ok(Self { packages })
    }

    /// The rules and the packages; a registry never changes a published version.
    pub(super) fn identity(&self) -> String {
        let mut identity = RULES.to_owned();
        for package in &self.packages {
            identity.push_str(&format!("\n{} {}", package.name, package.version));
        }
        identity
    }

    /// One document a file, in an order shuffled by a fixed seed, so that any number of first documents is a
    /// fair sample of all crates. Of files with the same text only the first is kept; generated, minified and
    /// binary ones are left out.
    pub(super) fn documents(self) -> Result<(DocumentStream, Option<u64>), DataError> {
        let mut files = Vec::new();
        for package in &self.packages {
            let root = package.manifest_path.parent().unwrap_or(Path::new("."));
            let first = files.len();
            list_files(root, &mut files)?;
            files[first..].sort();
        }
        let bytes = files.iter().map(|file| file.bytes).sum();
        SplitMix64::new(SHUFFLE_SEED, SHUFFLE_STREAM).shuffle(&mut files);
        let mut seen = HashSet::new();
        let documents = files.into_iter().filter_map(move |file| match fs::read(&file.path) {
            Err(source) => Some(Err(DataError::Read { path: file.path, source })),
            Ok(bytes) => String::from_utf8(bytes)
                .ok()
                .filter(|text| reads_well(text) && seen.insert(xxh3_128(text.as_bytes())))
                .map(Ok),
        });
        Ok((Box::new(documents), Some(bytes)))
    }
}

fn failure(message: String) -> DataError {
    DataError::Crates { message }
}

fn cargo_metadata(workspace: &Path, extra: &[&str]) -> Result<Output, DataError> {
    // Cargo sets CARGO for what it runs, so that the pinned toolchain answers.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM])
        .args(extra)
        .current_dir(workspace)
        .output()
        .map_err(|error| {
            failure(format!(
                "cannot run {} in {}: {error}; install cargo, or {REMEDY}",
                cargo.display(),
                workspace.display()
            ))
        })
}

/// A candidate; ordered by its path below the package, component by component.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SourceFile {
    path: PathBuf,
    bytes: u64,
}

fn list_files(folder: &Path, files: &mut Vec<SourceFile>) -> Result<(), DataError> {
    let read_error = |source| DataError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        let (kind, path) = (entry.file_type().map_err(read_error)?, entry.path());
        if kind.is_dir() {
            list_files(&path, files)?;
        } else if kind.is_file()
            && path.extension().is_some_and(|ext| EXTENSIONS.iter().any(|&known| ext == known))
        {
            let bytes = entry.metadata().map_err(read_error)?.len();
            if bytes > 0 && bytes <= MAX_FILE_BYTES {
                files.push(SourceFile { path, bytes });
            }
        }
    }
    Ok(())
}

/// False for what nobody wrote to be read: generated code, minified lines, tables of numbers.
fn reads_well(text: &str) -> bool {
    let opening = text.lines().take(8).collect::<Vec<_>>().join("\n").to_lowercase();
    let generated =
        ["@generated", "automatically generated", "auto-generated", "autogenerated", "do not edit"];
    if generated.iter().any(|mark| opening.contains(mark)) || text.contains('\0') {
        return false;
    }
    if text.lines().any(|line| line.len() > MAX_LINE_BYTES) {
        return false;
    }
    let (mut letters, mut digits) = (0u32, 0u32);
    for byte in text.bytes() {
        letters += u32::from(byte.is_ascii_alphabetic());
        digits += u32::from(byte.is_ascii_digit());
    }
    letters > 4 * digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(root: &Path, name: &str) -> String {
        format!(
            r#"{{"name":"{name}","version":"1.0.0","source":"registry+https://example.org/index",
                "manifest_path":{:?},"unknown":[1]}}"#,
            root.join(name).join("Cargo.toml")
        )
    }

    #[test]
    fn takes_readable_files_of_registry_packages_once_each_in_a_stable_order() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path();
        let prose =
            |subject: &str| format!("/// The {subject}, described at some length.\nfn describe() {{}}\n");
        let put = |path: &str, text: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("has a folder")).expect("folder");
            fs::write(path, text).expect("file");
        };
        for index in 0..20 {
            put(&format!("one/src/module{index}.rs"), prose(&format!("module {index}")).as_bytes());
        }
        put("two/README.md", prose("readme").as_bytes());
        put("two/src/copy.rs", prose("module 3").as_bytes());
        put("two/src/generated.rs", format!("// @generated by a tool\n{}", prose("x")).as_bytes());
        put("two/src/table.rs", "const T: [u32; 3] = [0x1234, 5678, 9012];\n".repeat(30).as_bytes());
        put("two/src/minified.rs", "let x = y; ".repeat(400).as_bytes());
        put("two/src/huge.rs", prose("huge").repeat(4000).as_bytes());
        put("two/src/binary.rs", b"fn latin() { \"\xe9\xe8\" }");
        put("two/image.png", b"not text");
        put("local/src/lib.rs", prose("workspace member").as_bytes());

        let local = package(root, "local").replace(r#""registry+https://example.org/index""#, "null");
        let read = |order: [&str; 3]| {
            let json = format!(r#"{{"packages":[{}]}}"#, order.join(","));
            let sources = CrateSources::parse(json.as_bytes()).expect("parses");
            let identity = sources.identity();
            let (documents, bytes) = sources.documents().expect("lists");
            (identity, bytes, documents.map(|document| document.expect("reads")).collect::<Vec<_>>())
        };
        let (one, two) = (package(root, "one"), package(root, "two"));
        let (identity, bytes, documents) = read([&one, &two, &local]);
        assert_eq!(read([&two, &local, &one]), (identity.clone(), bytes, documents.clone()));
        assert!(identity.ends_with("\none 1.0.0\ntwo 1.0.0"), "{identity}");

        let mut expected: Vec<String> = (0..20).map(|index| prose(&format!("module {index}"))).collect();
        expected.push(prose("readme"));
        assert_ne!(documents, expected, "shuffled");
        let mut sorted = documents;
        sorted.sort();
        expected.sort();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn the_order_is_that_of_the_names_shuffled_whatever_the_folder_says() {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(folder.path().join("one")).expect("folder");
        let mut names: Vec<String> = (0..50).map(|index| format!("file{index:02}.rs")).collect();
        for name in &names {
            fs::write(folder.path().join("one").join(name), format!("// The contents of {name}"))
                .expect("file");
        }
        let json = format!(r#"{{"packages":[{}]}}"#, package(folder.path(), "one"));
        let (documents, _) =
            CrateSources::parse(json.as_bytes()).and_then(CrateSources::documents).expect("lists");
        let documents: Vec<String> = documents.map(|document| document.expect("reads")).collect();
        SplitMix64::new(SHUFFLE_SEED, SHUFFLE_STREAM).shuffle(&mut names);
        let expected: Vec<String> = names.iter().map(|name| format!("// The contents of {name}")).collect();
        assert_eq!(documents, expected);
    }

    #[test]
    fn a_folder_without_a_lock_file_says_what_to_do() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = CrateSources::locate(folder.path()).map(|_| ()).expect_err("no workspace here");
        assert!(error.to_string().contains("--corpus PATH"), "{error}");
        let error = CrateSources::locate(&folder.path().join("absent")).map(|_| ()).expect_err("no folder");
        assert!(error.to_string().contains("--corpus PATH"), "{error}");
    }
}
