//! [`Faer`]: the pure-Rust engine. Products, triangular solves, Cholesky, singular values and
//! eigenvalues by faer's low-level interface, QR by [`super::householder`].
//!
//! faer factors column-major matrices; panels are transposed into the thread's scratch first, which
//! costs a few microseconds where strided access would double the time.

use super::{
    Engine, NotConverged, Source, elementwise as kernel, householder,
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

/// Orders below which divide and conquer gives way to the QR iteration. At faer's default of 128 its
/// `f32` results are five to eight times less accurate than LAPACK's.
const SVD_RECURSION: usize = 32;
/// The same for symmetric eigenvalues.
const EIGH_RECURSION: usize = 16;

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

fn svd_params<T: Scalar>() -> Spec<SvdParams, T> {
    let mut params = Spec::<SvdParams, T>::default();
    params.recursion_threshold = SVD_RECURSION;
    params
}

fn eigh_params<T: Scalar>() -> Spec<SelfAdjointEvdParams, T> {
    let mut params = Spec::<SelfAdjointEvdParams, T>::default();
    params.recursion_threshold = EIGH_RECURSION;
    params
}

/// SVD of the square column-major `a`.
fn square_svd<T: Scalar>(
    a: &mut [T],
    u: &mut [T],
    s: &mut [T],
    v: &mut [T],
    stack: &mut MemStack,
) -> Result<(), NotConverged> {
    let n = s.len();
    let (a, u, v) = (square(a, n), square(u, n), square(v, n));
    let s = DiagMut::from_slice_mut(s);
    svd(a.rb(), s, Some(u), Some(v), Par::Seq, stack, svd_params()).map_err(|_| NotConverged)
}

impl<T: Scalar> Engine<T> for Faer {
    const NAME: &'static str = "cpu";

    fn gemm(alpha: T, a: Source<'_, T>, b: Source<'_, T>, beta: T, mut c: PanelMut<'_, T>) {
        let accumulate = if beta == T::ZERO {
            Accum::Replace
        } else {
            kernel::scale(beta, c.reborrow());
            Accum::Add
        };
        matmul(mat_mut(c), accumulate, mat(a), mat(b), alpha, Par::Seq);
    }

    fn trsm(side: Side, triangle: Triangle, t: Source<'_, T>, x: PanelMut<'_, T>) {
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
        let (m, n) = (a.rows(), a.cols());
        let all = ComputeSvdVectors::Full;
        let inner = svd_scratch::<T>(n, n, all, all, Par::Seq, svd_params());
        let needed = StackReq::all_of(&[
            array_of::<T>(m * n).array(2),
            array_of::<T>(n * n).array(3),
            inner.or(householder::qr_scratch::<T>(m, n)),
        ]);
        with_stack(needed, |stack| {
            let (mut w, stack) = carve::<T>(m * n, stack);
            let (mut left, stack) = carve::<T>(n * n, stack);
            let (mut right, stack) = carve::<T>(n * n, stack);
            load(a.as_panel(), &mut w);
            if m == n {
                square_svd(&mut w, &mut left, s, &mut right, stack)?;
                store(&left, a.reborrow());
            } else {
                let (mut q, stack) = carve::<T>(m * n, stack);
                let (mut r, stack) = carve::<T>(n * n, stack);
                householder::qr(&mut w, &mut q, m, n, stack);
                for (j, (column, from)) in r.chunks_exact_mut(n).zip(w.chunks_exact(m)).enumerate() {
                    column[..=j].copy_from_slice(&from[..=j]);
                }
                square_svd(&mut r, &mut left, s, &mut right, stack)?;
                let q = MatRef::from_column_major_slice(&*q, m, n);
                matmul(mat_mut(a.reborrow()), Accum::Replace, q, square(&mut left, n).rb(), T::ONE, Par::Seq);
            }
            store(&right, v);
            Ok(())
        })
    }

    fn eigh(mut a: PanelMut<'_, T>, w: &mut [T]) -> Result<(), NotConverged> {
        let n = w.len();
        let inner = self_adjoint_evd_scratch::<T>(n, ComputeEigenvectors::Yes, Par::Seq, eigh_params());
        let needed = array_of::<T>(n * n).array(2).and(inner);
        with_stack(needed, |stack| {
            let (mut matrix, stack) = carve::<T>(n * n, stack);
            let (mut q, stack) = carve::<T>(n * n, stack);
            load(a.as_panel(), &mut matrix);
            let values = DiagMut::from_slice_mut(w);
            let (matrix, vectors) = (square(&mut matrix, n), square(&mut q, n));
            self_adjoint_evd(matrix.rb(), values, Some(vectors), Par::Seq, stack, eigh_params())
                .map_err(|_| NotConverged)?;
            store(&q, a.reborrow());
            Ok(())
        })
    }
}
