//! Spherical data fitting: a matrix of rank `r* = 6` with rows of norm 1 from few of its entries, and
//! completion without a constraint beside it.
//!
//! `f(X) = |P_Omega(X - A)|^2 / 2` over rank at most r and unit rows. Three starts ([`Start`]), which are not
//! the same task. Train and test errors belong together: with r > r* the samples can be fitted without the
//! matrix being found.

mod instance;

use crate::{
    cone,
    dense::{Dense, Host},
    error::AppError,
    masked::{MaskedData, Sampling, Watched},
    page::{self, Section},
    session::{RunSummary, Session},
    slopes,
};
use instance::orthonormal_right;
use lr_linalg::{Blas, Map, Threads, sparse::Orientation};
use lr_manifolds::{
    EmbeddedProjection, FactorSpace, Factors, FixedRankEmbedded, Grid, LevelSet, SampledMatrix,
    SpaceDecoupling, StraightLine, SvdRetraction,
    level_set::{Oblique, Unconstrained},
    space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction},
};
use lr_optim::solve::{
    ConjugateGradients, GradientDescent, Iteration, Lbfgs, MaskedFit, ProjectedGradient, Solution,
    SolveError, Stop, TrustRegions, check_gradient, check_hessian, check_retraction,
};
use rand::{SeedableRng, rngs::StdRng};

pub use instance::{Instance, Start, require_rank};

/// Rank of the hidden matrix.
pub const TRUE_RANK: usize = 6;

/// What is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Share of the entries seen at the true rank.
    pub sampling: f64,
    /// Share of the entries seen at ranks above it.
    pub dense_sampling: f64,
    /// Over-estimated ranks.
    pub ranks: Vec<usize>,
    /// Weights of the metric that are tried at the true rank.
    pub omegas: Vec<f64>,
    /// Side of the square matrix of the completion; its rank is 10, its samples five times the degrees of
    /// freedom.
    pub completion: usize,
    /// Seed of data and starts.
    pub seed: u64,
}

/// Size of the problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Done in under three minutes on two cores.
    Small,
    /// The published one.
    Full,
}

impl Config {
    /// The defaults of a size.
    pub fn of(size: Size) -> Self {
        let common = |m, n, sampling, dense_sampling, completion, omegas, ranks| Self {
            m,
            n,
            sampling,
            dense_sampling,
            ranks,
            omegas,
            completion,
            seed: 1,
        };
        match size {
            Size::Small => common(1500, 1800, 0.03, 0.25, 600, vec![0.5], vec![7, 8]),
            Size::Full => common(5000, 6000, 0.01, 0.1, 2000, vec![0.1, 0.5, 10.0, 50.0], vec![7, 8, 9, 10]),
        }
    }
}

/// The solvers that are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Trust regions on `M_h`.
    TrustRegions,
    /// Conjugate gradients on `M_h`.
    ConjugateGradients,
    /// Gradient descent on `M_h`.
    GradientDescent,
    /// Conjugate gradients on the embedded fixed-rank matrices, without the constraint.
    FixedRankCg,
    /// Trust regions there.
    FixedRankTr,
    /// L-BFGS on the two factors, without the constraint.
    LrFactors,
    /// Projected gradient descent on the set itself.
    P2gd,
}

impl Method {
    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TrustRegions => "trust-regions",
            Self::ConjugateGradients => "conjugate-gradients",
            Self::GradientDescent => "gradient-descent",
            Self::FixedRankCg => "LRGeomCG (fixed-rank cg)",
            Self::FixedRankTr => "fixed-rank trust-regions",
            Self::LrFactors => "LR factors (L-BFGS)",
            Self::P2gd => "P2GD",
        }
    }
}

struct Task<'t, S> {
    group: &'t str,
    set: S,
    omega: f64,
    rank: usize,
    /// Relative training residual that ends a run.
    tolerance: f64,
    most: usize,
    label: String,
}

