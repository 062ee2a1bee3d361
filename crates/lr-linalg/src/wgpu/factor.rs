//! [`Factor`] by WGSL kernels, one workgroup a problem: Cholesky in workgroup memory where it fits, Householder QR,
//! one-sided Jacobi followed by QR for the SVD, cyclic Jacobi for symmetric matrices, Gauss-Jordan for inverses.

use super::{
    Wgpu,
    launch::{Argument, Kernel, Launch},
    rows,
};
use crate::{Dims, Factor, Layout, MatsMut, PivotGuard, check};
use lr_kernels::wgsl;

type Mut<'a> = MatsMut<'a, Wgpu>;

/// Largest order whose Cholesky factor fits into workgroup memory.
const SMALL: usize = 88;

impl Wgpu {
    /// One workgroup for each problem.
    #[track_caller]
    fn factorize(&self, kernel: Kernel, arguments: &[Argument<'_>], problems: usize, words: &[u32]) {
        self.launch(&Launch { kernel, arguments, problems, groups: 1, words });
    }

    #[track_caller]
    fn record_qr(&self, a: Argument<'_>, r: Argument<'_>, status: Argument<'_>) {
        let d = a.layout.dims;
        let words = [d.rows as u32, d.cols as u32];
        self.factorize(Kernel::new(wgsl::QR, "main"), &[a, r, status], d.batch, &words);
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
        let relative = match guard {
            PivotGuard::Report => 0.0,
            PivotGuard::Shift { relative } => relative as f32,
        };
        let kernel = Kernel::new(wgsl::CHOLESKY, if d.rows <= SMALL { "small" } else { "large" });
        let words = [d.rows as u32, relative.to_bits()];
        self.factorize(kernel, &[(&a).into(), (&status).into()], d.batch, &words);
    }

    #[track_caller]
    fn qr(&self, a: Mut<'_>, r: Mut<'_>, status: Mut<'_>) {
        let d = a.dims();
        check::tall("qr", d);
        check::is("qr: r", r.dims(), Dims::square(d.batch, d.cols));
        check::status("qr: status", status.dims(), d.batch);
        if !d.is_empty() {
            self.record_qr((&a).into(), (&r).into(), (&status).into());
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
        self.device.with_workspace(d.len(), |workspace| {
            let work = Argument::new(workspace, Layout::packed(0, rows(d.batch, d.rows * d.cols)));
            let arguments = [(&a).into(), (&s).into(), (&v).into(), (&status).into(), work];
            let words = [d.rows as u32, d.cols as u32];
            self.factorize(Kernel::new(wgsl::JACOBI_SVD, "main"), &arguments, d.batch, &words);
            // U diag(s) = U R: the triangular factor is diagonal and not needed.
            let r = Argument::new(workspace, Layout::packed(0, Dims::square(d.batch, d.cols)));
            self.record_qr((&a).into(), r, (&status).into());
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
        self.device.with_workspace(d.len(), |workspace| {
            let work = Argument::new(workspace, Layout::packed(0, rows(d.batch, d.rows * d.cols)));
            let arguments = [(&a).into(), (&w).into(), (&status).into(), work];
            self.factorize(Kernel::new(wgsl::EIGH, "main"), &arguments, d.batch, &[d.rows as u32]);
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
        self.device.with_workspace(d.len(), |workspace| {
            let work = Argument::new(workspace, Layout::packed(0, rows(d.batch, d.rows * d.cols)));
            let arguments = [(&a).into(), (&status).into(), work];
            self.factorize(Kernel::new(wgsl::INVERT, "main"), &arguments, d.batch, &[d.rows as u32]);
        });
    }
}
