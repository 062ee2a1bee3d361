//! The embedded metric of a grid of partial isometries, in horizontal lifts (paper section 4.5, B.4).
//!
//! With `Omega_i = U_i^T M_Ui` and `Psi_j = V_j^T M_Vj` the tangent blocks `Xi_ij = M_Ui V_j^T + U_i M_Vj^T`
//! have the inner product
//!
//! ```text
//! <M, N> = J sum <M_Ui, N_Ui> + I sum <M_Vj, N_Vj> - <sum Omega_i, sum Psi'_j> - <sum Omega'_i, sum Psi_j>.
//! ```
//!
//! Gradient: `A_i = skew(U_i^T G_Ui)`, `B_j = skew(G_Vj^T V_j)`, `Gamma = (sum A_i + sum B_j)/2`, and
//! `Omega_i = A_i/J - Gamma/(2 I J)`, `Psi_j = Gamma/(2 I J) - B_j/I` beside the parts `X_i`, `Y_j` that the
//! other metrics have too. Consistent gradients have `sum A_i = sum B_j`; the least-squares repair of others
//! replaces `A_i` by `A_i - d` and `B_j` by `B_j + d`, `d = (sum A_i - sum B_j)/(I + J)`. All sums run over the
//! blocks of a stack, so that each is one product.

use super::{PartialIsometryLifted, middles, parts::Stacks};
use crate::{FactorsMut, FactorsRef};
use lr_linalg::{
    Coef, Dims,
    Epilogue::{Overwrite, Scale},
    Linalg, Map, MatsMut, MatsRef, Part, Scope,
};

impl PartialIsometryLifted {
    /// `Gamma/(2 I J)` from the stacked `U_i^T G_Ui/J` and `V_j^T G_Vj/I`, whose skew parts are `A_i/J` and `-B_j/I`.
    /// The gradient has it once on the left and its negative on the right.
    pub(super) fn common_part<B: Linalg>(
        &self,
        b: &B,
        [left, right]: [MatsRef<'_, B>; 2],
        mut out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (j, i) = self.weights();
        scope.nest(|scope| {
            let mut other = scope.take(out.dims());
            middles::sum(b, j / (4.0 * i * j), left, out.as_mut());
            middles::sum(b, -i / (4.0 * i * j), right, other.as_mut());
            b.axpby(Coef::Host(1.0), other.as_ref(), 1.0, out.as_mut());
            b.take_part(Part::Skew, out);
        });
    }

    /// Adds the two cross terms of the inner product `<m, n>` to `out`, given the overlaps of the two.
    pub(super) fn subtract_cross_terms<B: Linalg>(
        &self,
        b: &B,
        m: &Stacks<'_, B>,
        n: &Stacks<'_, B>,
        mut out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let small = self.grid.small_dims(out.dims().batch);
            let (mut omega, mut psi) = (scope.take(small), scope.take(small));
            for ([left, _], [_, right]) in [(m, n), (n, m)] {
                middles::sum(b, 1.0, left.as_ref(), omega.as_mut());
                middles::sum(b, 1.0, right.as_ref(), psi.as_mut());
                b.dot(-1.0, omega.as_ref(), psi.as_ref(), 1.0, out.as_mut());
            }
        });
    }

    /// The gradient of the nearest consistent pair, from that of an inconsistent one (paper B.4). In terms of
    /// the provisional gradient `(I + J) d = J sum Omega_i + I sum Psi_j`, and the replaced `A_i`, `B_j` and
    /// `Gamma` change it by `-U_i d (3I + J)/(4IJ)` and `-V_j d (3J + I)/(4IJ)`.
    pub(super) fn nearest_consistent<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (j, i) = self.weights();
        scope.nest(|scope| {
            let mut d = scope.take(self.grid.small_dims(x.problems()));
            b.gemm(j / (i + j), x.left.t(), v.left.as_ref().n(), Overwrite, d.as_mut());
            b.gemm(i / (i + j), x.right.t(), v.right.as_ref().n(), Scale(1.0), d.as_mut());
            b.gemm(-(3.0 * i + j) / (4.0 * i * j), x.left.n(), d.as_ref().n(), Scale(1.0), v.left);
            b.gemm(-(3.0 * j + i) / (4.0 * i * j), x.right.n(), d.as_ref().n(), Scale(1.0), v.right);
        });
    }
}

/// Spectral norm of the tangent matrix `[M_U U] [V M_V]^T`: the root of the largest eigenvalue of
/// `S G_B S^T`, `G_A = S^T S`, with the Gram matrices `G_A`, `G_B` of the two stacks. From
/// `G_A = Q L Q^T`, `S = L^{1/2} Q^T`.
pub(super) fn spectral_norm<B: Linalg>(
    b: &B,
    x: FactorsRef<'_, B>,
    v: FactorsRef<'_, B>,
    mut out: MatsMut<'_, B>,
    mut status: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let Dims { batch, cols: r, .. } = x.left.dims();
    let wide = Dims::square(batch, 2 * r);
    let (first, second) = (0..r, r..2 * r);
    scope.nest(|scope| {
        let (mut ga, mut gb) = (scope.take(wide), scope.take(wide));
        for (gram, p, q) in [(&mut ga, v.left, x.left), (&mut gb, x.right, v.right)] {
            for (rows, left) in [(first.clone(), p), (second.clone(), q)] {
                for (cols, right) in [(first.clone(), p), (second.clone(), q)] {
                    let block = gram.as_mut().block(rows.clone(), cols);
                    b.gemm(1.0, left.t(), right.n(), Overwrite, block);
                }
            }
        }
        let (mut values, mut half) = (scope.take(Dims::new(batch, 1, 2 * r)), scope.take(wide));
        b.eigh(ga.as_mut(), values.as_mut(), status.as_mut());
        b.map(Map::Sqrt, values.as_mut());
        b.scale_columns(values.as_ref(), ga.as_mut());
        b.gemm(1.0, ga.as_ref().t(), gb.as_ref().n(), Overwrite, half.as_mut());
        b.gemm(1.0, half.as_ref().n(), ga.as_ref().n(), Overwrite, gb.as_mut());
        b.eigh(gb.as_mut(), values.as_mut(), status);
        b.copy(values.as_ref().block(0..1, 2 * r - 1..2 * r).n(), out.as_mut());
        b.map(Map::Sqrt, out);
    });
}
