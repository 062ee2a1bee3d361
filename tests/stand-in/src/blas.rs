//! cuBLAS: handles, products and triangular solves, as plain loops in f64 rounded once at the end.

use std::ffi::{c_int, c_longlong, c_uint, c_void};

use lr_ptx::Memory;

use crate::context::usable;
use crate::matrix::{Batch, Extents, Part, Precision};
use crate::state::lock;
use crate::status::SUCCESS;
use crate::work::Work;

/// `cublasStatus_t`.
type BlasStatus = u32;
const NOT_INITIALIZED: BlasStatus = 1;
const INVALID_VALUE: BlasStatus = 7;
const EXECUTION_FAILED: BlasStatus = 13;
const NOT_SUPPORTED: BlasStatus = 15;

/// A handle of cuBLAS or cuSOLVER: the stream it works on.
pub(crate) struct Handle {
    pub(crate) stream: u64,
}

/// A product of a batch, `C = alpha op(A) op(B) + beta C`.
#[derive(Clone, Debug)]
pub(crate) struct Gemm {
    pub(crate) precision: Precision,
    pub(crate) transposed: [bool; 2],
    pub(crate) extents: [usize; 3],
    pub(crate) factors: [f64; 2],
    /// A, B and C with their leading dimensions.
    pub(crate) operands: [(Batch, usize); 3],
    pub(crate) count: usize,
}

/// No two results may be the same matrix.
fn check_distinct(what: &str, addresses: &[u64]) -> Result<(), String> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{what}: two problems write the matrix at {:#x}", pair[0])),
        None => Ok(()),
    }
}

impl Gemm {
    pub(crate) fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let [m, n, k] = self.extents;
        let [alpha, beta] = self.factors;
        let extents = |rows, cols, leading| Extents { rows, cols, leading, precision: self.precision };
        let [(a, a_leading), (b, b_leading), (c, c_leading)] = self.operands;
        let stored = |transposed: bool, rows, cols, leading| {
            if transposed { extents(cols, rows, leading) } else { extents(rows, cols, leading) }
        };
        let (a_extents, b_extents) =
            (stored(self.transposed[0], m, k, a_leading), stored(self.transposed[1], k, n, b_leading));
        let c_extents = extents(m, n, c_leading);
        let addresses = |batch: Batch| batch.addresses(self.count, self.precision, memory);
        let (a, b, c) = (addresses(a)?, addresses(b)?, addresses(c)?);
        check_distinct("gemm C", &c)?;
        for i in 0..self.count {
            // With alpha = 0 neither A nor B is read, with beta = 0 not C.
            let mut result = vec![0.0; m * n];
            if alpha != 0.0 && k > 0 {
                let left = a_extents.gather(memory, "gemm A", a[i], Part::All)?;
                let right = b_extents.gather(memory, "gemm B", b[i], Part::All)?;
                let left = if self.transposed[0] { transpose(&left, k, m) } else { left };
                let right = if self.transposed[1] { transpose(&right, n, k) } else { right };
                for (column, target) in result.chunks_mut(m.max(1)).enumerate() {
                    for p in 0..k {
                        let factor = right[column * k + p];
                        for (sum, x) in target.iter_mut().zip(&left[p * m..(p + 1) * m]) {
                            *sum += x * factor;
                        }
                    }
                }
            }
            result.iter_mut().for_each(|x| *x *= alpha);
            if beta != 0.0 {
                let old = c_extents.gather(memory, "gemm C", c[i], Part::All)?;
                result.iter_mut().zip(old).for_each(|(x, old)| *x += beta * old);
            }
            c_extents.scatter(memory, "gemm C", c[i], &result)?;
        }
        Ok(())
    }
}

/// The transpose of a packed matrix of `rows` rows.
fn transpose(values: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    (0..rows).flat_map(|i| (0..cols).map(move |j| values[j * rows + i])).collect()
}

