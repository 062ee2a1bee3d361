//! [`Factor`] by WGSL kernels, one workgroup a problem: Cholesky in workgroup memory where it fits, Householder QR,
//! one-sided Jacobi followed by QR for the SVD, cyclic Jacobi for symmetric matrices, Gauss-Jordan for inverses.

use super::{
    Wgpu,
    launch::{Argument, Kernel, Launch},
};
use crate::{Backend, DeviceError, Dims, Factor, Layout, MatsMut, PivotGuard, check};
use lr_kernels::wgsl;

type Mut<'a> = MatsMut<'a, Wgpu>;

/// Largest order whose Cholesky factor fits into workgroup memory.
const SMALL: usize = 88;

/// Sweeps of rotations before an iteration counts as not converging; ten are plenty.
const MAX_SWEEPS: usize = 30;

/// Shifts tried before a matrix counts as hopeless: each doubles the last.
const MAX_SHIFTS: usize = 100;

/// Words of a problem that a kernel keeps between launches.
const STATE: usize = 4;

/// What a factorization in steps works on.
struct Steps<'a> {
    kernel: Kernel,
    arguments: &'a [Argument<'a>],
    problems: usize,
    /// The kernel's words before `begin` and `end`.
    shape: &'a [u32],
    /// Words behind them.
    rest: &'a [u32],
    /// Number of steps.
    steps: usize,
    /// Passes through loops that one invocation makes in a step, at most.
    cost: usize,
}

impl Wgpu {
    /// As many steps in a launch as the device may run at once (`Device::loop_budget`).
    #[track_caller]
    fn in_steps(&self, s: &Steps<'_>) {
        if !self.affordable(s.kernel, s.cost) {
            return;
        }
        let size = (self.device.loop_budget() / s.cost.max(1)).max(1);
        for begin in (0..s.steps).step_by(size) {
            let range = [begin as u32, (begin + size).min(s.steps) as u32];
            let words = &[s.shape, &range, s.rest].concat()[..];
            let (kernel, arguments, problems) = (s.kernel, s.arguments, s.problems);
            self.launch(&Launch { kernel, arguments, problems, groups: 1, words });
        }
    }

    /// Whether one launch may pass `cost` times through loops; if not, the device has failed.
    fn affordable(&self, kernel: Kernel, cost: usize) -> bool {
        let affordable = cost <= self.device.loop_budget();
        if !affordable {
            let reason = format!("{}: matrices of this size need a GPU, not a software adapter", kernel.name);
            self.device.fail(DeviceError::Unavailable { device: Self::NAME, reason });
        }
        affordable
    }

    /// Temporary memory of one problem's state and `len` elements for each problem.
    fn with_state(
        &self,
        problems: usize,
        len: usize,
        work: impl FnOnce(Argument<'_>, &dyn Fn(Dims) -> Layout),
    ) {
        self.device.with_workspace(problems * (STATE + len), |workspace| {
            let state = Argument::new(workspace, Layout::packed(0, Dims::new(problems, 1, STATE)));
            work(state, &|dims| Layout::packed(problems * STATE, dims));
        });
    }

    #[track_caller]
    fn record_qr(&self, a: Argument<'_>, r: Argument<'_>, status: Argument<'_>, state: Argument<'_>) {
        let Dims { batch, rows: m, cols: n } = a.layout.dims;
        self.in_steps(&Steps {
            kernel: Kernel::new(wgsl::QR, "main"),
            arguments: &[a, r, status, state],
            problems: batch,
            shape: &[m as u32, n as u32],
            rest: &[],
            steps: 2 * n + 1,
            cost: (m * n / 128).max(n.div_ceil(16) * (m / 8 + 18) + m / 64 + n / 256) + 16,
        });
    }
}

impl Factor for Wgpu {
    #[track_caller]
    fn cholesky(&self, guard: PivotGuard, a: Mut<'_>, status: Mut<'_>) {
        let d = a.dims();
        check::square("cholesky", d);
        check::status("cholesky: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        let (relative, attempts) = match guard {
            PivotGuard::Report => (0.0, 1),
            PivotGuard::Shift { relative } => (relative as f32, 1 + MAX_SHIFTS),
        };
        let n = d.rows;
        // Four terms of a sum at a time, for every column and for each row that an invocation has in it.
        let cost = n * (n / 8 + 5) * n.div_ceil(128) + n + n * n / 64;
        self.with_state(d.batch, 0, |state, _| {
            self.in_steps(&Steps {
                kernel: Kernel::new(wgsl::CHOLESKY, if n <= SMALL { "small" } else { "large" }),
                arguments: &[(&a).into(), (&status).into(), state],
                problems: d.batch,
                shape: &[n as u32],
                rest: &[relative.to_bits(), attempts as u32],
                steps: attempts,
                cost,
            });
        });
    }

