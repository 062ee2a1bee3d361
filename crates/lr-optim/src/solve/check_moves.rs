//! Tools for whoever writes a geometry: retractions and transports against what they must do.
//!
//! A retraction has `R(t v) = X + t v + O(t^2)`, as ambient matrices. A transport lands tangent, is linear,
//! and changes inner products by `O(t)` along a step of length t; an isometric one not at all. The ambient
//! matrices are dense: for small problems.

use super::{
    Problem, Slope, SolveError,
    calculus::{Calculus, Point},
    check::{prepare, steps},
};
use lr_linalg::{Coef, Dims, Epilogue::Overwrite, Linalg, Mats, Scalar, Scratch};
use lr_manifolds::{
    Factors, FactorsMut, FactorsRef, Manifold, Retraction, Tangent, TangentFactors, Transport,
};

/// A function that is zero: the checks of this file ask for no derivatives.
struct Zero;

impl<B: Linalg> Problem<B> for Zero {
    fn cost(&mut self, _: &B, _: FactorsRef<'_, B>) -> Result<f64, SolveError> {
        Ok(0.0)
    }

    fn egrad(&mut self, b: &B, _: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), SolveError> {
        b.fill(0.0, out.left);
        b.fill(0.0, out.right);
        Ok(())
    }
}

/// Measures how fast `R(t v)` leaves `X + t v`, `v` the tangent vector nearest to the one given, made unit
/// length. The expected slope is 2.
///
/// # Errors
/// [`SolveError`] as the solvers.
pub fn check_retraction<B: Linalg, M: TangentFactors<B>, R: Retraction<B, M>>(
    b: &B,
    manifold: &M,
    retraction: &R,
    x: Factors<B>,
    v: Tangent<B>,
) -> Result<Slope, SolveError> {
    let mut zero = Zero;
    let mut calculus = Calculus::new(b, manifold, &mut zero)?;
    let (point, v) = prepare(&mut calculus, x, v)?;
    let dims = Dims::new(1, point.x.left.dims().rows, point.x.right.dims().rows);
    let zeros = || Mats::zeros(b, dims);
    let (mut here, mut along, mut there, mut square) =
        (zeros()?, zeros()?, zeros()?, Mats::zeros(b, Dims::scalars(1))?);
    b.gemm(1.0, point.x.left.as_ref().n(), point.x.right.as_ref().t(), Overwrite, here.as_mut());
    Scratch::new(b)?.scope(|s| manifold.to_ambient(b, point.base(), v.as_ref(), along.as_mut(), s));
    let (mut next, mut errors) = (calculus.room()?, Vec::new());
    for t in steps() {
        if calculus.retract(retraction, &point, &v, t, &mut next)?.is_none() {
            continue;
        }
        b.gemm(1.0, next.x.left.as_ref().n(), next.x.right.as_ref().t(), Overwrite, there.as_mut());
        b.axpby(Coef::Host(-1.0), here.as_ref(), 1.0, there.as_mut());
        b.axpby(Coef::Host(-t), along.as_ref(), 1.0, there.as_mut());
        b.dot(1.0, there.as_ref(), there.as_ref(), 0.0, square.as_mut());
        errors.push((t, square.to_vec(b)?[0].to_f64().max(0.0).sqrt()));
    }
    b.dot(1.0, here.as_ref(), here.as_ref(), 0.0, square.as_mut());
    Ok(Slope::fit(errors, square.to_vec(b)?[0].to_f64().sqrt(), 1.8))
}

/// What [`check_transport`] measured.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportCheck {
    /// Distance of a transported vector from the nearest tangent vector, relative to its norm.
    pub tangent_defect: f64,
    /// `|T(u + 2 v) - T(u) - 2 T(v)|`, relative.
    pub linearity_defect: f64,
    /// How fast `<T u, T u>` leaves `<u, u>`; the expected slope is 1, an isometry has none.
    pub metric: Slope,
}

impl TransportCheck {
    /// Whether the transport does what every transport must, up to rounding.
    pub fn is_right(&self) -> bool {
        self.tangent_defect < 1e-8 && self.linearity_defect < 1e-8 && self.metric.is_right()
    }
}

