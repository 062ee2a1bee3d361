//! Large products in blocks, as Goto and van de Geijn (2008) do: [`TERMS`] rows of `b` are packed into strips as
//! wide as a tile, a block of which stays in the second-level cache. The few rows of `a` under a tile stay in the
//! first-level cache while the strips of the block pass by; they are read from where they lie, unless `a` is
//! transposed: then the rows of a slab are copied first. Results depend on the shape only.

use super::{
    gemm::{Added, Gemm, Strided},
    simd::{Kernel, Simd},
    transpose::transpose,
};
use crate::{Op, Scalar};

/// Terms of a block.
const TERMS: usize = 256;

/// Bytes in a row of a block of `b`.
const WIDTH: usize = 2048;

/// Rows of a slab of a transposed `a`.
const SLAB_ROWS: usize = 96;

/// Elements from one row of a slab to the next: in first-level caches the columns of a tile's rows fall into
/// different sets.
const SLAB_STRIDE: usize = 112;

/// Elements of working memory for the strips of a block.
pub(super) const fn strips<T>() -> usize {
    TERMS * WIDTH / size_of::<T>()
}

/// Elements of working memory for a slab.
pub(super) const fn slab(a: Op) -> usize {
    match a {
        Op::None => 0,
        Op::Transpose => TERMS * SLAB_STRIDE,
    }
}

/// [`Gemm`] in blocks, with working memory for [`strips`] and a [`slab`].
pub(super) struct Blocked<T> {
    pub product: Gemm<T>,
    pub strips: *mut T,
    pub slab: *mut T,
}

impl<T: Scalar> Kernel<T> for Blocked<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T>>(self) {
        let Gemm { m, n, k, alpha, a, b, added, c, c_stride } = self.product;
        let width = WIDTH / size_of::<T>();
        for j0 in (0..n).step_by(width) {
            let columns = (n - j0).min(width);
            for k0 in (0..k).step_by(TERMS) {
                let terms = (k - k0).min(TERMS);
                // SAFETY: the offsets lie within the matrices.
                unsafe {
                    pack::<T, S>(terms, columns, b.from(k0, j0), self.strips);
                    let c = c.add(j0);
                    let added = match added {
                        _ if k0 > 0 => {
                            Some(Added { beta: T::ONE, data: c.cast_const(), row_stride: c_stride })
                        }
                        Some(d) => Some(Added { data: d.data.add(j0), ..d }),
                        None => None,
                    };
                    let block = Block { terms, columns, alpha, b: self.strips, added, c, c_stride };
                    let a = a.from(0, k0);
                    if a.col_stride == 1 {
                        block.rows::<S>(0, m, a);
                        continue;
                    }
                    for i0 in (0..m).step_by(SLAB_ROWS) {
                        let rows = (m - i0).min(SLAB_ROWS);
                        let from = a.from(i0, 0).data;
                        for p in 0..terms {
                            let to = self.slab.add(p * SLAB_STRIDE);
                            std::ptr::copy_nonoverlapping(from.add(p * a.col_stride), to, rows);
                        }
                        let slab = Strided { data: self.slab, row_stride: 1, col_stride: SLAB_STRIDE };
                        block.rows::<S>(i0, rows, slab);
                    }
                }
            }
        }
    }
}

/// Copies `terms` rows of `b` into strips of a tile's width, the last one filled up with zeros.
///
/// # Safety
/// The pointers are valid for the shapes.
#[inline(always)]
unsafe fn pack<T: Scalar, S: Simd<T>>(terms: usize, columns: usize, b: Strided<T>, to: *mut T) {
    let width = S::WIDTH * S::LANES;
    for j in (0..columns).step_by(width) {
        let own = (columns - j).min(width);
        // SAFETY: strips lie one after another, `terms` rows each.
        unsafe {
            let (from, to) = (b.from(0, j).data, to.add(j * terms));
            if own < width {
                to.write_bytes(0, terms * width);
            }
            if b.col_stride == 1 {
                for p in 0..terms {
                    std::ptr::copy_nonoverlapping(from.add(p * b.row_stride), to.add(p * width), own);
                }
            } else {
                transpose(own, terms, from, b.col_stride, to, width);
            }
        }
    }
}

/// A packed block of `b` and where its products go.
#[derive(Clone, Copy)]
struct Block<T> {
    terms: usize,
    columns: usize,
    alpha: T,
    b: *const T,
    added: Option<Added<T>>,
    c: *mut T,
    c_stride: usize,
}

