//! [`Geometry`]: the geometries by name, and the optimizer that the paper pairs with each.

use crate::{BankOptimizer, DescentConfig, Normalization, OptimError, RiemannianDescent};
use lr_linalg::{Dims, Linalg, Mats};
use lr_manifolds::{
    AdditiveRetraction, CholeskySafeguard, EmbeddedProjection, FixedRankEmbedded, FixedRankPullback,
    FixedRankQuotient, Grid, HorizontalProjection, IsometryMetric, IsometryProjection, IsometrySvdRetraction,
    LiftedProjection, Manifold, OrthographicRetraction, PartialIsometryEmbedded, PartialIsometryLifted,
    Retraction, StiefelRetraction, SvdRetraction, Transport,
};
use std::{fmt, str::FromStr};

/// Retraction of the embedded fixed-rank geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FixedRankRetraction {
    /// Truncated SVD, the paper's; see [`SvdRetraction`].
    #[default]
    Svd,
    /// See [`OrthographicRetraction`].
    Orthographic,
}

/// The retractions to use where a geometry has a choice; the default is the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Retractions {
    /// For partial isometries.
    pub stiefel: StiefelRetraction,
    /// For fixed rank with the embedded metric.
    pub fixed_rank: FixedRankRetraction,
}

impl From<StiefelRetraction> for Retractions {
    fn from(stiefel: StiefelRetraction) -> Self {
        Self { stiefel, ..Self::default() }
    }
}

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

    /// The paper's optimizer for a bank of `problems` problems of shape `grid`. `retractions` chooses among
    /// those that the geometry has; the quotient geometry of fixed rank has no choice. Fixed rank with the
    /// embedded metric is [`FixedRankPullback`] where that has all that is asked for and `b` can look at its
    /// certificates, [`FixedRankEmbedded`] elsewhere. Partial isometries with the embedded metric are kept in horizontal lifts where there is more than one block.
    ///
    /// # Errors
    /// [`OptimError`] for shapes that the geometry does not admit and settings it cannot follow.
    pub fn optimizer<B: Linalg>(
        self,
        b: &B,
        grid: Grid,
        retractions: impl Into<Retractions>,
        config: DescentConfig,
        problems: usize,
    ) -> Result<Box<dyn BankOptimizer<B>>, OptimError> {
        let Retractions { stiefel, fixed_rank } = retractions.into();
        match self {
            Self::FixedEmbedded => {
                let steepest = matches!(config.normalization, Normalization::Steepest(_));
                if fixed_rank == FixedRankRetraction::Svd && !steepest && can_look(b)? {
                    let manifold = FixedRankPullback::new(grid)?;
                    return boxed(
                        b,
                        manifold,
                        SvdRetraction::default(),
                        EmbeddedProjection,
                        config,
                        problems,
                    );
                }
                let manifold = FixedRankEmbedded::new(grid)?;
                match fixed_rank {
                    FixedRankRetraction::Svd => {
                        boxed(b, manifold, SvdRetraction::default(), EmbeddedProjection, config, problems)
                    }
                    FixedRankRetraction::Orthographic => {
                        let retraction = OrthographicRetraction::default();
                        boxed(b, manifold, retraction, EmbeddedProjection, config, problems)
                    }
                }
            }
            Self::FixedQuotient => {
                let manifold = FixedRankQuotient::new(grid, CholeskySafeguard::On)?;
                boxed(b, manifold, AdditiveRetraction, HorizontalProjection, config, problems)
            }
            Self::PartialEmbedded if grid.is_singleton() => {
                let manifold = PartialIsometryEmbedded::new(grid, stiefel)?;
                boxed(b, manifold, IsometrySvdRetraction, IsometryProjection, config, problems)
            }
            Self::PartialEmbedded | Self::PartialQuotient | Self::PartialCanonical => {
                let metric = match self {
                    Self::PartialQuotient => IsometryMetric::Quotient,
                    Self::PartialCanonical => IsometryMetric::Canonical,
                    _ => IsometryMetric::Embedded,
                };
                let manifold = PartialIsometryLifted::new(grid, metric)?;
                boxed(b, manifold, stiefel, LiftedProjection, config, problems)
            }
        }
    }
}

/// Whether certificates can be looked at without stalling the device.
fn can_look<B: Linalg>(b: &B) -> Result<bool, OptimError> {
    let zero = Mats::zeros(b, Dims::scalars(1))?;
    Ok(b.glance(zero.as_ref()).is_some())
}

fn boxed<B: Linalg, M: Manifold<B>, R: Retraction<B, M>, T: Transport<B, M>>(
    b: &B,
    manifold: M,
    retraction: R,
    transport: T,
    config: DescentConfig,
    problems: usize,
) -> Result<Box<dyn BankOptimizer<B>>, OptimError> {
    Ok(Box::new(RiemannianDescent::new(b, manifold, retraction, transport, config, problems)?))
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
