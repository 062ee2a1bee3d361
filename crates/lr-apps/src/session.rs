//! [`Session`]: the runs of one experiment on their way to its folder.
//!
//! Every iteration of every solver is a line of `metrics.jsonl`, appended while it runs; `summary.json` is
//! written after every run, so that an interrupted experiment leaves what it has; the page is made at the
//! end.

use crate::error::AppError;
use lr_optim::solve::{Flag, Iteration, Outcome, SolveError};
use lr_report::files::{OutputError, create_folder, write_json};
use serde::Serialize;
use std::{
    cell::Cell,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    rc::Rc,
    time::Instant,
};

/// Name of the summary in the output folder.
pub const SUMMARY_FILE: &str = "summary.json";
/// Name of the measurements in the output folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// One run in `summary.json`, with the fields that apply to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// Solver, with geometry and start where several are compared.
    pub solver: String,
    /// Bound on the rank.
    pub rank: usize,
    /// Weight of the second part of the metric of `M_h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omega: Option<f64>,
    /// Outer iterations.
    pub iterations: usize,
    /// Inner iterations of trust regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_iterations: Option<usize>,
    /// Final cost.
    pub cost: f64,
    /// Final norm of the Riemannian gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Stationarity measure of the original problem: the projection of minus the gradient onto the tangent
    /// cone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cone_measure: Option<f64>,
    /// Relative error on what the solver saw; for a known optimum the relative error of the cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_error: Option<f64>,
    /// Relative error on what it did not see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_error: Option<f64>,
    /// Wall clock of the solver.
    pub seconds: f64,
}

impl RunSummary {
    /// The part that a solver's outcome fills.
    pub fn of(solver: impl Into<String>, rank: usize, outcome: &Outcome, seconds: f64) -> Self {
        Self {
            solver: solver.into(),
            rank,
            omega: None,
            iterations: outcome.iterations,
            inner_iterations: (outcome.inner_iterations > 0).then_some(outcome.inner_iterations),
            cost: outcome.cost,
            gradient_norm: Some(outcome.gradient_norm),
            cone_measure: None,
            train_error: None,
            test_error: None,
            seconds,
        }
    }

    /// Wall clock of an iteration, of an inner one for trust regions; milliseconds.
    pub fn milliseconds_per_iteration(&self) -> f64 {
        1e3 * self.seconds / self.inner_iterations.unwrap_or(self.iterations).max(1) as f64
    }
}

/// `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the experiment.
    pub experiment: String,
    /// Its runs, in order.
    pub runs: Vec<RunSummary>,
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
struct Line<'a> {
    run: usize,
    solver: &'a str,
    rank: usize,
    iteration: usize,
    inner_iterations: usize,
    cost: f64,
    gradient_norm: f64,
    step: f64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_error: Option<f64>,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Outer iterations.
    pub iteration: usize,
    /// Seconds since the run's start.
    pub seconds: f64,
    /// Cost.
    pub cost: f64,
    /// Norm of the Riemannian gradient.
    pub gradient_norm: f64,
    /// Test error, where one is watched.
    pub test_error: Option<f64>,
}

/// What a run left for the figures.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Which part of the report the run belongs to.
    pub group: String,
    /// Its name in the legend.
    pub label: String,
    /// Its iterations.
    pub moments: Vec<Moment>,
}

/// What happens, for the terminal.
#[derive(Debug)]
pub enum Notice<'a> {
    /// Something to say.
    Said(String),
    /// An iteration.
    Iterated {
        /// Name of the run.
        label: &'a str,
        /// What was measured.
        now: Moment,
    },
    /// A run has ended.
    Ended(&'a RunSummary),
}

/// The runs of an experiment.
pub struct Session<'a> {
    folder: PathBuf,
    summary: Summary,
    curves: Vec<Curve>,
    metrics: BufWriter<File>,
    stop: Flag,
    watched: Rc<Cell<Option<f64>>>,
    notify: &'a mut dyn FnMut(Notice<'_>),
}

