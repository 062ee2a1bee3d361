//! Backends have the same file names in the same order, so that a reader of one finds his way in the next.

use std::fs;
use std::path::Path;

use super::Violation;

/// Folders that implement one interface side by side.
struct Family {
    /// The folder that holds the backends, relative to the workspace; a workspace without it has no such family.
    parent: &'static str,
    backends: &'static [&'static str],
    /// Files that each of them has, in the order in which its `mod.rs` declares them.
    files: &'static [&'static str],
}

const FAMILIES: [Family; 1] = [Family {
    parent: "crates/lr-linalg/src",
    backends: &["reference", "cpu", "wgpu", "cuda"],
    files: &["mod.rs", "blas.rs", "factor.rs"],
}];

/// Checks every family below `root`.
pub fn check(root: &Path) -> Vec<Violation> {
    let mut violations = Vec::new();
    for family in FAMILIES.iter().filter(|family| root.join(family.parent).is_dir()) {
        for backend in family.backends {
            let folder = Path::new(family.parent).join(backend);
            for file in family.files {
                if !root.join(&folder).join(file).is_file() {
                    let message = format!("the backend `{backend}` lacks {file}, which every backend has");
                    violations.push(Violation::whole(&folder.join(file), message));
                }
            }
            violations.extend(check_order(root, &folder.join("mod.rs"), family));
        }
    }
    violations
}

fn check_order(root: &Path, path: &Path, family: &Family) -> Option<Violation> {
    // A missing file has been reported, and one that does not parse is reported with the signatures.
    let syntax = syn::parse_file(&fs::read_to_string(root.join(path)).ok()?).ok()?;
    let declared: Vec<String> = syntax
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Mod(module) => Some(format!("{}.rs", module.ident)),
            _ => None,
        })
        .filter(|file| family.files.contains(&file.as_str()))
        .collect();
    let expected: Vec<&str> =
        family.files.iter().copied().filter(|file| declared.iter().any(|other| other == file)).collect();
    (declared != expected).then(|| {
        let message =
            format!("declares {}; every backend has the order {}", declared.join(", "), expected.join(", "));
        Violation::whole(path, message)
    })
}
