//! Blocked Householder QR of one column-major matrix (Schreiber and Van Loan 1989, compact WY form):
//! reflectors of a panel of columns one by one, everything else by products.
//!
//! faer's own factorization skips columns that it deems dependent, within `16 m eps` of their norm; in
//! `f32` that loses half of the digits of an ill-conditioned matrix. This one is backward stable for
//! every finite matrix.

use super::workspace::{array_of, carve};
use crate::Scalar;
use faer::{
    Accum, MatMut, MatRef, Par,
    dyn_stack::{MemStack, StackReq},
    linalg::matmul::matmul,
    prelude::{Reborrow, ReborrowMut},
};
use pulp::Arch;

/// Columns in a panel.
const PANEL: usize = 16;

/// Accumulators of an inner product.
const LANES: usize = 16;

/// Scratch for [`qr`] of `m x n`.
pub(super) fn qr_scratch<T: Scalar>(m: usize, n: usize) -> StackReq {
    // tau, the triangles of all panels, the reflectors of one, and twice the coefficients of an update.
    StackReq::all_of(&[
        array_of::<T>(n),
        array_of::<T>(n * PANEL),
        array_of::<T>(m * PANEL),
        array_of::<T>(n * PANEL),
        array_of::<T>(n * PANEL),
    ])
}

/// QR of the `m x n` matrix `w` (`m >= n`, column-major, moderate entries): its upper triangle becomes
/// `R` with a diagonal of any sign, `q` (`m x n`) gets the orthonormal columns.
pub(super) fn qr<T: Scalar>(w: &mut [T], q: &mut [T], m: usize, n: usize, stack: &mut MemStack) {
    let (mut tau, stack) = carve::<T>(n, stack);
    let (mut triangles, stack) = carve::<T>(n * PANEL, stack);
    let (mut v, stack) = carve::<T>(m * PANEL, stack);
    let (mut x, stack) = carve::<T>(n * PANEL, stack);
    let (mut y, _) = carve::<T>(n * PANEL, stack);

    for first in (0..n).step_by(PANEL) {
        let end = (first + PANEL).min(n);
        let (width, height) = (end - first, m - first);
        factor_panel(&mut w[first * m..end * m], m, first, &mut tau[first..end]);
        let v = &mut v[..height * width];
        reflectors(&w[first * m..end * m], m, first, v);
        let t = &mut triangles[first * PANEL..][..width * width];
        triangle(v, &tau[first..end], &mut x[..width * width], t);
        let rest = trailing(&mut w[end * m..], m, first);
        apply(v, t, Order::Transposed, rest, &mut x, &mut y);
    }

    q.fill(T::ZERO);
    (0..n).for_each(|j| q[j * m + j] = T::ONE);
    for first in (0..n).step_by(PANEL).rev() {
        let end = (first + PANEL).min(n);
        let (width, height) = (end - first, m - first);
        let v = &mut v[..height * width];
        reflectors(&w[first * m..end * m], m, first, v);
        let t = &triangles[first * PANEL..][..width * width];
        let rest = trailing(&mut q[first * m..], m, first);
        apply(v, t, Order::AsStored, rest, &mut x, &mut y);
    }
}

/// Rows from `first` on of the column-major `columns` of height `m`.
fn trailing<T: Scalar>(columns: &mut [T], m: usize, first: usize) -> MatMut<'_, T> {
    let cols = columns.len() / m;
    MatMut::from_column_major_slice_mut(columns, m, cols).subrows_mut(first, m - first)
}

/// Reduces a panel of columns whose first diagonal entry is in row `first`; the reflectors `v` (with an
/// implied leading one) replace what they annihilate.
fn factor_panel<T: Scalar>(columns: &mut [T], m: usize, first: usize, tau: &mut [T]) {
    Arch::new().dispatch(|| {
        for (j, tau) in tau.iter_mut().enumerate() {
            let row = first + j;
            let (column, rest) = columns[j * m..].split_at_mut(m);
            let (head, tail) = column[row..].split_first_mut().expect("m >= n");
            *tau = reflector(head, tail);
            for other in rest.chunks_exact_mut(m) {
                let (top, below) = other[row..].split_first_mut().expect("m >= n");
                let s = *tau * (*top + dot(tail, below));
                *top -= s;
                below.iter_mut().zip(&*tail).for_each(|(b, &v)| *b -= s * v);
            }
        }
    });
}