fn solve<S: LevelSet<Host>>(
    session: &mut Session<'_>,
    b: &Host,
    task: &Task<'_, S>,
    method: Method,
    data: &MaskedData,
    start: Factors<Host>,
) -> Result<(), AppError> {
    let (m, n) = (start.left.dims().rows, start.right.dims().rows);
    let fit = MaskedFit::new(data.train.clone(), b.threads())?;
    let mut problem = Watched::new(fit, data, session.watched());
    let square: f64 = data.train.values(Orientation::Rows).iter().map(|a| a * a).sum();
    let stop = Stop::Cost(0.5 * square * task.tolerance.powi(2))
        .or(Stop::Iterations(task.most))
        .or(Stop::Raised(session.stop().clone()));
    let manifold = SpaceDecoupling::new(m, n, task.rank, task.set.clone(), task.omega)?;
    let fixed = || FixedRankEmbedded::new(Grid::singleton(m, n, task.rank));
    let (second, projection, svd) =
        (DecouplingRetraction::Second, DecouplingProjection, SvdRetraction::default());
    let label = format!("{}{}", method.name(), task.label);
    let (fixed, factors) = (fixed()?, FactorSpace::new(m, n, task.rank)?);
    let trust_regions = TrustRegions::default();
    type Found = Result<Solution<Host>, SolveError>;
    let work = |watch: &mut dyn FnMut(&Iteration)| -> Found {
        let p = &mut problem;
        match method {
            Method::TrustRegions => trust_regions.solve(b, &manifold, &second, p, start, &stop, watch),
            Method::ConjugateGradients => ConjugateGradients::default().solve(
                b,
                &manifold,
                &second,
                &projection,
                p,
                start,
                &stop,
                watch,
            ),
            Method::GradientDescent => {
                GradientDescent::default().solve(b, &manifold, &second, &projection, p, start, &stop, watch)
            }
            Method::FixedRankCg => ConjugateGradients::default().solve(
                b,
                &fixed,
                &svd,
                &EmbeddedProjection,
                p,
                start,
                &stop,
                watch,
            ),
            Method::FixedRankTr => trust_regions.solve(b, &fixed, &svd, p, start, &stop, watch),
            Method::LrFactors => {
                let start = balanced(b, start);
                Lbfgs::default().solve(b, &factors, &StraightLine, &StraightLine, p, start, &stop, watch)
            }
            Method::P2gd => ProjectedGradient::default().solve(b, &manifold, p, start, &stop, watch),
        }
    };
    let Some((found, seconds)) = session.solve(task.group, &label, task.rank, work)? else { return Ok(()) };
    let mut run = RunSummary::of(label, task.rank, &found.outcome, seconds);
    let [train, test] = data.errors(found.x.left.as_ref().panel(0), found.x.right.as_ref().panel(0));
    (run.train_error, run.test_error) = (Some(train), Some(test));
    if matches!(method, Method::TrustRegions | Method::ConjugateGradients | Method::GradientDescent) {
        run.omega = Some(task.omega);
        let e = SampledMatrix { entries: data.residual(&found.x)?, threads: b.threads() };
        run.cone_measure = Some(cone::measure(b, &task.set, &found.x, &e)?);
    }
    Ok(session.record(run)?)
}

/// The same matrix with factors of equal norms: plain factors are sensitive to how they share its scale.
fn balanced(b: &Host, mut x: Factors<Host>) -> Factors<Host> {
    let norm = |x: lr_linalg::MatsRef<'_, Host>| x.as_slice().iter().map(|x| x * x).sum::<f64>().sqrt();
    let scale = (norm(x.right.as_ref()) / norm(x.left.as_ref())).sqrt();
    if scale > 0.0 && scale.is_finite() {
        b.map(Map::Scale(scale), x.left.as_mut());
        b.map(Map::Scale(1.0 / scale), x.right.as_mut());
    }
    x
}

/// Runs the experiment.
///
/// # Errors
/// [`AppError`].
pub fn run(config: &Config, threads: Threads, session: &mut Session<'_>) -> Result<(), AppError> {
    let b = Host::with_threads(threads);
    let mut rng = StdRng::seed_from_u64(config.seed);
    let (m, n) = (config.m, config.n);
    let test = 0.2 * config.sampling;
    let instance = Instance::spherical(&b, m, n, Sampling { train: config.sampling, test }, &mut rng)?;
    session.say(format!("{m} x {n}, {} samples, rank {TRUE_RANK}", instance.data.train.mask().len()));
    let group =
        format!("Spherical fitting at the true rank, {:.1} % of the entries", 100.0 * config.sampling);
    for &omega in &config.omegas {
        for start in [Start::Random, Start::TrueColumns] {
            for method in [Method::TrustRegions, Method::ConjugateGradients, Method::GradientDescent] {
                if omega != 0.5 && method == Method::ConjugateGradients {
                    continue;
                }
                let label = format!(", {} start, omega {omega}", start.name());
                let (tolerance, most) = match method {
                    Method::TrustRegions => (1e-14, 300),
                    _ => (1e-11, 1000),
                };
                let task =
                    Task { group: &group, set: Oblique, omega, rank: TRUE_RANK, tolerance, most, label };
                let x = instance.start(&b, start, TRUE_RANK, &mut rng)?;
                solve(session, &b, &task, method, &instance.data, x)?;
            }
        }
    }
    let group = "Spherical fitting: baselines that do not know the constraint, and projected gradients";
    for (method, most) in [(Method::FixedRankCg, 500), (Method::LrFactors, 500), (Method::P2gd, 300)] {
        let (label, tolerance) = (", random start".to_owned(), 1e-11);
        let task = Task { group, set: Oblique, omega: 0.5, rank: TRUE_RANK, tolerance, most, label };
        let x = instance.start(&b, Start::Random, TRUE_RANK, &mut rng)?;
        solve(session, &b, &task, method, &instance.data, x)?;
    }
    drop(instance);
    let share = Sampling { train: config.dense_sampling, test: 0.01 };
    let instance = Instance::spherical(&b, m, n, share, &mut rng)?;
    let group = format!("Over-estimated ranks, {:.0} % of the entries", 100.0 * config.dense_sampling);
    for &rank in &config.ranks {
        for start in [Start::Spectral, Start::Random, Start::TrueColumns] {
            let label = format!(", {} start, rank {rank}", start.name());
            let task =
                Task { group: &group, set: Oblique, omega: 0.5, rank, tolerance: 1e-14, most: 30, label };
            let x = instance.start(&b, start, rank, &mut rng)?;
            solve(session, &b, &task, Method::TrustRegions, &instance.data, x)?;
        }
    }
    drop(instance);
    completion(config, &b, session, &mut rng)?;
    let brief = format!(
        "A {m} x {n} matrix of rank {TRUE_RANK} with unit rows, fitted from {0:.1} % of its entries; the \
         same with over-estimated \
         ranks; completion of a {1} x {1} matrix of rank 10.",
        100.0 * config.sampling,
        config.completion
    );
    let text = vec![
        "The start called true columns is made of columns of the hidden matrix and leaks the answer; the \
         random one and the spectral one, made of the samples alone, do not. With more columns than the true \
         rank the training error alone proves nothing: a single row or column changed where nobody sampled \
         it costs a rank and no training error, so the completion is then not unique, and only the test \
         error tells whether the matrix was found."
            .to_owned(),
    ];
    let notes = Section { title: "How to read the errors".to_owned(), text, figures: Vec::new() };
    let command = format!("cargo xtask experiment sphere-fit --seed {}", config.seed);
    let derivatives = derivatives(&b, &mut rng)?;
    page::write(session, "Spherical data fitting", &brief, &command, &[notes, derivatives])
}

