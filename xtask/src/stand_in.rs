//! The stand-in for the CUDA driver and its libraries, under the names by which programs look for them.

use std::fs;
use std::path::PathBuf;

use crate::cargo::{cargo, run, target_folder};
use crate::tidy::workspace_root;

/// Names of the driver, cuBLAS and cuSOLVER, versions 12 and 13 and without one.
const NAMES: [&str; 8] = [
    "libcuda.so",
    "libcuda.so.1",
    "libcublas.so",
    "libcublas.so.12",
    "libcublas.so.13",
    "libcusolver.so",
    "libcusolver.so.11",
    "libcusolver.so.12",
];

/// Builds the stand-in and returns a folder in the build folder that holds it under all its names; with this
/// folder in front of `LD_LIBRARY_PATH`, the `cuda` backend finds one device.
///
/// # Errors
/// The build failed, or the folder cannot be written.
pub fn folder() -> Result<PathBuf, String> {
    run(cargo(&workspace_root()).args(["build", "--release", "--package", "lr-stand-in"]))?;
    let library = target_folder().join("release/liblr_stand_in.so");
    let folder = target_folder().join("stand-in");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for name in NAMES {
        let link = folder.join(name);
        // Links to one file, not copies: the driver and its libraries share their state.
        if link.exists() {
            fs::remove_file(&link).map_err(|error| format!("{}: {error}", link.display()))?;
        }
        fs::hard_link(&library, &link).map_err(|error| format!("{}: {error}", link.display()))?;
    }
    Ok(folder)
}
