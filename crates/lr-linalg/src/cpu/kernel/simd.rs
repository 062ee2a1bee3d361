//! [`Simd`]: vectors of an instruction set, as far as the kernels need them.
//!
//! Kernels are generic over it, every function of theirs is `#[inline(always)]`, and
//! [`Simd::vectorize`] compiles the whole under the instruction set's features.

use super::Isa;

/// Work that is compiled once for each instruction set.
pub trait Kernel<T> {
    /// What it returns.
    type Output;
    /// Does the work; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; and what the kernel itself asks for.
    unsafe fn run<S: Simd<T>>(self) -> Self::Output;
}

/// Vectors of elements `T`.
///
/// # Safety
/// All functions need a processor with the instruction set; `load` and `store` need pointers valid for
/// [`Self::LANES`] elements, of any alignment, `load_part` and `store_part` for those that the mask names.
#[allow(clippy::missing_safety_doc, reason = "said once for all above")]
pub trait Simd<T>: Copy {
    /// A vector in a register.
    type Vector: Copy;
    /// Names some elements of a vector.
    type Mask: Copy;
    /// Elements of a vector.
    const LANES: usize;
    /// Vectors in a row of the largest tile.
    const WIDTH: usize;
    /// Rows of tiles of full width, and of all narrower ones.
    const HEIGHT: (usize, usize);
    /// All elements the same.
    unsafe fn splat(x: T) -> Self::Vector;
    /// Reads consecutive elements.
    unsafe fn load(from: *const T) -> Self::Vector;
    /// Writes consecutive elements.
    unsafe fn store(x: Self::Vector, to: *mut T);
    /// Names the first `count` elements of a vector, at least one and not all.
    unsafe fn mask(count: usize) -> Self::Mask;
    /// Reads the named elements; the others are zero.
    unsafe fn load_part(mask: Self::Mask, from: *const T) -> Self::Vector;
    /// Writes the named elements.
    unsafe fn store_part(mask: Self::Mask, x: Self::Vector, to: *mut T);
    /// `a b`.
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`, rounded once where the processor can.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Runs a kernel compiled for the instruction set.
    unsafe fn vectorize<K: Kernel<T>>(kernel: K) -> K::Output;
}

/// The vectors of an element type on every instruction set.
pub trait Vectors: Sized {
    /// Those of [`Isa::Portable`].
    type Portable: Simd<Self>;
    /// Those of [`Isa::Avx2`].
    #[cfg(target_arch = "x86_64")]
    type Avx2: Simd<Self>;
    /// Those of [`Isa::Avx512`].
    #[cfg(target_arch = "x86_64")]
    type Avx512: Simd<Self>;
}

/// Clears the upper halves of wide registers when dropped. What a library leaves in them makes narrow
/// instructions several times slower on some processors; compiled code clears them itself.
#[derive(Debug)]
pub(in crate::cpu) struct CleanRegisters;

impl Drop for CleanRegisters {
    #[inline]
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx") {
            // SAFETY: the instruction exists, and nothing lives in the upper halves between functions.
            unsafe { std::arch::x86_64::_mm256_zeroupper() }
        }
    }
}

/// Runs a kernel on an instruction set.
///
/// # Safety
/// The processor has the instruction set; and what the kernel asks for.
#[inline]
pub(super) unsafe fn run_on<T: Vectors, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output {
    // SAFETY: the caller's.
    unsafe {
        match isa {
            Isa::Portable => T::Portable::vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => T::Avx2::vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => T::Avx512::vectorize(kernel),
        }
    }
}

/// Arrays of 128 bits, a register of most 64-bit processors.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub struct Portable;

#[cfg(not(target_arch = "x86_64"))]
macro_rules! portable {
    ($t:ty, $lanes:literal) => {
        impl Simd<$t> for Portable {
            type Vector = [$t; $lanes];
            type Mask = usize;
            const LANES: usize = $lanes;
            const WIDTH: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };
            const HEIGHT: (usize, usize) = if cfg!(target_arch = "aarch64") { (6, 8) } else { (4, 8) };
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self::Vector {
                [x; $lanes]
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self::Vector {
                // SAFETY: the caller's.
                unsafe { from.cast::<Self::Vector>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(x: Self::Vector, to: *mut $t) {
                // SAFETY: the caller's.
                unsafe { to.cast::<Self::Vector>().write_unaligned(x) }
            }
            #[inline(always)]
            unsafe fn mask(count: usize) -> usize {
                count
            }
            #[inline(always)]
            unsafe fn load_part(mask: usize, from: *const $t) -> Self::Vector {
                // SAFETY: the caller's.
                std::array::from_fn(|i| if i < mask { unsafe { *from.add(i) } } else { 0.0 })
            }
            #[inline(always)]
            unsafe fn store_part(mask: usize, x: Self::Vector, to: *mut $t) {
                for (i, &x) in x.iter().enumerate().take(mask) {
                    // SAFETY: the caller's.
                    unsafe { *to.add(i) = x }
                }
            }
            #[inline(always)]
            unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|i| a[i] * b[i])
            }
            #[inline(always)]
            unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                // Without the instruction, `mul_add` would call a library.
                if cfg!(target_arch = "aarch64") {
                    std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
                } else {
                    std::array::from_fn(|i| a[i] * b[i] + c[i])
                }
            }
            #[inline]
            unsafe fn vectorize<K: Kernel<$t>>(kernel: K) -> K::Output {
                // SAFETY: the caller's.
                unsafe { kernel.run::<Self>() }
            }
        }
    };
}
#[cfg(not(target_arch = "x86_64"))]
portable!(f32, 4);
#[cfg(not(target_arch = "x86_64"))]
portable!(f64, 2);

#[cfg(target_arch = "x86_64")]
mod x86 {
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
         $mul_add:ident) => {
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
        mul_add32
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
        mul_add64
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
        _mm256_fmadd_ps
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
        _mm256_fmadd_pd
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
        _mm512_fmadd_ps
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
        _mm512_fmadd_pd
    );
}

macro_rules! vectors {
    ($t:ty) => {
        impl Vectors for $t {
            #[cfg(target_arch = "x86_64")]
            type Portable = x86::Sse2;
            #[cfg(not(target_arch = "x86_64"))]
            type Portable = Portable;
            #[cfg(target_arch = "x86_64")]
            type Avx2 = x86::Avx2;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = x86::Avx512;
        }
    };
}
vectors!(f32);
vectors!(f64);
