//! Geometries of low-rank matrices.
//!
//! A weight `W = A B^T` is one point of a manifold, not two independent factors. Each geometry is a
//! [`Manifold`], one file with its equations in the header; [`Retraction`]s and [`Transport`]s are
//! strategies that the caller picks beside it.
//!
//! | geometry | set | retractions |
//! |---|---|---|
//! | [`FixedRankEmbedded`] | rank r, metric of the ambient space | [`SvdRetraction`], [`OrthographicRetraction`] |
//! | [`FixedRankPullback`] | the same, in the coordinates of pulled-back gradients | [`SvdRetraction`] |
//! | [`FixedRankQuotient`] | rank r, as factors modulo `(A M, B M^{-T})` | [`AdditiveRetraction`] |
//! | [`PartialIsometryEmbedded`] | `U V^T`, orthonormal factors, metric of the ambient space | [`IsometrySvdRetraction`] |
//! | [`PartialIsometryLifted`] | the same, as factors modulo `(U Q, V Q)`, three metrics | [`StiefelRetraction`] |
//!
//! Tangent vectors, points and pulled-back gradients are all [`Factors`]; operations work on a bank of equal-shaped
//! problems at once, on any backend of `lr-linalg`. One step along the partial isometries of rank 1:
//!
//! ```
//! use lr_linalg::{Coef, Cpu, Dims, Mats, Scratch};
//! use lr_manifolds::{Base, Factors, Grid, Health, IsometryMetric, Manifold, PartialIsometryLifted};
//! use lr_manifolds::{Ray, Retraction, StiefelRetraction};
//!
//! let b = Cpu::<f64>::new();
//! let m = PartialIsometryLifted::new(Grid::singleton(3, 2, 1), IsometryMetric::Quotient)?;
//! let pair = |u: [f64; 3], v: [f64; 2]| -> Result<_, lr_linalg::DeviceError> {
//!     let (left, right) = (Dims::new(1, 3, 1), Dims::new(1, 2, 1));
//!     Ok(Factors { left: Mats::from_slice(&b, left, &u)?, right: Mats::from_slice(&b, right, &v)? })
//! };
//! let (x, mut v, mut y) = (pair([1., 0., 0.], [0., 1.])?, pair([5., 2., 1.], [3., 7.])?, pair([0.; 3], [0.; 2])?);
//! let (mut health, mut defect) = (Health::new(&b, 1)?, Mats::zeros(&b, Dims::scalars(1))?);
//! let (frame, mut end, mut direction) = (m.new_frame(&b, 1)?, m.new_frame(&b, 1)?, m.new_direction(&b, 1)?);
//!
//! Scratch::new(&b)?.scope(|scope| {
//!     let at = Base { x: x.as_ref(), frame: &frame };
//!     m.project(&b, at, v.as_mut(), scope); // what is tangent remains: (0, 2, 1) and (3, 0)
//!     m.aim(&b, at, v.as_ref(), &mut direction, health.as_mut(), scope);
//!     let ray = Ray { at, tangent: v.as_ref(), direction: &direction };
//!     let (step, health) = (Coef::Host(-0.1), health.as_mut());
//!     StiefelRetraction::Polar.retract(&b, &m, ray, step, y.as_mut(), &mut end, health, scope);
//!     m.orthogonality_defect(&b, Base { x: y.as_ref(), frame: &end }, defect.as_mut(), scope);
//! });
//! assert!(v.left.to_vec(&b)? == [0., 2., 1.] && v.right.to_vec(&b)? == [3., 0.]);
//! assert!(defect.to_vec(&b)?[0] < 1e-14);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Source: N. Knight, "Riemannian Gradient Descent for Low-Rank Architectures", 2026.

#![deny(missing_docs)]

mod age;
mod ambient;
mod embedded_second_order;
mod factor_space;
mod factors;
mod fixed_rank_embedded;
mod fixed_rank_pullback;
mod fixed_rank_quotient;
mod fixed_rank_retractions;
mod grid;
mod guard;
mod health;
pub mod init;
pub mod level_set;
mod manifold;
mod moves;
mod normed_descent;
mod partial_isometry_embedded;
mod partial_isometry_lifted;
mod repair;
pub mod space_decoupling;
mod stiefel;
mod tangent_factors;
mod xky;

pub use ambient::{Ambient, DenseMatrix, LowRankMatrix, OperatorMatrix, SampledMatrix};
pub use factor_space::{FactorSpace, StraightLine};
pub use factors::{Factors, FactorsMut, FactorsRef};
pub use fixed_rank_embedded::{EmbeddedProjection, FixedRankEmbedded, QrFrame};
pub use fixed_rank_pullback::{FixedRankPullback, PullbackDirection, PullbackFrame};
pub use fixed_rank_quotient::{
    AdditiveRetraction, CholeskySafeguard, FixedRankQuotient, GramFrame, HorizontalProjection,
};
pub use fixed_rank_retractions::{OrthographicRetraction, SvdRetraction};
pub use grid::{Blocks, Grid, ShapeError};
pub use health::{Health, HealthMut};
pub use level_set::{LevelSet, LevelSetShape};
pub use manifold::{
    Base, Derivatives, Manifold, NormKind, Ray, Schatten, SecondOrderManifold, State, Tangent,
};
pub use moves::{Blend, Order, Retraction, Room, Timing, Transport};
pub use partial_isometry_embedded::{
    IsometryFrame, IsometryProjection, IsometrySvdRetraction, PartialIsometryEmbedded,
};
pub use partial_isometry_lifted::{
    IsometryMetric, LiftedDirection, LiftedFrame, LiftedProjection, PartialIsometryLifted,
};
pub use repair::{GradientRepair, MomentumRepair};
pub use space_decoupling::SpaceDecoupling;
pub use stiefel::StiefelRetraction;
pub use tangent_factors::TangentFactors;
pub use xky::{Link, Xky};
