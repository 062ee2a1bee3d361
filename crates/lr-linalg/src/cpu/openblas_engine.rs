//! [`OpenBlas`]: BLAS and LAPACK of the system's OpenBLAS, on one thread (this crate does the
//! threading).
//!
//! A row-major matrix is its column-major transpose, so products and triangular solves swap operands
//! and need no copy. Factorizations run on column-major copies in the thread's scratch.

use super::{
    Engine, NotConverged, Source, elementwise as kernel,
    workspace::{array_of, carve, with_stack},
};
use crate::{Op, Panel, PanelMut, Scalar, Side, Triangle};
use blas_src as _;
use faer::dyn_stack::StackReq;
use openblas_src as _;
use std::{
    ffi::{c_char, c_int},
    sync::Once,
};

/// The engine on the system's OpenBLAS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenBlas;

/// Work elements a row or column that LAPACK's blocked routines make good use of.
const BLOCK: usize = 64;

unsafe extern "C" {
    fn openblas_set_num_threads(threads: c_int);
}

/// Called before every product: within rayon, OpenBLAS' own threads cost a factor of ten and more.
fn run_single_threaded() {
    static ONCE: Once = Once::new();
    // SAFETY: the function only sets a number and may be called at any time.
    ONCE.call_once(|| unsafe { openblas_set_num_threads(1) });
}

fn int(x: usize) -> c_int {
    c_int::try_from(x).expect("BLAS counts rows and columns in 32 bits")
}

fn stride<T: Scalar>(panel: Panel<'_, T>) -> c_int {
    int(panel.row_stride().max(panel.cols()).max(1))
}

fn letter(op: Op) -> u8 {
    match op {
        Op::None => b'N',
        Op::Transpose => b'T',
    }
}

/// The routines of one element type, named as in LAPACK without their first letter. Matrices are
/// column-major and packed; slices have the lengths that LAPACK asks for.
trait Routines: Scalar {
    /// Pointers as of `gemm`'s Fortran interface.
    ///
    /// # Safety
    /// `a`, `b` and `c` must be valid for the shapes and strides.
    #[expect(clippy::too_many_arguments, reason = "the interface of BLAS")]
    unsafe fn gemm(
        ops: [u8; 2],
        mnk: [c_int; 3],
        alpha: Self,
        a: *const Self,
        lda: c_int,
        b: *const Self,
        ldb: c_int,
        beta: Self,
        c: *mut Self,
        ldc: c_int,
    );
    /// # Safety
    /// `t` and `x` must be valid for the shapes and strides.
    unsafe fn trsm(letters: [u8; 3], mn: [c_int; 2], t: *const Self, ldt: c_int, x: *mut Self, ldx: c_int);
    fn potrf(n: usize, a: &mut [Self]) -> c_int;
    fn geqrf(m: usize, n: usize, a: &mut [Self], tau: &mut [Self], work: &mut [Self]);
    fn orgqr(m: usize, n: usize, a: &mut [Self], tau: &[Self], work: &mut [Self]);
    #[expect(clippy::too_many_arguments, reason = "the interface of LAPACK")]
    fn gesdd(
        m: usize,
        n: usize,
        a: &mut [Self],
        s: &mut [Self],
        u: &mut [Self],
        vt: &mut [Self],
        work: &mut [Self],
        iwork: &mut [c_int],
    ) -> c_int;
    fn syevd(n: usize, a: &mut [Self], w: &mut [Self], work: &mut [Self], iwork: &mut [c_int]) -> c_int;
}

