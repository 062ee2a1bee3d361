//! NVIDIA's assembler `ptxas`: where it is found, how it is had, what it says of a file.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Missing;
use crate::cargo::{run, target_folder};

/// The package that holds the assembler, with its version.
const PACKAGE: &str = "nvidia-cuda-nvcc-cu12==12.9.86";

/// Where the package puts it.
const INSIDE: &str = "nvidia/cuda_nvcc/bin/ptxas";

/// A program that assembles PTX.
#[derive(Debug)]
pub struct Assembler {
    program: PathBuf,
    /// For its input and output files.
    folder: PathBuf,
}

/// What the assembler counts of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Name of the entry.
    pub entry: String,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes of static shared memory a block.
    pub shared: u32,
    /// Bytes of registers that did not fit, stored and loaded.
    pub spilled: u32,
}

impl Assembler {
    /// `$LR_PTXAS`, one downloaded earlier, one on the path or one of an installed toolkit; else it is downloaded
    /// or there is none.
    ///
    /// # Errors
    /// `$LR_PTXAS` names no file, or the download failed.
    pub fn find(missing: Missing) -> Result<Option<Self>, String> {
        let folder = target_folder().join("ptxas");
        let assembler = |program| Some(Self { program, folder: folder.join("work") });
        if let Some(program) = env::var_os("LR_PTXAS").map(PathBuf::from) {
            return if program.is_file() {
                Ok(assembler(program))
            } else {
                Err(format!("LR_PTXAS: there is no {}", program.display()))
            };
        }
        let on_the_path =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        let mut places: Vec<PathBuf> = on_the_path;
        places.push("/usr/local/cuda/bin".into());
        let places = places.iter().map(|place| place.join("ptxas"));
        let downloaded = folder.join(INSIDE);
        if let Some(program) = std::iter::once(downloaded.clone()).chain(places).find(|p| p.is_file()) {
            return Ok(assembler(program));
        }
        match missing {
            Missing::Say => Ok(None),
            Missing::Fetch => download(&folder).map(|()| assembler(downloaded)),
        }
    }

    /// Assembles `text`; the resources of its entries, or what the assembler complains about.
    ///
    /// # Errors
    /// The assembler cannot be run.
    pub fn assemble(&self, text: &str, architecture: &str) -> Result<Result<Vec<Resources>, String>, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", self.program.display());
        fs::create_dir_all(&self.folder).map_err(fail)?;
        let thread = rayon::current_thread_index().unwrap_or(0);
        let place = |ending: &str| {
            self.folder.join(format!("{}-{thread}-{architecture}.{ending}", std::process::id()))
        };
        let (source, binary) = (place("ptx"), place("cubin"));
        fs::write(&source, text).map_err(fail)?;
        let output = Command::new(&self.program)
            .args(["-v", "-Werror", "--warn-on-spills", "--gpu-name", architecture, "--output-file"])
            .args([&binary, &source])
            .output()
            .map_err(fail)?;
        // Nothing depends on whether they could be removed.
        let _ = (fs::remove_file(&source), fs::remove_file(&binary));
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        Ok(if output.status.success() { parse(&said) } else { Err(said.trim().to_owned()) })
    }
}

/// Unpacks the package into `folder`.
fn download(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let python = env::var_os("LR_PYTHON").unwrap_or_else(|| "python3".into());
    run(Command::new(&python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"])
        .args([folder.as_os_str(), PACKAGE.as_ref()]))?;
    let wheels = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for wheel in
        wheels.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some("whl".as_ref()))
    {
        run(Command::new(&python).args(["-m", "zipfile", "-e"]).args([&wheel, folder]))?;
        // 41 MB that nobody needs any more.
        let _ = fs::remove_file(&wheel);
    }
    let program = folder.join(INSIDE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .map_err(|error| format!("{}: {error}", program.display()))?;
    }
    Ok(())
}

/// Reads `ptxas -v`.
fn parse(said: &str) -> Result<Vec<Resources>, String> {
    let mut entries: Vec<Resources> = Vec::new();
    let before = |line: &str, unit: &str| -> Option<u32> {
        line.split(unit).next()?.rsplit([' ', ',']).find(|word| !word.is_empty())?.parse().ok()
    };
    for line in said.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let entry = rest.split('\'').next().unwrap_or(rest).to_owned();
            entries.push(Resources { entry, registers: 0, shared: 0, spilled: 0 });
        }
        let Some(last) = entries.last_mut() else { continue };
        for unit in [" bytes spill stores", " bytes spill loads"] {
            if line.contains(unit) {
                last.spilled += before(line, unit).ok_or_else(|| format!("cannot read `{line}`"))?;
            }
        }
        if line.contains(" registers") {
            last.registers = before(line, " registers").ok_or_else(|| format!("cannot read `{line}`"))?;
            last.shared =
                if line.contains(" bytes smem") { before(line, " bytes smem").unwrap_or(0) } else { 0 };
        }
    }
    if entries.is_empty() || entries.iter().any(|entry| entry.registers == 0) {
        return Err(format!("cannot read what the assembler said:\n{said}"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assemblers_counts_are_read() {
        let said = "ptxas info    : 0 bytes gmem\n\
                    ptxas info    : Compiling entry function 'dot_f32' for 'sm_80'\n\
                    ptxas info    : Function properties for dot_f32\n    \
                    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
                    ptxas info    : Used 14 registers, used 1 barriers, 128 bytes smem, 380 bytes cmem[0]\n";
        let entry = Resources { entry: "dot_f32".to_owned(), registers: 14, shared: 128, spilled: 16 };
        assert_eq!(parse(said).unwrap(), [entry]);
        assert!(parse("nothing").unwrap_err().contains("cannot read"));
    }
}
