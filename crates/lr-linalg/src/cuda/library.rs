//! [`Library`]: the routines of cuBLAS and cuSOLVER under one name for both precisions, and the bits of an
//! element. Matrices are column-major there: the transposes of ours.

use cudarc::cublas::sys as blas;
use cudarc::cusolver::sys as solver;
use lr_kernels::ptx::Precision;
use std::ffi::c_int;

/// A matrix operand of a strided batch: first element, leading dimension, elements from matrix to matrix.
#[derive(Clone, Copy, Debug)]
pub struct Strided {
    /// Device address.
    pub address: u64,
    /// Elements from one of their columns, our row, to the next.
    pub leading: c_int,
    /// Elements from one matrix to the next.
    pub stride: i64,
}

/// The same of a batch given by the addresses of its matrices.
#[derive(Clone, Copy, Debug)]
pub struct Pointed {
    /// Device address of the array of addresses.
    pub addresses: u64,
    /// Elements from one of their columns, our row, to the next.
    pub leading: c_int,
}

/// `op(A) op(B)` of `m x k` and `k x n`, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// How `A` and `B` are read.
    pub ops: [blas::cublasOperation_t; 2],
    /// `m`, `n` and `k`.
    pub extents: [c_int; 3],
    /// Number of products.
    pub batch: c_int,
    /// Factor of the product.
    pub alpha: f64,
    /// Factor of the old result.
    pub beta: f64,
}

/// A triangular solve in place of an `m x n` matrix.
#[derive(Clone, Copy, Debug)]
pub struct Solve {
    /// On which side the triangle stands.
    pub side: blas::cublasSideMode_t,
    /// Which triangle is stored.
    pub fill: blas::cublasFillMode_t,
    /// How it is read.
    pub op: blas::cublasOperation_t,
    /// `m` and `n`.
    pub extents: [c_int; 2],
    /// Number of solves.
    pub batch: c_int,
}

/// A batch of symmetric eigenproblems without gaps, of which the library's upper triangle is read.
#[derive(Clone, Copy, Debug)]
pub struct Eigenproblems {
    /// Order of the matrices.
    pub n: c_int,
    /// Number of matrices.
    pub batch: c_int,
    /// Matrices, replaced by eigenvectors.
    pub matrices: u64,
    /// Eigenvalues.
    pub values: u64,
    /// Settings of the iteration.
    pub settings: solver::syevjInfo_t,
}

/// The routines of one precision.
pub trait Library: Sized {
    /// Which one.
    const PRECISION: Precision;

    /// As a kernel's argument.
    fn bits(self) -> u64;

    /// `C = alpha op(A) op(B) + beta C` for strided batches.
    ///
    /// # Safety
    /// As cuBLAS asks: live handle, operands within live memory.
    unsafe fn gemm_strided(
        handle: blas::cublasHandle_t,
        product: Product,
        a: Strided,
        b: Strided,
        c: Strided,
    ) -> blas::cublasStatus_t;

    /// `C = alpha op(A) op(B) + beta C` for batches given by addresses.
    ///
    /// # Safety
    /// As cuBLAS asks: live handle, operands within live memory.
    unsafe fn gemm_pointed(
        handle: blas::cublasHandle_t,
        product: Product,
        a: Pointed,
        b: Pointed,
        c: Pointed,
    ) -> blas::cublasStatus_t;

    /// Solves with the triangles `a` in place of `b`.
    ///
    /// # Safety
    /// As cuBLAS asks: live handle, operands within live memory.
    unsafe fn trsm(
        handle: blas::cublasHandle_t,
        solve: Solve,
        a: Pointed,
        b: Pointed,
    ) -> blas::cublasStatus_t;

    /// Elements that [`Library::syevj`] works in.
    ///
    /// # Safety
    /// As cuSOLVER asks: live handle and settings.
    unsafe fn syevj_elements(
        handle: solver::cusolverDnHandle_t,
        problems: Eigenproblems,
        elements: &mut c_int,
    ) -> solver::cusolverStatus_t;

    /// Eigenvalues and eigenvectors by Jacobi's method; `work` is the address of `elements` elements, `info`
    /// that of one integer a problem, not zero where it did not converge.
    ///
    /// # Safety
    /// As cuSOLVER asks: live handle and settings, operands within live memory.
    unsafe fn syevj(
        handle: solver::cusolverDnHandle_t,
        problems: Eigenproblems,
        work: u64,
        elements: c_int,
        info: u64,
    ) -> solver::cusolverStatus_t;
}

