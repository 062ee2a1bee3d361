//! Graph similarity (Blondel et al. 2004): `f(X) = -|L(X)|^2`, `L(X) = A X B^T + A^T X B`, over rank at most
//! r on the unit sphere, for the adjacency matrices of two graphs.
//!
//! `X = H V^T` is never formed: `L(P Q^T) = [A P, A^T P] [B Q, B^T Q]^T` doubles the rank, the gradient `-2
//! L(L(X))` has rank `4 r` and its derivative `8 r`. For a cycle `A` the optimum is known: `-lambda_max(B +
//! B^T)^2`, at `X = 1 v^T / sqrt(m)`; for an even cycle not only there, so that the cost is compared and not
//! `X`.

use crate::{
    cone,
    dense::{Dense, Host},
    error::AppError,
    page::{self, Section},
    session::{RunSummary, Session},
    sphere_fit::{Size, require_rank},
};
use lr_linalg::{Blas, Dims, Epilogue, Mats, MatsRef, Panel, PanelMut, Threads, sparse::SparseMatrix};
use lr_manifolds::{
    Factors, FactorsRef, LowRankMatrix, SpaceDecoupling,
    level_set::Sphere,
    space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction},
};
use lr_optim::solve::{AmbientProblem, ConjugateGradients, Pulled, SolveError, Stop, TrustRegions};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// What is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Nodes of the cycle.
    pub cycle: usize,
    /// Nodes of the random graph.
    pub random: usize,
    /// Probability of each of its edges.
    pub probability: f64,
    /// Bounds on the rank; the optimum has rank 1.
    pub ranks: Vec<usize>,
    /// Seed.
    pub seed: u64,
}

impl Config {
    /// The defaults of a size.
    pub fn of(size: Size) -> Self {
        let (cycle, random, probability) = match size {
            Size::Small => (400, 600, 0.02),
            Size::Full => (2000, 3000, 0.01),
        };
        Self { cycle, random, probability, ranks: (1..=4).collect(), seed: 1 }
    }
}

/// The problem.
#[derive(Debug)]
pub struct Similarity {
    a: SparseMatrix<f64>,
    b: SparseMatrix<f64>,
    threads: Threads,
}

impl Similarity {
    /// The problem of two adjacency matrices, both square.
    ///
    /// # Errors
    /// [`AppError::Data`] when one is not.
    pub fn new(a: SparseMatrix<f64>, b: SparseMatrix<f64>, threads: Threads) -> Result<Self, AppError> {
        for (name, x) in [("first", &a), ("second", &b)] {
            let (rows, cols) = (x.mask().rows(), x.mask().cols());
            if rows != cols {
                return Err(AppError::Data(format!(
                    "the {name} graph's adjacency matrix is {rows} x {cols}"
                )));
            }
        }
        Ok(Self { a, b, threads })
    }

    /// `[S x, S^T x]`.
    fn both(&self, b: &Host, s: &SparseMatrix<f64>, x: MatsRef<'_, Host>) -> Result<Mats<Host>, SolveError> {
        let (rows, k) = (x.dims().rows, x.dims().cols);
        let mut out = Mats::zeros(b, Dims::new(1, rows, 2 * k))?;
        let (first, second) = out.as_mut().split_cols(k);
        s.times(self.threads, x.panel(0), first.into_panel());
        s.transposed_times(self.threads, x.panel(0), second.into_panel());
        Ok(out)
    }

    /// `L(P Q^T)`.
    fn l(
        &self,
        b: &Host,
        p: MatsRef<'_, Host>,
        q: MatsRef<'_, Host>,
    ) -> Result<LowRankMatrix<Host>, SolveError> {
        Ok(LowRankMatrix { left: self.both(b, &self.a, p)?, right: self.both(b, &self.b, q)? })
    }

    /// `-2 L(L(P Q^T))`.
    fn twice(
        &self,
        b: &Host,
        p: MatsRef<'_, Host>,
        q: MatsRef<'_, Host>,
    ) -> Result<LowRankMatrix<Host>, SolveError> {
        let once = self.l(b, p, q)?;
        let mut twice = self.l(b, once.left.as_ref(), once.right.as_ref())?;
        b.map(lr_linalg::Map::Scale(-2.0), twice.left.as_mut());
        Ok(twice)
    }

