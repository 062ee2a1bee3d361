//! [`Blas`]: element-wise operations, reductions, products and triangular solves on batches.

use crate::{Backend, MatsMut, MatsRef, Operand};

/// A factor of an update: one host constant, or one device scalar for each problem.
///
/// Scalars that decide a step (norms, `eta / max(mu, c)`) stay on the device.
#[derive(Debug)]
pub enum Coef<'a, B: Backend> {
    /// The same for every problem.
    Host(f64),
    /// `[batch, 1, 1]`, one for each problem.
    Device(MatsRef<'a, B>),
}

impl<B: Backend> Clone for Coef<'_, B> {
    #[track_caller]
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Coef<'_, B> {}

/// What a product is added to.
#[derive(Debug)]
pub enum Epilogue<'a, B: Backend> {
    /// Nothing: `c = alpha a b`. `c` may hold anything before, NaN included.
    Overwrite,
    /// The old value: `c = alpha a b + beta c`.
    Scale(f64),
    /// Another matrix: `c = alpha a b + beta d`.
    Add(f64, MatsRef<'a, B>),
}

/// Side of a product on which a triangular matrix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `op(T) Y = X`.
    Left,
    /// `Y op(T) = X`.
    Right,
}

/// Which triangle of a matrix holds its entries, as stored (before any transposition).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
}

/// Part of a square matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `(M + M^T)/2`.
    Sym,
    /// `(M - M^T)/2`.
    Skew,
}

/// An element-wise function, applied on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Map {
    /// `sqrt(max(x, 0))`.
    Sqrt,
    /// `max(x, floor)`.
    Floor(f64),
    /// `numerator / max(x, floor)`; with `numerator = -lr` this is the normalized step length.
    Ratio {
        /// Dividend.
        numerator: f64,
        /// Least divisor, positive.
        floor: f64,
    },
    /// `factor x`.
    Scale(f64),
    /// Rounds to the nearest value representable in bfloat16, ties to even.
    RoundToBf16,
}

/// The constants of one AdamW update; see [`Blas::adamw`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWCoefficients {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// `1 - beta1^t`.
    pub bias_correction1: f64,
    /// `1 - beta2^t`.
    pub bias_correction2: f64,
}

/// Products and element-wise operations on batches.
///
/// Shapes: unless said otherwise all operands have the same batch; an input may also have a batch that
/// divides the output's, and is then broadcast over consecutive groups of problems (problem `p` of the
/// output reads problem `p / (batch_out / batch_in)` of the input).
///
/// Every method panics, at the caller's line, when shapes do not fit: that is a broken contract, not data.
pub trait Blas: Backend {
    /// `target = op(source)`.
    #[track_caller]
    fn copy(&self, source: Operand<'_, Self>, target: MatsMut<'_, Self>);

    /// `target[p] = source[p]` for the problems whose `status` (`[batch, 1, 1]`) is not zero.
    #[track_caller]
    fn copy_where(&self, status: MatsRef<'_, Self>, source: MatsRef<'_, Self>, target: MatsMut<'_, Self>);

    /// Every element becomes `value`.
    #[track_caller]
    fn fill(&self, value: f64, target: MatsMut<'_, Self>);

    /// `target = target + value I`.
    #[track_caller]
    fn add_diagonal(&self, value: f64, target: MatsMut<'_, Self>);

    /// `y = alpha x + beta y`; with `beta = 0` the old `y` is not read.
    #[track_caller]
    fn axpby(&self, alpha: Coef<'_, Self>, x: MatsRef<'_, Self>, beta: f64, y: MatsMut<'_, Self>);

    /// `out = x + alpha y`.
    #[track_caller]
    fn add_scaled(
        &self,
        x: MatsRef<'_, Self>,
        alpha: Coef<'_, Self>,
        y: MatsRef<'_, Self>,
        mut out: MatsMut<'_, Self>,
    ) {
        self.copy(x.n(), out.as_mut());
        self.axpby(alpha, y, 1.0, out);
    }

    /// Replaces every square matrix by its symmetric or skew part.
    #[track_caller]
    fn take_part(&self, part: Part, target: MatsMut<'_, Self>);

    /// Scales column `j` of matrix `p` by `diagonal[p, 0, j]` (`[batch, 1, cols]`).
    #[track_caller]
    fn scale_columns(&self, diagonal: MatsRef<'_, Self>, target: MatsMut<'_, Self>);

    /// `y = x y`, element by element (the Hadamard product).
    #[track_caller]
    fn multiply(&self, x: MatsRef<'_, Self>, y: MatsMut<'_, Self>);

    /// Applies `map` to every element.
    #[track_caller]
    fn map(&self, map: Map, target: MatsMut<'_, Self>);

    /// `out[p] = weight <x[p], y[p]> + beta out[p]`, the Frobenius inner product; `out` is `[batch, 1, 1]`.
    #[track_caller]
    fn dot(&self, weight: f64, x: MatsRef<'_, Self>, y: MatsRef<'_, Self>, beta: f64, out: MatsMut<'_, Self>);

    /// `out[p] = max(out[p], max |x[p]|)`; a NaN in either makes it NaN. `out` is `[batch, 1, 1]`.
    #[track_caller]
    fn max_abs(&self, x: MatsRef<'_, Self>, out: MatsMut<'_, Self>);

    /// `out[p] = 1` where some `|x[p]|` is not at most `bound`, NaN included; other entries of `out` stay.
    /// With `bound = f64::MAX` it flags what is not finite.
    #[track_caller]
    fn flag_above(&self, bound: f64, x: MatsRef<'_, Self>, out: MatsMut<'_, Self>);

    /// `c = alpha op(a) op(b) + epilogue`.
    #[track_caller]
    fn gemm(
        &self,
        alpha: f64,
        a: Operand<'_, Self>,
        b: Operand<'_, Self>,
        epilogue: Epilogue<'_, Self>,
        c: MatsMut<'_, Self>,
    );

    /// Solves `op(T) Y = X` or `Y op(T) = X` in place of `x`; `triangle` says which triangle of the
    /// stored (untransposed) matrix is read. A zero on the diagonal gives infinities, as IEEE does.
    #[track_caller]
    fn trsm(&self, side: Side, triangle: Triangle, t: Operand<'_, Self>, x: MatsMut<'_, Self>);

    /// One AdamW update (Loshchilov and Hutter 2019, in PyTorch's form), in one pass:
    /// `m = b1 m + (1-b1) g`, `v = b2 v + (1-b2) g^2`,
    /// `x = x (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps)`.
    #[track_caller]
    fn adamw(
        &self,
        coefficients: AdamWCoefficients,
        gradient: MatsRef<'_, Self>,
        first_moment: MatsMut<'_, Self>,
        second_moment: MatsMut<'_, Self>,
        parameters: MatsMut<'_, Self>,
    );
}
