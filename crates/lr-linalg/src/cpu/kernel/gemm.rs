//! The product kernel: `c = alpha a b + beta d`, row-major and without packing. A tile of `c` stays in
//! registers while a strip of `b`, as wide as the tile and resident in the first- or second-level cache,
//! passes by; elements of `a` are broadcast from where they lie, whatever their strides.
//!
//! A strip of `b` is copied only where it must be: transposed, ragged (the copy is padded with zeros),
//! or with rows so far apart that they would evict one another, where many rows of `a` reuse it.

use super::{
    simd::{Kernel, Simd},
    transpose::transpose,
};
use crate::Scalar;
use std::mem::MaybeUninit;

/// Rows of a strip of `b`: with the widest vectors a strip takes 32 KiB.
pub(super) const STRIP_ROWS: usize = 128;

/// Bytes in a row of the widest strip.
const STRIP_WIDTH: usize = 256;

/// Rows of `a` from which copying a strip with distant rows pays.
const COPY_FROM: usize = 48;

/// What is added to a product: `beta` times a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Added<T> {
    pub beta: T,
    pub data: *const T,
    pub row_stride: usize,
}

/// A readable matrix with arbitrary strides.
#[derive(Clone, Copy)]
pub(crate) struct Strided<T> {
    pub data: *const T,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<T> Strided<T> {
    /// The matrix from element `(i, j)` on.
    ///
    /// # Safety
    /// That element exists.
    #[inline(always)]
    pub unsafe fn from(self, i: usize, j: usize) -> Self {
        // SAFETY: the caller's.
        Self { data: unsafe { self.data.add(i * self.row_stride + j * self.col_stride) }, ..self }
    }
}

/// `c = alpha a b + added`, `m x n` with `k` terms, all at least one. `c` overlaps none of the others,
/// except that `added` may be `c` itself and, where a tile is as wide as `c` and [`STRIP_ROWS`] are all terms, rows of
/// `a` may overlap those of `c`.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub alpha: T,
    pub a: Strided<T>,
    pub b: Strided<T>,
    pub added: Option<Added<T>>,
    pub c: *mut T,
    pub c_stride: usize,
}

/// A copy of a strip of `b`.
#[repr(C, align(64))]
struct Copied([MaybeUninit<u8>; STRIP_ROWS * STRIP_WIDTH]);

impl<T: Scalar> Kernel<T> for Gemm<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) {
        let mut copied = Copied([MaybeUninit::uninit(); STRIP_ROWS * STRIP_WIDTH]);
        let copied = copied.0.as_mut_ptr().cast::<T>();
        let width = S::WIDTH * S::LANES;
        for k0 in (0..self.k).step_by(STRIP_ROWS) {
            let k = (self.k - k0).min(STRIP_ROWS);
            let own = Added { beta: T::ONE, data: self.c.cast_const(), row_stride: self.c_stride };
            let added = if k0 == 0 { self.added } else { Some(own) };
            let mut j0 = 0;
            while j0 < self.n {
                // Whole vectors first; what is left of the last one is a strip of its own.
                let left = self.n - j0;
                let columns = if left < S::LANES { left } else { left.min(width) / S::LANES * S::LANES };
                // SAFETY: the offsets lie within the matrices; the copy holds `k` rows of a strip.
                unsafe {
                    let a = self.a.from(0, k0);
                    let mut b = self.b.from(k0, j0);
                    if b.col_stride != 1 {
                        transpose(columns, k, b.data, b.col_stride, copied, columns);
                        b = Strided { data: copied, row_stride: columns, col_stride: 1 };
                    } else if b.row_stride > width && self.m >= COPY_FROM {
                        for p in 0..k {
                            let to = copied.add(p * columns);
                            std::ptr::copy_nonoverlapping(b.data.add(p * b.row_stride), to, columns);
                        }
                        b = Strided { data: copied, row_stride: columns, col_stride: 1 };
                    }
                    let added = added.map(|d| Added { data: d.data.add(j0), ..d });
                    let strip = Strip { k, columns, alpha: self.alpha, b, added };
                    let (m, c, stride) = (self.m, self.c.add(j0), self.c_stride);
                    match columns / S::LANES {
                        0 => strip.rows::<S, 1, true>(m, a, c, stride),
                        1 => strip.rows::<S, 1, false>(m, a, c, stride),
                        2 => strip.rows::<S, 2, false>(m, a, c, stride),
                        3 if S::WIDTH > 2 => strip.rows::<S, 3, false>(m, a, c, stride),
                        _ if S::WIDTH > 2 => strip.rows::<S, 4, false>(m, a, c, stride),
                        _ => {}
                    }
                }
                j0 += columns;
            }
        }
    }
}