impl<T: Scalar> Block<T> {
    /// The products of `rows` rows of `a` with the block, written from row `first` of `c` on.
    ///
    /// # Safety
    /// The pointers are valid for the shapes.
    #[inline(always)]
    unsafe fn rows<S: Simd<T>>(self, first: usize, rows: usize, a: Strided<T>) {
        let mut i = 0;
        while i < rows {
            // SAFETY: rows `i..i + MR` exist in every case.
            unsafe {
                let (row, a) = (first + i, a.from(i, 0));
                i += match rows - i {
                    6.. => self.strips::<S, 6>(row, a),
                    4.. => self.strips::<S, 4>(row, a),
                    2.. => self.strips::<S, 2>(row, a),
                    _ => self.strips::<S, 1>(row, a),
                };
            }
        }
    }

    /// `MR` rows of `c` from `row` on, strip by strip; returns `MR`.
    ///
    /// # Safety
    /// The pointers are valid for the shapes.
    #[inline(always)]
    unsafe fn strips<S: Simd<T>, const MR: usize>(&self, row: usize, a: Strided<T>) -> usize {
        let width = S::WIDTH * S::LANES;
        for j in (0..self.columns).step_by(width) {
            let columns = (self.columns - j).min(width);
            // SAFETY: the strip has `terms` rows of `width` elements.
            unsafe {
                let to = self.c.add(row * self.c_stride + j);
                let added = self.added.map(|d| Added { data: d.data.add(row * d.row_stride + j), ..d });
                let b = self.b.add(j * self.terms);
                if S::WIDTH > 2 {
                    self.tile::<S, 4, MR>(a, b, added, to, columns);
                } else {
                    self.tile::<S, 2, MR>(a, b, added, to, columns);
                }
            }
        }
        MR
    }

    /// `MR` rows of `NV` vectors, of which `columns` elements are written.
    ///
    /// # Safety
    /// The pointers are valid for the shapes.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "rows and vectors of a tile are indices of several arrays"
    )]
    unsafe fn tile<S: Simd<T>, const NV: usize, const MR: usize>(
        &self,
        a: Strided<T>,
        b: *const T,
        added: Option<Added<T>>,
        c: *mut T,
        columns: usize,
    ) {
        // SAFETY: the caller's; what lies beyond the columns is neither read nor written.
        unsafe {
            if added.is_some() {
                for i in 0..MR {
                    for v in 0..NV {
                        prefetch(c.wrapping_add(i * self.c_stride + v * S::LANES));
                    }
                }
            }
            let mut sums = [[S::splat(T::ZERO); NV]; MR];
            let (mut pa, mut pb) = (a.data, b);
            for _ in 0..self.terms {
                let mut b = [S::splat(T::ZERO); NV];
                for v in 0..NV {
                    b[v] = S::load(pb.add(v * S::LANES));
                }
                for i in 0..MR {
                    let x = S::splat(*pa.add(i * a.row_stride));
                    for v in 0..NV {
                        sums[i][v] = S::mul_add(x, b[v], sums[i][v]);
                    }
                }
                pa = pa.wrapping_add(a.col_stride);
                pb = pb.add(NV * S::LANES);
            }
            let alpha = S::splat(self.alpha);
            let beta = S::splat(added.map_or(T::ZERO, |d| d.beta));
            for i in 0..MR {
                for v in 0..NV {
                    let left = columns.saturating_sub(v * S::LANES);
                    let to = c.wrapping_add(i * self.c_stride + v * S::LANES);
                    let rest = added.map(|d| d.data.wrapping_add(i * d.row_stride + v * S::LANES));
                    if left >= S::LANES {
                        match rest {
                            None => S::store(S::mul(alpha, sums[i][v]), to),
                            Some(rest) => {
                                S::store(S::mul_add(alpha, sums[i][v], S::mul(beta, S::load(rest))), to);
                            }
                        }
                    } else if left > 0 {
                        let mask = S::mask(left);
                        let x = match rest {
                            None => S::mul(alpha, sums[i][v]),
                            Some(rest) => {
                                S::mul_add(alpha, sums[i][v], S::mul(beta, S::load_part(mask, rest)))
                            }
                        };
                        S::store_part(mask, x, to);
                    }
                }
            }
        }
    }
}

/// Asks for a line of memory that will be read and written soon.
#[inline(always)]
fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this kind has the instruction, which does nothing for bad addresses.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
