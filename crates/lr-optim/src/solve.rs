//! Classical solvers on the manifolds of `lr-manifolds`: one problem at a time, to high accuracy.
//!
//! A [`Problem`] knows its cost and pulled-back derivatives, a solver moves a point, a [`Stop`] says when it is
//! enough and whether that means convergence, an observer sees every [`Iteration`]. Five solvers:
//!
//! | solver | asks for | use it |
//! |---|---|---|
//! | [`GradientDescent`] | gradients | as the baseline; Armijo backtracking from a Barzilai-Borwein step |
//! | [`ConjugateGradients`] | gradients, a transport | large problems without a Hessian |
//! | [`Lbfgs`] | gradients, a transport | the same, where the curvature changes slowly |
//! | [`TrustRegions`] | Hessian-vector products | high accuracy; converges superlinearly |
//! | [`ProjectedGradient`] | gradients | as the baseline on matrices of bounded rank |
//!
//! They begin at a [`Start`]: factors, or where a [`Checkpoint`] says that a solver stopped.
//!
//! [`check_gradient`] and [`check_hessian`] compare a problem's derivatives with differences.
//!
//! ```
//! use lr_linalg::{Blas, Cpu, Dims, Epilogue, Linalg, Mats};
//! use lr_manifolds::{Factors, FactorsMut, FactorsRef, SpaceDecoupling, level_set::Sphere};
//! use lr_manifolds::space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction};
//! use lr_optim::solve::{Checkpoint, ConjugateGradients, Problem, SolveError, Stop, Termination};
//!
//! /// `<G, X>`: on the unit sphere of bounded rank its minimum is minus the norm of the leading part of G.
//! struct Linear(Mats<Cpu<f64>>);
//! impl Problem<Cpu<f64>> for Linear {
//!     fn cost(&mut self, b: &Cpu<f64>, x: FactorsRef<'_, Cpu<f64>>) -> Result<f64, SolveError> {
//!         let mut gv = Mats::zeros(b, x.left.dims())?;
//!         b.gemm(1.0, self.0.as_ref().n(), x.right.n(), Epilogue::Overwrite, gv.as_mut());
//!         let mut out = Mats::zeros(b, Dims::scalars(1))?;
//!         b.dot(1.0, gv.as_ref(), x.left, 0.0, out.as_mut());
//!         Ok(out.to_vec(b)?[0])
//!     }
//!     fn egrad(&mut self, b: &Cpu<f64>, x: FactorsRef<'_, Cpu<f64>>, out: FactorsMut<'_, Cpu<f64>>) -> Result<(), SolveError> {
//!         b.gemm(1.0, self.0.as_ref().n(), x.right.n(), Epilogue::Overwrite, out.left);
//!         b.gemm(1.0, self.0.as_ref().t(), x.left.n(), Epilogue::Overwrite, out.right);
//!         Ok(())
//!     }
//! }
//!
//! let b = Cpu::<f64>::new();
//! // Singular values 3, 2 and 1: the best X of rank 2 has cost -sqrt(9 + 4).
//! let g = Mats::from_slice(&b, Dims::new(1, 3, 3), &[3., 0., 0., 0., 2., 0., 0., 0., 1.])?;
//! let start = Factors {
//!     left: Mats::from_slice(&b, Dims::new(1, 3, 2), &[0.6, 0.2, 0.3, -0.4, -0.5, 0.1f64.sqrt()])?,
//!     right: Mats::from_slice(&b, Dims::new(1, 3, 2), &[0.6, 0., 0.8, 0., 0., 1.])?,
//! };
//! let manifold = SpaceDecoupling::new(3, 3, 2, Sphere, 0.5)?;
//! let solver = ConjugateGradients::default();
//! let (second, projection) = (DecouplingRetraction::Second, DecouplingProjection);
//! let (mut problem, mut watch) = (Linear(g), |_: &_| {});
//! let early = Stop::iterations(3);
//! let stopped = solver.solve(&b, &manifold, &second, &projection, &mut problem, start, &early, &mut watch)?;
//! let bytes = Checkpoint::of(&b, &stopped, None)?.to_bytes();
//!
//! // Some other day.
//! let start = Checkpoint::from_bytes(&bytes)?.start(&b)?;
//! let stop = Stop::gradient_below(1e-5).or(Stop::iterations(500));
//! let solution = solver.solve(&b, &manifold, &second, &projection, &mut problem, start, &stop, &mut watch)?;
//! assert_eq!(solution.outcome.termination, Termination::Converged);
//! assert!((solution.outcome.cost + 13f64.sqrt()).abs() < 1e-8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calculus;
mod check;
mod check_moves;
mod checkpoint;
mod conjugate_gradients;
mod gradient_descent;
mod lbfgs;
mod line_search;
mod masked_fit;
mod preconditioner;
mod problem;
mod projected_gradient;
mod pulled;
mod start;
mod stop;
mod trust_regions;

pub use check::{Slope, check_gradient, check_hessian};
pub use check_moves::{TransportCheck, check_retraction, check_transport};
pub use checkpoint::{Checkpoint, DamagedCheckpoint};
pub use conjugate_gradients::{BetaRule, ConjugateGradients};
pub use gradient_descent::GradientDescent;
pub use lbfgs::Lbfgs;
pub use line_search::LineSearch;
pub use masked_fit::MaskedFit;
pub use preconditioner::{Preconditioner, Unpreconditioned};
pub use problem::{Evaluations, Problem, SecondOrderProblem, SolveError};
pub use projected_gradient::ProjectedGradient;
pub use pulled::{AmbientProblem, Pulled};
pub use start::Start;
pub use stop::{Flag, Iteration, Outcome, Solution, Stop, Termination};
pub use trust_regions::TrustRegions;