/// Turns `(head, tail)` into `(beta, 0)` by `I - tau (1, v)(1, v)^T`; `v` replaces `tail`.
#[inline(always)]
fn reflector<T: Scalar>(head: &mut T, tail: &mut [T]) -> T {
    let norm2 = dot(tail, tail);
    if norm2.to_f64() <= T::MIN_POSITIVE / T::EPSILON {
        // Squares that underflow have lost their digits, and a reflector made from them would not be
        // orthogonal. Beside the matrix's largest entry, which is about 1, such a tail is zero.
        tail.fill(T::ZERO);
        return T::ZERO;
    }
    let norm = Scalar::sqrt(*head * *head + norm2);
    let beta = if *head < T::ZERO { norm } else { -norm };
    let scale = T::ONE / (*head - beta);
    tail.iter_mut().for_each(|v| *v *= scale);
    let tau = (beta - *head) / beta;
    *head = beta;
    tau
}

#[inline(always)]
fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    let mut sums = [T::ZERO; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(ys.remainder());
    for (x, y) in xs.zip(ys) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    rest.for_each(|(&x, &y)| sums[0] += x * y);
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

/// Copies the reflectors out of a factored panel: `V`, unit lower trapezoidal.
fn reflectors<T: Scalar>(columns: &[T], m: usize, first: usize, v: &mut [T]) {
    for (j, (column, v)) in columns.chunks_exact(m).zip(v.chunks_exact_mut(m - first)).enumerate() {
        v[..j].fill(T::ZERO);
        v[j] = T::ONE;
        v[j + 1..].copy_from_slice(&column[first + j + 1..]);
    }
}

/// The upper triangular `T` with `H_1 ... H_k = I - V T V^T`.
fn triangle<T: Scalar>(v: &[T], tau: &[T], gram: &mut [T], t: &mut [T]) {
    let k = tau.len();
    let v = MatRef::from_column_major_slice(v, v.len() / k, k);
    let product = MatMut::from_column_major_slice_mut(gram, k, k);
    matmul(product, Accum::Replace, v.transpose(), v, T::ONE, Par::Seq);
    t.fill(T::ZERO);
    for j in 0..k {
        t[j * k + j] = tau[j];
        for i in 0..j {
            let sum = (i..j).fold(T::ZERO, |sum, l| sum + t[l * k + i] * gram[j * k + l]);
            t[j * k + i] = -tau[j] * sum;
        }
    }
}

/// Which product of reflectors is applied.
#[derive(Clone, Copy)]
enum Order {
    /// `H_1 ... H_k`.
    AsStored,
    /// `H_k ... H_1`.
    Transposed,
}

/// `c <- (I - V op(T) V^T) c`.
fn apply<T: Scalar>(v: &[T], t: &[T], order: Order, c: MatMut<'_, T>, x: &mut [T], y: &mut [T]) {
    let (cols, k) = (c.ncols(), v.len() / c.nrows());
    if cols == 0 {
        return;
    }
    let v = MatRef::from_column_major_slice(v, c.nrows(), k);
    let t = MatRef::from_column_major_slice(t, k, k);
    let t = match order {
        Order::AsStored => t,
        Order::Transposed => t.transpose(),
    };
    let mut x = MatMut::from_column_major_slice_mut(&mut x[..k * cols], k, cols);
    let mut y = MatMut::from_column_major_slice_mut(&mut y[..k * cols], k, cols);
    matmul(x.rb_mut(), Accum::Replace, v.transpose(), c.rb(), T::ONE, Par::Seq);
    matmul(y.rb_mut(), Accum::Replace, t, x.rb(), T::ONE, Par::Seq);
    matmul(c, Accum::Add, v, y.rb(), -T::ONE, Par::Seq);
}