    /// `lambda_max(B + B^T)` for `B` without negative entries, by power iterations on `B + B^T + I`.
    pub fn largest_eigenvalue(&self) -> f64 {
        const ITERATIONS: usize = 5000;
        let n = self.b.mask().rows();
        let mut v = vec![1.0 / (n as f64).sqrt(); n];
        let (mut bv, mut tv, mut value) = (vec![0.0; n], vec![0.0; n], 0.0);
        for _ in 0..ITERATIONS {
            self.b.times(self.threads, Panel::from_slice(&v, n, 1), PanelMut::from_slice(&mut bv, n, 1));
            self.b.transposed_times(
                self.threads,
                Panel::from_slice(&v, n, 1),
                PanelMut::from_slice(&mut tv, n, 1),
            );
            let next: Vec<f64> = (0..n).map(|i| bv[i] + tv[i] + v[i]).collect();
            let rayleigh: f64 = next.iter().zip(&v).map(|(a, b)| a * b).sum::<f64>() - 1.0;
            let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            // The part of the image beside v: its square bounds the error of the Rayleigh quotient.
            let beside: f64 =
                next.iter().zip(&v).map(|(a, b)| (a - (rayleigh + 1.0) * b).powi(2)).sum::<f64>();
            value = rayleigh;
            if beside.sqrt() <= 1e-9 * norm {
                break;
            }
            v = next.into_iter().map(|x| x / norm).collect();
        }
        value
    }
}

impl AmbientProblem<Host> for Similarity {
    type Gradient = LowRankMatrix<Host>;
    type Curvature = LowRankMatrix<Host>;

    fn cost(&mut self, b: &Host, x: FactorsRef<'_, Host>) -> Result<f64, SolveError> {
        // |P Q^T|^2 = <P^T P, Q^T Q>.
        let l = self.l(b, x.left, x.right)?;
        let square = Dims::square(1, l.left.dims().cols);
        let (mut p, mut q, mut out) =
            (Mats::zeros(b, square)?, Mats::zeros(b, square)?, Mats::zeros(b, Dims::scalars(1))?);
        for (x, gram) in [(&l.left, &mut p), (&l.right, &mut q)] {
            b.gemm(1.0, x.as_ref().t(), x.as_ref().n(), Epilogue::Overwrite, gram.as_mut());
        }
        b.dot(-1.0, p.as_ref(), q.as_ref(), 0.0, out.as_mut());
        Ok(out.to_vec(b)?[0])
    }

    fn gradient(&mut self, b: &Host, x: FactorsRef<'_, Host>) -> Result<LowRankMatrix<Host>, SolveError> {
        self.twice(b, x.left, x.right)
    }

    fn curvature(
        &mut self,
        b: &Host,
        x: FactorsRef<'_, Host>,
        eta: FactorsRef<'_, Host>,
    ) -> Result<LowRankMatrix<Host>, SolveError> {
        let left = beside(b, eta.left, x.left)?;
        let right = beside(b, x.right, eta.right)?;
        self.twice(b, left.as_ref(), right.as_ref())
    }
}

/// `[x, y]`.
pub(crate) fn beside(b: &Host, x: MatsRef<'_, Host>, y: MatsRef<'_, Host>) -> Result<Mats<Host>, SolveError> {
    let (rows, k) = (x.dims().rows, x.dims().cols);
    let mut out = Mats::zeros(b, Dims::new(1, rows, k + y.dims().cols))?;
    let (first, second) = out.as_mut().split_cols(k);
    b.copy(x.n(), first);
    b.copy(y.n(), second);
    Ok(out)
}

/// The directed cycle of n nodes.
///
/// # Errors
/// [`AppError`] when n is 0.
pub fn cycle(n: usize) -> Result<SparseMatrix<f64>, AppError> {
    if n == 0 {
        return Err(AppError::Data("a cycle has at least one node".to_owned()));
    }
    let entries: Vec<_> = (0..n).map(|i| (i, (i + 1) % n, 1.0)).collect();
    Ok(SparseMatrix::new(n, n, &entries)?)
}

