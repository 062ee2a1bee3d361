//! [`Geometry`]: the geometries by name, and the optimizer that the paper pairs with each.

use crate::{BankOptimizer, DescentConfig, OptimError, RiemannianDescent};
use lr_linalg::Linalg;
use lr_manifolds::{
    AdditiveRetraction, CholeskySafeguard, EmbeddedProjection, FixedRankEmbedded, FixedRankQuotient, Grid,
    HorizontalProjection, IsometryMetric, IsometryProjection, IsometrySvdRetraction, LiftedProjection,
    PartialIsometryEmbedded, PartialIsometryLifted, StiefelRetraction, SvdRetraction,
};
use std::{fmt, str::FromStr};

/// A geometry by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Geometry {
    /// Fixed rank, embedded.
    FixedEmbedded,
    /// Fixed rank, quotient.
    FixedQuotient,
    /// Partial isometries, embedded.
    PartialEmbedded,
    /// Partial isometries, quotient.
    PartialQuotient,
    /// Partial isometries, canonical.
    PartialCanonical,
}

impl Geometry {
    /// All of them, in the paper's order.
    pub const ALL: [Self; 5] = [
        Self::FixedEmbedded,
        Self::FixedQuotient,
        Self::PartialEmbedded,
        Self::PartialQuotient,
        Self::PartialCanonical,
    ];

    /// Name as in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::FixedEmbedded => "fixed-embedded",
            Self::FixedQuotient => "fixed-quotient",
            Self::PartialEmbedded => "partial-embedded",
            Self::PartialQuotient => "partial-quotient",
            Self::PartialCanonical => "partial-canonical",
        }
    }

    /// Whether spectral normalization exists.
    pub fn is_embedded(self) -> bool {
        matches!(self, Self::FixedEmbedded | Self::PartialEmbedded)
    }

    /// Whether points must have orthonormal factors.
    pub fn is_partial_isometry(self) -> bool {
        !matches!(self, Self::FixedEmbedded | Self::FixedQuotient)
    }

    /// The paper's optimizer for a bank of `problems` problems of shape `grid`. `stiefel` chooses how
    /// partial isometries are brought back to orthonormal factors; the other geometries ignore it.
    ///
    /// # Errors
    /// [`OptimError`] for shapes that the geometry does not admit and settings it cannot follow.
    pub fn optimizer<B: Linalg>(
        self,
        b: &B,
        grid: Grid,
        stiefel: StiefelRetraction,
        config: DescentConfig,
        problems: usize,
    ) -> Result<Box<dyn BankOptimizer<B>>, OptimError> {
        let lifted = |metric| -> Result<Box<dyn BankOptimizer<B>>, OptimError> {
            let manifold = PartialIsometryLifted::new(grid.clone(), metric)?;
            Ok(Box::new(RiemannianDescent::new(b, manifold, stiefel, LiftedProjection, config, problems)?))
        };
        Ok(match self {
            Self::FixedEmbedded => Box::new(RiemannianDescent::new(
                b,
                FixedRankEmbedded::new(grid)?,
                SvdRetraction::default(),
                EmbeddedProjection,
                config,
                problems,
            )?),
            Self::FixedQuotient => Box::new(RiemannianDescent::new(
                b,
                FixedRankQuotient::new(grid, CholeskySafeguard::On)?,
                AdditiveRetraction,
                HorizontalProjection,
                config,
                problems,
            )?),
            Self::PartialEmbedded => Box::new(RiemannianDescent::new(
                b,
                PartialIsometryEmbedded::new(grid, stiefel)?,
                IsometrySvdRetraction,
                IsometryProjection,
                config,
                problems,
            )?),
            Self::PartialQuotient => lifted(IsometryMetric::Quotient)?,
            Self::PartialCanonical => lifted(IsometryMetric::Canonical)?,
        })
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no geometry has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown geometry `{0}`; one of fixed-embedded, fixed-quotient, partial-embedded, partial-quotient, partial-canonical"
)]
pub struct UnknownGeometry(String);

impl FromStr for Geometry {
    type Err = UnknownGeometry;
    fn from_str(name: &str) -> Result<Self, UnknownGeometry> {
        Self::ALL.into_iter().find(|g| g.name() == name).ok_or_else(|| UnknownGeometry(name.to_owned()))
    }
}
