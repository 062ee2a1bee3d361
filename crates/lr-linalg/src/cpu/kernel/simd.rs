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
    /// The larger of `|a|` and `b`, which is no NaN; a NaN in `a` is passed over.
    unsafe fn max_abs(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The largest element, none of which is NaN.
    unsafe fn largest(a: Self::Vector) -> T;
    /// One bit for every element of `a` of this size, the first the lowest.
    unsafe fn where_abs(a: Self::Vector, size: Self::Vector) -> u32;
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

/// Arrays of 128 bits, a register of most other 64-bit processors.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[derive(Clone, Copy)]
pub struct Portable;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
macro_rules! portable {
    ($t:ty, $lanes:literal) => {
        impl Simd<$t> for Portable {
            type Vector = [$t; $lanes];
            type Mask = usize;
            const LANES: usize = $lanes;
            const WIDTH: usize = 2;
            const HEIGHT: (usize, usize) = (4, 8);
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
                std::array::from_fn(|i| a[i] * b[i] + c[i])
            }
            #[inline(always)]
            unsafe fn max_abs(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|i| if a[i].abs() > b[i] { a[i].abs() } else { b[i] })
            }
            #[inline(always)]
            unsafe fn largest(a: Self::Vector) -> $t {
                a.into_iter().fold(a[0], |largest, x| if x > largest { x } else { largest })
            }
            #[inline(always)]
            unsafe fn where_abs(a: Self::Vector, size: Self::Vector) -> u32 {
                (0..$lanes).fold(0, |bits, i| bits | u32::from(a[i].abs() == size[i]) << i)
            }
            #[inline]
            unsafe fn vectorize<K: Kernel<$t>>(kernel: K) -> K::Output {
                // SAFETY: the caller's.
                unsafe { kernel.run::<Self>() }
            }
        }
    };
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
portable!(f32, 4);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
portable!(f64, 2);

#[cfg(target_arch = "aarch64")]
mod aarch64;

#[cfg(target_arch = "x86_64")]
mod x86;

macro_rules! vectors {
    ($t:ty) => {
        impl Vectors for $t {
            #[cfg(target_arch = "x86_64")]
            type Portable = x86::Sse2;
            #[cfg(target_arch = "aarch64")]
            type Portable = aarch64::Neon;
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
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
