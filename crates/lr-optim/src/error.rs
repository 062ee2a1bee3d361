//! What an optimizer refuses: settings that make no sense, and saved states that do not fit.

use lr_linalg::{DeviceError, Dims};

/// A setting that the optimizer cannot follow.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptimError {
    /// The device failed while the state was laid out.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The geometry does not admit the shape.
    #[error(transparent)]
    Shape(#[from] lr_manifolds::ShapeError),
    /// The momentum coefficient is not in `[0, 1)`.
    #[error("momentum nu = {0} must lie in [0, 1)")]
    Momentum(f64),
    /// The clamp of a normalization is not positive.
    #[error("normalization clamp c = {0} must be positive")]
    Clamp(f64),
    /// The weight decay is negative or not finite.
    #[error("weight decay lambda = {0} must be a finite number of at least 0")]
    WeightDecay(f64),
    /// Weight decay on a set that does not contain its multiples.
    #[error(
        "{geometry} has no weight decay: a homothety leaves the set, and projecting back undoes it; use 0"
    )]
    NoCone {
        /// Name of the geometry.
        geometry: &'static str,
    },
    /// The tolerance of a cadence is negative or NaN.
    #[error("the tolerance {0} of a repair's cadence must be at least 0")]
    Tolerance(f64),
    /// The share of the safe step length is not in `(0, 1]`.
    #[error("the rank guard's share {0} of the safe step length must lie in (0, 1]")]
    GuardShare(f64),
    /// Normed descent in a geometry that has none.
    #[error("{geometry} has no normed descent: it exists for fixed-rank matrices with the embedded metric")]
    NoSteepest {
        /// Name of the geometry.
        geometry: &'static str,
    },
    /// The geometry does not have the norm.
    #[error(
        "{geometry} has no spectral norm: spectral normalization exists for the embedded geometries; \
         use metric normalization or none"
    )]
    NoSuchNorm {
        /// Name of the geometry.
        geometry: &'static str,
    },
    /// A decay of AdamW's moments is not in `[0, 1)`.
    #[error("{name} = {value} must lie in [0, 1)")]
    Beta {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A setting that must be positive is not.
    #[error("{name} = {value} must be positive and finite")]
    NotPositive {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A setting that may be zero is negative or not finite.
    #[error("{name} = {value} must be zero or positive, and finite")]
    Negative {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Muon without a single Newton-Schulz step would not orthogonalize.
    #[error("Newton-Schulz needs at least one step; five are usual")]
    NewtonSchulzSteps,
}

/// `value` is positive and finite.
pub(crate) fn require_positive(name: &'static str, value: f64) -> Result<(), OptimError> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(OptimError::NotPositive { name, value }) }
}

/// `value` is zero or positive, and finite.
pub(crate) fn require_not_negative(name: &'static str, value: f64) -> Result<(), OptimError> {
    if value >= 0.0 && value.is_finite() { Ok(()) } else { Err(OptimError::Negative { name, value }) }
}

/// A saved state that does not fit the optimizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// An entry is not there.
    #[error("saved state has no entry `{name}`; it was made with other settings")]
    Missing {
        /// Name of the entry.
        name: String,
    },
    /// An entry has another shape.
    #[error(
        "saved state entry `{name}` has shape {found:?}, expected {expected:?}; it was made with another model"
    )]
    Shape {
        /// Name of the entry.
        name: String,
        /// Shape needed.
        expected: Dims,
        /// Shape found.
        found: Dims,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
