//! [`Start`]: where a solver begins, at factors or where one stopped.

use lr_linalg::Backend;
use lr_manifolds::{Factors, Tangent};

/// The point that a solver starts from, with what a solver of its kind that stopped there carries on. Factors are a
/// start, and [`super::Checkpoint::start`] makes one; a solver of another kind takes the point alone.
#[derive(Debug)]
pub struct Start<B: Backend> {
    pub(super) x: Factors<B>,
    pub(super) carried: Carried<B>,
}

impl<B: Backend> From<Factors<B>> for Start<B> {
    fn from(x: Factors<B>) -> Self {
        Self { x, carried: Carried::Nothing }
    }
}

/// What a solver takes from one iteration to the next besides the point. Relative criteria compare with the norm of the
/// first gradient of all.
#[derive(Debug)]
pub(super) enum Carried<B: Backend> {
    /// Nothing.
    Nothing,
    /// Trust regions.
    Radius {
        /// Of the trust region.
        radius: f64,
        /// Size of the first cost, the scale of rounding.
        first_cost: f64,
        first_gradient_norm: f64,
    },
    /// Conjugate gradients.
    Direction {
        /// Of the next search.
        direction: Tangent<B>,
        /// `<grad f, direction>`.
        slope: f64,
        /// First trial of the search.
        trial: f64,
        first_gradient_norm: f64,
    },
    /// L-BFGS.
    Pairs {
        /// `s` and `y` from old to new, with `[<s, y>, <y, y>]`.
        pairs: Vec<(Tangent<B>, Tangent<B>, [f64; 2])>,
        first_gradient_norm: f64,
    },
    /// Gradient descent and projected gradients, whose steps are lengths along minus the gradient.
    Trial {
        /// First trial of the next search.
        trial: f64,
        first_gradient_norm: f64,
    },
}
