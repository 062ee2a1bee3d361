//! The vectors of 64-bit ARM processors, all of which have them.

use super::{Kernel, Simd};
use std::arch::aarch64::*;

/// 128 bits with fused multiply-add: 32 registers.
#[derive(Clone, Copy)]
pub struct Neon;

macro_rules! simd {
    ($t:ty, $vector:ty, $splat:ident, $load:ident, $store:ident, $mul:ident, $mul_add:ident, $abs:ident, $max:ident,
     $largest:ident) => {
        impl Simd<$t> for Neon {
            type Vector = $vector;
            type Mask = usize;
            const LANES: usize = size_of::<$vector>() / size_of::<$t>();
            const WIDTH: usize = 4;
            const HEIGHT: (usize, usize) = (6, 8);
            #[inline(always)]
            unsafe fn splat(x: $t) -> $vector {
                // SAFETY: the caller's.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> $vector {
                // SAFETY: the caller's.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(x: $vector, to: *mut $t) {
                // SAFETY: the caller's.
                unsafe { $store(to, x) }
            }
            #[inline(always)]
            unsafe fn mask(count: usize) -> usize {
                count
            }
            #[inline(always)]
            unsafe fn load_part(mask: usize, from: *const $t) -> $vector {
                let mut x = [0.0; size_of::<$vector>() / size_of::<$t>()];
                // SAFETY: the caller's.
                unsafe {
                    std::ptr::copy_nonoverlapping(from, x.as_mut_ptr(), mask);
                    $load(x.as_ptr())
                }
            }
            #[inline(always)]
            unsafe fn store_part(mask: usize, x: $vector, to: *mut $t) {
                let mut all = [0.0; size_of::<$vector>() / size_of::<$t>()];
                // SAFETY: the caller's.
                unsafe {
                    $store(all.as_mut_ptr(), x);
                    std::ptr::copy_nonoverlapping(all.as_ptr(), to, mask);
                }
            }
            #[inline(always)]
            unsafe fn mul(a: $vector, b: $vector) -> $vector {
                // SAFETY: the caller's.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn mul_add(a: $vector, b: $vector, c: $vector) -> $vector {
                // SAFETY: the caller's.
                unsafe { $mul_add(c, a, b) }
            }
            #[inline(always)]
            unsafe fn max_abs(a: $vector, b: $vector) -> $vector {
                // SAFETY: the caller's. Of a NaN and a number, the instruction takes the number.
                unsafe { $max($abs(a), b) }
            }
            #[inline(always)]
            unsafe fn largest(a: $vector) -> $t {
                // SAFETY: the caller's.
                unsafe { $largest(a) }
            }
            #[inline(always)]
            unsafe fn where_abs(a: $vector, size: $vector) -> u32 {
                const LANES: usize = size_of::<$vector>() / size_of::<$t>();
                let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
                // SAFETY: the arrays are as long as vectors.
                unsafe {
                    $store(x.as_mut_ptr(), $abs(a));
                    $store(y.as_mut_ptr(), size);
                }
                (0..LANES).fold(0, |bits, i| bits | u32::from(x[i] == y[i]) << i)
            }
            #[inline]
            unsafe fn vectorize<K: Kernel<$t>>(kernel: K) -> K::Output {
                // SAFETY: the caller's.
                unsafe { kernel.run::<Self>() }
            }
        }
    };
}
simd!(
    f32,
    float32x4_t,
    vdupq_n_f32,
    vld1q_f32,
    vst1q_f32,
    vmulq_f32,
    vfmaq_f32,
    vabsq_f32,
    vmaxnmq_f32,
    vmaxvq_f32
);
simd!(
    f64,
    float64x2_t,
    vdupq_n_f64,
    vld1q_f64,
    vst1q_f64,
    vmulq_f64,
    vfmaq_f64,
    vabsq_f64,
    vmaxnmq_f64,
    vmaxvq_f64
);
