//! The vectors of x86-64 processors.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// 128 bits, which every processor of this kind has: 16 registers.
#[derive(Clone, Copy)]
pub struct Sse2;

/// 256 bits with fused multiply-add: 16 registers.
#[derive(Clone, Copy)]
pub struct Avx2;

/// 512 bits: 32 registers.
#[derive(Clone, Copy)]
pub struct Avx512;

unsafe fn sse2<T, S: Simd<T>, K: Kernel<T>>(kernel: K) -> K::Output {
    drop(super::CleanRegisters);
    // SAFETY: the caller's.
    unsafe { kernel.run::<S>() }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<T, S: Simd<T>, K: Kernel<T>>(kernel: K) -> K::Output {
    // SAFETY: the caller's.
    unsafe { kernel.run::<S>() }
}

#[target_feature(enable = "avx512f")]
unsafe fn avx512<T, S: Simd<T>, K: Kernel<T>>(kernel: K) -> K::Output {
    // SAFETY: the caller's.
    unsafe { kernel.run::<S>() }
}

macro_rules! simd {
    ($set:ident, $t:ty, $vector:ty, $mask:ty, $width:literal, $height:expr, $run:ident, $name:ident,
     $splat:ident, $load:ident, $store:ident, $load_part:ident, $store_part:ident, $mul:ident,
     $mul_add:ident, $abs:ident, $max:ident, $largest:ident, $equal:ident) => {
        impl Simd<$t> for $set {
            type Vector = $vector;
            type Mask = $mask;
            const LANES: usize = size_of::<$vector>() / size_of::<$t>();
            const WIDTH: usize = $width;
            const HEIGHT: (usize, usize) = $height;
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self::Vector {
                // SAFETY: the caller's.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self::Vector {
                // SAFETY: the caller's.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(x: Self::Vector, to: *mut $t) {
                // SAFETY: the caller's.
                unsafe { $store(to, x) }
            }
            #[inline(always)]
            unsafe fn mask(count: usize) -> $mask {
                // SAFETY: the caller's.
                unsafe { $name(count) }
            }
            #[inline(always)]
            unsafe fn load_part(mask: $mask, from: *const $t) -> Self::Vector {
                // SAFETY: the caller's.
                unsafe { $load_part(mask, from) }
            }
            #[inline(always)]
            unsafe fn store_part(mask: $mask, x: Self::Vector, to: *mut $t) {
                // SAFETY: the caller's.
                unsafe { $store_part(to, mask, x) }
            }
            #[inline(always)]
            unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                // SAFETY: the caller's.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                // SAFETY: the caller's.
                unsafe { $mul_add(a, b, c) }
            }
            #[inline(always)]
            unsafe fn max_abs(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                // SAFETY: the caller's. Of a NaN and a number, the instruction takes the second.
                unsafe { $max($abs(a), b) }
            }
            #[inline(always)]
            unsafe fn largest(a: Self::Vector) -> $t {
                // SAFETY: the caller's.
                unsafe { $largest(a) }
            }
            #[inline(always)]
            unsafe fn where_abs(a: Self::Vector, size: Self::Vector) -> u32 {
                // SAFETY: the caller's.
                unsafe { $equal($abs(a), size) }
            }
            #[inline]
            unsafe fn vectorize<K: Kernel<$t>>(kernel: K) -> K::Output {
                // SAFETY: the caller's.
                unsafe { $run::<$t, Self, K>(kernel) }
            }
        }
    };
}
/// Ones, then zeros: a window of them is the mask of a vector of four or eight elements.
static WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
unsafe fn bits16(count: usize) -> __mmask16 {
    (1 << count) - 1
}
#[inline(always)]
unsafe fn bits8(count: usize) -> __mmask8 {
    (1 << count) - 1
}
#[inline(always)]
unsafe fn window32(count: usize) -> __m256i {
    // SAFETY: the caller's; `count` is at most eight.
    unsafe { _mm256_loadu_si256(WINDOW.as_ptr().add(8 - count).cast()) }
}
#[inline(always)]
unsafe fn window64(count: usize) -> __m256i {
    // SAFETY: the caller's; `count` is at most four.
    unsafe { _mm256_loadu_si256(WINDOW.as_ptr().add(8 - 2 * count).cast()) }
}

#[inline(always)]
unsafe fn load_part32(mask: __m256i, from: *const f32) -> __m256 {
    // SAFETY: the caller's.
    unsafe { _mm256_maskload_ps(from, mask) }
}
#[inline(always)]
unsafe fn load_part64(mask: __m256i, from: *const f64) -> __m256d {
    // SAFETY: the caller's.
    unsafe { _mm256_maskload_pd(from, mask) }
}

#[inline(always)]
unsafe fn count(count: usize) -> usize {
    count
}
#[inline(always)]
unsafe fn mul_add32(a: __m128, b: __m128, c: __m128) -> __m128 {
    // SAFETY: the caller's.
    unsafe { _mm_add_ps(_mm_mul_ps(a, b), c) }
}
#[inline(always)]
unsafe fn mul_add64(a: __m128d, b: __m128d, c: __m128d) -> __m128d {
    // SAFETY: the caller's.
    unsafe { _mm_add_pd(_mm_mul_pd(a, b), c) }
}

