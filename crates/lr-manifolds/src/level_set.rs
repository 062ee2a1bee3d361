//! [`LevelSet`]: the constraint `h(X) = 0` of a space-decoupled problem, as what the manifold `M_h` needs of
//! it (Yang, Gao and Yuan, arXiv 2501.13830).
//!
//! A level set must be invariant under rotations of the columns, `h(X Q) = h(X)`, so that `X = H V^T` with
//! orthonormal `V` satisfies it exactly when `H` does. One file a set:
//!
//! | set | `P_T(Z)` at `H` | nearest point | `W_H(K, Z)` | codimension |
//! |---|---|---|---|---|
//! | [`Unconstrained`] | `Z` | `Y` | 0 | 0 |
//! | [`Oblique`]: rows of norm 1 | `Z - d o H`, `d = rowsum(Z o H)` | rows divided by their norms | `-d o K` | m |
//! | [`Sphere`]: Frobenius norm 1 | `Z - c H`, `c = <Z, H>` | `Y / norm` | `-c K` | 1 |
//! | [`StackedStiefel`]: blocks of p rows with `H_j H_j^T = I` | `Z_j - S_j H_j`, `S_j = sym(Z_j H_j^T)` | `(Y_j Y_j^T)^{-1/2} Y_j` | `-P_T(S_j K_j)` | k p (p+1)/2 |
//!
//! `d o H` scales row `i` of `H` by `d_i`. To add a set, write one file that implements the trait; the test
//! `level_sets` of this crate checks the projections and the curvature term against differences.

mod oblique;
mod sphere;
mod stacked_stiefel;
mod unconstrained;

use crate::{HealthMut, ShapeError};
use lr_linalg::{Linalg, MatsMut, MatsRef, Scope};
use std::fmt::Debug;

pub use oblique::Oblique;
pub use sphere::Sphere;
pub use stacked_stiefel::StackedStiefel;
pub use unconstrained::Unconstrained;

/// What a level set asks of shapes.
pub trait LevelSetShape: Clone + Debug + Send + Sync + 'static {
    /// Name as in reports.
    fn name(&self) -> &'static str;

    /// Checks that matrices of `m` rows and rank `r` can lie in the set.
    ///
    /// # Errors
    /// [`ShapeError`] naming what does not fit.
    fn admit(&self, m: usize, r: usize) -> Result<(), ShapeError>;

    /// Number of independent equations on matrices of `m` rows.
    fn codimension(&self, m: usize) -> usize;
}

/// A set `{H : h(H) = 0}` of `m x s` matrices for every width `s`, invariant under `H -> H Q`.
///
/// Matrices are batches `[problems, m, s]`. Shapes that do not fit panic.
pub trait LevelSet<B: Linalg>: LevelSetShape {
    /// Replaces `y` by the nearest point of the set. Where there is none (a zero row, say), the problem counts
    /// as broken down.
    fn project_point(&self, b: &B, y: MatsMut<'_, B>, health: HealthMut<'_, B>, scope: &Scope<'_, B>);

    /// Replaces `z` by `P_T(z)`, its orthogonal projection onto the tangent space at `h`.
    fn project_tangent(&self, b: &B, h: MatsRef<'_, B>, z: MatsMut<'_, B>, scope: &Scope<'_, B>);

    /// `out += W_h(k, z) = P_T(D P_T[k] z)`, how the projection of `z` turns while `h` moves along the tangent `k`.
    fn add_curvature(
        &self,
        b: &B,
        h: MatsRef<'_, B>,
        k: MatsRef<'_, B>,
        z: MatsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    );
}
