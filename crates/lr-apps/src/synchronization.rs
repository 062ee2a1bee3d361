//! Synchronization of rotations: `f(X) = <C, X X^T>` over stacked `3 x r` blocks with orthonormal rows, from
//! relative rotations `R_ij ~ R_j R_i^T`, block `C_ji = -R_ij`.
//!
//! At r = 3 the feasible set is disconnected; from r = 4 on the optimum of the semidefinite relaxation is
//! reached, which [`certificate`] proves for the point at hand. [`rounding`] makes rotations of it.

pub mod certificate;
pub mod g2o;
pub mod graph;
mod object;
pub mod rounding;

use crate::{
    cone,
    dense::{Dense, Host},
    error::AppError,
    graph_similarity::beside,
    page::{self, Section},
    picture::{self, Stroke},
    session::{RunSummary, Session},
    sphere_fit::Size,
};
use graph::{CameraGraph, Rotation};
use lr_linalg::{Blas, Dims, Map, Mats, MatsMut, MatsRef, Threads, sparse::SparseMatrix};
use lr_manifolds::{
    Factors, FactorsRef, LowRankMatrix, SpaceDecoupling, level_set::StackedStiefel,
    space_decoupling::retractions::DecouplingRetraction,
};
use lr_optim::solve::{AmbientProblem, Pulled, SolveError, Stop, TrustRegions};
use lr_report::{files::write_json, page::Figure};
use rand::{SeedableRng, rngs::StdRng};
use serde::Serialize;
use std::path::PathBuf;

/// What is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Cameras of the generator.
    pub cameras: usize,
    /// Mean number of measurements that a camera takes part in.
    pub degree: f64,
    /// Standard deviation of a measurement's rotation vector, radians an axis.
    pub noise: f64,
    /// Bounds on the rank, at least 3.
    pub ranks: Vec<usize>,
    /// A pose graph in the format of g2o instead of the generator.
    pub g2o: Option<PathBuf>,
    /// Seed.
    pub seed: u64,
}

impl Config {
    /// The defaults of a size.
    pub fn of(size: Size) -> Self {
        let cameras = if size == Size::Full { 500 } else { 150 };
        Self { cameras, degree: 12.0, noise: 0.1, ranks: vec![3, 4, 5], g2o: None, seed: 1 }
    }
}

/// The problem.
#[derive(Debug)]
pub struct Synchronization {
    c: SparseMatrix<f64>,
    threads: Threads,
}

impl Synchronization {
    /// The problem of a graph of cameras.
    ///
    /// # Errors
    /// [`AppError`] naming what is wrong with the graph.
    pub fn new(graph: &CameraGraph, threads: Threads) -> Result<Self, AppError> {
        graph.validate()?;
        Ok(Self { c: graph.matrix()?, threads })
    }

    /// `C`.
    pub fn matrix(&self) -> &SparseMatrix<f64> {
        &self.c
    }

    /// `factor C x`.
    fn times(&self, b: &Host, factor: f64, x: MatsRef<'_, Host>) -> Result<Mats<Host>, SolveError> {
        let mut out = Mats::zeros(b, x.dims())?;
        let room: MatsMut<'_, Host> = out.as_mut();
        self.c.times(self.threads, x.panel(0), room.into_panel());
        b.map(Map::Scale(factor), out.as_mut());
        Ok(out)
    }

    /// `<C, Y Y^T>` for stacked blocks `Y`.
    ///
    /// # Errors
    /// [`SolveError`] when the memory cannot be had.
    pub fn value(&self, b: &Host, y: MatsRef<'_, Host>) -> Result<f64, SolveError> {
        let (image, mut out) = (self.times(b, 1.0, y)?, Mats::zeros(b, Dims::scalars(1))?);
        b.dot(1.0, image.as_ref(), y, 0.0, out.as_mut());
        Ok(out.to_vec(b)?[0])
    }
}

impl AmbientProblem<Host> for Synchronization {
    type Gradient = LowRankMatrix<Host>;
    type Curvature = LowRankMatrix<Host>;

    fn cost(&mut self, b: &Host, x: FactorsRef<'_, Host>) -> Result<f64, SolveError> {
        // V is orthonormal: X X^T = H H^T.
        self.value(b, x.left)
    }

    fn gradient(&mut self, b: &Host, x: FactorsRef<'_, Host>) -> Result<LowRankMatrix<Host>, SolveError> {
        let mut right = Mats::zeros(b, x.right.dims())?;
        b.copy(x.right.n(), right.as_mut());
        Ok(LowRankMatrix { left: self.times(b, 2.0, x.left)?, right })
    }

