//! Every file of `kernels/ptx` and `kernels/wgsl` is listed in its table, and opens with a comment.

use std::collections::BTreeSet;
use std::fs;

use lr_kernels::{ptx, wgsl};

use crate::tidy::workspace_root;

/// Files that no table lists, and files without a header.
///
/// # Errors
/// A folder that cannot be read.
pub fn faults() -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    let kinds = [
        ("ptx", ptx::ALL.iter().map(|kernel| (kernel.name, kernel.source)).collect::<Vec<_>>()),
        ("wgsl", wgsl::ALL.iter().map(|kernel| (kernel.name, kernel.source)).collect()),
    ];
    for (kind, listed) in kinds {
        let names: BTreeSet<_> = listed.iter().map(|(name, _)| (*name).to_owned()).collect();
        let folder = workspace_root().join("kernels").join(kind);
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension() == Some(kind.as_ref()) && !names.contains(&name) {
                faults.push(format!("kernels/{kind}/{name}.{kind} is not listed in kernels/src/{kind}.rs"));
            }
        }
        for (name, source) in listed {
            if !source.starts_with("//") {
                let message = "does not open with a comment that says what it computes";
                faults.push(format!("kernels/{kind}/{name}.{kind} {message}"));
            }
        }
    }
    Ok(faults)
}