/// Slopes of the models of a small instance: what `check_gradient` and its companions measure.
fn derivatives(b: &Host, rng: &mut StdRng) -> Result<Section, AppError> {
    let (m, n, rank) = (60, 72, TRUE_RANK + 1);
    let instance = Instance::spherical(b, m, n, Sampling { train: 0.5, test: 0.1 }, rng)?;
    let mut problem = MaskedFit::new(instance.data.train.clone(), b.threads())?;
    let manifold = SpaceDecoupling::new(m, n, rank, Oblique, 0.5)?;
    let second = DecouplingRetraction::Second;
    let at = |rng: &mut StdRng| -> Result<[Factors<Host>; 2], AppError> {
        let (left, right) = (Dense::normal(m, rank, rng).upload(b)?, Dense::normal(n, rank, rng).upload(b)?);
        Ok([instance.start(b, Start::Random, rank, rng)?, Factors { left, right }])
    };
    let [x, v] = at(rng)?;
    let gradient = check_gradient(b, &manifold, &second, &mut problem, x, v)?;
    let [x, v] = at(rng)?;
    let hessian = check_hessian(b, &manifold, &second, &mut problem, x, v)?;
    let [x, v] = at(rng)?;
    let retraction = check_retraction(b, &manifold, &second, x, v)?;
    let figure =
        slopes::draw(&[("Gradient", &gradient), ("Hessian", &hessian), ("Retraction", &retraction)])?;
    let text = vec![format!(
        "The derivatives on M_h against differences, on a {m} x {n} instance of this problem at rank {rank}."
    )];
    Ok(Section { title: "Derivatives against differences".to_owned(), text, figures: vec![figure] })
}

/// Completion without a constraint: rank 10, samples five times the degrees of freedom, to 1e-10.
fn completion(
    config: &Config,
    b: &Host,
    session: &mut Session<'_>,
    rng: &mut StdRng,
) -> Result<(), AppError> {
    let (n, rank) = (config.completion, 10);
    require_rank(rank, n, n)?;
    let share = 5.0 * (rank * (2 * n - rank)) as f64 / (n * n) as f64;
    let (h, v) = (Dense::normal(n, rank, rng), Dense::normal(n, rank, rng));
    let data = MaskedData::sample(&h, &v, Sampling { train: share, test: 0.1 * share }, rng)?;
    let [u, w] = data.leading_triplets(b, rank, rng)?;
    // M_h asks for an orthonormal right factor, the spectral start has a left one.
    let turned = orthonormal_right(b, &u, &w)?;
    let spectral = (u, w);
    let group = "Completion without a constraint";
    for method in [
        Method::FixedRankCg,
        Method::FixedRankTr,
        Method::ConjugateGradients,
        Method::TrustRegions,
        Method::LrFactors,
        Method::P2gd,
    ] {
        let label = format!(", completion {n} x {n}");
        let task = Task { group, set: Unconstrained, omega: 0.5, rank, tolerance: 1e-10, most: 400, label };
        let on_m_h = matches!(method, Method::ConjugateGradients | Method::TrustRegions | Method::P2gd);
        let (left, right) = if on_m_h { &turned } else { &spectral };
        let start = Factors { left: left.upload(b)?, right: right.upload(b)? };
        solve(session, b, &task, method, &data, start)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
