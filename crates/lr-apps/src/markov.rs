//! Markov chains of low nonnegative rank: `f(X) = |X o X - P^|^2 / 2` over rank at most r and unit rows, so
//! that `X o X` is a transition matrix of rank at most `r (r + 1) / 2` whatever X is.
//!
//! `P^` is estimated from transitions: those of a generator with hidden clusters, or a file
//! ([`transitions`]). Beside it the truncated SVD of `P^`, which is nearer to `P^` and no transition matrix.

pub mod clusters;
pub mod transitions;

use crate::{
    cone,
    dense::{Dense, Host, Product},
    error::AppError,
    page::{self, Section},
    picture::{self, Dot},
    session::{RunSummary, Session},
    sphere_fit::{Size, require_rank},
};
use lr_linalg::Threads;
use lr_manifolds::{
    DenseMatrix, Factors, FactorsRef, SpaceDecoupling,
    level_set::Oblique,
    space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction},
};
use lr_optim::solve::{AmbientProblem, ConjugateGradients, Pulled, SolveError, Stop, TrustRegions};
use lr_report::page::Figure;
use rand::{SeedableRng, rngs::StdRng};
use std::{path::PathBuf, time::Instant};
use transitions::Transitions;

/// Where transitions come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A chain with hidden clusters: states, clusters, transitions drawn.
    Generator {
        /// Number of states.
        states: usize,
        /// Number of hidden clusters.
        clusters: usize,
        /// Number of transitions.
        transitions: usize,
    },
    /// TLC-style trips, parquet or CSV, with columns for the pickup and the drop-off zone.
    Trips(PathBuf),
    /// A list `from to [count]`, separated by commas or blanks.
    List(PathBuf),
}

/// What is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where transitions come from.
    pub source: Source,
    /// States visited fewer times than this are left out.
    pub least_visits: u64,
    /// Bounds on the rank of X.
    pub ranks: Vec<usize>,
    /// Seed.
    pub seed: u64,
}

impl Config {
    /// The defaults of a size.
    pub fn of(size: Size) -> Self {
        let (states, transitions) = if size == Size::Full { (263, 2_000_000) } else { (100, 200_000) };
        let source = Source::Generator { states, clusters: 4, transitions };
        Self { source, least_visits: 30, ranks: vec![2, 3, 4], seed: 1 }
    }
}

/// The problem of an empirical transition matrix.
#[derive(Debug)]
pub struct MarkovFit {
    p: Dense,
}

impl MarkovFit {
    /// The fit of `p`, whose rows sum to 1.
    ///
    /// # Errors
    /// [`AppError::Data`] naming the row that is zero, negative, not finite or does not sum to 1.
    pub fn new(p: Dense) -> Result<Self, AppError> {
        if p.rows != p.cols || p.rows == 0 {
            return Err(AppError::Data(format!(
                "a transition matrix is square, not {} x {}",
                p.rows, p.cols
            )));
        }
        for i in 0..p.rows {
            let row = p.row(i);
            if let Some(j) = row.iter().position(|x| !(*x >= 0.0 && x.is_finite())) {
                let value = row[j];
                return Err(AppError::Data(format!(
                    "the transition matrix has {value} at row {i}, column {j}"
                )));
            }
            let sum: f64 = row.iter().sum();
            if sum == 0.0 {
                return Err(AppError::Data(format!(
                    "row {i} of the transition matrix is zero: the state is never left; leave it out or \
                     add a transition"
                )));
            }
            if (sum - 1.0).abs() > 1e-8 {
                return Err(AppError::Data(format!(
                    "row {i} of the transition matrix sums to {sum}, not to 1"
                )));
            }
        }
        Ok(Self { p })
    }

    fn at(&self, b: &Host, x: FactorsRef<'_, Host>) -> Result<Dense, SolveError> {
        let dense = |x: lr_linalg::MatsRef<'_, Host>| -> Dense {
            let panel = x.panel(0);
            Dense::from_fn(panel.rows(), panel.cols(), |i, j| panel.row(i)[j])
        };
        Ok(dense(x.left).product(b, &dense(x.right), Product::SecondTransposed)?)
    }
}

impl AmbientProblem<Host> for MarkovFit {
    type Gradient = DenseMatrix<Host>;
    type Curvature = DenseMatrix<Host>;