/// A strip of `b` and what becomes of its products.
#[derive(Clone, Copy)]
struct Strip<T> {
    k: usize,
    columns: usize,
    alpha: T,
    b: Strided<T>,
    added: Option<Added<T>>,
}

impl<T: Scalar> Strip<T> {
    /// All rows of `c`, tile by tile: `NV` whole vectors wide, or part of one.
    ///
    /// # Safety
    /// The pointers are valid for the shapes.
    #[inline(always)]
    unsafe fn rows<S: Simd<T>, const NV: usize, const PART: bool>(
        self,
        m: usize,
        a: Strided<T>,
        c: *mut T,
        c_stride: usize,
    ) {
        let height = if NV == S::WIDTH { S::HEIGHT.0 } else { S::HEIGHT.1 };
        let mut i = 0;
        while i < m {
            // SAFETY: rows `i..i + MR` exist in every case.
            unsafe {
                let (a, to) = (a.from(i, 0), c.add(i * c_stride));
                let added = self.added.map(|d| Added { data: d.data.add(i * d.row_stride), ..d });
                let strip = Self { added, ..self };
                let left = m - i;
                if height == 8 && left >= 8 {
                    strip.tile::<S, NV, 8, PART>(a, to, c_stride);
                    i += 8;
                } else if height == 6 && left >= 6 {
                    strip.tile::<S, NV, 6, PART>(a, to, c_stride);
                    i += 6;
                } else if left >= 4 {
                    strip.tile::<S, NV, 4, PART>(a, to, c_stride);
                    i += 4;
                } else if left >= 2 {
                    strip.tile::<S, NV, 2, PART>(a, to, c_stride);
                    i += 2;
                } else {
                    strip.tile::<S, NV, 1, PART>(a, to, c_stride);
                    i += 1;
                }
            }
        }
    }

    /// `MR` rows of `NV` vectors, or of part of one.
    ///
    /// # Safety
    /// The pointers are valid for the shapes.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "rows and vectors of a tile are indices of several arrays"
    )]
    unsafe fn tile<S: Simd<T>, const NV: usize, const MR: usize, const PART: bool>(
        &self,
        a: Strided<T>,
        c: *mut T,
        c_stride: usize,
    ) {
        // SAFETY: the caller's; what lies beyond the columns is masked.
        unsafe {
            let mask = S::mask(if PART { self.columns } else { 1 });
            let load = |from: *const T| if PART { S::load_part(mask, from) } else { S::load(from) };
            let store = |x, to: *mut T| if PART { S::store_part(mask, x, to) } else { S::store(x, to) };
            let mut sums = [[S::splat(T::ZERO); NV]; MR];
            let (mut pa, mut pb) = (a.data, self.b.data);
            for _ in 0..self.k {
                let mut b = [S::splat(T::ZERO); NV];
                for v in 0..NV {
                    b[v] = load(pb.add(v * S::LANES));
                }
                for i in 0..MR {
                    let x = S::splat(*pa.add(i * a.row_stride));
                    for v in 0..NV {
                        sums[i][v] = S::mul_add(x, b[v], sums[i][v]);
                    }
                }
                pa = pa.wrapping_add(a.col_stride);
                pb = pb.wrapping_add(self.b.row_stride);
            }
            let alpha = S::splat(self.alpha);
            match self.added {
                None => {
                    for i in 0..MR {
                        for v in 0..NV {
                            store(S::mul(alpha, sums[i][v]), c.add(i * c_stride + v * S::LANES));
                        }
                    }
                }
                Some(d) => {
                    let beta = S::splat(d.beta);
                    for i in 0..MR {
                        for v in 0..NV {
                            let rest = S::mul(beta, load(d.data.add(i * d.row_stride + v * S::LANES)));
                            let to = c.add(i * c_stride + v * S::LANES);
                            store(S::mul_add(alpha, sums[i][v], rest), to);
                        }
                    }
                }
            }
        }
    }
}
