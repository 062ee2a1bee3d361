//! Every routine of cuBLAS and cuSOLVER that the backend names is exported here: one that is missing would be noticed
//! only when it is called, by a panic.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Words of the code of a folder.
fn words(folder: &Path) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // What stands between quotes is for people.
            for code in text.split('"').step_by(2) {
                let split = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                words.extend(split.map(str::to_owned));
            }
        }
    }
    words
}

#[test]
fn routines_that_the_backend_names_are_exported() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let exported = words(&here.join("src"));
    let called: Vec<String> = words(&here.join("../../crates/lr-linalg/src/cuda"))
        .into_iter()
        .filter(|word| word.starts_with("cublas") || word.starts_with("cusolverDn"))
        // Types and modules of the bindings.
        .filter(|word| !word.ends_with("_t") && word != "cublas")
        .collect();
    assert!(called.len() >= 10, "{called:?}");
    for routine in called {
        assert!(exported.contains(&routine), "the stand-in lacks {routine}");
    }
}
