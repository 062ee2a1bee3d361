//! Retractions of orthonormal factors `U` along a tangent `M` (`U^T M` skew), factor by factor, paper
//! section 4.4.
//!
//! | retraction | equation | order | invariant under `(U Q, V Q)` |
//! |---|---|---|---|
//! | polar | polar factor of `U + t M` | second for the quotient metric | yes |
//! | QR | Q of `U + t M`, R with non-negative diagonal | first | no |
//! | Cayley | `(I - t/2 W)^{-1} (I + t/2 W) U`, `W = P M U^T - U M^T P`, `P = I - U U^T/2` | second for the canonical metric | yes |
//!
//! The Cayley transform (Wen and Yin 2013) is computed in r-dimensional terms: with `Omega = U^T M`,
//! `N = P M = M - U Omega/2`, `L = [N U]`, `R = [U -N]`,
//!
//! ```text
//! U(t) = U + t L (I - t/2 R^T L)^{-1} [I; Omega/2],   R^T L = [[Omega/2, I], [-N^T N, Omega/2]],
//! ```
//!
//! a 2r x 2r system, followed by one Newton-Schulz step that keeps rounding from adding up.

use crate::HealthMut;
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, MatsMut, MatsRef, PolarMethod, Scope, Side, Triangle,
};

/// How a point with orthonormal columns is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StiefelRetraction {
    /// Orthonormal polar factor, the nearest matrix with orthonormal columns.
    #[default]
    Polar,
    /// Q of the QR factorization with non-negative diagonal.
    Qr,
    /// Cayley transform; where columns only have to be made orthonormal again, the polar factor.
    Cayley,
}

/// `to` becomes the point on the Stiefel manifold where `method` ends from `u` along the tangent `t m`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn follow<B: Linalg>(
    b: &B,
    method: StiefelRetraction,
    [u, m]: [MatsRef<'_, B>; 2],
    t: Coef<'_, B>,
    mut to: MatsMut<'_, B>,
    health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    match method {
        StiefelRetraction::Polar => scope.nest(|scope| {
            let mut z = scope.take(u.dims());
            b.add_scaled(u, t, m, z.as_mut());
            b.polar_into(PolarMethod::default(), z, to, health.breakdown, scope);
        }),
        StiefelRetraction::Qr => {
            b.add_scaled(u, t, m, to.as_mut());
            orthonormalize(b, method, to, health, scope);
        }
        StiefelRetraction::Cayley => cayley(b, u, m, t, to, health.breakdown, scope),
    }
}

/// Length of `t K` up to which Gram matrices may follow from those of a tangent vector from which `U K` was taken off:
/// seven steps then let a defect grow by a factor of 2.3 at most.
pub(crate) const KEEPS_ORTHONORMALITY: f64 = 1.0 / 16.0;

/// Whether `t K` is that short in all problems, given `|K|^2`, `[problems, 1, 1]`; `false` on devices that would have to
/// stall to tell.
pub(crate) fn keeps_orthonormality<B: Linalg>(
    b: &B,
    t: Coef<'_, B>,
    square: MatsRef<'_, B>,
    scope: &Scope<'_, B>,
) -> bool {
    scope.nest(|scope| {
        let [mut once, mut twice] = [(); 2].map(|()| scope.take(square.dims()));
        b.axpby(t, square, 0.0, once.as_mut());
        b.axpby(t, once.as_ref(), 0.0, twice.as_mut());
        b.glance(twice.as_ref()).is_some_and(|square| square <= KEEPS_ORTHONORMALITY.powi(2))
    })
}

/// `out = Z^T Z` for `Z = U + t M` with orthonormal `U`, from `Omega = U^T M`, or its transpose, and the Gram matrix of
/// `M`: `I + t (Omega + Omega^T + t M^T M)`. `moved` receives `Omega + t M^T M`.
pub(crate) fn tilted_gram<B: Linalg>(
    b: &B,
    [omega, gram]: [MatsRef<'_, B>; 2],
    t: Coef<'_, B>,
    mut moved: MatsMut<'_, B>,
    mut out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let mut sum = scope.take(out.dims());
        b.add_scaled(omega, t, gram, moved.as_mut());
        b.copy(omega.t(), sum.as_mut());
        b.axpby(Coef::Host(1.0), moved.as_ref(), 1.0, sum.as_mut());
        b.axpby(t, sum.as_ref(), 0.0, out.as_mut());
        b.add_diagonal(1.0, out.as_mut());
    });
}

