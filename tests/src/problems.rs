//! Problems on small dense matrices, for tests of solvers: cost, gradient and Hessian are functions of `X`.

use crate::dense::Dense;
use lr_linalg::{Blas, Cpu, Epilogue};
use lr_manifolds::{Factors, FactorsMut, FactorsRef};
use lr_optim::solve::{Problem, SecondOrderProblem, SolveError};

type B = Cpu<f64>;

/// A cost on dense matrices with its derivatives.
pub struct DenseProblem<F, G, H> {
    /// `f(X)`.
    pub cost: F,
    /// `grad f(X)`.
    pub gradient: G,
    /// `D grad f(X)[eta]`.
    pub hessian: H,
}

fn dense(x: FactorsRef<'_, B>) -> (Dense, Dense) {
    let b = B::new();
    (Dense::download(&b, x.left), Dense::download(&b, x.right))
}

/// `L R^T`.
pub fn matrix(x: FactorsRef<'_, B>) -> Dense {
    let (h, v) = dense(x);
    h.times(&v.t())
}

/// `(E R, E^T L)`.
fn pull(b: &B, e: &Dense, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) {
    let e = e.upload(b);
    b.gemm(1.0, e.as_ref().n(), x.right.n(), Epilogue::Overwrite, out.left);
    b.gemm(1.0, e.as_ref().t(), x.left.n(), Epilogue::Overwrite, out.right);
}

impl<F: Fn(&Dense) -> f64, G: Fn(&Dense) -> Dense, H> Problem<B> for DenseProblem<F, G, H> {
    fn cost(&mut self, _: &B, x: FactorsRef<'_, B>) -> Result<f64, SolveError> {
        Ok((self.cost)(&matrix(x)))
    }

    fn egrad(&mut self, b: &B, x: FactorsRef<'_, B>, out: FactorsMut<'_, B>) -> Result<(), SolveError> {
        pull(b, &(self.gradient)(&matrix(x)), x, out);
        Ok(())
    }
}

impl<F: Fn(&Dense) -> f64, G: Fn(&Dense) -> Dense, H: Fn(&Dense, &Dense) -> Dense> SecondOrderProblem<B>
    for DenseProblem<F, G, H>
{
    fn ehess(
        &mut self,
        b: &B,
        x: FactorsRef<'_, B>,
        eta: FactorsRef<'_, B>,
        along: FactorsMut<'_, B>,
        ehess: FactorsMut<'_, B>,
    ) -> Result<(), SolveError> {
        let ((h, v), (k, vp)) = (dense(x), dense(eta));
        let x_dense = h.times(&v.t());
        let ambient = k.times(&v.t()).plus(1.0, &h.times(&vp.t()));
        pull(b, &(self.gradient)(&x_dense), eta, along);
        pull(b, &(self.hessian)(&x_dense, &ambient), x, ehess);
        Ok(())
    }
}

/// `f` of every pair of elements.
pub fn elementwise(a: &Dense, b: &Dense, f: impl Fn(f64, f64) -> f64) -> Dense {
    Dense::from_fn(a.rows, a.cols, |i, j| f(a.at(i, j), b.at(i, j)))
}

/// A pair on the backend.
pub fn factors(h: &Dense, v: &Dense) -> Factors<B> {
    let b = B::new();
    Factors { left: h.upload(&b), right: v.upload(&b) }
}
