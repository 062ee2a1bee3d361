//! Every geometry with every retraction and transport that goes with it, in one place: the golden test
//! and the conformance suite both walk this list.

use lr_linalg::Linalg;
use lr_manifolds::{
    AdditiveRetraction, CholeskySafeguard, EmbeddedProjection, FixedRankEmbedded, FixedRankPullback,
    FixedRankQuotient, Grid, HorizontalProjection, IsometryMetric, IsometryProjection, IsometrySvdRetraction,
    LevelSet, LiftedProjection, Manifold, OrthographicRetraction, PartialIsometryEmbedded,
    PartialIsometryLifted, Retraction, SpaceDecoupling, StiefelRetraction, SvdRetraction, Transport,
    level_set::{Oblique, Sphere, StackedStiefel, Unconstrained},
    space_decoupling::retractions::{DecouplingProjection, DecouplingRetraction},
};

/// What a combination promises beyond the axioms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Which group acts on the factors without changing `W`.
    pub gauge: Gauge,
    /// Whether steps are the same for all factors of one `W`.
    pub invariance: Invariance,
    /// Where a second-order retraction has no tangential acceleration.
    pub acceleration: Acceleration,
}

/// The space whose straight lines are the geodesics' model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// The ambient matrices.
    Ambient,
    /// The factors, through the horizontal lift.
    Lifted,
    /// The factors too, where geodesics of the canonical metric accelerate by `X Omega` a factor.
    Canonical,
    /// A space that the suite does not know: the geometry's own tests look there.
    Own,
}

/// The factors of one `W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// `(A M, B M^{-T})`, M invertible.
    General,
    /// `(U Q, V Q)`, Q orthogonal.
    Orthogonal,
}

/// Whether a step depends on the factors chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariance {
    /// It does not.
    Holds,
    /// It does, as the paper warns of the QR retraction.
    Fails,
}

/// What is done with each combination.
pub trait Visitor<B: Linalg> {
    /// Called once for every combination.
    fn visit<M, R, T>(&mut self, manifold: M, retraction: R, transport: T, claims: Claims)
    where
        M: Manifold<B>,
        R: Retraction<B, M>,
        T: Transport<B, M>;
}

/// Names of the geometries that the registry knows, in the golden index's spelling.
pub const NAMES: [&str; 10] = [
    "fixed-embedded",
    "fixed-quotient",
    "partial-embedded",
    "partial-quotient",
    "partial-canonical",
    "grid-fixed-embedded",
    "grid-fixed-quotient",
    "grid-partial-embedded",
    "grid-partial-quotient",
    "grid-partial-canonical",
];

/// Shows `visitor` the geometry called `name` on `grid`, with the given Stiefel retraction where there
/// is a choice.
///
/// # Panics
/// If the name is unknown or the grid does not fit it.
pub fn visit_named<B: Linalg>(
    name: &str,
    grid: &Grid,
    stiefel: StiefelRetraction,
    visitor: &mut impl Visitor<B>,
) {
    let general =
        Claims { gauge: Gauge::General, invariance: Invariance::Holds, acceleration: Acceleration::Ambient };
    let orthogonal = Claims { gauge: Gauge::Orthogonal, ..general };
    match name.trim_start_matches("grid-") {
        "fixed-embedded" => {
            let manifold = FixedRankEmbedded::new(grid.clone()).expect(name);
            visitor.visit(manifold, SvdRetraction::default(), EmbeddedProjection, general);
            let manifold = FixedRankPullback::new(grid.clone()).expect(name);
            visitor.visit(manifold, SvdRetraction::default(), EmbeddedProjection, general);
        }
        "fixed-quotient" => {
            let manifold = FixedRankQuotient::new(grid.clone(), CholeskySafeguard::On).expect(name);
            visitor.visit(manifold, AdditiveRetraction, HorizontalProjection, general);
        }
        "partial-embedded" if !name.starts_with("grid-") => {
            let manifold = PartialIsometryEmbedded::new(grid.clone(), StiefelRetraction::Polar).expect(name);
            visitor.visit(manifold, IsometrySvdRetraction, IsometryProjection, orthogonal);
        }
        lifted @ ("partial-embedded" | "partial-quotient" | "partial-canonical") => {
            let metric = match lifted {
                "partial-embedded" => IsometryMetric::Embedded,
                "partial-quotient" => IsometryMetric::Quotient,
                _ => IsometryMetric::Canonical,
            };
            let invariance = match stiefel {
                StiefelRetraction::Polar | StiefelRetraction::Cayley => Invariance::Holds,
                StiefelRetraction::Qr => Invariance::Fails,
            };
            let manifold = PartialIsometryLifted::new(grid.clone(), metric).expect(name);
            let acceleration = match metric {
                IsometryMetric::Canonical => Acceleration::Canonical,
                IsometryMetric::Quotient | IsometryMetric::Embedded => Acceleration::Lifted,
            };
            let claims = Claims { invariance, acceleration, ..orthogonal };
            visitor.visit(manifold, stiefel, LiftedProjection, claims);
        }
        other => panic!("no geometry called {other}"),
    }
}

/// Shows `visitor` every combination on `grid`.
pub fn visit_all<B: Linalg>(grid: &Grid, visitor: &mut impl Visitor<B>) {
    for name in NAMES {
        if name.starts_with("grid-") == grid.is_singleton() {
            continue;
        }
        visit_named(name, grid, StiefelRetraction::Polar, visitor);
        if name.contains("partial") && name != "partial-embedded" {
            visit_named(name, grid, StiefelRetraction::Qr, visitor);
            visit_named(name, grid, StiefelRetraction::Cayley, visitor);
        }
    }
    let general =
        Claims { gauge: Gauge::General, invariance: Invariance::Holds, acceleration: Acceleration::Ambient };
    let manifold = FixedRankEmbedded::new(grid.clone()).expect("fixed rank");
    visitor.visit(manifold, OrthographicRetraction::default(), EmbeddedProjection, general);
    if grid.is_singleton() {
        visit_level_set(grid, Unconstrained, visitor);
        visit_level_set(grid, Oblique, visitor);
        visit_level_set(grid, Sphere, visitor);
        visit_level_set(grid, StackedStiefel { height: 1 }, visitor);
    }
}

fn visit_level_set<B: Linalg, S: LevelSet<B>>(grid: &Grid, set: S, visitor: &mut impl Visitor<B>) {
    let (m, n, r) = (grid.left.total(), grid.right.total(), grid.rank);
    let manifold = SpaceDecoupling::new(m, n, r, set, 0.4).expect("shape");
    let claims =
        Claims { gauge: Gauge::Orthogonal, invariance: Invariance::Holds, acceleration: Acceleration::Own };
    for retraction in [DecouplingRetraction::First, DecouplingRetraction::Second] {
        visitor.visit(manifold.clone(), retraction, DecouplingProjection, claims);
    }
}