    #[track_caller]
    fn qr(&self, a: Mut<'_>, r: Mut<'_>, status: Mut<'_>) {
        let d = a.dims();
        check::tall("qr", d);
        check::is("qr: r", r.dims(), Dims::square(d.batch, d.cols));
        check::status("qr: status", status.dims(), d.batch);
        if !d.is_empty() {
            self.with_state(d.batch, 0, |state, _| {
                self.record_qr((&a).into(), (&r).into(), (&status).into(), state);
            });
        }
    }

    #[track_caller]
    fn svd(&self, a: Mut<'_>, s: Mut<'_>, v: Mut<'_>, status: Mut<'_>) {
        let d = a.dims();
        check::tall("svd", d);
        check::is("svd: s", s.dims(), Dims::new(d.batch, 1, d.cols));
        check::is("svd: v", v.dims(), Dims::square(d.batch, d.cols));
        check::status("svd: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        let (m, n) = (d.rows, d.cols);
        let (players, rounds) = players_and_rounds(n);
        // Roundings of inner products over m rows, of which each invocation sums a part; what is orthogonal to
        // these needs no rotation. Columns shorter than the roundings of others never get orthogonal to these.
        let orthogonal = f32::EPSILON * (2.0 + 0.25 * (m as f32).sqrt());
        let noise = f32::EPSILON * f32::EPSILON * m as f32;
        let lanes = 256 / (players / 2).next_power_of_two().min(256);
        let round = (players / 2).div_ceil(256) * (2 * m / lanes + n / lanes + lanes + 8);
        let last = n.div_ceil(256) * (2 * m + 4 * n) + m * n / 128;
        self.with_state(d.batch, m * n, |state, place| {
            let work = Argument::new(state.buffer, place(Dims::new(d.batch, 1, m * n)));
            self.in_steps(&Steps {
                kernel: Kernel::new(wgsl::JACOBI_SVD, "main"),
                arguments: &[(&a).into(), (&s).into(), (&v).into(), (&status).into(), state, work],
                problems: d.batch,
                shape: &[m as u32, n as u32],
                rest: &[1 + rounds as u32, orthogonal.to_bits(), noise.to_bits()],
                steps: rounds + 2,
                cost: round.max(last) + 16,
            });
            // U diag(s) = U R: the triangular factor is diagonal and not needed.
            let r = Argument::new(state.buffer, place(Dims::square(d.batch, n)));
            self.record_qr((&a).into(), r, (&status).into(), state);
        });
    }

    #[track_caller]
    fn eigh(&self, a: Mut<'_>, w: Mut<'_>, status: Mut<'_>) {
        let d = a.dims();
        check::square("eigh", d);
        check::is("eigh: w", w.dims(), Dims::new(d.batch, 1, d.cols));
        check::status("eigh: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        let n = d.rows;
        let (players, rounds) = players_and_rounds(n);
        let round = (players / 2).div_ceil(256) * (n * (players / 2).min(256) / 128 + 8);
        let last = n.div_ceil(256) * 4 * n + n * n / 128;
        self.with_state(d.batch, n * n, |state, place| {
            let work = Argument::new(state.buffer, place(Dims::new(d.batch, 1, n * n)));
            self.in_steps(&Steps {
                kernel: Kernel::new(wgsl::EIGH, "main"),
                arguments: &[(&a).into(), (&w).into(), (&status).into(), state, work],
                problems: d.batch,
                shape: &[n as u32],
                rest: &[1 + rounds as u32],
                steps: rounds + 2,
                cost: round.max(last) + 16,
            });
        });
    }

    #[track_caller]
    fn invert(&self, a: Mut<'_>, status: Mut<'_>) {
        let d = a.dims();
        check::square("invert", d);
        check::status("invert: status", status.dims(), d.batch);
        if d.is_empty() {
            return;
        }
        let n = d.rows;
        self.with_state(d.batch, n * n, |state, place| {
            let work = Argument::new(state.buffer, place(Dims::new(d.batch, 1, n * n)));
            self.in_steps(&Steps {
                kernel: Kernel::new(wgsl::INVERT, "main"),
                arguments: &[(&a).into(), (&status).into(), state, work],
                problems: d.batch,
                shape: &[n as u32],
                rest: &[],
                steps: n + 2,
                cost: n * n / 128 + n / 64 + 32,
            });
        });
    }
}

/// Players of a round-robin tournament of `n` columns, and all rounds of all sweeps.
fn players_and_rounds(n: usize) -> (usize, usize) {
    let players = n.next_multiple_of(2);
    (players, MAX_SWEEPS * (players - 1))
}
