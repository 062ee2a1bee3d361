//! [`Results`]: every finished cell of a part, checked against the others, grouped over seeds and compared.

use super::{
    Attention, Cell, CellResult, Part, ProtocolError,
    cell::Setting,
    plan::{Plan, Rate},
    result::CELL_FOLDER,
};
use crate::{
    config::{ExperimentConfig, Normalize, OptimizerName},
    report::Spread,
    train::output::OutputError,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The finished cells of a part, in the order of their file names.
#[derive(Clone, Debug)]
pub struct Results {
    /// Which part.
    pub part: Part,
    /// Where they were read from: one folder, or several that were merged.
    pub folders: Vec<PathBuf>,
    /// What the last sessions in the folders planned.
    pub planned: Vec<Cell>,
    /// The rates that those plans were built on.
    pub rates: Vec<Rate>,
    /// What is finished.
    pub cells: Vec<CellResult>,
}

/// A setting with all its seeds.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    pub setting: Setting,
    pub cells: Vec<&'a CellResult>,
}

impl Group<'_> {
    /// Mean and sigma of the scores; the mean is infinite when a seed diverged.
    pub fn score(&self) -> Option<Spread> {
        Spread::of(&self.cells.iter().map(|cell| cell.score()).collect::<Vec<_>>())
    }

    /// The mean alone, infinite for an empty group.
    pub fn mean(&self) -> f64 {
        self.score().map_or(f64::INFINITY, |score| score.mean)
    }

    /// Seeds that diverged.
    pub fn diverged(&self) -> usize {
        self.cells.iter().filter(|cell| !cell.score().is_finite()).count()
    }

    /// Scores minus those of `other` with the same seed, hence on the same batches.
    pub fn minus(&self, other: &Group<'_>) -> Option<Spread> {
        let score_of = |seed| other.cells.iter().find(|cell| cell.cell.seed == seed).map(|cell| cell.score());
        let differences: Vec<f64> = self
            .cells
            .iter()
            .filter_map(|cell| Some(cell.score() - score_of(cell.cell.seed)?))
            .filter(|difference| difference.is_finite())
            .collect();
        Spread::of(&differences)
    }
}

/// The best of some groups: the lowest mean among those that have as many seeds as any; none when every mean is
/// infinite.
pub(super) fn best<'g, 'a: 'g>(groups: impl Iterator<Item = &'g Group<'a>> + Clone) -> Option<&'g Group<'a>> {
    let seeds = groups.clone().map(|group| group.cells.len()).max()?;
    groups
        .filter(|group| group.cells.len() == seeds && group.mean().is_finite())
        .min_by(|a, b| a.mean().total_cmp(&b.mean()))
}

impl Results {
    /// Reads a part's folder; none when it holds no finished cell.
    ///
    /// # Errors
    /// [`ProtocolError`] naming a file that is damaged, or that was made with other settings than another.
    pub fn read(folder: &Path, part: Part) -> Result<Option<Self>, ProtocolError> {
        let cells = folder.join(CELL_FOLDER);
        if !cells.is_dir() {
            return Ok(None);
        }
        let fail = |source| OutputError::io("read", &cells, source);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&cells).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        let plan = Plan::read(folder)?;
        let mut results = Self {
            part,
            folders: vec![folder.to_owned()],
            planned: plan.cells,
            rates: plan.rates,
            cells: Vec::new(),
        };
        for path in paths {
            let cell = CellResult::read(&path)?;
            results.push(&path, cell)?;
        }
        Ok(if results.cells.is_empty() { None } else { Some(results) })
    }

    /// Adds the cells of another folder of the same part, as left by another machine's shard. Of a cell that
    /// both hold, the first one stays: it is a function of its configuration.
    ///
    /// # Errors
    /// [`ProtocolError::OtherSettings`] when they were made with other settings.
    pub fn merge(&mut self, other: Self) -> Result<(), ProtocolError> {
        let folder = other.folders.first().cloned().unwrap_or_default();
        for cell in other.cells {
            self.push(&CellResult::path(&folder, &cell.cell), cell)?;
        }
        self.folders.extend(other.folders);
        self.planned.extend(other.planned);
        self.rates
            .extend(other.rates.into_iter().filter(|rate| !self.rates.contains(rate)).collect::<Vec<_>>());
        Ok(())
    }

    fn push(&mut self, path: &Path, cell: CellResult) -> Result<(), ProtocolError> {
        if let Some(first) = self.cells.first() {
            let elsewhere = format!("in {}.json", first.cell.id());
            cell.same_settings(path, &cell.cell.config(&first.config), &elsewhere)?;
            cell.same_corpus(path, &first.corpus.checksum, &elsewhere)?;
        }
        if self.cells.iter().all(|known| known.cell != cell.cell) {
            self.cells.push(cell);
        }
        Ok(())
    }

    /// Checks that rates found here may be used under `base`: same model, same text, same everything but the
    /// steps.
    ///
    /// # Errors
    /// [`ProtocolError::OtherSettings`] naming the first setting that differs.
    pub fn fits(&self, base: &ExperimentConfig) -> Result<(), ProtocolError> {
        let (Some(first), Some(folder)) = (self.cells.first(), self.folders.first()) else { return Ok(()) };
        let ExperimentConfig { steps, validate_every, .. } = first.config;
        let expected = ExperimentConfig { steps, validate_every, ..first.cell.config(base) };
        first.same_settings(&CellResult::path(folder, &first.cell), &expected, "was asked for")
    }

    /// What all cells share.
    pub fn base(&self) -> Option<&ExperimentConfig> {
        self.cells.first().map(|first| &first.config)
    }

    /// Planned cells that have no file yet.
    pub fn missing(&self) -> usize {
        let mut planned: Vec<&Cell> = Vec::new();
        for cell in &self.planned {
            if !planned.contains(&cell) && !self.has(cell) {
                planned.push(cell);
            }
        }
        planned.len()
    }

    fn has(&self, cell: &Cell) -> bool {
        self.cells.iter().any(|done| done.cell == *cell)
    }

    /// Kinds of attention that occur.
    pub fn attention(&self) -> Vec<Attention> {
        let occurs = |kind: &Attention| self.cells.iter().any(|cell| cell.cell.attention == *kind);
        Attention::ALL.iter().copied().filter(occurs).collect()
    }

    /// The cells over their seeds, in the order of their settings.
    pub(super) fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<Setting, Vec<&CellResult>> = BTreeMap::new();
        for cell in &self.cells {
            groups.entry(cell.cell.setting()).or_default().push(cell);
        }
        groups.into_iter().map(|(setting, cells)| Group { setting, cells }).collect()
    }

    /// The best rate of an optimizer under metric normalization without momentum, when all its planned cells are
    /// there: shards that look at different times must not choose differently.
    pub fn tuned_rate(&self, attention: Attention, optimizer: OptimizerName) -> Option<f64> {
        let mine = |cell: &Cell| cell.attention == attention && cell.optimizer == optimizer;
        if self.planned.iter().any(|cell| mine(cell) && !self.has(cell)) {
            return None;
        }
        let groups: Vec<Group<'_>> = self
            .groups()
            .into_iter()
            .filter(|Group { setting, .. }| {
                setting.attention == attention
                    && setting.optimizer == optimizer
                    && setting.normalize == Normalize::Metric
                    && setting.momentum == 0.0
            })
            .collect();
        best(groups.iter()).map(|group| group.setting.lr_qkvo)
    }
}
