//! `cargo xtask report`: joins the folders of several experiments into one page, and those of several shards or
//! parts of the paper's protocol likewise.

use clap::Args;
use lr_train::{
    protocol::{self, INDEX_FILE},
    report::{REPORT_FILE, Report},
    train::output::{Summary, create_folder, write_atomically},
};
use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Command line of `cargo xtask report`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Output folders: of `experiment mha` and `gqa`, or of `experiment paper`
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// A folder for the pages, or an .html file for the page alone (default: the folder itself if there is one,
    /// else runs/report)
    #[arg(long, value_name = "FOLDER|FILE")]
    out: Option<PathBuf>,
}

/// What a folder holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Experiment,
    Protocol,
}

/// Writes the page; errors go to standard error with exit status 1.
pub fn run(arguments: &Arguments) -> ExitCode {
    match write(arguments) {
        Ok(page) => {
            println!("report: {}", page.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(arguments: &Arguments) -> Result<PathBuf, Box<dyn Error>> {
    let folders: Vec<&Path> = arguments.folders.iter().map(PathBuf::as_path).collect();
    let kinds = folders.iter().map(|folder| kind(folder)).collect::<Result<Vec<_>, _>>()?;
    let out = match (&arguments.out, &folders[..]) {
        (Some(out), _) => out.clone(),
        (None, [only]) => only.to_path_buf(),
        (None, _) => PathBuf::from("runs/report"),
    };
    let is_file = out.extension().is_some_and(|extension| extension == "html");
    if kinds.iter().all(|kind| *kind == Kind::Protocol) {
        if is_file {
            return Err(format!("{}: the protocol has several pages; give a folder", out.display()).into());
        }
        protocol::write_merged(&folders, &out)?;
        return Ok(out.join(INDEX_FILE));
    }
    if let Some(place) = kinds.iter().position(|kind| *kind == Kind::Protocol) {
        return Err(format!(
            "{} is a folder of `experiment paper` and {} is one of `experiment mha` or `gqa`; make a page for each",
            folders[place].display(),
            folders[kinds.iter().position(|kind| *kind == Kind::Experiment).unwrap_or_default()].display()
        )
        .into());
    }
    let report = Report::from_folders(&folders)?;
    if is_file {
        if let Some(parent) = out.parent() {
            create_folder(parent)?;
        }
        write_atomically(&out, report.html()?.as_bytes())?;
        return Ok(out);
    }
    create_folder(&out)?;
    report.write(&out)?;
    Ok(out.join(REPORT_FILE))
}

fn kind(folder: &Path) -> Result<Kind, String> {
    if folder.join(Summary::FILE).exists() {
        return Ok(Kind::Experiment);
    }
    if protocol::holds_protocol(folder) {
        return Ok(Kind::Protocol);
    }
    let name = folder.display();
    Err(if !folder.exists() {
        format!("{name} does not exist")
    } else if !folder.is_dir() {
        format!("{name} is a file; give the output folder of an experiment")
    } else {
        format!(
            "{name} holds no finished run: neither {} (of `experiment mha` or `gqa`) nor a part's folder with \
             finished cells (of `experiment paper`)",
            Summary::FILE
        )
    })
}
