//! Symmetric eigendecompositions by cuSOLVER's batched Jacobi method.
//!
//! The library takes batches without gaps, does not care for NaN, and reports convergence for each problem: a
//! kernel packs and scales the matrices before, another takes its answers apart afterwards. Its column-major
//! eigenvectors are rows of ours, so that the way back is a transposition.

use super::{Args, Cuda, CudaReal, Grid, library::Eigenproblems, workspace::Piece};
use crate::{DeviceError, Dims, MatsMut, Scalar};
use cudarc::cusolver::{result, sys};
use lr_kernels::ptx;
use std::{collections::HashMap, ffi::c_int};

/// Sweeps after which a problem counts as not converged; cuSOLVER's own limit is meant for speed.
const MOST_SWEEPS: c_int = 100;

/// The library's handle, the settings of its iteration, and what it has said of each size.
#[derive(Debug)]
pub(super) struct Solver {
    handle: sys::cusolverDnHandle_t,
    settings: sys::syevjInfo_t,
    /// Elements to work in, by order, batch, and bytes of an element.
    elements: HashMap<(usize, usize, usize), c_int>,
}

impl Solver {
    fn new(stream: cudarc::driver::sys::CUstream) -> Result<Self, sys::cusolverStatus_t> {
        let handle = result::dn_create().map_err(|e| e.0)?;
        let mut solver = Self { handle, settings: std::ptr::null_mut(), elements: HashMap::new() };
        // SAFETY: the handle is alive, the stream outlives it.
        unsafe {
            result::dn_set_stream(handle, stream.cast())
                .and_then(|()| sys::cusolverDnCreateSyevjInfo(&mut solver.settings).result())
                .and_then(|()| sys::cusolverDnXsyevjSetMaxSweeps(solver.settings, MOST_SWEEPS).result())
                .map_err(|e| e.0)?;
        }
        Ok(solver)
    }

    /// Elements that [`super::library::Library::syevj`] works in.
    fn elements<T: CudaReal>(&mut self, problems: Eigenproblems) -> Result<c_int, sys::cusolverStatus_t> {
        let key = (problems.n as usize, problems.batch as usize, size_of::<T>());
        if let Some(&elements) = self.elements.get(&key) {
            return Ok(elements);
        }
        let mut elements = 0;
        // SAFETY: handle and settings are alive; the matrices are not read.
        unsafe { T::syevj_elements(self.handle, problems, &mut elements) }.result().map_err(|e| e.0)?;
        self.elements.insert(key, elements);
        Ok(elements)
    }
}

impl Drop for Solver {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once. There is nobody to tell of a failure.
        unsafe {
            if !self.settings.is_null() {
                let _ = sys::cusolverDnDestroySyevjInfo(self.settings);
            }
            let _ = result::dn_destroy(self.handle);
        }
    }
}

/// Makes a failed call stick.
fn failed<T: CudaReal>(b: &Cuda<T>, what: &str, status: sys::cusolverStatus_t) -> DeviceError {
    b.device.called(what, Some(format!("{status:?}")));
    b.device.check().err().unwrap_or_else(|| super::probe::unavailable(what))
}

/// See [`crate::Factor::eigh`]; shapes have been checked. A failure sticks to the device.
pub(super) fn syevj_batched<T: CudaReal>(
    b: &Cuda<T>,
    a: &mut MatsMut<'_, Cuda<T>>,
    w: &mut MatsMut<'_, Cuda<T>>,
    status: &mut MatsMut<'_, Cuda<T>>,
) {
    if a.dims().is_empty() || !b.device.ready() {
        return;
    }
    // The error has stuck already.
    let _ = try_syevj_batched(b, a, w, status);
}

fn try_syevj_batched<T: CudaReal>(
    b: &Cuda<T>,
    a: &mut MatsMut<'_, Cuda<T>>,
    w: &mut MatsMut<'_, Cuda<T>>,
    status: &mut MatsMut<'_, Cuda<T>>,
) -> Result<(), DeviceError> {
    let (Dims { batch, cols: n, .. }, device) = (a.dims(), &b.device);
    let mut workspace = device.workspace();
    let solver = match &mut workspace.solver {
        Some(solver) => solver,
        none => {
            let solver = Solver::new(device.stream()).map_err(|e| failed(b, "cusolverDnCreate", e))?;
            none.insert(solver)
        }
    };
    let (handle, settings) = (solver.handle, solver.settings);
    let int = |x: usize| c_int::try_from(x).unwrap_or(-1);
    let mut problems = Eigenproblems { n: int(n), batch: int(batch), matrices: 0, values: 0, settings };
    let elements =
        solver.elements::<T>(problems).map_err(|e| failed(b, "cusolverDnSyevjBatched_bufferSize", e))?;
    // Matrices, eigenvalues, powers of two, the library's own work, its reports.
    let pieces = [batch * n * n, batch * n, batch, elements.unsigned_abs() as usize];
    let mut end = 0;
    let offsets = pieces.map(|elements| {
        let start = end;
        end += (elements * size_of::<T>()).next_multiple_of(256);
        start as u64
    });
    let base = workspace.reserve(device, Piece::Eigenproblems, end + batch * size_of::<c_int>())?;
    let [work, values, powers, own] = offsets.map(|offset| base + offset);
    let info = base + end as u64;
    (problems.matrices, problems.values) = (work, values);

    let args = Args::new().size(batch).size(n).matrix(a.as_ref()).word(work).word(powers);
    let args = args.scalar(status.as_ref()).real::<T>(<T as Scalar>::MIN_POSITIVE);
    b.run(&ptx::EIGH, "eigh_prepare_real", Grid::blocks(batch), &args);
    // SAFETY: handle and settings are alive and used under the workspace's lock; the pieces are as large as asked.
    let solved = unsafe { T::syevj(handle, problems, own, elements, info) };
    solved.result().map_err(|e| failed(b, "cusolverDnSyevjBatched", e.0))?;
    device.called("cusolverDnSyevjBatched", None);
    let tiles = batch * n.div_ceil(32).pow(2);
    let args = Args::new().size(tiles).size(n).size(n).matrix(a.as_ref());
    let args = args.word(work).size(n * n).size(n).size(1);
    b.run(&ptx::COPY, "copy_transposed_real", Grid::blocks(tiles), &args);
    let args = Args::new().size(batch * n).size(n).scalar(w.as_ref()).word(values).word(powers).word(info);
    let args = args.scalar(status.as_ref());
    b.run(&ptx::EIGH, "eigh_finish_real", Grid::threads(&ptx::EIGH, batch * n), &args);
    Ok(())
}
