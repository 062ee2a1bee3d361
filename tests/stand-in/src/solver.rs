//! cuSOLVER: the batched symmetric eigendecomposition by Jacobi's method, as plain loops in f64.

use std::ffi::{c_double, c_int, c_uint};

use lr_ptx::Memory;

use crate::blas::{Handle, create};
use crate::context::usable;
use crate::matrix::{Extents, Part, Precision};
use crate::state::lock;
use crate::status::SUCCESS;
use crate::work::Work;

/// `cusolverStatus_t`.
type SolverStatus = u32;
const NOT_INITIALIZED: SolverStatus = 1;
const INVALID_VALUE: SolverStatus = 3;
const EXECUTION_FAILED: SolverStatus = 6;

/// Settings of the iteration.
pub(crate) struct Iteration {
    sort: bool,
}

/// A batch of eigenproblems; the matrices become the eigenvectors.
#[derive(Clone, Debug)]
pub(crate) struct Syevj {
    pub(crate) precision: Precision,
    pub(crate) vectors: bool,
    pub(crate) part: Part,
    pub(crate) n: usize,
    pub(crate) leading: usize,
    pub(crate) matrices: u64,
    pub(crate) values: u64,
    /// Workspace and its elements.
    pub(crate) work: (u64, usize),
    pub(crate) info: u64,
    pub(crate) sort: bool,
    pub(crate) count: usize,
}

/// Sweeps after which a matrix counts as not converged.
const SWEEPS: usize = 100;

