//! A worker: takes cells off the queue and runs them one by one, on its own threads and with its own loaders.

use super::{Cell, CellResult, ProtocolError, Settings, result::Ending, session::Notice};
use crate::{
    config::ExperimentConfig,
    data::{Corpus, Loader},
    neural::Neural,
    train::{
        experiment::{OnDevice, Start, describe, load_batches},
        folder,
        metrics::{METRICS_FILE, RunId, read_metrics},
        output::OutputError,
        run::{self, Event, Surroundings},
    },
};
use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Folder of the cells in progress within a part's folder: one folder each, gone when the cell is finished.
const WORK_FOLDER: &str = "work";

/// What the workers of a session share.
pub(super) struct Shared<'a> {
    pub settings: &'a Settings,
    pub corpus: &'a Corpus,
    /// The cells to run.
    pub queue: &'a [Cell],
    /// How many of them were taken.
    pub taken: AtomicUsize,
    pub stop: &'a AtomicBool,
    pub watch: Mutex<&'a mut (dyn FnMut(Notice) + Send)>,
}

impl Shared<'_> {
    fn tell(&self, notice: Notice) {
        if let Ok(mut watch) = self.watch.lock() {
            watch(notice);
        }
    }
}

/// One of the workers.
pub(super) struct Worker<'a>(pub &'a Shared<'a>);

impl OnDevice for Worker<'_> {
    type Output = Result<(), ProtocolError>;

    /// Runs cells until none is left or the stop flag is raised. A cell that fails raises the flag for the other
    /// workers.
    fn run<B: Neural>(self, b: &B) -> Self::Output {
        let shared = self.0;
        let mut loaders: Vec<(u64, Loader)> = Vec::new();
        while !shared.stop.load(Ordering::Relaxed) {
            let Some(cell) = shared.queue.get(shared.taken.fetch_add(1, Ordering::Relaxed)) else { break };
            if let Err(error) = run_cell(b, shared, &mut loaders, *cell) {
                shared.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn run_cell<B: Neural>(
    b: &B,
    shared: &Shared<'_>,
    loaders: &mut Vec<(u64, Loader)>,
    cell: Cell,
) -> Result<(), ProtocolError> {
    let part_folder = shared.settings.folder();
    let work = part_folder.join(WORK_FOLDER).join(cell.id());
    let config = ExperimentConfig { out: work.clone(), ..cell.config(&shared.settings.base) };
    let index = match loaders.iter().position(|(seed, _)| *seed == cell.seed) {
        Some(index) => index,
        None => {
            loaders.push((cell.seed, load_batches(&config, shared.corpus, cell.seed)?));
            loaders.len() - 1
        }
    };
    let loader = &mut loaders[index].1;

    let id = RunId { optimizer: cell.optimizer, seed: cell.seed };
    let start = if folder::holds_experiment(&work) { Start::Resume } else { Start::Fresh };
    let (mut past, mut metrics) = folder::open(&config, &[id], start)?;
    let mut tell = |event| match event {
        Event::Started { from, .. } => shared.tell(Notice::Started { cell, from }),
        Event::Stepped { step, loss, .. } => shared.tell(Notice::Stepped { cell, step, loss }),
        Event::Validated { step, loss } => shared.tell(Notice::Validated { cell, step, loss }),
    };
    let mut around = Surroundings {
        config: &config,
        out: &work,
        metrics: &mut metrics,
        stop: shared.stop,
        watch: &mut tell,
    };
    let ending = run::run(b, id, loader, past.take_checkpoint(id), &mut around)
        .map_err(|source| ProtocolError::Run { cell: cell.id(), source })?;
    let (ending, summary) = match ending {
        run::Ending::Interrupted { .. } => return Ok(()),
        run::Ending::Finished(summary) => (Ending::Finished, summary),
        run::Ending::Diverged { summary, reason } => (Ending::Diverged { reason }, summary),
    };
    let records = read_metrics(&work.join(METRICS_FILE))?;
    let corpus = describe(&config, shared.corpus, loader);
    let result = CellResult::new(cell, config, corpus, ending, summary, &records);
    result.write(&part_folder)?;
    fs::remove_dir_all(&work).map_err(|source| OutputError::io("remove", &work, source))?;
    shared.tell(Notice::Ended { cell, score: result.score(), ending: result.ending });
    Ok(())
}