/// A batch of triangular solves, `op(A) X = alpha B` or `X op(A) = alpha B`, in place of `B`.
#[derive(Clone, Debug)]
pub(crate) struct Trsm {
    pub(crate) precision: Precision,
    pub(crate) right: bool,
    pub(crate) part: Part,
    pub(crate) transposed: bool,
    pub(crate) unit: bool,
    pub(crate) extents: [usize; 2],
    pub(crate) alpha: f64,
    pub(crate) operands: [(Batch, usize); 2],
    pub(crate) count: usize,
}

impl Trsm {
    pub(crate) fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let [m, n] = self.extents;
        let order = if self.right { n } else { m };
        let [(a, a_leading), (b, b_leading)] = self.operands;
        let a_extents = Extents { rows: order, cols: order, leading: a_leading, precision: self.precision };
        let b_extents = Extents { rows: m, cols: n, leading: b_leading, precision: self.precision };
        let a = a.addresses(self.count, self.precision, memory)?;
        let b = b.addresses(self.count, self.precision, memory)?;
        check_distinct("trsm B", &b)?;
        for (&a, &b) in a.iter().zip(&b) {
            let triangle = a_extents.gather(memory, "trsm A", a, self.part)?;
            let mut x = b_extents.gather(memory, "trsm B", b, Part::All)?;
            x.iter_mut().for_each(|x| *x *= self.alpha);
            // X op(A) = B is op(A)^T X^T = B^T.
            if self.right {
                x = transpose(&x, m, n);
            }
            let (rows, cols) = if self.right { (n, m) } else { (m, n) };
            let flipped = self.transposed != self.right;
            let at =
                |i: usize, j: usize| if flipped { triangle[i * order + j] } else { triangle[j * order + i] };
            let lower = (self.part == Part::Lower) != flipped;
            for column in x.chunks_mut(rows.max(1)).take(cols) {
                for step in 0..rows {
                    let i = if lower { step } else { rows - 1 - step };
                    let known = if lower { 0..i } else { i + 1..rows };
                    let sum: f64 = known.map(|j| at(i, j) * column[j]).sum();
                    let rest = column[i] - sum;
                    column[i] = if self.unit { rest } else { rest / at(i, i) };
                }
            }
            if self.right {
                x = transpose(&x, n, m);
            }
            b_extents.scatter(memory, "trsm B", b, &x)?;
        }
        Ok(())
    }
}

