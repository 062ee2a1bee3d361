//! [`Faer`]: the pure-Rust engine. Products, triangular solves, Cholesky, singular values and
//! eigenvalues by faer's low-level interface, QR by [`super::householder`].
//!
//! faer factors column-major matrices; panels are transposed into the thread's scratch first, which
//! costs a few microseconds where strided access would double the time.
//!
//! faer's products leave the upper halves of wide registers in use, after which code compiled for every
//! x86-64 processor runs at a quarter of its speed (Zen 4); they are cleared.

use super::{
    Engine, NotConverged, Source, elementwise as kernel, householder,
    kernel::{self as own, CleanRegisters, Isa},
    workspace::{array_of, carve, with_stack},
};
use crate::{Op, Panel, PanelMut, Scalar, Side, Triangle};
use faer::{
    Accum, MatMut, MatRef, Par, Spec,
    diag::DiagMut,
    dyn_stack::{MemStack, StackReq},
    linalg::{
        cholesky::llt::factor::{LltError, LltParams, cholesky_in_place, cholesky_in_place_scratch},
        evd::{ComputeEigenvectors, SelfAdjointEvdParams, self_adjoint_evd, self_adjoint_evd_scratch},
        matmul::matmul,
        svd::{ComputeSvdVectors, SvdParams, svd, svd_scratch},
        triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place},
    },
    prelude::Reborrow,
};

/// The pure-Rust engine, the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faer;

/// Orders from which divide and conquer is tried before the QR iteration: singular values, eigenvalues.
///
/// At faer's default of 128 its `f32` results are five to eight times less accurate than LAPACK's. But
/// where values coincide, as in a core `[S K; R 0]` of low rank, faer's (0.24) divide and conquer can be
/// wrong in half of the digits; its results are therefore checked, at some 5 % of the cost, and computed
/// again by the QR iteration, which is sound, when they fail.
const DIVIDE_AND_CONQUER_FROM: (usize, usize) = (32, 16);

fn mat<'a, T: Scalar>(source: Source<'a, T>) -> MatRef<'a, T> {
    let panel = source.panel;
    // SAFETY: a panel is a valid shared borrow of `rows x cols` elements, rows `row_stride` apart.
    let stored = unsafe {
        MatRef::from_raw_parts(panel.as_ptr(), panel.rows(), panel.cols(), panel.row_stride() as isize, 1)
    };
    match source.op {
        Op::None => stored,
        Op::Transpose => stored.transpose(),
    }
}

fn mat_mut<T: Scalar>(mut panel: PanelMut<'_, T>) -> MatMut<'_, T> {
    let (rows, cols, stride) = (panel.rows(), panel.cols(), panel.row_stride() as isize);
    // SAFETY: a panel is a valid exclusive borrow of `rows x cols` elements, rows `row_stride` apart.
    unsafe { MatMut::from_raw_parts_mut(panel.as_mut_ptr(), rows, cols, stride, 1) }
}

fn square<T: Scalar>(columns: &mut [T], n: usize) -> MatMut<'_, T> {
    MatMut::from_column_major_slice_mut(columns, n, n)
}

/// Writes column-major `columns` of height `a.rows()` into `a`.
fn store<T: Scalar>(columns: &[T], a: PanelMut<'_, T>) {
    let (rows, cols) = (a.cols(), a.rows());
    kernel::transpose(Panel::from_slice(columns, rows, cols), a);
}

/// Reads `a` into column-major `columns`.
fn load<T: Scalar>(a: Panel<'_, T>, columns: &mut [T]) {
    kernel::transpose(a, PanelMut::from_slice(columns, a.cols(), a.rows()));
}

fn svd_params<T: Scalar>(divide_from: usize) -> Spec<SvdParams, T> {
    let mut params = Spec::<SvdParams, T>::default();
    params.recursion_threshold = divide_from;
    params
}

fn eigh_params<T: Scalar>(divide_from: usize) -> Spec<SelfAdjointEvdParams, T> {
    let mut params = Spec::<SelfAdjointEvdParams, T>::default();
    params.recursion_threshold = divide_from;
    params
}

/// SVD of the square column-major `a`; `check` is scratch of its size.
fn square_svd<T: Scalar>(
    a: &mut [T],
    [u, v, check]: [&mut [T]; 3],
    s: &mut [T],
    stack: &mut MemStack,
) -> Result<(), NotConverged> {
    let n = s.len();
    for divide_from in [DIVIDE_AND_CONQUER_FROM.0, usize::MAX] {
        let (left, right, values) = (square(u, n), square(v, n), DiagMut::from_slice_mut(s));
        let params = svd_params(divide_from);
        let solved = svd(square(a, n).rb(), values, Some(left), Some(right), Par::Seq, stack, params).is_ok();
        if solved && (n < divide_from || is_decomposition(a, [u, v], s, check)) {
            return Ok(());
        }
    }
    Err(NotConverged)
}

