//! Golden cases: reference trajectories of an independent implementation, read from `$LR_GOLDEN_DIR`
//! (default: `tests/golden` of this workspace).

use crate::dense::Dense;
use npyz::npz::NpzArchive;
use serde::Deserialize;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// One line of `optimizers/index.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Name of the case.
    pub name: String,
    /// File beside the index.
    pub file: String,
    /// `trajectory` or `repair`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Geometry, absent for the momentum repairs in CD-coordinates.
    pub optimizer: Option<String>,
    /// Block heights on the left.
    #[serde(default)]
    pub m_sizes: Vec<usize>,
    /// Block heights on the right.
    #[serde(default)]
    pub n_sizes: Vec<usize>,
    /// Learning rate.
    #[serde(default)]
    pub lr: f64,
    /// Momentum coefficient.
    #[serde(default)]
    pub nu: f64,
    /// `none`, `metric` or `spectral`.
    #[serde(default)]
    pub normalize: String,
    /// `polar` or `qr`, where there is a choice.
    pub retraction: Option<String>,
    /// Which repair, in repair cases.
    pub repair: Option<String>,
    /// What is repaired, in words.
    pub what: Option<String>,
    /// Whether the factors themselves are determined.
    #[serde(default)]
    pub factors_unique: bool,
}

/// `optimizers/index.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// Clamp `c` of the normalization.
    #[serde(default = "paper_clamp")]
    pub clamp: f64,
    /// All cases.
    pub cases: Vec<Case>,
}

fn paper_clamp() -> f64 {
    f64::from(f32::EPSILON)
}

/// Reports what was run on a line of its own, past the test harness's capture, so that a passing run shows
/// how much it covered.
///
/// # Errors
/// Whatever standard output says.
pub fn announce(ran: usize, cases: usize, folder: &str, worst: f64) -> io::Result<()> {
    let line =
        format!("\ngolden: ran {ran} of {cases} cases of {folder}, worst relative error {worst:.2e}\n");
    io::stdout().write_all(line.as_bytes())
}

/// Where the golden files are.
pub fn folder() -> PathBuf {
    match std::env::var_os("LR_GOLDEN_DIR") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"),
    }
}

/// Reads and parses an `index.json`.
///
/// # Errors
/// A message that names the file.
pub fn read_index<T: for<'de> Deserialize<'de>>(dir: &Path) -> Result<T, String> {
    let path = dir.join("index.json");
    let text = fs::read_to_string(&path)
        .map_err(|e| format!("{}: {e}; set LR_GOLDEN_DIR or restore tests/golden", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// The arrays of one case: name to a list of matrices (an array of rank 3 holds several).
pub struct Arrays {
    path: PathBuf,
    archive: NpzArchive<io::BufReader<fs::File>>,
}

impl Arrays {
    /// Opens a case's file.
    ///
    /// # Errors
    /// A message that names the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let archive = NpzArchive::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { path: path.to_owned(), archive })
    }

    /// Matrices of array `name`; none when there is no such array.
    ///
    /// # Panics
    /// If the file is damaged.
    pub fn matrices(&mut self, name: &str) -> Vec<Dense> {
        let file = format!("{}: {name}", self.path.display());
        let Some(array) = self.archive.by_name(name).expect(&file) else { return Vec::new() };
        let shape: Vec<usize> = array.shape().iter().map(|n| *n as usize).collect();
        let (kind, order) = (array.dtype().descr(), array.order());
        let values: Vec<f64> = match kind.trim_matches(['\'', '"']) {
            "|b1" => array.into_vec::<bool>().expect(&file).into_iter().map(f64::from).collect(),
            "<i8" => array.into_vec::<i64>().expect(&file).into_iter().map(|x| x as f64).collect(),
            _ => array.into_vec().expect(&file),
        };
        let (rows, cols) = match shape[..] {
            [] => (1, 1),
            [n] => (1, n),
            [rows, cols] | [_, rows, cols] => (rows, cols),
            _ => panic!("{file}: unexpected shape {shape:?}"),
        };
        let matrix = |c: &[f64]| match order {
            npyz::Order::C => Dense { rows, cols, data: c.to_vec() },
            // Column by column.
            npyz::Order::Fortran => Dense { rows: cols, cols: rows, data: c.to_vec() }.t(),
        };
        assert!(order == npyz::Order::C || shape.len() < 3, "{file}: a column-major array of rank 3");
        values.chunks(rows * cols).map(matrix).collect()
    }

    /// The single number of array `name`.
    ///
    /// # Panics
    /// If there is none.
    pub fn number(&mut self, name: &str) -> f64 {
        self.matrix(name).data[0]
    }

    /// The single matrix of array `name`.
    ///
    /// # Panics
    /// If there is none.
    pub fn matrix(&mut self, name: &str) -> Dense {
        self.matrices(name).into_iter().next().unwrap_or_else(|| panic!("{}: no {name}", self.path.display()))
    }
}