    fn cost(&mut self, b: &Host, x: FactorsRef<'_, Host>) -> Result<f64, SolveError> {
        let x = self.at(b, x)?;
        Ok(0.5 * x.data.iter().zip(&self.p.data).map(|(x, p)| (x * x - p).powi(2)).sum::<f64>())
    }

    fn gradient(&mut self, b: &Host, x: FactorsRef<'_, Host>) -> Result<DenseMatrix<Host>, SolveError> {
        let mut x = self.at(b, x)?;
        x.data.iter_mut().zip(&self.p.data).for_each(|(x, p)| *x *= 2.0 * (*x * *x - p));
        Ok(DenseMatrix(x.upload(b)?))
    }

    fn curvature(
        &mut self,
        b: &Host,
        x: FactorsRef<'_, Host>,
        eta: FactorsRef<'_, Host>,
    ) -> Result<DenseMatrix<Host>, SolveError> {
        let x_dense = self.at(b, x)?;
        let along = |left, right| self.at(b, FactorsRef { left, right });
        let (mut e, other) = (along(eta.left, x.right)?, along(x.left, eta.right)?);
        for (k, e) in e.data.iter_mut().enumerate() {
            *e = 2.0 * (*e + other.data[k]) * (3.0 * x_dense.data[k].powi(2) - self.p.data[k]);
        }
        Ok(DenseMatrix(e.upload(b)?))
    }
}

/// The leading singular vectors of the root of P, rows scaled to norm 1 after a small perturbation: a
/// truncated SVD can have zero rows, which have no direction.
///
/// # Errors
/// [`AppError`] when the rank exceeds the matrix.
pub fn spectral_start(b: &Host, p: &Dense, rank: usize, rng: &mut StdRng) -> Result<Factors<Host>, AppError> {
    const PERTURBATION: f64 = 1e-3;
    require_rank(rank, p.rows, p.cols)?;
    let root = Dense::from_fn(p.rows, p.cols, |i, j| p.at(i, j).max(0.0).sqrt());
    let (u, sigma, q) = cone::svd(b, &root)?;
    let noise = PERTURBATION / (rank as f64).sqrt();
    let h = Dense::from_fn(p.rows, rank, |i, j| u.at(i, j) * sigma[j] + noise * crate::dense::normal(rng));
    let v = Dense::from_fn(p.cols, rank, |i, j| q.at(i, j)).orthonormalized(b)?;
    Ok(Factors { left: h.with_unit_rows().upload(b)?, right: v.upload(b)? })
}

/// The nearest matrix of rank at most `rank`.
///
/// # Errors
/// [`AppError`] when the memory cannot be had.
pub fn truncated(b: &Host, p: &Dense, rank: usize) -> Result<Dense, AppError> {
    let (u, sigma, q) = cone::svd(b, p)?;
    let left = Dense::from_fn(p.rows, rank, |i, j| u.at(i, j) * sigma[j]);
    Ok(left.product(b, &Dense::from_fn(p.cols, rank, |i, j| q.at(i, j)), Product::SecondTransposed)?)
}

fn relative(x: &Dense, y: &Dense) -> f64 {
    let square: f64 = x.data.iter().zip(&y.data).map(|(a, b)| (a - b).powi(2)).sum();
    square.sqrt() / y.norm()
}