impl<'a> Session<'a> {
    /// Opens the output folder.
    ///
    /// # Errors
    /// [`OutputError`] naming the folder or file.
    pub fn open(
        experiment: &str,
        folder: &Path,
        stop: Flag,
        notify: &'a mut dyn FnMut(Notice<'_>),
    ) -> Result<Self, OutputError> {
        create_folder(folder)?;
        let path = folder.join(METRICS_FILE);
        let file = File::create(&path).map_err(|source| OutputError::io("create", &path, source))?;
        let summary = Summary { experiment: experiment.to_owned(), runs: Vec::new() };
        let (metrics, watched) = (BufWriter::new(file), Rc::default());
        let session =
            Self { folder: folder.to_owned(), summary, curves: Vec::new(), metrics, stop, watched, notify };
        session.write_summary()?;
        Ok(session)
    }

    fn write_summary(&self) -> Result<(), OutputError> {
        write_json(&self.folder.join(SUMMARY_FILE), &self.summary)
    }

    /// The output folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What Ctrl-C raises.
    pub fn stop(&self) -> &Flag {
        &self.stop
    }

    /// Where a problem leaves the test error of its point for the curves.
    pub fn watched(&self) -> Rc<Cell<Option<f64>>> {
        self.watched.clone()
    }

    /// The runs so far.
    pub fn runs(&self) -> &[RunSummary] {
        &self.summary.runs
    }

    /// The curves so far.
    pub fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// Tells the terminal.
    pub fn say(&mut self, text: impl Into<String>) {
        (self.notify)(Notice::Said(text.into()));
    }

    /// Runs a solver: `work` gets the observer to pass on, and what it returns comes back with its wall
    /// clock. A run that somebody interrupted before it began is [`None`].
    ///
    /// # Errors
    /// The solver's, or a full disk.
    pub fn solve<T>(
        &mut self,
        group: &str,
        label: &str,
        rank: usize,
        work: impl FnOnce(&mut dyn FnMut(&Iteration)) -> Result<T, SolveError>,
    ) -> Result<Option<(T, f64)>, AppError> {
        if self.stop.is_raised() {
            return Ok(None);
        }
        self.watched.set(None);
        let run = self.curves.len();
        let mut moments = Vec::new();
        let mut failed = None;
        let started = Instant::now();
        let result = work(&mut |now: &Iteration| {
            let test_error = self.watched.get();
            let moment = Moment {
                iteration: now.iteration,
                seconds: now.seconds,
                cost: now.cost,
                gradient_norm: now.gradient_norm,
                test_error,
            };
            moments.push(moment);
            let line = Line {
                run,
                solver: label,
                rank,
                iteration: now.iteration,
                inner_iterations: now.inner,
                cost: now.cost,
                gradient_norm: now.gradient_norm,
                step: now.step,
                seconds: now.seconds,
                test_error,
            };
            let written = serde_json::to_writer(&mut self.metrics, &line)
                .map_err(std::io::Error::from)
                .and_then(|()| self.metrics.write_all(b"\n"));
            if let Err(source) = written {
                failed.get_or_insert(source);
            }
            (self.notify)(Notice::Iterated { label, now: moment });
        });
        let seconds = started.elapsed().as_secs_f64();
        if let Err(source) = self.metrics.flush() {
            failed.get_or_insert(source);
        }
        if let Some(source) = failed {
            return Err(OutputError::io("append to", &self.folder.join(METRICS_FILE), source).into());
        }
        self.curves.push(Curve { group: group.to_owned(), label: label.to_owned(), moments });
        Ok(Some((result?, seconds)))
    }

    /// Adds a run's line to the summary.
    ///
    /// # Errors
    /// [`OutputError`] naming the file.
    pub fn record(&mut self, run: RunSummary) -> Result<(), OutputError> {
        (self.notify)(Notice::Ended(&run));
        self.summary.runs.push(run);
        self.write_summary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_the_agreed_keys_and_fields_that_apply() {
        let folder = tempfile::tempdir().unwrap();
        let mut ignore = |_: Notice<'_>| {};
        let mut session = Session::open("sync", folder.path(), Flag::default(), &mut ignore).unwrap();
        let run = RunSummary {
            solver: "trust-regions".into(),
            rank: 4,
            omega: Some(0.5),
            iterations: 3,
            inner_iterations: Some(7),
            cost: -1.5,
            gradient_norm: Some(1e-9),
            cone_measure: None,
            train_error: None,
            test_error: Some(0.25),
            seconds: 0.5,
        };
        session.record(run).unwrap();
        let text = std::fs::read_to_string(folder.path().join(SUMMARY_FILE)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["experiment"], "sync");
        let mut keys: Vec<&String> = json["runs"][0].as_object().unwrap().keys().collect();
        keys.sort();
        let mut expected = [
            "solver",
            "rank",
            "omega",
            "iterations",
            "inner_iterations",
            "cost",
            "gradient_norm",
            "test_error",
            "seconds",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }

    #[test]
    fn an_interrupted_session_keeps_what_it_has_and_starts_nothing_new() {
        let folder = tempfile::tempdir().unwrap();
        let (flag, mut ignore) = (Flag::default(), |_: Notice<'_>| {});
        let mut session = Session::open("sync", folder.path(), flag.clone(), &mut ignore).unwrap();
        flag.raise();
        let ran = session.solve("a", "b", 1, |_| -> Result<(), SolveError> { panic!("it must not start") });
        assert!(ran.unwrap().is_none());
        assert!(folder.path().join(SUMMARY_FILE).exists() && folder.path().join(METRICS_FILE).exists());
    }
}