/// Makes a handle of either library; `created` and `missing` are the library's statuses.
pub(crate) unsafe fn create(handle: *mut *mut Handle, missing: u32) -> u32 {
    if handle.is_null() || usable(&lock()).is_err() {
        return missing;
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { handle.write(Box::into_raw(Box::new(Handle { stream: 0 }))) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasCreate_v2(handle: *mut *mut Handle) -> BlasStatus {
    // SAFETY: the library's contract.
    unsafe { create(handle, NOT_INITIALIZED) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasDestroy_v2(handle: *mut Handle) -> BlasStatus {
    if handle.is_null() {
        return NOT_INITIALIZED;
    }
    // SAFETY: made by `create`, destroyed once.
    drop(unsafe { Box::from_raw(handle) });
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasSetStream_v2(handle: *mut Handle, stream: u64) -> BlasStatus {
    // SAFETY: the library's contract: null or a live handle.
    match unsafe { handle.as_mut() } {
        Some(handle) => handle.stream = stream,
        None => return NOT_INITIALIZED,
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasGetStream_v2(handle: *mut Handle, stream: *mut u64) -> BlasStatus {
    // SAFETY: the library's contract: null or a live handle, and a pointer to write to.
    match unsafe { (handle.as_ref(), stream.as_mut()) } {
        (Some(handle), Some(stream)) => *stream = handle.stream,
        (None, _) => return NOT_INITIALIZED,
        (_, None) => return INVALID_VALUE,
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasGetVersion_v2(_handle: *mut Handle, version: *mut c_int) -> BlasStatus {
    // SAFETY: the library's contract.
    unsafe { crate::status::give(version, 130_000) }
}

/// Every mode computes the same here.
#[unsafe(no_mangle)]
extern "C" fn cublasSetMathMode(_handle: *mut Handle, _mode: c_uint) -> BlasStatus {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetAtomicsMode(_handle: *mut Handle, _mode: c_uint) -> BlasStatus {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetWorkspace_v2(_handle: *mut Handle, _memory: *mut c_void, _bytes: usize) -> BlasStatus {
    0
}

/// Factors lie on the host.
#[unsafe(no_mangle)]
extern "C" fn cublasSetPointerMode_v2(_handle: *mut Handle, mode: c_uint) -> BlasStatus {
    if mode == 0 { 0 } else { NOT_SUPPORTED }
}

/// Queues library work on a handle's stream.
unsafe fn submit(handle: *mut Handle, work: Work) -> BlasStatus {
    // SAFETY: the library's contract: null or a live handle.
    let Some(handle) = (unsafe { handle.as_ref() }) else { return NOT_INITIALIZED };
    let mut state = lock();
    if usable(&state).is_err() || state.submit(handle.stream, work) != SUCCESS {
        return EXECUTION_FAILED;
    }
    0
}

fn extent(x: c_int) -> Option<usize> {
    usize::try_from(x).ok()
}

/// A product, or `None` where the library refuses the arguments.
fn gemm(
    precision: Precision,
    ops: [c_uint; 2],
    extents: [c_int; 3],
    factors: [f64; 2],
    operands: [(Batch, c_int); 3],
    count: c_int,
) -> Option<Gemm> {
    let [m, n, k] = [extent(extents[0])?, extent(extents[1])?, extent(extents[2])?];
    let transposed = [ops[0] != 0, ops[1] != 0];
    let stored = [if transposed[0] { k } else { m }, if transposed[1] { n } else { k }, m];
    let mut checked = [(operands[0].0, 0); 3];
    for ((target, (batch, leading)), rows) in checked.iter_mut().zip(operands).zip(stored) {
        let leading = extent(leading)?;
        *target = (leading >= rows.max(1)).then_some((batch, leading))?;
    }
    if ops.iter().any(|&op| op > 2) {
        return None;
    }
    Some(Gemm {
        precision,
        transposed,
        extents: [m, n, k],
        factors,
        operands: checked,
        count: extent(count)?,
    })
}

macro_rules! products {
    ($ty:ty, $precision:ident, $single:ident, $strided:ident, $pointers:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $single(
            handle: *mut Handle,
            op_a: c_uint,
            op_b: c_uint,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $ty,
            a: u64,
            lda: c_int,
            b: u64,
            ldb: c_int,
            beta: *const $ty,
            c: u64,
            ldc: c_int,
        ) -> BlasStatus {
            // SAFETY: the library's contract.
            unsafe { $strided(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $strided(
            handle: *mut Handle,
            op_a: c_uint,
            op_b: c_uint,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $ty,
            a: u64,
            lda: c_int,
            stride_a: c_longlong,
            b: u64,
            ldb: c_int,
            stride_b: c_longlong,
            beta: *const $ty,
            c: u64,
            ldc: c_int,
            stride_c: c_longlong,
            count: c_int,
        ) -> BlasStatus {
            // SAFETY: the library's contract: factors on the host.
            let factors = unsafe { [f64::from(*alpha), f64::from(*beta)] };
            let batch = |address, stride| Batch::Strided { address, stride };
            let operands = [(batch(a, stride_a), lda), (batch(b, stride_b), ldb), (batch(c, stride_c), ldc)];
            match gemm(Precision::$precision, [op_a, op_b], [m, n, k], factors, operands, count) {
                // SAFETY: the library's contract.
                Some(gemm) => unsafe { submit(handle, Work::Gemm(gemm)) },
                None => INVALID_VALUE,
            }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $pointers(
            handle: *mut Handle,
            op_a: c_uint,
            op_b: c_uint,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $ty,
            a: u64,
            lda: c_int,
            b: u64,
            ldb: c_int,
            beta: *const $ty,
            c: u64,
            ldc: c_int,
            count: c_int,
        ) -> BlasStatus {
            // SAFETY: the library's contract: factors on the host.
            let factors = unsafe { [f64::from(*alpha), f64::from(*beta)] };
            let batch = |array| Batch::Pointers { array };
            let operands = [(batch(a), lda), (batch(b), ldb), (batch(c), ldc)];
            match gemm(Precision::$precision, [op_a, op_b], [m, n, k], factors, operands, count) {
                // SAFETY: the library's contract.
                Some(gemm) => unsafe { submit(handle, Work::Gemm(gemm)) },
                None => INVALID_VALUE,
            }
        }
    };
}

products!(f32, Single, cublasSgemm_v2, cublasSgemmStridedBatched, cublasSgemmBatched);
products!(f64, Double, cublasDgemm_v2, cublasDgemmStridedBatched, cublasDgemmBatched);

/// A solve, or `None` where the library refuses the arguments.
fn trsm(
    precision: Precision,
    [side, fill, op, diagonal]: [c_uint; 4],
    extents: [c_int; 2],
    alpha: f64,
    operands: [(Batch, c_int); 2],
    count: c_int,
) -> Option<Trsm> {
    let [m, n] = [extent(extents[0])?, extent(extents[1])?];
    let order = if side == 1 { n } else { m };
    let [(a, a_leading), (b, b_leading)] = operands;
    let (a_leading, b_leading) = (extent(a_leading)?, extent(b_leading)?);
    if side > 1 || op > 2 || diagonal > 1 || a_leading < order.max(1) || b_leading < m.max(1) {
        return None;
    }
    Some(Trsm {
        precision,
        right: side == 1,
        part: Part::parse(fill)?,
        transposed: op != 0,
        unit: diagonal == 1,
        extents: [m, n],
        alpha,
        operands: [(a, a_leading), (b, b_leading)],
        count: extent(count)?,
    })
}

macro_rules! solves {
    ($ty:ty, $precision:ident, $single:ident, $pointers:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $single(
            handle: *mut Handle,
            side: c_uint,
            fill: c_uint,
            op: c_uint,
            diagonal: c_uint,
            m: c_int,
            n: c_int,
            alpha: *const $ty,
            a: u64,
            lda: c_int,
            b: u64,
            ldb: c_int,
        ) -> BlasStatus {
            // SAFETY: the library's contract: the factor lies on the host.
            let alpha = unsafe { f64::from(*alpha) };
            let batch = |address| Batch::Strided { address, stride: 0 };
            let operands = [(batch(a), lda), (batch(b), ldb)];
            match trsm(Precision::$precision, [side, fill, op, diagonal], [m, n], alpha, operands, 1) {
                // SAFETY: the library's contract.
                Some(trsm) => unsafe { submit(handle, Work::Trsm(trsm)) },
                None => INVALID_VALUE,
            }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $pointers(
            handle: *mut Handle,
            side: c_uint,
            fill: c_uint,
            op: c_uint,
            diagonal: c_uint,
            m: c_int,
            n: c_int,
            alpha: *const $ty,
            a: u64,
            lda: c_int,
            b: u64,
            ldb: c_int,
            count: c_int,
        ) -> BlasStatus {
            // SAFETY: the library's contract: the factor lies on the host.
            let alpha = unsafe { f64::from(*alpha) };
            let batch = |array| Batch::Pointers { array };
            let operands = [(batch(a), lda), (batch(b), ldb)];
            match trsm(Precision::$precision, [side, fill, op, diagonal], [m, n], alpha, operands, count) {
                // SAFETY: the library's contract.
                Some(trsm) => unsafe { submit(handle, Work::Trsm(trsm)) },
                None => INVALID_VALUE,
            }
        }
    };
}

solves!(f32, Single, cublasStrsm_v2, cublasStrsmBatched);
solves!(f64, Double, cublasDtrsm_v2, cublasDtrsmBatched);
