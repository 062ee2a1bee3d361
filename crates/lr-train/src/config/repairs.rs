//! Choices with a size or a cadence: when repairs run (paper appendix B), which they are, and the rank guard.
//!
//! In TOML each is a name, or a table where it has a number; on the command line it is one word.

use super::choices::{UnknownName, named_choice};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// When a repair runs. In TOML `"never"`, `"every-step"`, `{ every-k-steps = { k = 10 } }` or
/// `{ when-defect = { tolerance = 1e-5 } }`; on the command line `never`, `every-step`, `every-10-steps` or
/// `when-defect-1e-5`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cadence {
    /// Not at all.
    Never,
    /// At every step.
    EveryStep,
    /// At every k-th step.
    EveryKSteps {
        /// The period in steps, at least 1.
        k: usize,
    },
    /// At a step where the defect passes a tolerance.
    WhenDefect {
        /// Largest accepted defect, above 0.
        tolerance: f64,
    },
}

impl FromStr for Cadence {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let period = || text.strip_prefix("every-")?.strip_suffix("-steps")?.parse().ok();
        let tolerance = || text.strip_prefix("when-defect-")?.parse().ok();
        match text {
            "never" => Ok(Self::Never),
            "every-step" => Ok(Self::EveryStep),
            _ => period()
                .map(|k| Self::EveryKSteps { k })
                .or_else(|| tolerance().map(|tolerance| Self::WhenDefect { tolerance }))
                .ok_or_else(|| UnknownName {
                    field: "cadence",
                    given: text.to_owned(),
                    expected: &["never", "every-step", "every-10-steps", "when-defect-1e-5"],
                }),
        }
    }
}

named_choice! {
    /// What happens to a momentum that has left the tangent space (paper B.3).
    "momentum_repair", MomentumRepair {
        /// Nothing, as in the paper.
        Off = "off",
        /// It becomes the nearest tangent vector.
        Project = "project",
        /// It is forgotten.
        Reset = "reset",
    }
}

named_choice! {
    /// What happens to pulled-back gradients that contradict each other (paper B.4): those of a loss that is no
    /// function of `A B^T`.
    "gradient_repair", GradientRepair {
        /// Nothing.
        Off = "off",
        /// The cheapest projection to a consistent pair.
        Project = "project",
        /// The consistent pair nearest to the given one; the embedded geometries have it, the others project.
        LeastSquares = "least-squares",
    }
}

/// What happens with steps that may lose the rank (paper B.1). In TOML `"off"`, `"report"` or
/// `{ limit = { share = 0.5 } }`; on the command line `off`, `report` or the share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RankGuard {
    /// Nobody looks.
    Off,
    /// The share of the safe length that steps take is measured with the defects.
    Report,
    /// That, and longer steps are shortened.
    Limit {
        /// Largest share of the safe length, in (0, 1].
        share: f64,
    },
}

impl FromStr for RankGuard {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "off" => Ok(Self::Off),
            "report" => Ok(Self::Report),
            _ => text.parse().map(|share| Self::Limit { share }).map_err(|_| UnknownName {
                field: "rank_guard",
                given: text.to_owned(),
                expected: &["off", "report", "a share of the safe length such as 0.5"],
            }),
        }
    }
}