macro_rules! library {
    ($t:ty, $precision:ident, $strided:ident, $pointed:ident, $trsm:ident, $size:ident, $syevj:ident) => {
        impl Library for $t {
            const PRECISION: Precision = Precision::$precision;

            fn bits(self) -> u64 {
                self.to_bits().into()
            }

            unsafe fn gemm_strided(
                handle: blas::cublasHandle_t,
                p: Product,
                a: Strided,
                b: Strided,
                c: Strided,
            ) -> blas::cublasStatus_t {
                let ([m, n, k], [op_a, op_b]) = (p.extents, p.ops);
                let (alpha, beta) = (p.alpha as $t, p.beta as $t);
                // SAFETY: the caller's promise; the factors are read before the call returns.
                unsafe {
                    blas::$strided(
                        handle,
                        op_a,
                        op_b,
                        m,
                        n,
                        k,
                        &alpha,
                        a.address as *const $t,
                        a.leading,
                        a.stride,
                        b.address as *const $t,
                        b.leading,
                        b.stride,
                        &beta,
                        c.address as *mut $t,
                        c.leading,
                        c.stride,
                        p.batch,
                    )
                }
            }

            unsafe fn gemm_pointed(
                handle: blas::cublasHandle_t,
                p: Product,
                a: Pointed,
                b: Pointed,
                c: Pointed,
            ) -> blas::cublasStatus_t {
                let ([m, n, k], [op_a, op_b]) = (p.extents, p.ops);
                let (alpha, beta) = (p.alpha as $t, p.beta as $t);
                // SAFETY: the caller's promise; the factors are read before the call returns.
                unsafe {
                    blas::$pointed(
                        handle,
                        op_a,
                        op_b,
                        m,
                        n,
                        k,
                        &alpha,
                        a.addresses as *const *const $t,
                        a.leading,
                        b.addresses as *const *const $t,
                        b.leading,
                        &beta,
                        c.addresses as *const *mut $t,
                        c.leading,
                        p.batch,
                    )
                }
            }

            unsafe fn trsm(
                handle: blas::cublasHandle_t,
                s: Solve,
                a: Pointed,
                b: Pointed,
            ) -> blas::cublasStatus_t {
                let ([m, n], one) = (s.extents, 1.0 as $t);
                // SAFETY: the caller's promise; the factor is read before the call returns.
                unsafe {
                    blas::$trsm(
                        handle,
                        s.side,
                        s.fill,
                        s.op,
                        blas::cublasDiagType_t::CUBLAS_DIAG_NON_UNIT,
                        m,
                        n,
                        &one,
                        a.addresses as *const *const $t,
                        a.leading,
                        b.addresses as *const *mut $t,
                        b.leading,
                        s.batch,
                    )
                }
            }

            unsafe fn syevj_elements(
                handle: solver::cusolverDnHandle_t,
                p: Eigenproblems,
                elements: &mut c_int,
            ) -> solver::cusolverStatus_t {
                // SAFETY: the caller's promise.
                unsafe {
                    solver::$size(
                        handle,
                        solver::cusolverEigMode_t::CUSOLVER_EIG_MODE_VECTOR,
                        solver::cublasFillMode_t::CUBLAS_FILL_MODE_UPPER,
                        p.n,
                        p.matrices as *const $t,
                        p.n,
                        p.values as *const $t,
                        elements,
                        p.settings,
                        p.batch,
                    )
                }
            }

            unsafe fn syevj(
                handle: solver::cusolverDnHandle_t,
                p: Eigenproblems,
                work: u64,
                elements: c_int,
                info: u64,
            ) -> solver::cusolverStatus_t {
                // SAFETY: the caller's promise.
                unsafe {
                    solver::$syevj(
                        handle,
                        solver::cusolverEigMode_t::CUSOLVER_EIG_MODE_VECTOR,
                        solver::cublasFillMode_t::CUBLAS_FILL_MODE_UPPER,
                        p.n,
                        p.matrices as *mut $t,
                        p.n,
                        p.values as *mut $t,
                        work as *mut $t,
                        elements,
                        info as *mut c_int,
                        p.settings,
                        p.batch,
                    )
                }
            }
        }
    };
}
library!(
    f32,
    Single,
    cublasSgemmStridedBatched,
    cublasSgemmBatched,
    cublasStrsmBatched,
    cusolverDnSsyevjBatched_bufferSize,
    cusolverDnSsyevjBatched
);
library!(
    f64,
    Double,
    cublasDgemmStridedBatched,
    cublasDgemmBatched,
    cublasDtrsmBatched,
    cusolverDnDsyevjBatched_bufferSize,
    cusolverDnDsyevjBatched
);
