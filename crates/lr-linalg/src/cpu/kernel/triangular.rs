//! The inverse of an upper triangle, by blocks of rows from the last: `X_i = -R_ii^-1 R_i,> X_>` beside
//! the diagonal block, whose own inverse comes from back substitution.

use super::{
    cholesky::BLOCK,
    gemm::{Gemm, Strided},
    simd::{Kernel, Simd},
};
use crate::Scalar;

/// Writes the inverse of the upper triangle `r` into `x`, which holds zeros. Rows of both are `stride`
/// apart, a multiple of [`BLOCK`], those of `r` padded with zeros. No diagonal element is zero.
#[derive(Clone, Copy)]
pub(super) struct InvertUpper<T> {
    pub n: usize,
    pub r: *const T,
    pub x: *mut T,
    pub stride: usize,
}

impl<T: Scalar> Kernel<T> for InvertUpper<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) {
        let Self { n, r, x, stride } = self;
        for i0 in (0..n).step_by(BLOCK).rev() {
            let i1 = (i0 + BLOCK).min(n);
            // SAFETY: rows lie below `n`; columns are whole vectors up to the stride.
            unsafe {
                if i1 < n {
                    S::vectorize(Gemm {
                        m: i1 - i0,
                        n: stride - i1,
                        k: n - i1,
                        alpha: -T::ONE,
                        a: Strided { data: r.add(i0 * stride + i1), row_stride: stride, col_stride: 1 },
                        b: Strided { data: x.add(i1 * stride + i1), row_stride: stride, col_stride: 1 },
                        added: None,
                        c: x.add(i0 * stride + i1),
                        c_stride: stride,
                    });
                }
                for i in (i0..i1).rev() {
                    let (from, to) = (r.add(i * stride), x.add(i * stride));
                    *to.add(i) = T::ONE;
                    let factor = S::splat(T::ONE / *from.add(i));
                    for j in (i0..stride).step_by(S::LANES) {
                        let mut sum = S::load(to.add(j));
                        for k in i + 1..i1 {
                            sum = S::mul_add(S::splat(-*from.add(k)), S::load(x.add(k * stride + j)), sum);
                        }
                        S::store(S::mul(factor, sum), to.add(j));
                    }
                }
            }
        }
    }
}