    fn curvature(
        &mut self,
        b: &Host,
        x: FactorsRef<'_, Host>,
        eta: FactorsRef<'_, Host>,
    ) -> Result<LowRankMatrix<Host>, SolveError> {
        let (k, h) = (self.times(b, 2.0, eta.left)?, self.times(b, 2.0, x.left)?);
        let (left, right) = (beside(b, k.as_ref(), h.as_ref())?, beside(b, x.right, eta.right)?);
        Ok(LowRankMatrix { left, right })
    }
}

/// A random point: blocks with orthonormal rows, an orthonormal basis.
///
/// # Errors
/// [`AppError::Data`] for ranks below 3 or above the number of rows.
pub fn random_start(
    b: &Host,
    cameras: usize,
    rank: usize,
    rng: &mut StdRng,
) -> Result<Factors<Host>, AppError> {
    if rank < 3 || rank > 3 * cameras {
        return Err(AppError::Data(format!(
            "rank {rank} is not between 3, the height of a rotation, and {}, the rows of {cameras} cameras",
            3 * cameras
        )));
    }
    let mut blocks = Dense::zeros(3 * cameras, rank);
    for camera in 0..cameras {
        let q = Dense::normal(rank, 3, rng).orthonormalized(b)?;
        for i in 0..3 {
            (0..rank).for_each(|j| blocks.row_mut(3 * camera + i)[j] = q.at(j, i));
        }
    }
    let v = Dense::normal(3 * cameras, rank, rng).orthonormalized(b)?;
    Ok(Factors { left: blocks.upload(b)?, right: v.upload(b)? })
}

/// What is known of a run beside its summary.
#[derive(Clone, Debug, Serialize)]
struct Details {
    rank: usize,
    cost: f64,
    /// Cost of the true rotations, where they are known.
    true_cost: Option<f64>,
    certificate: certificate::Certificate,
    /// Cost after rounding to rotations.
    rounded_cost: f64,
    /// Mean and largest angle to the true rotations, degrees.
    pose_errors: Option<[f64; 2]>,
}

/// Name of the file with certificates and pose errors.
pub const DETAILS_FILE: &str = "certificates.json";

/// Runs the experiment.
///
/// # Errors
/// [`AppError`].
pub fn run(config: &Config, threads: Threads, session: &mut Session<'_>) -> Result<(), AppError> {
    let (b, mut rng) = (Host::with_threads(threads), StdRng::seed_from_u64(config.seed));
    let graph = match &config.g2o {
        Some(path) => g2o::read(path)?,
        None => CameraGraph::random(config.cameras, config.degree, config.noise, &mut rng)?,
    };
    let cameras = graph.cameras;
    let synchronization = Synchronization::new(&graph, threads)?;
    let truth = graph.truth.as_ref().map(|truth| graph::stacked(truth).upload(&b)).transpose()?;
    let true_cost = truth.as_ref().map(|y| synchronization.value(&b, y.as_ref())).transpose()?;
    session.say(format!(
        "{cameras} cameras, {} measurements{}",
        graph.measurements.len(),
        true_cost.map_or_else(String::new, |cost| format!(", cost of the true rotations {cost:.9e}"))
    ));
    let (mut problem, set) = (Pulled::new(synchronization), StackedStiefel { height: 3 });
    let (mut details, mut sections) = (Vec::new(), Vec::new());
    for &rank in &config.ranks {
        let start = random_start(&b, cameras, rank, &mut rng)?;
        let manifold = SpaceDecoupling::new(3 * cameras, 3 * cameras, rank, set, 0.5)?;
        let stop = Stop::gradient_below(1e-9 * (3.0 * cameras as f64))
            .or(Stop::Iterations(500))
            .or(Stop::Raised(session.stop().clone()));
        let found = session.solve("Convergence", &format!("trust-regions, rank {rank}"), rank, |watch| {
            let second = DecouplingRetraction::Second;
            TrustRegions::default().solve(&b, &manifold, &second, &mut problem, start, &stop, watch)
        })?;
        let Some((found, seconds)) = found else { continue };
        let e = problem_gradient(&b, problem.problem(), found.x.as_ref())?;
        let certificate = certificate::certify(&b, problem.problem(), found.x.left.as_ref())?;
        let rotations = rounding::to_rotations(&b, &Dense::download(&b, &found.x.left)?)?;
        let rounded = graph::stacked(&rotations).upload(&b)?;
        let rounded_cost = problem.problem().value(&b, rounded.as_ref())?;
        let poses =
            graph.truth.as_ref().map(|truth| rounding::pose_errors(&b, &rotations, truth)).transpose()?;
        let mut run = RunSummary::of("trust-regions", rank, &found.outcome, seconds);
        run.omega = Some(manifold.omega());
        run.cone_measure = Some(cone::measure(&b, &set, &found.x, &e)?);
        session.say(format!(
            "rank {rank}: {}; rounded cost {rounded_cost:.9e}{}",
            certificate.verdict(),
            poses.as_ref().map_or_else(String::new, |p| format!(
                ", pose errors mean {:.3}, largest {:.3} degrees",
                p.mean, p.largest
            ))
        ));
        sections.push(section(
            rank,
            &certificate,
            true_cost,
            &rotations,
            graph.truth.as_deref(),
            poses.as_ref(),
        ));
        details.push(Details {
            rank,
            cost: found.outcome.cost,
            true_cost,
            certificate,
            rounded_cost,
            pose_errors: poses.map(|p| [p.mean, p.largest]),
        });
        session.record(run)?;
    }
    write_json(&session.folder().join(DETAILS_FILE), &details)?;
    let source = config.g2o.as_ref().map_or_else(
        || {
            format!(
                "{cameras} random cameras, {} measurements with noise {}",
                graph.measurements.len(),
                config.noise
            )
        },
        |path| {
            format!("{cameras} cameras and {} measurements of {}", graph.measurements.len(), path.display())
        },
    );
    let command = format!("cargo xtask experiment sync --seed {}", config.seed);
    page::write(session, "Synchronization of rotations", &source, &command, &sections)
}

