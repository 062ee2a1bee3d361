//! [`MaskedData`]: samples of a hidden low-rank matrix `A = H V^T` for training and, disjoint from them, for
//! testing.

use crate::{
    dense::{Dense, Host},
    error::AppError,
};
use lr_linalg::{
    Panel, PanelMut, Threads,
    sparse::{Orientation, SparseError, SparseMask, SparseMatrix, Table},
};
use lr_manifolds::{Factors, FactorsMut, FactorsRef};
use lr_optim::solve::{MaskedFit, Problem, SecondOrderProblem, SolveError};
use rand::{Rng, rngs::StdRng};
use std::{cell::Cell, rc::Rc, sync::Arc};

/// How many entries are seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Share of the entries for training, in (0, 1).
    pub train: f64,
    /// Share of the entries held out, in (0, 1); together at most 1.
    pub test: f64,
}

/// Samples of a hidden matrix.
#[derive(Debug)]
pub struct MaskedData {
    /// What the solver sees.
    pub train: SparseMatrix<f64>,
    /// What it is tested on.
    pub test: SparseMatrix<f64>,
}

impl MaskedData {
    /// Samples `H V^T`, `H` with `m` rows and `V` with `n`; every entry is drawn with the same probability,
    /// on its own.
    ///
    /// # Errors
    /// [`SparseError`] when the matrix is too large or an entry is not finite.
    pub fn sample(h: &Dense, v: &Dense, share: Sampling, rng: &mut StdRng) -> Result<Self, SparseError> {
        let (m, n) = (h.rows, v.rows);
        let total = (share.train + share.test).min(1.0);
        let (mut train, mut test) = (Vec::new(), Vec::new());
        let mut place = skip(total, rng);
        while place < m * n {
            let entry = (place / n, place % n);
            if rng.random::<f64>() * total < share.train {
                train.push(entry)
            } else {
                test.push(entry)
            }
            place = place.saturating_add(1).saturating_add(skip(total, rng));
        }
        let values = |entries: &[(usize, usize)]| {
            let (mask, _) = SparseMask::new(m, n, entries.iter().copied())?;
            let products = products_at(&mask, h, v);
            SparseMatrix::with_mask(Arc::new(mask), products)
        };
        Ok(Self { train: values(&train)?, test: values(&test)? })
    }

    /// `P_Omega(X - A)` on the training entries, `X = L R^T`.
    ///
    /// # Errors
    /// [`SparseError::NotFinite`].
    pub fn residual(&self, x: &Factors<Host>) -> Result<SparseMatrix<f64>, SparseError> {
        let [left, right] = [x.left.as_ref().panel(0), x.right.as_ref().panel(0)];
        let (_, d) = residual(&self.train, left, right);
        SparseMatrix::with_mask(self.train.mask().clone(), d)
    }

    /// The leading `rank` singular triplets of the training entries, scaled up by the share seen: `(U, V
    /// Sigma / share)`; singular values that differ little may stand in any order.
    ///
    /// # Errors
    /// [`AppError`] when the memory cannot be had.
    pub fn leading_triplets(&self, b: &Host, rank: usize, rng: &mut StdRng) -> Result<[Dense; 2], AppError> {
        const ITERATIONS: usize = 10;
        let (m, n) = (self.train.mask().rows(), self.train.mask().cols());
        let share = self.train.mask().len() as f64 / (m as f64 * n as f64);
        let (mut u, mut w) = (Dense::zeros(m, rank), Dense::normal(n, rank, rng));
        for _ in 0..ITERATIONS {
            let v = w.orthonormalized(b)?;
            let (x, out) = (Panel::from_slice(&v.data, n, rank), PanelMut::from_slice(&mut u.data, m, rank));
            self.train.times(b.threads(), x, out);
            u = u.orthonormalized(b)?;
            let (x, out) = (Panel::from_slice(&u.data, m, rank), PanelMut::from_slice(&mut w.data, n, rank));
            self.train.transposed_times(b.threads(), x, out);
        }
        w.data.iter_mut().for_each(|x| *x /= share);
        Ok([u, w])
    }

