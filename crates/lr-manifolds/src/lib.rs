//! Geometries of low-rank matrices.
//!
//! A weight `W = A B^T` is one point of a manifold, not two independent factors. Each geometry is a
//! [`Manifold`], one file with its equations in the header; [`Retraction`]s and [`Transport`]s are
//! strategies that the caller picks beside it.
//!
//! | geometry | set | retractions |
//! |---|---|---|
//! | [`FixedRankEmbedded`] | rank r, metric of the ambient space | [`SvdRetraction`] |
//! | [`FixedRankQuotient`] | rank r, as factors modulo `(A M, B M^{-T})` | [`AdditiveRetraction`] |
//! | [`PartialIsometryEmbedded`] | `U V^T`, orthonormal factors, metric of the ambient space | [`IsometrySvdRetraction`] |
//! | [`PartialIsometryLifted`] | the same, as factors modulo `(U Q, V Q)`, two metrics | [`StiefelRetraction`] |
//!
//! Source: N. Knight, "Riemannian Gradient Descent for Low-Rank Architectures", 2026.

#![deny(missing_docs)]

mod factors;
mod fixed_rank_embedded;
mod fixed_rank_quotient;
mod grid;
pub mod init;
mod manifold;
mod partial_isometry_embedded;
mod partial_isometry_lifted;
mod stiefel;
mod xky;

pub use factors::{Factors, FactorsMut, FactorsRef};
pub use fixed_rank_embedded::{EmbeddedProjection, FixedRankEmbedded, QrFrame, SvdRetraction};
pub use fixed_rank_quotient::{
    AdditiveRetraction, CholeskySafeguard, FixedRankQuotient, GramFrame, HorizontalProjection,
};
pub use grid::{Blocks, Grid, ShapeError};
pub use manifold::{Base, HealthMut, Manifold, NormKind, Order, Ray, Retraction, State, Tangent, Transport};
pub use partial_isometry_embedded::{IsometryProjection, IsometrySvdRetraction, PartialIsometryEmbedded};
pub use partial_isometry_lifted::{IsometryMetric, LiftedProjection, PartialIsometryLifted};
pub use stiefel::StiefelRetraction;
pub use xky::Xky;