/// Carries `u` and `v` along `v`, the tangent vectors nearest to those given, made unit length.
///
/// # Errors
/// [`SolveError`] as the solvers.
pub fn check_transport<B: Linalg, M: Manifold<B>, R: Retraction<B, M>, T: Transport<B, M>>(
    b: &B,
    manifold: &M,
    retraction: &R,
    transport: &T,
    x: Factors<B>,
    u: Tangent<B>,
    v: Tangent<B>,
) -> Result<TransportCheck, SolveError> {
    let mut zero = Zero;
    let mut calculus = Calculus::new(b, manifold, &mut zero)?;
    let mut u = u;
    let (point, v) = prepare(&mut calculus, x, v)?;
    calculus.project(&point, &mut u);
    let (norm, mut unit) = (calculus.norm(&point, &u)?.max(f64::MIN_POSITIVE), calculus.tangent()?);
    calculus.combine(1.0 / norm, &u, 0.0, &mut unit);

    let mut next = calculus.room()?;
    let (mut errors, mut defects) = (Vec::new(), [f64::NAN; 2]);
    for t in steps() {
        if calculus.retract(retraction, &point, &v, t, &mut next)?.is_none() {
            continue;
        }
        if defects[0].is_nan() {
            defects = landing(&mut calculus, transport, &point, &next, &unit, &v)?;
        }
        let mut moved = calculus.tangent()?;
        calculus.combine(1.0, &unit, 0.0, &mut moved);
        calculus.transport(transport, &point, &next, &mut moved);
        errors.push((t, (calculus.inner(&next, &moved, &moved)? - 1.0).abs()));
    }
    let [tangent_defect, linearity_defect] = defects;
    Ok(TransportCheck { tangent_defect, linearity_defect, metric: Slope::fit(errors, 1.0, 0.8) })
}

/// Distance from the tangent space at the end, and from linearity.
fn landing<B: Linalg, M: Manifold<B>, T: Transport<B, M>>(
    calculus: &mut Calculus<'_, B, M, Zero>,
    transport: &T,
    from: &Point<B, M>,
    to: &Point<B, M>,
    u: &Tangent<B>,
    v: &Tangent<B>,
) -> Result<[f64; 2], SolveError> {
    let mut carried = |a: f64, c: f64| -> Result<Tangent<B>, SolveError> {
        let mut sum = calculus.tangent()?;
        calculus.combine(a, u, 0.0, &mut sum);
        calculus.combine(c, v, 1.0, &mut sum);
        calculus.transport(transport, from, to, &mut sum);
        Ok(sum)
    };
    let (tu, tv, mut both) = (carried(1.0, 0.0)?, carried(0.0, 1.0)?, carried(1.0, 2.0)?);
    let length = calculus.norm(to, &both)?.max(f64::MIN_POSITIVE);
    calculus.combine(-1.0, &tu, 1.0, &mut both);
    calculus.combine(-2.0, &tv, 1.0, &mut both);
    let linearity = calculus.norm(to, &both)? / length;
    let mut projected = calculus.tangent()?;
    calculus.combine(1.0, &tu, 0.0, &mut projected);
    calculus.project(to, &mut projected);
    calculus.combine(-1.0, &tu, 1.0, &mut projected);
    // As coordinates: the metric is defined on tangent vectors only.
    let mut square = Mats::zeros(calculus.b, Dims::scalars(1))?;
    let mut of = |x: &Tangent<B>| -> Result<f64, SolveError> {
        let b = calculus.b;
        b.dot(1.0, x.left.as_ref(), x.left.as_ref(), 0.0, square.as_mut());
        b.dot(1.0, x.right.as_ref(), x.right.as_ref(), 1.0, square.as_mut());
        Ok(square.to_vec(b)?[0].to_f64().max(0.0).sqrt())
    };
    let tangent = of(&projected)? / of(&tu)?.max(f64::MIN_POSITIVE);
    Ok([tangent, linearity])
}