macro_rules! routines {
    ($t:ty, $gemm:ident, $trsm:ident, $potrf:ident, $geqrf:ident, $orgqr:ident, $gesdd:ident, $syevd:ident) => {
        impl Routines for $t {
            unsafe fn gemm(
                ops: [u8; 2],
                [m, n, k]: [c_int; 3],
                alpha: Self,
                a: *const Self,
                lda: c_int,
                b: *const Self,
                ldb: c_int,
                beta: Self,
                c: *mut Self,
                ldc: c_int,
            ) {
                let [opa, opb] = ops.map(|op| op as c_char);
                // SAFETY: the caller's.
                unsafe {
                    blas_sys::$gemm(&opa, &opb, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
                }
            }

            unsafe fn trsm(
                letters: [u8; 3],
                [m, n]: [c_int; 2],
                t: *const Self,
                ldt: c_int,
                x: *mut Self,
                ldx: c_int,
            ) {
                let [side, triangle, op] = letters.map(|letter| letter as c_char);
                let diagonal = b'N' as c_char;
                // SAFETY: the caller's.
                unsafe {
                    blas_sys::$trsm(&side, &triangle, &op, &diagonal, &m, &n, &1.0, t, &ldt, x, &ldx);
                }
            }

            fn potrf(n: usize, a: &mut [Self]) -> c_int {
                assert!(a.len() >= n * n);
                let mut info = 0;
                // SAFETY: the length was checked.
                unsafe { lapack::$potrf(b'U', int(n), a, int(n), &mut info) };
                info
            }

            fn geqrf(m: usize, n: usize, a: &mut [Self], tau: &mut [Self], work: &mut [Self]) {
                assert!(a.len() >= m * n && tau.len() >= n && work.len() >= n);
                let (mut info, size) = (0, int(work.len()));
                // SAFETY: the lengths were checked; `size` is the length of `work`.
                unsafe { lapack::$geqrf(int(m), int(n), a, int(m), tau, work, size, &mut info) };
            }

            fn orgqr(m: usize, n: usize, a: &mut [Self], tau: &[Self], work: &mut [Self]) {
                assert!(a.len() >= m * n && tau.len() >= n && work.len() >= n && m >= n);
                let (mut info, size) = (0, int(work.len()));
                // SAFETY: the lengths were checked; `size` is the length of `work`.
                unsafe { lapack::$orgqr(int(m), int(n), int(n), a, int(m), tau, work, size, &mut info) };
            }

            fn gesdd(
                m: usize,
                n: usize,
                a: &mut [Self],
                s: &mut [Self],
                u: &mut [Self],
                vt: &mut [Self],
                work: &mut [Self],
                iwork: &mut [c_int],
            ) -> c_int {
                assert!(a.len() >= m * n && s.len() >= n && u.len() >= m * n && vt.len() >= n * n && m >= n);
                assert!(iwork.len() >= 8 * n);
                let (m, n, size, mut info) = (int(m), int(n), int(work.len()), 0);
                // SAFETY: the lengths were checked; `size` is the length of `work`.
                unsafe {
                    lapack::$gesdd(b'S', m, n, a, m, s, u, m, vt, n, work, size, iwork, &mut info);
                }
                info
            }

            fn syevd(
                n: usize,
                a: &mut [Self],
                w: &mut [Self],
                work: &mut [Self],
                iwork: &mut [c_int],
            ) -> c_int {
                assert!(a.len() >= n * n && w.len() >= n);
                let (n, size, isize, mut info) = (int(n), int(work.len()), int(iwork.len()), 0);
                // SAFETY: the lengths were checked; the sizes are those of the work arrays.
                unsafe { lapack::$syevd(b'V', b'L', n, a, n, w, work, size, iwork, isize, &mut info) };
                info
            }
        }
    };
}
routines!(f32, sgemm_, strsm_, spotrf, sgeqrf, sorgqr, sgesdd, ssyevd);
routines!(f64, dgemm_, dtrsm_, dpotrf, dgeqrf, dorgqr, dgesdd, dsyevd);

/// Writes column-major `columns` of height `a.rows()` into `a`.
fn store<T: Scalar>(columns: &[T], a: PanelMut<'_, T>) {
    let (rows, cols) = (a.cols(), a.rows());
    kernel::transpose(Panel::from_slice(columns, rows, cols), a);
}

/// Reads `a` into column-major `columns`.
fn load<T: Scalar>(a: Panel<'_, T>, columns: &mut [T]) {
    kernel::transpose(a, PanelMut::from_slice(columns, a.cols(), a.rows()));
}

impl<T: Routines> Engine<T> for OpenBlas {
    const NAME: &'static str = "cpu-openblas";

    fn gemm(alpha: T, a: Source<'_, T>, b: Source<'_, T>, beta: T, mut c: PanelMut<'_, T>) {
        run_single_threaded();
        let (ops, ldc) = ([letter(b.op), letter(a.op)], stride(c.as_panel()));
        let (lda, ldb) = (stride(a.panel), stride(b.panel));
        let nmk = [int(c.cols()), int(c.rows()), int(a.cols())];
        let (a, b) = (a.panel.as_ptr(), b.panel.as_ptr());
        // SAFETY: the panels are valid borrows of these shapes and strides; C^T = op(B)^T op(A)^T.
        unsafe { T::gemm(ops, nmk, alpha, b, ldb, a, lda, beta, c.as_mut_ptr(), ldc) };
    }

    fn trsm(side: Side, triangle: Triangle, t: Source<'_, T>, mut x: PanelMut<'_, T>) {
        run_single_threaded();
        // Transposing swaps sides and triangles.
        let side = match side {
            Side::Left => b'R',
            Side::Right => b'L',
        };
        let triangle = match triangle {
            Triangle::Lower => b'U',
            Triangle::Upper => b'L',
        };
        let (letters, nm) = ([side, triangle, letter(t.op)], [int(x.cols()), int(x.rows())]);
        let (ldt, ldx) = (stride(t.panel), stride(x.as_panel()));
        // SAFETY: the panels are valid borrows of these shapes and strides.
        unsafe { T::trsm(letters, nm, t.panel.as_ptr(), ldt, x.as_mut_ptr(), ldx) };
    }

    fn cholesky(shift: T, mut a: PanelMut<'_, T>) -> Result<(), usize> {
        run_single_threaded();
        let n = a.rows();
        with_stack(array_of::<T>(n * n), |stack| {
            let (mut l, _) = carve::<T>(n * n, stack);
            kernel::copy(a.as_panel(), PanelMut::from_slice(&mut l, n, n));
            (0..n).for_each(|i| l[i * n + i] += shift);
            // The row-major lower triangle is the column-major upper one.
            let bad = usize::try_from(T::potrf(n, &mut l)).expect("potrf was called with valid arguments");
            if bad > 0 {
                return Err(bad - 1);
            }
            // Comparisons with NaN let it pass as a pivot.
            (0..n).find(|&i| !l[i * n + i].is_finite()).map_or(Ok(()), Err)?;
            for i in 0..n {
                let row = a.row_mut(i);
                row[..=i].copy_from_slice(&l[i * n..=i * n + i]);
                row[i + 1..].fill(T::ZERO);
            }
            Ok(())
        })
    }

    fn qr(mut a: PanelMut<'_, T>, mut r: PanelMut<'_, T>) {
        run_single_threaded();
        let (m, n) = (a.rows(), a.cols());
        let needed =
            StackReq::all_of(&[array_of::<T>(m * n), array_of::<T>(n).array(2), array_of::<T>(n * BLOCK)]);
        with_stack(needed, |stack| {
            let (mut w, stack) = carve::<T>(m * n, stack);
            let (mut tau, stack) = carve::<T>(n, stack);
            let (mut signs, stack) = carve::<T>(n, stack);
            let (mut work, _) = carve::<T>(n * BLOCK, stack);
            load(a.as_panel(), &mut w);
            T::geqrf(m, n, &mut w, &mut tau, &mut work);
            for i in 0..n {
                let sign = if w[i * m + i] < T::ZERO { -T::ONE } else { T::ONE };
                for (j, x) in r.row_mut(i).iter_mut().enumerate() {
                    *x = if j < i { T::ZERO } else { sign * w[j * m + i] };
                }
                signs[i] = sign;
            }
            T::orgqr(m, n, &mut w, &tau, &mut work);
            for (column, sign) in w.chunks_exact_mut(m).zip(&*signs) {
                column.iter_mut().for_each(|x| *x *= *sign);
            }
            store(&w, a.reborrow());
        });
    }

    fn svd(mut a: PanelMut<'_, T>, s: &mut [T], v: PanelMut<'_, T>) -> Result<(), NotConverged> {
        run_single_threaded();
        let (m, n) = (a.rows(), a.cols());
        let work = 4 * n * n + 7 * n + BLOCK * (m + n);
        let needed = StackReq::all_of(&[
            array_of::<T>(m * n).array(2),
            array_of::<T>(n * n),
            array_of::<T>(work),
            array_of::<c_int>(8 * n),
        ]);
        with_stack(needed, |stack| {
            let (mut w, stack) = carve::<T>(m * n, stack);
            let (mut u, stack) = carve::<T>(m * n, stack);
            let (mut vt, stack) = carve::<T>(n * n, stack);
            let (mut work, stack) = carve::<T>(work, stack);
            let (mut iwork, _) = carve::<c_int>(8 * n, stack);
            load(a.as_panel(), &mut w);
            match T::gesdd(m, n, &mut w, s, &mut u, &mut vt, &mut work, &mut iwork) {
                0 => {
                    store(&u, a.reborrow());
                    // Column-major V^T is row-major V.
                    kernel::copy(Panel::from_slice(&vt, n, n), v);
                    Ok(())
                }
                _ => Err(NotConverged),
            }
        })
    }

    fn eigh(mut a: PanelMut<'_, T>, w: &mut [T]) -> Result<(), NotConverged> {
        run_single_threaded();
        let n = w.len();
        let (work, iwork) = (1 + 6 * n + 2 * n * n + BLOCK * n, 3 + 5 * n);
        let needed = StackReq::all_of(&[array_of::<T>(n * n), array_of::<T>(work), array_of::<c_int>(iwork)]);
        with_stack(needed, |stack| {
            let (mut q, stack) = carve::<T>(n * n, stack);
            let (mut work, stack) = carve::<T>(work, stack);
            let (mut iwork, _) = carve::<c_int>(iwork, stack);
            load(a.as_panel(), &mut q);
            match T::syevd(n, &mut q, w, &mut work, &mut iwork) {
                0 => {
                    store(&q, a.reborrow());
                    Ok(())
                }
                _ => Err(NotConverged),
            }
        })
    }
}