/// Eigenvalues and, column after column, eigenvectors of a symmetric matrix; `None` if it holds NaN or infinity.
pub(crate) fn eigen(mut a: Vec<f64>, n: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    let norm: f64 = a.iter().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..SWEEPS {
        if !norm.is_finite() {
            return None;
        }
        let mut off = 0.0;
        for p in 0..n {
            for q in p + 1..n {
                let x = a[q * n + p];
                off += x * x;
                if x.abs() <= f64::MIN_POSITIVE {
                    continue;
                }
                // The rotation that makes a[p, q] zero.
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * x);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (v[p * n + k], v[q * n + k]);
                    (v[p * n + k], v[q * n + k]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
        if off.sqrt() <= 1e-15 * norm {
            return Some(((0..n).map(|i| a[i * n + i]).collect(), v));
        }
    }
    None
}

impl Syevj {
    pub(crate) fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let n = self.n;
        let square = Extents { rows: n, cols: n, leading: self.leading, precision: self.precision };
        let column = Extents { rows: n, cols: 1, leading: n.max(1), precision: self.precision };
        let size = self.precision.size();
        // Nothing may rely on what the workspace holds afterwards.
        let garbage = vec![0xFF; self.work.1 * size as usize];
        memory.write(self.work.0, &garbage).map_err(|e| format!("syevj workspace: {e}"))?;
        for i in 0..self.count as u64 {
            let address = self.matrices + i * (self.leading * n) as u64 * size;
            let stored = square.gather(memory, "syevj A", address, self.part)?;
            let mut a = stored.clone();
            for (i, j) in (0..n).flat_map(|j| (0..n).map(move |i| (i, j))) {
                let kept = if self.part == Part::Upper { i <= j } else { i >= j };
                a[j * n + i] = if kept { stored[j * n + i] } else { stored[i * n + j] };
            }
            let found = eigen(a, n);
            let info: i32 = if found.is_some() { 0 } else { n as i32 + 1 };
            let (values, vectors) = found.unwrap_or_else(|| (vec![f64::NAN; n], vec![f64::NAN; n * n]));
            let mut order: Vec<usize> = (0..n).collect();
            if self.sort {
                order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
            }
            let sorted: Vec<f64> = order.iter().map(|&i| values[i]).collect();
            column.scatter(memory, "syevj W", self.values + i * n as u64 * size, &sorted)?;
            if self.vectors {
                let columns: Vec<f64> =
                    order.iter().flat_map(|&i| &vectors[i * n..(i + 1) * n]).copied().collect();
                square.scatter(memory, "syevj A", address, &columns)?;
            }
            memory.write(self.info + 4 * i, &info.to_le_bytes()).map_err(|e| format!("syevj info: {e}"))?;
        }
        Ok(())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cusolverDnCreate(handle: *mut *mut Handle) -> SolverStatus {
    // SAFETY: the library's contract.
    unsafe { create(handle, NOT_INITIALIZED) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cusolverDnDestroy(handle: *mut Handle) -> SolverStatus {
    if handle.is_null() {
        return NOT_INITIALIZED;
    }
    // SAFETY: made by `create`, destroyed once.
    drop(unsafe { Box::from_raw(handle) });
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cusolverDnSetStream(handle: *mut Handle, stream: u64) -> SolverStatus {
    // SAFETY: the library's contract: null or a live handle.
    match unsafe { handle.as_mut() } {
        Some(handle) => handle.stream = stream,
        None => return NOT_INITIALIZED,
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn cusolverDnSetDeterministicMode(_handle: *mut Handle, _mode: c_uint) -> SolverStatus {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cusolverDnCreateSyevjInfo(info: *mut *mut Iteration) -> SolverStatus {
    if info.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: not null, and the library's contract for the rest.
    unsafe { info.write(Box::into_raw(Box::new(Iteration { sort: true }))) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cusolverDnDestroySyevjInfo(info: *mut Iteration) -> SolverStatus {
    if info.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: made by `cusolverDnCreateSyevjInfo`, destroyed once.
    drop(unsafe { Box::from_raw(info) });
    0
}

/// The iteration always runs until it has converged to f64.
#[unsafe(no_mangle)]
extern "C" fn cusolverDnXsyevjSetTolerance(_info: *mut Iteration, _tolerance: c_double) -> SolverStatus {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cusolverDnXsyevjSetMaxSweeps(_info: *mut Iteration, _sweeps: c_int) -> SolverStatus {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cusolverDnXsyevjSetSortEig(info: *mut Iteration, sort: c_int) -> SolverStatus {
    // SAFETY: the library's contract: null or live settings.
    match unsafe { info.as_mut() } {
        Some(info) => info.sort = sort != 0,
        None => return INVALID_VALUE,
    }
    0
}

/// Elements of the workspace that the stand-in asks for: it uses none, but spoils all.
fn work_elements(n: c_int, count: c_int) -> c_int {
    n.saturating_mul(4).saturating_add(32).saturating_mul(count).max(1)
}

macro_rules! eigenproblems {
    ($ty:ty, $precision:ident, $size:ident, $run:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $size(
            handle: *mut Handle,
            _vectors: c_uint,
            _fill: c_uint,
            n: c_int,
            _a: u64,
            _lda: c_int,
            _w: u64,
            elements: *mut c_int,
            _settings: *mut Iteration,
            count: c_int,
        ) -> SolverStatus {
            if handle.is_null() {
                return NOT_INITIALIZED;
            }
            if elements.is_null() || n < 0 || count < 0 {
                return INVALID_VALUE;
            }
            // SAFETY: not null, and the library's contract for the rest.
            unsafe { elements.write(work_elements(n, count)) };
            0
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $run(
            handle: *mut Handle,
            vectors: c_uint,
            fill: c_uint,
            n: c_int,
            a: u64,
            lda: c_int,
            w: u64,
            work: u64,
            elements: c_int,
            info: u64,
            settings: *mut Iteration,
            count: c_int,
        ) -> SolverStatus {
            // SAFETY: the library's contract: null or a live handle, null or live settings.
            let (Some(handle), Some(settings)) = (unsafe { (handle.as_ref(), settings.as_ref()) }) else {
                return NOT_INITIALIZED;
            };
            let Some(part) = Part::parse(fill) else { return INVALID_VALUE };
            if n < 0 || lda < n.max(1) || count < 0 || vectors > 1 || elements < work_elements(n, count) {
                return INVALID_VALUE;
            }
            let problem = Syevj {
                precision: Precision::$precision,
                vectors: vectors == 1,
                part,
                n: n as usize,
                leading: lda as usize,
                matrices: a,
                values: w,
                work: (work, elements as usize),
                info,
                sort: settings.sort,
                count: count as usize,
            };
            let mut state = lock();
            if usable(&state).is_err() || state.submit(handle.stream, Work::Syevj(problem)) != SUCCESS {
                return EXECUTION_FAILED;
            }
            0
        }
    };
}

eigenproblems!(f32, Single, cusolverDnSsyevjBatched_bufferSize, cusolverDnSsyevjBatched);
eigenproblems!(f64, Double, cusolverDnDsyevjBatched_bufferSize, cusolverDnDsyevjBatched);
