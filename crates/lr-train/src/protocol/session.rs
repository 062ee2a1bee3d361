//! A session: runs the cells of a shard that are not finished yet, and writes the pages.

use super::{
    Cell, CellResult, Part, ProtocolError, Results, Settings, Shard,
    page::write_pages,
    plan::{PLAN_FILE, Plan, plan},
    result::Ending,
    worker::{Shared, Worker},
};
use crate::{
    data,
    train::{
        experiment::{Completion, describe, load_batches, load_corpus, on_device},
        output::{CorpusSummary, create_folder, write_json},
    },
};
use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// What a session tells whoever watches it.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The cells are known.
    Planned {
        /// Cells of the shard.
        cells: usize,
        /// Those that have their file already.
        kept: usize,
        /// Optimizer steps of a cell.
        steps: usize,
    },
    /// Text is being tokenized.
    Tokenizing(data::Progress),
    /// The corpus is there.
    Corpus(CorpusSummary),
    /// A cell begins, or goes on from a checkpoint.
    Started {
        /// Which.
        cell: Cell,
        /// Steps that an earlier session has taken.
        from: usize,
    },
    /// A cell took a step.
    Stepped {
        /// Which.
        cell: Cell,
        /// Steps taken.
        step: usize,
        /// Training loss, nats a token.
        loss: f64,
    },
    /// A cell was validated.
    Validated {
        /// Which.
        cell: Cell,
        /// Steps taken.
        step: usize,
        /// Mean loss, nats a token.
        loss: f64,
    },
    /// A cell is finished and has its file.
    Ended {
        /// Which.
        cell: Cell,
        /// Mean of its last five validation losses; infinite when it diverged.
        score: f64,
        /// How it ended.
        ending: Ending,
    },
}

/// What a session would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The whole part.
    pub plan: Plan,
    /// Cells of the shard.
    pub mine: Vec<Cell>,
    /// Those of them that have no file yet.
    pub todo: Vec<Cell>,
    /// Checksum of the text that finished cells were trained on, with the file of one.
    corpus: Option<(PathBuf, String)>,
}

/// Plans a part and looks which cells of `shard` are finished.
///
/// # Errors
/// [`ProtocolError`] for settings that contradict one another, and naming a file of a cell that is damaged or
/// was made with other settings.
pub fn look(settings: &Settings, shard: Shard) -> Result<Outlook, ProtocolError> {
    settings.validate()?;
    let baseline = match settings.part {
        Part::Baseline => None,
        _ => Results::read(&settings.base.out.join(Part::Baseline.as_str()), Part::Baseline)?,
    };
    if let Some(baseline) = &baseline {
        baseline.fits(&settings.base)?;
    }
    let plan = plan(settings, baseline.as_ref());
    let mine = shard.of(&plan.cells);
    let folder = settings.folder();
    let (mut todo, mut corpus) = (Vec::new(), None);
    for cell in &mine {
        let path = CellResult::path(&folder, cell);
        if !path.exists() {
            todo.push(*cell);
            continue;
        }
        let result = CellResult::read(&path)?;
        result.same_settings(&path, &cell.config(&settings.base), "was asked for")?;
        corpus = Some((path, result.corpus.checksum));
    }
    Ok(Outlook { plan, mine, todo, corpus })
}

/// Runs what is left of `shard`, each finished cell leaving its file, and writes the pages about all finished
/// cells. When `stop` is raised the cells in progress leave checkpoints, from which the next session goes on; a
/// failure raises it.
///
/// # Errors
/// [`ProtocolError`]; the files of finished cells stay.
pub fn run(
    settings: &Settings,
    shard: Shard,
    stop: &AtomicBool,
    watch: &mut (dyn FnMut(Notice) + Send),
) -> Result<Completion, ProtocolError> {
    let Outlook { plan, mine, todo, corpus } = look(settings, shard)?;
    let folder = settings.folder();
    create_folder(&folder)?;
    write_json(&folder.join(PLAN_FILE), &plan)?;
    let kept = mine.len() - todo.len();
    watch(Notice::Planned { cells: mine.len(), kept, steps: settings.base.steps });
    if !todo.is_empty() {
        run_cells(settings, &todo, corpus, stop, watch)?;
    }
    write_pages(&settings.base.out)?;
    let done = todo.iter().all(|cell| CellResult::path(&folder, cell).exists());
    Ok(if done { Completion::Complete } else { Completion::Interrupted })
}

fn run_cells(
    settings: &Settings,
    todo: &[Cell],
    finished: Option<(PathBuf, String)>,
    stop: &AtomicBool,
    watch: &mut (dyn FnMut(Notice) + Send),
) -> Result<(), ProtocolError> {
    let base = &settings.base;
    let corpus = load_corpus(base, &mut |progress| watch(Notice::Tokenizing(progress)))?;
    let described = describe(base, &corpus, &load_batches(base, &corpus, todo[0].seed)?);
    if let Some((path, checksum)) = finished
        && checksum != described.checksum
    {
        return Err(ProtocolError::OtherSettings {
            path,
            field: "corpus checksum".to_owned(),
            stored: checksum,
            given: described.checksum,
            elsewhere: "is that of the text at hand".to_owned(),
        });
    }
    watch(Notice::Corpus(described));
    let shared = Shared {
        settings,
        corpus: &corpus,
        queue: todo,
        taken: AtomicUsize::new(0),
        stop,
        watch: Mutex::new(watch),
    };
    let (jobs, threads) = settings.jobs_and_threads();
    let endings: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.min(todo.len()))
            .map(|_| scope.spawn(|| on_device(base, threads, Worker(&shared))))
            .collect();
        workers.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    for ending in endings {
        // A panic of a worker goes on here: it is a defect of the program, not of its input.
        ending.unwrap_or_else(|panic| {
            stop.store(true, Ordering::Relaxed);
            std::panic::resume_unwind(panic)
        })??;
    }
    Ok(())
}