macro_rules! part {
    ($t:ty, $vector:ty, $load:ident, $load_part:ident, $store:ident, $store_part:ident) => {
        #[inline(always)]
        unsafe fn $load_part(count: usize, from: *const $t) -> $vector {
            let mut x = [0.0; size_of::<$vector>() / size_of::<$t>()];
            // SAFETY: the caller's.
            unsafe {
                std::ptr::copy_nonoverlapping(from, x.as_mut_ptr(), count);
                $load(x.as_ptr())
            }
        }
        #[inline(always)]
        unsafe fn $store_part(to: *mut $t, count: usize, x: $vector) {
            let mut all = [0.0; size_of::<$vector>() / size_of::<$t>()];
            // SAFETY: the caller's.
            unsafe {
                $store(all.as_mut_ptr(), x);
                std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
            }
        }
    };
}
part!(f32, __m128, _mm_loadu_ps, first32, _mm_storeu_ps, store_first32);
part!(f64, __m128d, _mm_loadu_pd, first64, _mm_storeu_pd, store_first64);

macro_rules! sizes {
    ($vector:ty, $splat:ident, $clear:ident, $abs:ident, $equal:ident, $compare:expr, $bits:ident) => {
        #[inline(always)]
        unsafe fn $abs(a: $vector) -> $vector {
            // SAFETY: the caller's.
            unsafe { $clear($splat(-0.0), a) }
        }
        #[inline(always)]
        unsafe fn $equal(a: $vector, b: $vector) -> u32 {
            // SAFETY: the caller's.
            unsafe { $bits($compare(a, b)).cast_unsigned() }
        }
    };
}
sizes!(__m128, _mm_set1_ps, _mm_andnot_ps, abs32, equal32, _mm_cmpeq_ps, _mm_movemask_ps);
sizes!(__m128d, _mm_set1_pd, _mm_andnot_pd, abs64, equal64, _mm_cmpeq_pd, _mm_movemask_pd);
sizes!(
    __m256,
    _mm256_set1_ps,
    _mm256_andnot_ps,
    wide_abs32,
    wide_equal32,
    _mm256_cmp_ps::<_CMP_EQ_OQ>,
    _mm256_movemask_ps
);
sizes!(
    __m256d,
    _mm256_set1_pd,
    _mm256_andnot_pd,
    wide_abs64,
    wide_equal64,
    _mm256_cmp_pd::<_CMP_EQ_OQ>,
    _mm256_movemask_pd
);

#[inline(always)]
unsafe fn largest32(a: __m128) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let pair = _mm_max_ps(a, _mm_movehl_ps(a, a));
        _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
    }
}
#[inline(always)]
unsafe fn largest64(a: __m128d) -> f64 {
    // SAFETY: the caller's.
    unsafe { _mm_cvtsd_f64(_mm_max_sd(a, _mm_unpackhi_pd(a, a))) }
}
#[inline(always)]
unsafe fn wide_largest32(a: __m256) -> f32 {
    // SAFETY: the caller's.
    unsafe { largest32(_mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a))) }
}
#[inline(always)]
unsafe fn wide_largest64(a: __m256d) -> f64 {
    // SAFETY: the caller's.
    unsafe { largest64(_mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd::<1>(a))) }
}

#[inline(always)]
unsafe fn mask_equal32(a: __m512, b: __m512) -> u32 {
    // SAFETY: the caller's.
    unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b).into() }
}
#[inline(always)]
unsafe fn mask_equal64(a: __m512d, b: __m512d) -> u32 {
    // SAFETY: the caller's.
    unsafe { _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b).into() }
}

simd!(
    Sse2,
    f32,
    __m128,
    usize,
    2,
    (4, 8),
    sse2,
    count,
    _mm_set1_ps,
    _mm_loadu_ps,
    _mm_storeu_ps,
    first32,
    store_first32,
    _mm_mul_ps,
    mul_add32,
    abs32,
    _mm_max_ps,
    largest32,
    equal32
);
simd!(
    Sse2,
    f64,
    __m128d,
    usize,
    2,
    (4, 8),
    sse2,
    count,
    _mm_set1_pd,
    _mm_loadu_pd,
    _mm_storeu_pd,
    first64,
    store_first64,
    _mm_mul_pd,
    mul_add64,
    abs64,
    _mm_max_pd,
    largest64,
    equal64
);
simd!(
    Avx2,
    f32,
    __m256,
    __m256i,
    2,
    (6, 8),
    avx2,
    window32,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    load_part32,
    _mm256_maskstore_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    wide_abs32,
    _mm256_max_ps,
    wide_largest32,
    wide_equal32
);
simd!(
    Avx2,
    f64,
    __m256d,
    __m256i,
    2,
    (6, 8),
    avx2,
    window64,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    load_part64,
    _mm256_maskstore_pd,
    _mm256_mul_pd,
    _mm256_fmadd_pd,
    wide_abs64,
    _mm256_max_pd,
    wide_largest64,
    wide_equal64
);
simd!(
    Avx512,
    f32,
    __m512,
    __mmask16,
    4,
    (6, 8),
    avx512,
    bits16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_mask_storeu_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_abs_ps,
    _mm512_max_ps,
    _mm512_reduce_max_ps,
    mask_equal32
);
simd!(
    Avx512,
    f64,
    __m512d,
    __mmask8,
    4,
    (6, 8),
    avx512,
    bits8,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_mask_storeu_pd,
    _mm512_mul_pd,
    _mm512_fmadd_pd,
    _mm512_abs_pd,
    _mm512_max_pd,
    _mm512_reduce_max_pd,
    mask_equal64
);