/// Symmetric eigenvalues of the column-major `a`; `check` is scratch of its size.
fn symmetric_eigen<T: Scalar>(
    a: &mut [T],
    [q, check]: [&mut [T]; 2],
    w: &mut [T],
    stack: &mut MemStack,
) -> Result<(), NotConverged> {
    let n = w.len();
    for divide_from in [DIVIDE_AND_CONQUER_FROM.1, usize::MAX] {
        let (vectors, values) = (square(q, n), DiagMut::from_slice_mut(w));
        let params = eigh_params(divide_from);
        let solved =
            self_adjoint_evd(square(a, n).rb(), values, Some(vectors), Par::Seq, stack, params).is_ok();
        if solved && (n < divide_from || is_decomposition(a, [q, q], w, check)) {
            return Ok(());
        }
    }
    Err(NotConverged)
}

/// Whether `a = left diag(values) right^T` with orthonormal factors, to a few roundings an entry.
fn is_decomposition<T: Scalar>(a: &[T], [left, right]: [&[T]; 2], values: &[T], check: &mut [T]) -> bool {
    let n = values.len();
    let view = |x| MatRef::from_column_major_slice(x, n, n);
    let largest = values[0].to_f64().abs().max(values[n - 1].to_f64().abs());
    let roundings = 16.0 * (n as f64).sqrt() * T::EPSILON;
    matmul(square(check, n), Accum::Replace, view(a), view(right), T::ONE, Par::Seq);
    for ((column, left), &value) in check.chunks_exact_mut(n).zip(left.chunks_exact(n)).zip(values) {
        kernel::axpby(-value, Panel::from_slice(left, 1, n), T::ONE, PanelMut::from_slice(column, 1, n));
    }
    let mut sound = kernel::all_within(roundings * largest, Panel::from_slice(check, n, n));
    for factor in [left, right] {
        matmul(square(check, n), Accum::Replace, view(factor).transpose(), view(factor), T::ONE, Par::Seq);
        (0..n).for_each(|i| check[i * n + i] -= T::ONE);
        sound &= kernel::all_within(roundings, Panel::from_slice(check, n, n));
    }
    sound
}

impl<T: Scalar> Engine<T> for Faer {
    const NAME: &'static str = "cpu";

    fn gemm(alpha: T, a: Source<'_, T>, b: Source<'_, T>, beta: T, mut c: PanelMut<'_, T>) {
        let isa = Isa::current();
        if own::takes_blocked(isa, a, b) {
            return own::gemm_blocked(isa, alpha, a, b, beta, c);
        }
        let _clean = CleanRegisters;
        let accumulate = if beta == T::ZERO {
            Accum::Replace
        } else {
            kernel::scale(beta, c.reborrow());
            Accum::Add
        };
        matmul(mat_mut(c), accumulate, mat(a), mat(b), alpha, Par::Seq);
    }

    fn trsm(side: Side, triangle: Triangle, t: Source<'_, T>, x: PanelMut<'_, T>) {
        let _clean = CleanRegisters;
        let (t, op, x) = match side {
            Side::Left => (mat(t), t.op, mat_mut(x)),
            // Y op(T) = X is op(T)^T Y^T = X^T.
            Side::Right => {
                let op = match t.op {
                    Op::None => Op::Transpose,
                    Op::Transpose => Op::None,
                };
                (mat(t).transpose(), op, mat_mut(x).transpose_mut())
            }
        };
        match (triangle, op) {
            (Triangle::Lower, Op::None) | (Triangle::Upper, Op::Transpose) => {
                solve_lower_triangular_in_place(t, x, Par::Seq);
            }
            (Triangle::Upper, Op::None) | (Triangle::Lower, Op::Transpose) => {
                solve_upper_triangular_in_place(t, x, Par::Seq);
            }
        }
    }