    /// Relative errors of `X = L R^T` on the training and the test entries: `|P(X - A)| / |P(A)|`.
    pub fn errors(&self, left: Panel<'_, f64>, right: Panel<'_, f64>) -> [f64; 2] {
        [&self.train, &self.test].map(|data| relative_error(data, left, right))
    }
}

/// `|P(X - A)| / |P(A)|`.
fn relative_error(data: &SparseMatrix<f64>, left: Panel<'_, f64>, right: Panel<'_, f64>) -> f64 {
    let (square, _) = residual(data, left, right);
    (square / data.values(Orientation::Rows).iter().map(|a| a * a).sum::<f64>()).sqrt()
}

/// `|d|^2` and `d = P(X - A)`, row by row.
fn residual(data: &SparseMatrix<f64>, left: Panel<'_, f64>, right: Panel<'_, f64>) -> (f64, Vec<f64>) {
    let (mut l, mut r) = (Table::default(), Table::default());
    l.fill(&[left]);
    r.fill(&[right]);
    let (rows, mut d, mut product) = (Orientation::Rows, vec![0.0; data.mask().len()], Table::default());
    let values = data.values(rows);
    let square = data.mask().residual(Threads::Pool, rows, [&l, &r], values, &mut d, &mut product);
    (square, d)
}

/// A masked fit that leaves its test error beside every gradient.
#[derive(Debug)]
pub struct Watched<'a> {
    fit: MaskedFit<f64>,
    test: &'a SparseMatrix<f64>,
    error: Rc<Cell<Option<f64>>>,
}

impl<'a> Watched<'a> {
    /// Watches `fit` on the test entries of `data`.
    pub fn new(fit: MaskedFit<f64>, data: &'a MaskedData, error: Rc<Cell<Option<f64>>>) -> Self {
        Self { fit, test: &data.test, error }
    }
}

impl Problem<Host> for Watched<'_> {
    fn cost(&mut self, b: &Host, x: FactorsRef<'_, Host>) -> Result<f64, SolveError> {
        self.fit.cost(b, x)
    }

    fn egrad(
        &mut self,
        b: &Host,
        x: FactorsRef<'_, Host>,
        out: FactorsMut<'_, Host>,
    ) -> Result<(), SolveError> {
        self.error.set(Some(relative_error(self.test, x.left.panel(0), x.right.panel(0))));
        self.fit.egrad(b, x, out)
    }

    fn line_minimum(
        &mut self,
        b: &Host,
        x: FactorsRef<'_, Host>,
        eta: FactorsRef<'_, Host>,
    ) -> Result<Option<f64>, SolveError> {
        self.fit.line_minimum(b, x, eta)
    }
}

impl SecondOrderProblem<Host> for Watched<'_> {
    fn ehess(
        &mut self,
        b: &Host,
        x: FactorsRef<'_, Host>,
        eta: FactorsRef<'_, Host>,
        along: FactorsMut<'_, Host>,
        ehess: FactorsMut<'_, Host>,
    ) -> Result<(), SolveError> {
        self.fit.ehess(b, x, eta, along, ehess)
    }
}

/// `<h_i, v_j>` at the entries of a mask, row by row.
fn products_at(mask: &SparseMask, h: &Dense, v: &Dense) -> Vec<f64> {
    let mut tables = [Table::default(), Table::default()];
    for (table, x) in tables.iter_mut().zip([h, v]) {
        table.fill(&[Panel::from_slice(&x.data, x.rows, x.cols)]);
    }
    let (zeros, mut d) = (vec![0.0; mask.len()], vec![0.0; mask.len()]);
    mask.sample(Threads::Pool, [&tables[0], &tables[1]], &zeros, &mut d);
    d
}

/// How many entries to pass over until the next that is drawn: geometric with probability `share`.
fn skip(share: f64, rng: &mut StdRng) -> usize {
    let u: f64 = rng.random();
    // Saturates; share = 1 gives ln(0), and a skip of 0.
    ((1.0 - u).ln() / (1.0 - share).ln()).floor() as usize
}
