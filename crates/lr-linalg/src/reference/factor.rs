//! [`Factor`] by the textbook, in `f64`; see [`super::dense`].

use super::{
    Reference,
    dense::{self, Dense},
};
use crate::{Dims, Factor, MatsMut, Panel, PivotGuard, Scalar, check};

type Mut<'a, T> = MatsMut<'a, Reference<T>>;

/// Shifts tried before a matrix counts as hopeless: each doubles the last.
const MAX_SHIFTS: i32 = 100;

fn read<T: Scalar>(panel: Panel<'_, T>) -> Dense {
    let data = (0..panel.rows()).flat_map(|i| panel.row(i)).map(|x| x.to_f64()).collect();
    Dense { rows: panel.rows(), cols: panel.cols(), data }
}

fn write<T: Scalar>(values: &[f64], target: &mut Mut<'_, T>, p: usize) {
    let (cols, mut panel) = (target.dims().cols, target.panel_mut(p));
    for i in 0..panel.rows() {
        for (j, x) in panel.row_mut(i).iter_mut().enumerate() {
            *x = T::from_f64(values[i * cols + j]);
        }
    }
}

fn report<T: Scalar>(status: &mut Mut<'_, T>, p: usize, value: f64) {
    write(&[value], status, p);
}

/// The factor, and the status to report (zero for none).
fn guarded_cholesky(guard: PivotGuard, mut a: Dense) -> (Dense, f64) {
    let n = a.rows;
    let identity = Dense::identity(n, n);
    let bad = match dense::cholesky(&a) {
        Ok(l) => return (l, 0.0),
        Err(bad) => bad,
    };
    let PivotGuard::Shift { relative } = guard else { return (identity, bad as f64 + 1.0) };
    let mean = (0..n).map(|i| a.get(i, i)).sum::<f64>() / n as f64;
    let diagonal: Vec<f64> = (0..n).map(|i| a.get(i, i)).collect();
    if mean > 0.0 && mean.is_finite() {
        for attempt in 0..MAX_SHIFTS {
            let shift = relative * mean * f64::from(attempt).exp2();
            (0..n).for_each(|i| *a.at(i, i) = diagonal[i] + shift);
            if let Ok(l) = dense::cholesky(&a) {
                return (l, f64::from(attempt) + 1.0);
            }
        }
    }
    (identity, -1.0)
}

impl<T: Scalar> Factor for Reference<T> {
    #[track_caller]
    fn cholesky(&self, guard: PivotGuard, mut a: Mut<'_, T>, mut status: Mut<'_, T>) {
        let d = a.dims();
        check::square("cholesky", d);
        check::status("cholesky: status", status.dims(), d.batch);
        for p in 0..d.batch {
            let (l, code) = guarded_cholesky(guard, read(a.panel(p)));
            write(&l.data, &mut a, p);
            if code != 0.0 {
                report(&mut status, p, code);
            }
        }
    }

    #[track_caller]
    fn qr(&self, mut a: Mut<'_, T>, mut r: Mut<'_, T>, mut status: Mut<'_, T>) {
        let d = a.dims();
        check::tall("qr", d);
        check::is("qr: r", r.dims(), Dims::square(d.batch, d.cols));
        check::status("qr: status", status.dims(), d.batch);
        for p in 0..d.batch {
            let matrix = read(a.panel(p));
            let (q, upper) = if matrix.is_finite() {
                dense::qr(matrix)
            } else {
                report(&mut status, p, 1.0);
                (Dense::identity(d.rows, d.cols), Dense::identity(d.cols, d.cols))
            };
            write(&q.data, &mut a, p);
            write(&upper.data, &mut r, p);
        }
    }

    #[track_caller]
    fn svd(&self, mut a: Mut<'_, T>, mut s: Mut<'_, T>, mut v: Mut<'_, T>, mut status: Mut<'_, T>) {
        let d = a.dims();
        check::tall("svd", d);
        check::is("svd: s", s.dims(), Dims::new(d.batch, 1, d.cols));
        check::is("svd: v", v.dims(), Dims::square(d.batch, d.cols));
        check::status("svd: status", status.dims(), d.batch);
        for p in 0..d.batch {
            let matrix = read(a.panel(p));
            let parts = if matrix.is_finite() { dense::svd(matrix) } else { None };
            let (u, values, right) = parts.unwrap_or_else(|| {
                report(&mut status, p, 1.0);
                (Dense::identity(d.rows, d.cols), vec![0.0; d.cols], Dense::identity(d.cols, d.cols))
            });
            write(&u.data, &mut a, p);
            write(&values, &mut s, p);
            write(&right.data, &mut v, p);
        }
    }

    #[track_caller]
    fn eigh(&self, mut a: Mut<'_, T>, mut w: Mut<'_, T>, mut status: Mut<'_, T>) {
        let d = a.dims();
        check::square("eigh", d);
        check::is("eigh: w", w.dims(), Dims::new(d.batch, 1, d.cols));
        check::status("eigh: status", status.dims(), d.batch);
        for p in 0..d.batch {
            let mut matrix = read(a.panel(p));
            for i in 0..d.rows {
                (i + 1..d.cols).for_each(|j| *matrix.at(i, j) = 0.0);
            }
            let parts = if matrix.is_finite() { dense::eigh(matrix) } else { None };
            let (q, values) = parts.unwrap_or_else(|| {
                report(&mut status, p, 1.0);
                (Dense::identity(d.cols, d.cols), vec![0.0; d.cols])
            });
            write(&q.data, &mut a, p);
            write(&values, &mut w, p);
        }
    }

    #[track_caller]
    fn invert(&self, mut a: Mut<'_, T>, mut status: Mut<'_, T>) {
        let d = a.dims();
        check::square("invert", d);
        check::status("invert: status", status.dims(), d.batch);
        for p in 0..d.batch {
            let matrix = read(a.panel(p));
            let inverse = if matrix.is_finite() { dense::invert(matrix) } else { None };
            let inverse = inverse.filter(|x| x.data.iter().all(|&x| Scalar::is_finite(T::from_f64(x))));
            let inverse = inverse.unwrap_or_else(|| {
                report(&mut status, p, 1.0);
                Dense::identity(d.rows, d.rows)
            });
            write(&inverse.data, &mut a, p);
        }
    }
}