/// Runs the experiment.
///
/// # Errors
/// [`AppError`].
pub fn run(config: &Config, threads: Threads, session: &mut Session<'_>) -> Result<(), AppError> {
    let (b, mut rng) = (Host::with_threads(threads), StdRng::seed_from_u64(config.seed));
    let all = match &config.source {
        Source::Generator { states, clusters, transitions } => {
            Transitions::generated(*states, *clusters, *transitions, &mut rng)?
        }
        Source::Trips(path) => transitions::read_trips(path)?,
        Source::List(path) => transitions::read_list(path)?,
    };
    let chain = all.recurrent(config.least_visits)?;
    // The halves of the transitions: what is fitted, and what it is tested on.
    let [train, test] = chain.split(&mut rng);
    let (p, q) = (train.matrix()?, test.matrix()?);
    let n = p.rows;
    session.say(format!("{n} states, {} transitions, half of them held out", chain.total()));
    let test = chain.truth.clone().unwrap_or(q);
    let mut problem = Pulled::new(MarkovFit::new(p.clone())?);
    let (second, projection) = (DecouplingRetraction::Second, DecouplingProjection);
    let (mut text, mut figures) = (Vec::new(), Vec::new());
    for &rank in &config.ranks {
        let manifold = SpaceDecoupling::new(n, n, rank, Oblique, 0.5)?;
        for name in ["trust-regions", "conjugate-gradients"] {
            let start = spectral_start(&b, &p, rank, &mut rng)?;
            let stop =
                Stop::gradient_below(1e-7).or(Stop::Iterations(300)).or(Stop::Raised(session.stop().clone()));
            let work = |watch: &mut dyn FnMut(&_)| match name {
                "trust-regions" => TrustRegions { inner: 200, ..TrustRegions::default() }.solve(
                    &b,
                    &manifold,
                    &second,
                    &mut problem,
                    start,
                    &stop,
                    watch,
                ),
                _ => ConjugateGradients::default().solve(
                    &b,
                    &manifold,
                    &second,
                    &projection,
                    &mut problem,
                    start,
                    &stop,
                    watch,
                ),
            };
            let Some((found, seconds)) =
                session.solve("Convergence", &format!("{name}, rank {rank}"), rank, work)?
            else {
                continue;
            };
            let mut run = RunSummary::of(name, rank, &found.outcome, seconds);
            let x = problem.problem().at(&b, found.x.as_ref())?;
            let chain_of_x = Dense { data: x.data.iter().map(|x| x * x).collect(), ..x };
            run.omega = Some(manifold.omega());
            (run.train_error, run.test_error) =
                (Some(relative(&chain_of_x, &p)), Some(relative(&chain_of_x, &test)));
            let mut fit = MarkovFit::new(p.clone())?;
            let e = fit.gradient(&b, found.x.as_ref())?;
            run.cone_measure = Some(cone::measure(&b, &Oblique, &found.x, &e)?);
            session.record(run)?;
            if name == "trust-regions" {
                figures.push(cluster_figure(&Dense::download(&b, &found.x.left)?, rank, &mut rng));
            }
        }
        for svd_rank in [rank, rank * (rank + 1) / 2] {
            let started = Instant::now();
            let svd = truncated(&b, &p, svd_rank.min(n))?;
            let seconds = started.elapsed().as_secs_f64();
            let negative = svd.data.iter().filter(|x| **x < 0.0).count();
            text.push(format!(
                "The truncated SVD of rank {svd_rank} has {negative} negative entries out of {}: it is no \
                 transition matrix.",
                n * n
            ));
            let cost = 0.5 * (relative(&svd, &p) * p.norm()).powi(2);
            session.record(RunSummary {
                solver: "truncated SVD".to_owned(),
                rank: svd_rank,
                omega: None,
                iterations: 0,
                inner_iterations: None,
                cost,
                gradient_norm: None,
                cone_measure: None,
                train_error: Some(relative(&svd, &p)),
                test_error: Some(relative(&svd, &test)),
                seconds,
            })?;
        }
    }
    let source = match &config.source {
        Source::Generator { clusters, .. } => format!("a generator with {clusters} hidden clusters"),
        Source::Trips(path) | Source::List(path) => path.display().to_string(),
    };
    let tested = if chain.truth.is_some() { "the true matrix" } else { "the matrix of the held-out half" };
    let brief = format!(
        "{n} states and {} transitions of {source}. P = X o X of rank r (r + 1) / 2 is fitted to half of \
         the transitions; \
         test errors are against {tested}.",
        chain.total()
    );
    text.insert(
        0,
        "States with the same colour behave alike: their rows of H are near one another.".to_owned(),
    );
    let sections = [Section { title: "Clusters and comparison".to_owned(), text, figures }];
    let command = format!("cargo xtask experiment markov --seed {}", config.seed);
    page::write(session, "Markov chains of low rank", &brief, &command, &sections)
}

/// The states by the first two principal directions of their rows of H.
fn cluster_figure(h: &Dense, rank: usize, rng: &mut StdRng) -> Figure {
    let labels = clusters::group(h, rank.clamp(2, 8), rng);
    let second = 1.min(h.cols - 1);
    let dots: Vec<Dot> =
        (0..h.rows).map(|i| Dot { at: [h.at(i, 0), h.at(i, second)], colour: labels[i] }).collect();
    let svg = picture::draw("States by their low-rank factors", &[], &dots, &[]);
    Figure {
        svg,
        caption: format!("Rank {rank}: every state at its first two coordinates in H, coloured by cluster."),
    }
}

#[cfg(test)]
mod tests;
