//! Tools for whoever writes a problem: derivatives against differences along a retraction.
//!
//! With a right gradient `f(R(t v)) - f(x) - t <grad f, v>` falls like `t^2`; with a right Hessian and a retraction of
//! second order, taking away `t^2 <v, Hess v>/2` as well leaves `t^3`. A wrong sign, factor or projection shows as a
//! slope one too low.

use super::{
    Problem, SecondOrderProblem, SolveError,
    calculus::{Calculus, Point},
};
use lr_linalg::Linalg;
use lr_manifolds::{Factors, Manifold, Retraction, SecondOrderManifold, Tangent};

/// The slope that was measured, and the errors it was measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Slope {
    /// Exponent `p` of `error ~ t^p`, over the straightest stretch.
    pub exponent: f64,
    /// What a right derivative has at least, less 0.2.
    pub expected: f64,
    /// Step lengths and errors.
    pub errors: Vec<(f64, f64)>,
}

impl Slope {
    /// Whether the derivative is right, as far as the slope tells; a model that is exact to rounding is, too.
    pub fn is_right(&self) -> bool {
        self.exponent >= self.expected
    }

    pub(super) fn fit(errors: Vec<(f64, f64)>, scale: f64, expected: f64) -> Self {
        let floor = 1e4 * f64::EPSILON * scale.abs().max(f64::MIN_POSITIVE);
        let above: Vec<(f64, f64)> = errors.iter().copied().filter(|(_, error)| *error > floor).collect();
        // The shortest steps that rounding leaves alone: there the slope has its limit.
        let exponent = match above[..] {
            [.., (t0, e0), _, (t1, e1)] => (e0 / e1).ln() / (t0 / t1).ln(),
            _ => f64::INFINITY,
        };
        Self { exponent, expected, errors }
    }
}

/// Step lengths, from long to short.
pub(super) fn steps() -> impl Iterator<Item = f64> {
    (4..26).map(|k| 2f64.powf(-0.75 * f64::from(k)))
}

/// Compares the gradient with differences of the cost along the tangent vector nearest to `v`, made unit length.
///
/// # Errors
/// [`SolveError`] as the solvers.
pub fn check_gradient<B: Linalg, M: Manifold<B>, P: Problem<B>, R: Retraction<B, M>>(
    b: &B,
    manifold: &M,
    retraction: &R,
    problem: &mut P,
    x: Factors<B>,
    v: Tangent<B>,
) -> Result<Slope, SolveError> {
    let mut calculus = Calculus::new(b, manifold, problem)?;
    let (point, v) = prepare(&mut calculus, x, v)?;
    let mut gradient = calculus.tangent()?;
    calculus.gradient(&point, &mut gradient)?;
    let slope = calculus.inner(&point, &gradient, &v)?;
    measure(&mut calculus, retraction, &point, &v, [slope, 0.0], 1.8)
}

/// Compares the Hessian with differences of the cost as [`check_gradient`] does; the retraction must be of second
/// order, or `x` critical.
///
/// # Errors
/// [`SolveError`] as the solvers.
pub fn check_hessian<B: Linalg, M: SecondOrderManifold<B>, P: SecondOrderProblem<B>, R: Retraction<B, M>>(
    b: &B,
    manifold: &M,
    retraction: &R,
    problem: &mut P,
    x: Factors<B>,
    v: Tangent<B>,
) -> Result<Slope, SolveError> {
    let mut calculus = Calculus::new(b, manifold, problem)?;
    let (point, v) = prepare(&mut calculus, x, v)?;
    let (mut gradient, mut image) = (calculus.tangent()?, calculus.tangent()?);
    calculus.gradient(&point, &mut gradient)?;
    calculus.hessian(&point, &v, &mut image)?;
    let slope = calculus.inner(&point, &gradient, &v)?;
    let curvature = calculus.inner(&point, &image, &v)?;
    measure(&mut calculus, retraction, &point, &v, [slope, curvature], 2.8)
}

pub(super) fn prepare<B: Linalg, M: Manifold<B>, P: Problem<B>>(
    calculus: &mut Calculus<'_, B, M, P>,
    x: Factors<B>,
    mut v: Tangent<B>,
) -> Result<(Point<B, M>, Tangent<B>), SolveError> {
    let point = calculus.start(x)?;
    calculus.project(&point, &mut v);
    let (norm, mut unit) = (calculus.norm(&point, &v)?, calculus.tangent()?);
    if !(norm > 0.0 && norm.is_finite()) {
        let what = "the norm of the tangent vector";
        return Err(SolveError::NotFinite { what, iteration: 0, value: norm });
    }
    calculus.combine(1.0 / norm, &v, 0.0, &mut unit);
    Ok((point, unit))
}

fn measure<B: Linalg, M: Manifold<B>, P: Problem<B>, R: Retraction<B, M>>(
    calculus: &mut Calculus<'_, B, M, P>,
    retraction: &R,
    point: &Point<B, M>,
    v: &Tangent<B>,
    [slope, curvature]: [f64; 2],
    expected: f64,
) -> Result<Slope, SolveError> {
    let (cost, mut next, mut errors) = (calculus.cost(point)?, calculus.room()?, Vec::new());
    for t in steps() {
        if calculus.retract(retraction, point, v, t, &mut next)?.is_some() {
            let model = cost + t * slope + 0.5 * t * t * curvature;
            errors.push((t, (calculus.cost(&next)? - model).abs()));
        }
    }
    Ok(Slope::fit(errors, cost, expected))
}
