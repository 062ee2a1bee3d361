//! [`Factor`] on the CPU: spreads problems over threads, keeps what is not finite away from the
//! engines, scales extreme matrices and writes statuses.

use super::{
    Cpu, Engine, NotConverged, elementwise as kernel,
    kernel::{self as own, Isa},
};
use crate::{Dims, Factor, MatsMut, Panel, PanelMut, PivotGuard, Scalar, check};

type Mut<'a, T, E> = MatsMut<'a, Cpu<T, E>>;

/// Shifts tried before a matrix counts as hopeless: each doubles the last.
const MAX_SHIFTS: i32 = 100;

/// Matrices whose largest entry lies within these powers of two need no scaling.
const MODERATE: f64 = 1048576.0;

fn report<T: Scalar, E: Engine<T>>(status: Mut<'_, T, E>, value: f64) {
    kernel::fill(T::from_f64(value), status.into_panel());
}

/// The power of two that brings the largest entry of a finite matrix near one, where squares neither
/// overflow nor vanish; `None` when something is not finite.
fn scaling<T: Scalar>(a: Panel<'_, T>) -> Option<T> {
    if !kernel::all_within(f64::MAX, a) {
        return None;
    }
    let largest = kernel::max_abs(a).to_f64();
    let moderate = largest == 0.0 || (1.0 / MODERATE..MODERATE).contains(&largest);
    // Subnormal matrices are brought as near as a finite factor can.
    let exponent = if moderate { 0.0 } else { -largest.log2().floor() };
    let limit = -T::MIN_POSITIVE.log2();
    Some(T::from_f64(exponent.clamp(-limit, limit).exp2()))
}

/// By the own kernel or the engine, whichever is faster for the order.
fn try_cholesky<T: Scalar, E: Engine<T>>(shift: T, a: PanelMut<'_, T>) -> Result<(), usize> {
    if own::takes_cholesky(a.rows()) {
        own::cholesky(Isa::current(), shift, a)
    } else {
        E::cholesky(shift, a)
    }
}

/// The status to report, zero for none.
fn cholesky<T: Scalar, E: Engine<T>>(guard: PivotGuard, mut a: PanelMut<'_, T>) -> f64 {
    let bad = match try_cholesky::<T, E>(T::ZERO, a.reborrow()) {
        Ok(()) => return 0.0,
        Err(bad) => bad,
    };
    let PivotGuard::Shift { relative } = guard else {
        kernel::identity(a);
        return bad as f64 + 1.0;
    };
    let mean = (0..a.rows()).map(|i| a.row(i)[i].to_f64()).sum::<f64>() / a.rows() as f64;
    if mean > 0.0 && mean.is_finite() {
        for attempt in 0..MAX_SHIFTS {
            let shift = relative * mean * f64::from(attempt).exp2();
            if try_cholesky::<T, E>(T::from_f64(shift), a.reborrow()).is_ok() {
                return f64::from(attempt) + 1.0;
            }
        }
    }
    kernel::identity(a);
    -1.0
}

impl<T: Scalar, E: Engine<T>> Factor for Cpu<T, E> {
    #[track_caller]
    fn cholesky(&self, guard: PivotGuard, a: Mut<'_, T, E>, status: Mut<'_, T, E>) {
        let d = a.dims();
        check::square("cholesky", d);
        check::status("cholesky: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        self.threads.each(d.rows.pow(3) / 8, (a, status), |_, (a, status)| {
            let code = cholesky::<T, E>(guard, a.into_panel());
            if code != 0.0 {
                report(status, code);
            }
        });
    }

    #[track_caller]
    fn qr(&self, a: Mut<'_, T, E>, r: Mut<'_, T, E>, status: Mut<'_, T, E>) {
        let d = a.dims();
        check::tall("qr", d);
        check::is("qr: r", r.dims(), Dims::square(d.batch, d.cols));
        check::status("qr: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        self.threads.each(d.rows * d.cols * d.cols, (a, r, status), |_, (a, r, status)| {
            let (mut a, mut r) = (a.into_panel(), r.into_panel());
            match scaling(a.as_panel()) {
                Some(factor) => {
                    kernel::scale(factor, a.reborrow());
                    E::qr(a, r.reborrow());
                    kernel::scale(T::ONE / factor, r);
                }
                None => {
                    kernel::identity(a);
                    kernel::identity(r);
                    report(status, 1.0);
                }
            }
        });
    }

    #[track_caller]
    fn svd(&self, a: Mut<'_, T, E>, s: Mut<'_, T, E>, v: Mut<'_, T, E>, status: Mut<'_, T, E>) {
        let d = a.dims();
        check::tall("svd", d);
        check::is("svd: s", s.dims(), Dims::new(d.batch, 1, d.cols));
        check::is("svd: v", v.dims(), Dims::square(d.batch, d.cols));
        check::status("svd: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        self.threads.each(4 * d.rows * d.cols * d.cols, (a, s, v, status), |_, (a, s, v, status)| {
            let (mut a, mut s, mut v) = (a.into_panel(), s.into_panel(), v.into_panel());
            let outcome = scaling(a.as_panel()).ok_or(NotConverged).and_then(|factor| {
                kernel::scale(factor, a.reborrow());
                E::svd(a.reborrow(), s.row_mut(0), v.reborrow())?;
                kernel::scale(T::ONE / factor, s.reborrow());
                Ok(())
            });
            if outcome.is_err() {
                kernel::identity(a);
                kernel::fill(T::ZERO, s);
                kernel::identity(v);
                report(status, 1.0);
            }
        });
    }

    #[track_caller]
    fn eigh(&self, a: Mut<'_, T, E>, w: Mut<'_, T, E>, status: Mut<'_, T, E>) {
        let d = a.dims();
        check::square("eigh", d);
        check::is("eigh: w", w.dims(), Dims::new(d.batch, 1, d.cols));
        check::status("eigh: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        self.threads.each(4 * d.rows.pow(3), (a, w, status), |_, (a, w, status)| {
            let (mut a, mut w) = (a.into_panel(), w.into_panel());
            kernel::mirror_lower(a.reborrow());
            let outcome = scaling(a.as_panel()).ok_or(NotConverged).and_then(|factor| {
                kernel::scale(factor, a.reborrow());
                E::eigh(a.reborrow(), w.row_mut(0))?;
                kernel::scale(T::ONE / factor, w.reborrow());
                Ok(())
            });
            if outcome.is_err() {
                kernel::identity(a);
                kernel::fill(T::ZERO, w);
                report(status, 1.0);
            }
        });
    }

    #[track_caller]
    fn invert(&self, a: Mut<'_, T, E>, status: Mut<'_, T, E>) {
        let d = a.dims();
        check::square("invert", d);
        check::status("invert: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        self.threads.each(d.rows.pow(3) / 4, (a, status), |_, (a, status)| {
            let mut a = a.into_panel();
            if own::invert(Isa::current(), a.reborrow()).is_err() {
                kernel::identity(a);
                report(status, 1.0);
            }
        });
    }
}