    fn cholesky(shift: T, mut a: PanelMut<'_, T>) -> Result<(), usize> {
        let _clean = CleanRegisters;
        let n = a.rows();
        let params = Spec::<LltParams, T>::default();
        let needed = array_of::<T>(n * n).and(cholesky_in_place_scratch::<T>(n, Par::Seq, params));
        with_stack(needed, |stack| {
            let (mut l, stack) = carve::<T>(n * n, stack);
            load(a.as_panel(), &mut l);
            (0..n).for_each(|i| l[i * n + i] += shift);
            let factored = cholesky_in_place(square(&mut l, n), Default::default(), Par::Seq, stack, params);
            match factored {
                Err(LltError::NonPositivePivot { index }) => return Err(index),
                // Comparisons with NaN let it pass as a pivot.
                Ok(_) => (0..n).find(|&i| !l[i * n + i].is_finite()).map_or(Ok(()), Err)?,
            }
            store(&l, a.reborrow());
            (0..n).for_each(|i| a.row_mut(i)[i + 1..].fill(T::ZERO));
            Ok(())
        })
    }

    fn qr(mut a: PanelMut<'_, T>, mut r: PanelMut<'_, T>) {
        let (m, n) = (a.rows(), a.cols());
        let needed = array_of::<T>(m * n).array(2).and(householder::qr_scratch::<T>(m, n));
        with_stack(needed, |stack| {
            let (mut w, stack) = carve::<T>(m * n, stack);
            let (mut q, stack) = carve::<T>(m * n, stack);
            load(a.as_panel(), &mut w);
            householder::qr(&mut w, &mut q, m, n, stack);
            for i in 0..n {
                let negative = w[i * m + i] < T::ZERO;
                let sign = if negative { -T::ONE } else { T::ONE };
                for (j, x) in r.row_mut(i).iter_mut().enumerate() {
                    *x = if j < i { T::ZERO } else { sign * w[j * m + i] };
                }
                if negative {
                    q[i * m..(i + 1) * m].iter_mut().for_each(|x| *x = -*x);
                }
            }
            store(&q, a.reborrow());
        });
    }

    fn svd(mut a: PanelMut<'_, T>, s: &mut [T], v: PanelMut<'_, T>) -> Result<(), NotConverged> {
        let _clean = CleanRegisters;
        let (m, n) = (a.rows(), a.cols());
        let all = ComputeSvdVectors::Full;
        let inner = |from| svd_scratch::<T>(n, n, all, all, Par::Seq, svd_params(from));
        let needed = StackReq::all_of(&[
            array_of::<T>(m * n).array(2),
            array_of::<T>(n * n).array(4),
            inner(DIVIDE_AND_CONQUER_FROM.0).or(inner(usize::MAX)).or(householder::qr_scratch::<T>(m, n)),
        ]);
        with_stack(needed, |stack| {
            let (mut w, stack) = carve::<T>(m * n, stack);
            let (mut left, stack) = carve::<T>(n * n, stack);
            let (mut right, stack) = carve::<T>(n * n, stack);
            let (mut check, stack) = carve::<T>(n * n, stack);
            load(a.as_panel(), &mut w);
            if m == n {
                square_svd(&mut w, [&mut left, &mut right, &mut check], s, stack)?;
                store(&left, a.reborrow());
            } else {
                let (mut q, stack) = carve::<T>(m * n, stack);
                let (mut r, stack) = carve::<T>(n * n, stack);
                householder::qr(&mut w, &mut q, m, n, stack);
                for (j, (column, from)) in r.chunks_exact_mut(n).zip(w.chunks_exact(m)).enumerate() {
                    column[..=j].copy_from_slice(&from[..=j]);
                }
                square_svd(&mut r, [&mut left, &mut right, &mut check], s, stack)?;
                let (q, u) = (MatRef::from_column_major_slice(&q, m, n), square(&mut left, n));
                matmul(mat_mut(a.reborrow()), Accum::Replace, q, u.rb(), T::ONE, Par::Seq);
            }
            store(&right, v);
            Ok(())
        })
    }

    fn eigh(mut a: PanelMut<'_, T>, w: &mut [T]) -> Result<(), NotConverged> {
        let _clean = CleanRegisters;
        let (n, vectors) = (w.len(), ComputeEigenvectors::Yes);
        let inner = |from| self_adjoint_evd_scratch::<T>(n, vectors, Par::Seq, eigh_params(from));
        let needed =
            array_of::<T>(n * n).array(3).and(inner(DIVIDE_AND_CONQUER_FROM.1).or(inner(usize::MAX)));
        with_stack(needed, |stack| {
            let (mut matrix, stack) = carve::<T>(n * n, stack);
            let (mut q, stack) = carve::<T>(n * n, stack);
            let (mut check, stack) = carve::<T>(n * n, stack);
            load(a.as_panel(), &mut matrix);
            symmetric_eigen(&mut matrix, [&mut q, &mut check], w, stack)?;
            store(&q, a.reborrow());
            Ok(())
        })
    }
}