/// Replaces tall matrices near the Stiefel manifold by matrices on it.
pub(crate) fn orthonormalize<B: Linalg>(
    b: &B,
    method: StiefelRetraction,
    x: MatsMut<'_, B>,
    health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    match method {
        StiefelRetraction::Polar | StiefelRetraction::Cayley => {
            b.polar(PolarMethod::default(), x, health.breakdown, scope);
        }
        StiefelRetraction::Qr => scope.nest(|scope| {
            let d = x.dims();
            let mut r = scope.take(Dims::square(d.batch, d.cols));
            b.cholesky_qr(x, r.as_mut(), health.breakdown, scope);
        }),
    }
}

/// `out = Cayley(t W) u` for the `W` of the tangent `m` at `u`, all `[batch, rows, r]`.
fn cayley<B: Linalg>(
    b: &B,
    u: MatsRef<'_, B>,
    m: MatsRef<'_, B>,
    t: Coef<'_, B>,
    mut out: MatsMut<'_, B>,
    status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Dims { batch, cols: r, .. } = u.dims();
    let (upper, lower) = (0..r, r..2 * r);
    scope.nest(|scope| {
        let small = Dims::square(batch, r);
        let mut half_omega = scope.take(small);
        b.gemm(0.5, u.t(), m.n(), Overwrite, half_omega.as_mut());
        let mut n = scope.take(u.dims());
        b.copy(m.n(), n.as_mut());
        b.gemm(-1.0, u.n(), half_omega.as_ref().n(), Scale(1.0), n.as_mut());

        // I - t/2 R^T L.
        let mut product = scope.take(Dims::square(batch, 2 * r));
        b.fill(0.0, product.as_mut());
        b.add_diagonal(-0.5, product.as_mut().block(upper.clone(), lower.clone()));
        b.axpby(
            Coef::Host(-0.5),
            half_omega.as_ref(),
            0.0,
            product.as_mut().block(upper.clone(), upper.clone()),
        );
        b.axpby(
            Coef::Host(-0.5),
            half_omega.as_ref(),
            0.0,
            product.as_mut().block(lower.clone(), lower.clone()),
        );
        let nn = product.as_mut().block(lower.clone(), upper.clone());
        b.gemm(0.5, n.as_ref().t(), n.as_ref().n(), Overwrite, nn);
        let mut system = scope.take(product.dims());
        b.fill(0.0, system.as_mut());
        b.add_diagonal(1.0, system.as_mut());
        b.axpby(t, product.as_ref(), 1.0, system.as_mut());

        // Solved with [I; Omega/2] by QR.
        let (mut triangle, right) = (product, Dims::new(batch, 2 * r, r));
        let (mut start, mut solved) = (scope.take(right), scope.take(right));
        b.fill(0.0, start.as_mut());
        b.add_diagonal(1.0, start.as_mut().rows(upper.clone()));
        b.copy(half_omega.as_ref().n(), start.as_mut().rows(lower.clone()));
        b.qr(system.as_mut(), triangle.as_mut(), status);
        b.gemm(1.0, system.as_ref().t(), start.as_ref().n(), Overwrite, solved.as_mut());
        b.trsm(Side::Left, Triangle::Upper, triangle.as_ref().n(), solved.as_mut());

        let mut step = scope.take(u.dims());
        b.gemm(1.0, n.as_ref().n(), solved.as_ref().rows(upper).n(), Overwrite, step.as_mut());
        b.gemm(1.0, u.n(), solved.as_ref().rows(lower).n(), Scale(1.0), step.as_mut());
        b.copy(u.n(), out.as_mut());
        b.axpby(t, step.as_ref(), 1.0, out.as_mut());
        polish(b, out, scope);
    });
}

/// One Newton-Schulz step `u (3 I - u^T u)/2` towards the polar factor: squares the defect.
fn polish<B: Linalg>(b: &B, u: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    let Dims { batch, cols: r, .. } = u.dims();
    scope.nest(|scope| {
        let mut gram = scope.take(Dims::square(batch, r));
        let mut old = scope.take(u.dims());
        b.copy(u.as_ref().n(), old.as_mut());
        b.gemm(-0.5, old.as_ref().t(), old.as_ref().n(), Overwrite, gram.as_mut());
        b.add_diagonal(1.5, gram.as_mut());
        b.gemm(1.0, old.as_ref().n(), gram.as_ref().n(), Overwrite, u);
    });
}