/// A directed graph with every edge drawn on its own.
///
/// # Errors
/// [`AppError`] when the probability is none.
pub fn binomial(n: usize, probability: f64, rng: &mut StdRng) -> Result<SparseMatrix<f64>, AppError> {
    if !(probability > 0.0 && probability <= 1.0) {
        return Err(AppError::Data(format!("the probability of an edge is {probability}, not in (0, 1]")));
    }
    let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|(i, j)| i != j);
    let entries: Vec<_> = pairs.filter(|_| rng.random_bool(probability)).map(|(i, j)| (i, j, 1.0)).collect();
    Ok(SparseMatrix::new(n, n, &entries)?)
}

/// A random point of rank at most r on the unit sphere.
///
/// # Errors
/// [`AppError`] when the rank exceeds the matrix.
pub fn random_start(
    b: &Host,
    m: usize,
    n: usize,
    rank: usize,
    rng: &mut StdRng,
) -> Result<Factors<Host>, AppError> {
    require_rank(rank, m, n)?;
    let mut h = Dense::normal(m, rank, rng);
    let norm = h.norm();
    h.data.iter_mut().for_each(|x| *x /= norm);
    let v = Dense::normal(n, rank, rng).orthonormalized(b)?;
    Ok(Factors { left: h.upload(b)?, right: v.upload(b)? })
}

/// Runs the experiment.
///
/// # Errors
/// [`AppError`].
pub fn run(config: &Config, threads: Threads, session: &mut Session<'_>) -> Result<(), AppError> {
    let (b, mut rng) = (Host::with_threads(threads), StdRng::seed_from_u64(config.seed));
    let (m, n) = (config.cycle, config.random);
    let similarity = Similarity::new(cycle(m)?, binomial(n, config.probability, &mut rng)?, threads)?;
    let best = -similarity.largest_eigenvalue().powi(2);
    session.say(format!("{m} x {n}, optimal cost {best:.12e}"));
    let mut problem = Pulled::new(similarity);
    let (second, projection) = (DecouplingRetraction::Second, DecouplingProjection);
    for &rank in &config.ranks {
        let manifold = SpaceDecoupling::new(m, n, rank, Sphere, 0.5)?;
        let stop = |tolerance: f64, most: usize, session: &Session<'_>| {
            Stop::gradient_below(tolerance * best.abs())
                .or(Stop::Iterations(most))
                .or(Stop::Raised(session.stop().clone()))
        };
        for name in ["trust-regions", "conjugate-gradients"] {
            let start = random_start(&b, m, n, rank, &mut rng)?;
            let label = format!("{name}, rank {rank}");
            let p = &mut problem;
            let found = match name {
                "trust-regions" => {
                    let stop = stop(1e-9, 300, session);
                    session.solve("Convergence", &label, rank, |watch| {
                        TrustRegions::default().solve(&b, &manifold, &second, p, start, &stop, watch)
                    })?
                }
                _ => {
                    let stop = stop(1e-7, 500, session);
                    session.solve("Convergence", &label, rank, |watch| {
                        ConjugateGradients::default().solve(
                            &b,
                            &manifold,
                            &second,
                            &projection,
                            p,
                            start,
                            &stop,
                            watch,
                        )
                    })?
                }
            };
            let Some((found, seconds)) = found else { continue };
            let mut run = RunSummary::of(name, rank, &found.outcome, seconds);
            run.omega = Some(manifold.omega());
            run.train_error = Some((found.outcome.cost - best).abs() / best.abs());
            let e = problem.problem().twice(&b, found.x.left.as_ref(), found.x.right.as_ref())?;
            run.cone_measure = Some(cone::measure(&b, &Sphere, &found.x, &e)?);
            session.record(run)?;
        }
    }
    let brief = format!(
        "A cycle of {m} nodes and a random graph of {n} with edges of probability {}. The error is that \
         of the cost, \
         relative to the closed form {best:.6e}.",
        config.probability
    );
    let text = vec![
        "The minimizer is not unique for an even cycle, so that the cost is compared. No m x n matrix is \
         formed: the \
         gradient has rank 4 r."
            .to_owned(),
    ];
    let notes = Section { title: "How the error is measured".to_owned(), text, figures: Vec::new() };
    let command = format!("cargo xtask experiment graph-sim --seed {}", config.seed);
    page::write(session, "Graph similarity", &brief, &command, &[notes])
}