fn problem_gradient(
    b: &Host,
    problem: &Synchronization,
    x: FactorsRef<'_, Host>,
) -> Result<LowRankMatrix<Host>, SolveError> {
    let mut right = Mats::zeros(b, x.right.dims())?;
    b.copy(x.right.n(), right.as_mut());
    Ok(LowRankMatrix { left: problem.times(b, 2.0, x.left)?, right })
}

fn section(
    rank: usize,
    certificate: &certificate::Certificate,
    true_cost: Option<f64>,
    rotations: &[Rotation],
    truth: Option<&[Rotation]>,
    poses: Option<&rounding::PoseErrors>,
) -> Section {
    let mut text = vec![certificate.verdict()];
    if let Some(cost) = true_cost {
        text.push(format!("Cost of the true rotations: {cost:.9e}."));
    }
    if let Some(p) = poses {
        text.push(format!(
            "Angles to the true rotations: mean {:.3}, largest {:.3} degrees.",
            p.mean, p.largest
        ));
    }
    let (mut cameras, mut views) = (Vec::new(), Vec::new());
    // A few cameras, spread over the numbering.
    let chosen = (0..VIEWS).map(|view| (view, view * rotations.len() / VIEWS));
    if let (Some(truth), Some(poses)) = (truth, poses) {
        cameras.extend(truth.iter().flat_map(|r| camera(r, 6)));
        cameras.extend(poses.aligned.iter().flat_map(|r| camera(r, 0)));
        for (place, number) in chosen {
            views.extend(object::view(&truth[number], place, 6));
            views.extend(object::view(&poses.aligned[number], place, 0));
        }
    } else {
        cameras.extend(rotations.iter().flat_map(|r| camera(r, 0)));
        chosen.for_each(|(place, number)| views.extend(object::view(&rotations[number], place, 0)));
    }
    let legend: &[&str] =
        if poses.is_some() { &["recovered (blue) over true (grey)"] } else { &["recovered"] };
    let figure = |description: &str, strokes: &[Stroke], caption: &str| {
        let svg = picture::draw(description, strokes, &[], legend);
        Figure { svg, caption: caption.to_owned() }
    };
    let figures = vec![
        figure(
            "Cameras around the object that they look at",
            &cameras,
            "Every camera stands on a sphere around the object and looks at its centre, as its rotation says; seen \
             from the side. Where only blue shows, the recovered pose covers the true one.",
        ),
        figure(
            "The object as a few cameras see it",
            &views,
            "A rabbit as four of the cameras see it, spread over their numbers: the difference between blue and grey \
             is the error of the pose.",
        ),
    ];
    Section { title: format!("Poses at rank {rank}"), text, figures }
}

/// Cameras through which the report looks at the object.
const VIEWS: usize = 4;

/// A camera that looks along the third row of its rotation at the origin: its frustum, seen from the side.
fn camera(r: &Rotation, colour: usize) -> Vec<Stroke> {
    const HALF: f64 = 0.07;
    const DEPTH: f64 = 0.16;
    let point = |right: f64, up: f64, forward: f64| -> [f64; 2] {
        let p: Vec<f64> =
            (0..3).map(|k| right * r[0][k] + up * r[1][k] + (forward - 1.0) * r[2][k]).collect();
        // An oblique view, so that front and back differ.
        [p[0] + 0.3 * p[2], p[1] + 0.2 * p[2]]
    };
    let apex = point(0.0, 0.0, 0.0);
    let corners =
        [(-HALF, -HALF), (HALF, -HALF), (HALF, HALF), (-HALF, HALF)].map(|(x, y)| point(x, y, DEPTH));
    (0..4)
        .flat_map(|k| [[apex, corners[k]], [corners[k], corners[(k + 1) % 4]]])
        .map(|ends| Stroke { ends, colour })
        .collect()
}

#[cfg(test)]
mod tests;
