//! The Cholesky kernel: `a = R^T R` by blocks of rows, each eliminated by row operations, the rest of the
//! matrix updated by the product kernel (Golub and Van Loan 2013, section 4.2.6, on the upper triangle).

use super::{
    gemm::{Added, Gemm, Strided},
    simd::{Kernel, Simd},
};
use crate::Scalar;

/// Rows of a block; row strides are multiples of it, so that all rows are whole vectors.
pub(super) const BLOCK: usize = 16;

/// Factors the upper triangle of a symmetric matrix in place. Rows are padded with zeros to `stride`, a
/// multiple of [`BLOCK`]; what lies below the diagonal is unspecified afterwards.
#[derive(Clone, Copy)]
pub(super) struct Cholesky<T> {
    pub n: usize,
    pub r: *mut T,
    pub stride: usize,
}

impl<T: Scalar> Kernel<T> for Cholesky<T> {
    /// The index of a pivot that is not positive and finite.
    type Output = Result<(), usize>;

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) -> Self::Output {
        let Self { n, r, stride } = self;
        for k0 in (0..n).step_by(BLOCK) {
            let k1 = (k0 + BLOCK).min(n);
            // SAFETY: rows lie below `n`; columns are whole vectors up to the stride.
            unsafe {
                for k in k0..k1 {
                    let row = r.add(k * stride);
                    let pivot = *row.add(k);
                    if !(pivot > T::ZERO && Scalar::is_finite(pivot)) {
                        return Err(k);
                    }
                    // The rows below wait for a quotient only, not for the root.
                    for i in k + 1..k1 {
                        let (to, factor) = (r.add(i * stride), S::splat(-(*row.add(i) / pivot)));
                        for j in (k0..stride).step_by(S::LANES) {
                            S::store(S::mul_add(factor, S::load(row.add(j)), S::load(to.add(j))), to.add(j));
                        }
                    }
                    let factor = S::splat(T::ONE / Scalar::sqrt(pivot));
                    for j in (k0..stride).step_by(S::LANES) {
                        S::store(S::mul(factor, S::load(row.add(j))), row.add(j));
                    }
                }
                for i in (k1..n).step_by(BLOCK) {
                    let (block, c) = (r.add(k0 * stride + i), r.add(i * stride + i));
                    S::vectorize(Gemm {
                        m: (n - i).min(BLOCK),
                        n: stride - i,
                        k: k1 - k0,
                        alpha: -T::ONE,
                        a: Strided { data: block, row_stride: 1, col_stride: stride },
                        b: Strided { data: block, row_stride: stride, col_stride: 1 },
                        added: Some(Added { beta: T::ONE, data: c, row_stride: stride }),
                        c,
                        c_stride: stride,
                    });
                }
            }
        }
        Ok(())
    }
}
