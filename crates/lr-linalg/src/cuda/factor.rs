//! [`Factor`] on a GPU: one thread block a problem, by the kernels of `lr-kernels`; the symmetric
//! eigendecomposition by cuSOLVER's batched Jacobi method.

use super::{Args, Cuda, CudaReal, Grid, solver::syevj_batched};
use crate::{Dims, Factor, Linalg, MatsMut, PivotGuard, check};
use lr_kernels::ptx::{self, Precision};

/// Shifts tried before a matrix counts as hopeless: each doubles the last.
const MAX_SHIFTS: usize = 100;

/// Length below which a column of a matrix with entries of about 1 counts as zero in a QR factorization:
/// squares much smaller have lost their digits.
fn floor<T: CudaReal>() -> f64 {
    match T::PRECISION {
        Precision::Single => 1e-15,
        Precision::Double => 1e-140,
    }
}

impl<T: CudaReal> Cuda<T> {
    /// `a` becomes `Q`; `R` is kept where there is a place for it.
    fn householder(
        &self,
        a: &mut MatsMut<'_, Self>,
        r: Option<&mut MatsMut<'_, Self>>,
        status: &mut MatsMut<'_, Self>,
    ) {
        let Dims { batch, rows, cols } = a.dims();
        let args = Args::new().matrix(a.as_ref());
        let args = match r {
            Some(r) => args.matrix(r.as_ref()),
            None => args.word(0).size(0).size(0),
        };
        let args = args.scalar(status.as_ref()).size(rows).size(cols);
        let args = args.real::<T>(T::MIN_POSITIVE).real::<T>(floor::<T>());
        self.run(&ptx::QR, "qr_real", Grid { blocks: batch, shared: 0 }, &args);
    }
}

impl<T: CudaReal> Factor for Cuda<T> {
    #[track_caller]
    fn cholesky(&self, guard: PivotGuard, a: MatsMut<'_, Self>, status: MatsMut<'_, Self>) {
        let Dims { batch, cols: n, .. } = a.dims();
        check::square("cholesky", a.dims());
        check::status("cholesky: status", status.dims(), batch);
        if a.dims().is_empty() {
            return;
        }
        let (tries, relative) = match guard {
            PivotGuard::Report => (0, 0.0),
            PivotGuard::Shift { relative } => (MAX_SHIFTS, relative),
        };
        let args = Args::new().matrix(a.as_ref()).scalar(status.as_ref());
        let args = args.size(n).size(tries).real::<T>(relative);
        let grid = Grid { blocks: batch, shared: n * size_of::<T>() };
        self.run(&ptx::CHOLESKY, "cholesky_real", grid, &args);
    }

    #[track_caller]
    fn qr(&self, mut a: MatsMut<'_, Self>, mut r: MatsMut<'_, Self>, mut status: MatsMut<'_, Self>) {
        let d = a.dims();
        check::tall("qr", d);
        check::is("qr: r", r.dims(), Dims::square(d.batch, d.cols));
        check::status("qr: status", status.dims(), d.batch);
        if !d.is_empty() {
            self.householder(&mut a, Some(&mut r), &mut status);
        }
    }

    #[track_caller]
    fn svd(
        &self,
        mut a: MatsMut<'_, Self>,
        s: MatsMut<'_, Self>,
        v: MatsMut<'_, Self>,
        mut status: MatsMut<'_, Self>,
    ) {
        let d @ Dims { batch, rows, cols } = a.dims();
        check::tall("svd", d);
        check::is("svd: s", s.dims(), Dims::new(batch, 1, cols));
        check::is("svd: v", v.dims(), Dims::square(batch, cols));
        check::status("svd: status", status.dims(), batch);
        if d.is_empty() {
            return;
        }
        let m = rows as f64;
        let args = Args::new().matrix(a.as_ref()).scalar(s.as_ref()).matrix(v.as_ref());
        let args = args.scalar(status.as_ref()).size(rows).size(cols).real::<T>(T::MIN_POSITIVE);
        let args = args.real::<T>((m / 4.0 + 16.0) * T::EPSILON).real::<T>((m * T::EPSILON).powi(2));
        self.run(&ptx::JACOBI_SVD, "jacobi_svd_real", Grid { blocks: batch, shared: 0 }, &args);
        self.householder(&mut a, None, &mut status);
    }

    #[track_caller]
    fn eigh(&self, mut a: MatsMut<'_, Self>, mut w: MatsMut<'_, Self>, mut status: MatsMut<'_, Self>) {
        let Dims { batch, cols, .. } = a.dims();
        check::square("eigh", a.dims());
        check::is("eigh: w", w.dims(), Dims::new(batch, 1, cols));
        check::status("eigh: status", status.dims(), batch);
        syevj_batched(self, &mut a, &mut w, &mut status);
    }

    #[track_caller]
    fn invert(&self, a: MatsMut<'_, Self>, status: MatsMut<'_, Self>) {
        let Dims { batch, cols: n, .. } = a.dims();
        check::square("invert", a.dims());
        check::status("invert: status", status.dims(), batch);
        if a.dims().is_empty() {
            return;
        }
        let args = Args::new().matrix(a.as_ref()).scalar(status.as_ref()).size(n);
        self.run(&ptx::INVERT, "invert_real", Grid { blocks: batch, shared: 12 * n }, &args);
    }
}

impl<T: CudaReal> Linalg for Cuda<T> {}
