//! [`MaskedFit`]: `f(X) = |P_Omega(X - A)|^2 / 2` on the sampled entries of a large matrix, never formed.
//!
//! With `d_e = <l_i, r_j> - a_e` at the samples `e = (i, j)`: the cost is `sum d_e^2 / 2`, the gradient `E`
//! is sparse with values `d`, and its derivative along `eta = K R^T + L W^T` is sparse with values `<k_i,
//! r_j> + <l_i, w_j>`. Every evaluation is one or two passes over the samples (see [`lr_linalg::sparse`]);
//! the pass of an accepted trial is used again by the gradient.

use super::{Problem, SecondOrderProblem, SolveError};
use lr_linalg::{
    Backend, HostBuffer, Linalg, Scalar, Threads,
    sparse::{Halves, Orientation, SparseError, SparseMatrix, Table},
};
use lr_manifolds::{FactorsMut, FactorsRef};

/// What is known at a point.
#[derive(Debug)]
struct Place<T> {
    factors: [Table<T>; 2],
    /// `d`, row by row.
    residual: Vec<T>,
    /// `D R`.
    product: Table<T>,
    square: f64,
}

/// Whether what is kept is that of the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Here,
    Elsewhere,
}

/// The problem.
#[derive(Debug)]
pub struct MaskedFit<T> {
    data: SparseMatrix<T>,
    threads: Threads,
    /// Where the cost was last asked.
    trial: Place<T>,
    /// Where the gradient was last asked.
    here: Place<T>,
    /// `d` at `here`, column by column, once a curvature has asked for it.
    by_col: Vec<T>,
    by_col_is: Known,
    pairs: [Table<T>; 2],
    product: Table<T>,
}

impl<T: Scalar> Place<T> {
    fn new(entries: usize) -> Self {
        let factors = [Table::default(), Table::default()];
        Self { factors, residual: vec![T::ZERO; entries], product: Table::default(), square: f64::NAN }
    }

    fn is_at<B: Backend<Elem = T, Buffer = HostBuffer<T>>>(&self, x: FactorsRef<'_, B>) -> bool {
        self.factors[0].holds(x.left.panel(0)) && self.factors[1].holds(x.right.panel(0))
    }

    fn move_to<B: Backend<Elem = T, Buffer = HostBuffer<T>>>(
        &mut self,
        x: FactorsRef<'_, B>,
        data: &SparseMatrix<T>,
        threads: Threads,
    ) {
        self.factors[0].fill(&[x.left.panel(0)]);
        self.factors[1].fill(&[x.right.panel(0)]);
        let ([left, right], rows) = (&self.factors, Orientation::Rows);
        let values = data.values(rows);
        self.square =
            data.mask().residual(threads, rows, [left, right], values, &mut self.residual, &mut self.product);
    }
}

impl<T: Scalar> MaskedFit<T> {
    /// The fit of the stored entries of `data`, on one thread or many.
    ///
    /// # Errors
    /// [`SparseError`] naming a row or column without a sample, which would leave it undetermined.
    pub fn new(data: SparseMatrix<T>, threads: Threads) -> Result<Self, SparseError> {
        data.mask().require_covering()?;
        let entries = data.mask().len();
        Ok(Self {
            data,
            threads,
            trial: Place::new(entries),
            here: Place::new(entries),
            by_col: vec![T::ZERO; entries],
            by_col_is: Known::Elsewhere,
            pairs: [Table::default(), Table::default()],
            product: Table::default(),
        })
    }

    /// The samples.
    pub fn data(&self) -> &SparseMatrix<T> {
        &self.data
    }
}

impl<T: Scalar, B: Linalg<Elem = T, Buffer = HostBuffer<T>>> Problem<B> for MaskedFit<T> {
    fn cost(&mut self, _: &B, x: FactorsRef<'_, B>) -> Result<f64, SolveError> {
        if !self.trial.is_at(x) {
            self.trial.move_to(x, &self.data, self.threads);
        }
        Ok(0.5 * self.trial.square)
    }

    fn egrad(&mut self, _: &B, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), SolveError> {
        if !self.here.is_at(x) {
            if self.trial.is_at(x) {
                std::mem::swap(&mut self.trial, &mut self.here);
            } else {
                self.here.move_to(x, &self.data, self.threads);
            }
        }
        self.by_col_is = Known::Elsewhere;
        let FactorsMut { mut left, mut right } = out;
        self.here.product.extract([0, 1], left.panel_mut(0));
        let columns = Orientation::Columns;
        let ([l, r], values) = (&self.here.factors, self.data.values(columns));
        self.data.mask().residual_product(self.threads, columns, [l, r], values, &mut self.product);
        self.product.extract([0, 1], right.panel_mut(0));
        Ok(())
    }

    fn line_minimum(
        &mut self,
        _: &B,
        x: FactorsRef<'_, B>,
        eta: FactorsRef<'_, B>,
    ) -> Result<Option<f64>, SolveError> {
        self.pairs[0].fill_packed(&[eta.left.panel(0), x.left.panel(0)]);
        self.pairs[1].fill_packed(&[x.right.panel(0), eta.right.panel(0)]);
        let [left, right] = &self.pairs;
        let (square, slope) = self.data.mask().sampled_sums(self.threads, [left, right], &self.here.residual);
        Ok((square > 0.0).then(|| -slope / square))
    }
}

impl<T: Scalar, B: Linalg<Elem = T, Buffer = HostBuffer<T>>> SecondOrderProblem<B> for MaskedFit<T> {
    fn ehess(
        &mut self,
        _: &B,
        x: FactorsRef<'_, B>,
        eta: FactorsRef<'_, B>,
        along: FactorsMut<'_, B>,
        ehess: FactorsMut<'_, B>,
    ) -> Result<(), SolveError> {
        self.pairs[0].fill(&[eta.left.panel(0), x.left.panel(0)]);
        self.pairs[1].fill(&[x.right.panel(0), eta.right.panel(0)]);
        if self.by_col_is == Known::Elsewhere {
            self.data.mask().reorder_into(&self.here.residual, &mut self.by_col);
            self.by_col_is = Known::Here;
        }
        let ([left, right], mask) = (&self.pairs, self.data.mask());
        let (tables, product) = ([left, right], &mut self.product);
        let (FactorsMut { left: mut e_w, right: mut e_k }, FactorsMut { left: mut d_r, right: mut d_l }) =
            (along, ehess);
        let residual = &self.here.residual;
        mask.curvature(self.threads, Orientation::Rows, tables, Halves::SampledFirst, residual, product);
        product.extract([0, 2], d_r.panel_mut(0));
        product.extract([1, 2], e_w.panel_mut(0));
        let residual = &self.by_col;
        mask.curvature(self.threads, Orientation::Columns, tables, Halves::SampledSecond, residual, product);
        product.extract([0, 2], e_k.panel_mut(0));
        product.extract([1, 2], d_l.panel_mut(0));
        Ok(())
    }
}
