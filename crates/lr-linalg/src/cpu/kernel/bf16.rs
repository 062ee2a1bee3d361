//! Large `f32` products by dot products of bfloat16: both operands are rounded to bf16 as they are packed, sums are
//! taken in `f32`. A processor with the instruction (`avx512bf16`) multiplies pairs of terms where it multiplied
//! single ones, so that the rate doubles; a result is off by up to 2^-8 of the sum of magnitudes.
//!
//! The blocks are those of [`super::blocked`]: strips of `b`, as wide as a tile, stay in the second-level cache, the
//! rows of `a` under a tile in the first. Terms `2 p` and `2 p + 1` of a row or column share a word. Results depend
//! on the shape only.

use super::{
    gemm::{Added, Gemm, Strided},
    transpose::transpose,
};
use std::arch::x86_64::*;

/// Pairs of terms in a block.
const PAIRS: usize = 256;

/// Columns of a block of `b`.
const COLUMNS: usize = 512;

/// Rows of a slab of `a`.
const ROWS: usize = 96;

/// Columns of a tile: four vectors of 16.
const TILE: usize = 64;

/// Words of working memory for the strips of a block.
pub(super) const STRIPS: usize = PAIRS * COLUMNS;

/// Words from one pair to the next in a slab of a transposed `a`: in first-level caches they fall into different sets.
const SLAB_STRIDE: usize = 112;

/// Words of working memory for a slab; while strips are packed it holds the rows of one before they are turned.
pub(super) const SLAB: usize = PAIRS * SLAB_STRIDE;

/// Whether this processor has the dot products.
pub(in crate::cpu) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// The product, with working memory for [`STRIPS`] and a [`SLAB`].
///
/// # Safety
/// The processor has the instructions ([`is_available`]), the pointers are valid for the shapes.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn gemm(product: Gemm<f32>, strips: *mut u32, slab: *mut u32) {
    let Gemm { m, n, k, alpha, a, b, added, c, c_stride } = product;
    for j0 in (0..n).step_by(COLUMNS) {
        let columns = (n - j0).min(COLUMNS);
        for k0 in (0..k).step_by(2 * PAIRS) {
            let terms = (k - k0).min(2 * PAIRS);
            // SAFETY: the offsets lie within the matrices.
            unsafe {
                for j in (0..columns).step_by(TILE) {
                    let own = (columns - j).min(TILE);
                    pack_columns(terms, own, b.from(k0, j0 + j), slab, strips.add(j * terms.div_ceil(2)));
                }
                for i0 in (0..m).step_by(ROWS) {
                    let rows = (m - i0).min(ROWS);
                    let slab = pack_rows(rows, terms, a.from(i0, k0), slab);
                    let c = c.add(i0 * c_stride + j0);
                    let added = match added {
                        _ if k0 > 0 => Some(Added { beta: 1.0, data: c.cast_const(), row_stride: c_stride }),
                        Some(d) => Some(Added { data: d.data.add(i0 * d.row_stride + j0), ..d }),
                        None => None,
                    };
                    Block { pairs: terms.div_ceil(2), columns, alpha, strips, added, c, c_stride }
                        .rows(rows, slab);
                }
            }
        }
    }
}

/// Words of 16 columns: terms `low` in the lower halves, `high` in the upper ones.
#[inline(always)]
unsafe fn words(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the caller's; both types are 256 bits of halfwords.
    unsafe {
        let half = |x| _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)));
        _mm512_or_si512(half(low), _mm512_slli_epi32::<16>(half(high)))
    }
}

/// The first `count` of 16 elements; the others are zero.
#[inline(always)]
unsafe fn load(count: usize, from: *const f32) -> __m512 {
    // SAFETY: the caller's; masked elements are not read.
    unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
}

#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    if count >= 16 { 0xffff } else { (1 << count) - 1 }
}

/// One word of two terms, of which `second` may be missing.
#[inline(always)]
unsafe fn word(first: f32, second: f32) -> u32 {
    // SAFETY: the caller's.
    unsafe { _mm512_cvtsi512_si32(words(_mm512_set1_ps(first), _mm512_set1_ps(second))) as u32 }
}

/// Packs `terms` rows of `b`, `own` columns of a strip, the others zero.
#[inline(always)]
unsafe fn pack_columns(terms: usize, own: usize, b: Strided<f32>, spare: *mut u32, to: *mut u32) {
    // SAFETY: rows and columns exist; what is masked is not read.
    unsafe {
        if b.col_stride == 1 {
            for p in (0..terms).step_by(2) {
                let (row, to) = (b.from(p, 0).data, to.add(p / 2 * TILE));
                for v in (0..TILE).step_by(16) {
                    let count = own.saturating_sub(v).min(16);
                    let low = load(count, row.wrapping_add(v));
                    let high = match p + 1 < terms {
                        true => load(count, row.wrapping_add(b.row_stride + v)),
                        false => _mm512_setzero_ps(),
                    };
                    _mm512_storeu_si512(to.add(v).cast(), words(low, high));
                }
            }
            return;
        }
        // A column's terms are contiguous: its words are paired up first, then turned.
        if own < TILE {
            to.write_bytes(0, terms.div_ceil(2) * TILE);
        }
        let pairs = terms.div_ceil(2);
        (0..own).for_each(|j| pair_up(terms, b.from(0, j).data, spare.add(j * pairs)));
        // Words are moved as they are, whatever number their bits would be.
        transpose(own, pairs, spare.cast::<f32>().cast_const(), pairs, to.cast::<f32>(), TILE);
    }
}

/// A packed slab: where row 0 lies, words from a row to the next and from a pair to the next.
#[derive(Clone, Copy)]
struct Slab {
    data: *const u32,
    row_stride: usize,
    pair_stride: usize,
}

/// Packs `rows` rows of `a` in the order in which they can be read.
#[inline(always)]
unsafe fn pack_rows(rows: usize, terms: usize, a: Strided<f32>, to: *mut u32) -> Slab {
    // SAFETY: rows and columns exist.
    unsafe {
        if a.col_stride == 1 {
            (0..rows).for_each(|i| pair_up(terms, a.from(i, 0).data, to.add(i * PAIRS)));
            return Slab { data: to, row_stride: PAIRS, pair_stride: 1 };
        }
        for p in (0..terms).step_by(2) {
            let column = a.from(0, p).data;
            for i in (0..rows).step_by(16) {
                let count = (rows - i).min(16);
                let low = load(count, column.add(i));
                let high = match p + 1 < terms {
                    true => load(count, column.add(a.col_stride + i)),
                    false => _mm512_setzero_ps(),
                };
                _mm512_storeu_si512(to.add(p / 2 * SLAB_STRIDE + i).cast(), words(low, high));
            }
        }
        Slab { data: to, row_stride: 1, pair_stride: SLAB_STRIDE }
    }
}

/// Words of `terms` consecutive elements.
#[inline(always)]
unsafe fn pair_up(terms: usize, from: *const f32, to: *mut u32) {
    // SAFETY: the caller's.
    unsafe {
        let whole = terms / 32 * 32;
        for p in (0..whole).step_by(32) {
            let packed = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from.add(p + 16)), _mm512_loadu_ps(from.add(p)));
            _mm512_storeu_si512(to.add(p / 2).cast(), std::mem::transmute::<__m512bh, __m512i>(packed));
        }
        for p in (whole..terms).step_by(2) {
            let second = if p + 1 < terms { *from.add(p + 1) } else { 0.0 };
            *to.add(p / 2) = word(*from.add(p), second);
        }
    }
}

/// A packed block of `b` and where its products go.
#[derive(Clone, Copy)]
struct Block {
    pairs: usize,
    columns: usize,
    alpha: f32,
    strips: *const u32,
    added: Option<Added<f32>>,
    c: *mut f32,
    c_stride: usize,
}

impl Block {
    /// The products of a slab's `rows` with the block.
    #[inline(always)]
    unsafe fn rows(self, rows: usize, slab: Slab) {
        for j in (0..self.columns).step_by(TILE) {
            let mut i = 0;
            while i < rows {
                // SAFETY: rows `i..i + MR` exist in every case.
                unsafe {
                    i += match rows - i {
                        6.. => self.tile::<6>(i, j, slab),
                        4.. => self.tile::<4>(i, j, slab),
                        2.. => self.tile::<2>(i, j, slab),
                        _ => self.tile::<1>(i, j, slab),
                    };
                }
            }
        }
    }

    /// `MR` rows from `i` on of the tile at column `j`; returns `MR`.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "rows and vectors of a tile are indices of several arrays"
    )]
    unsafe fn tile<const MR: usize>(&self, i: usize, j: usize, slab: Slab) -> usize {
        // SAFETY: the caller's; what lies beyond the columns is neither read nor written.
        unsafe {
            let (mut pa, mut pb) = (slab.data.add(i * slab.row_stride), self.strips.add(j * self.pairs));
            let bf16 = |x: __m512i| std::mem::transmute::<__m512i, __m512bh>(x);
            let mut sums = [[_mm512_setzero_ps(); 4]; MR];
            for _ in 0..self.pairs {
                let mut b = [_mm512_setzero_si512(); 4];
                for v in 0..4 {
                    b[v] = _mm512_loadu_si512(pb.add(16 * v).cast());
                }
                for row in 0..MR {
                    let x = bf16(_mm512_set1_epi32(*pa.add(row * slab.row_stride) as i32));
                    for v in 0..4 {
                        sums[row][v] = _mm512_dpbf16_ps(sums[row][v], x, bf16(b[v]));
                    }
                }
                pa = pa.wrapping_add(slab.pair_stride);
                pb = pb.add(TILE);
            }
            let alpha = _mm512_set1_ps(self.alpha);
            let beta = _mm512_set1_ps(self.added.map_or(0.0, |d| d.beta));
            for row in 0..MR {
                for v in 0..4 {
                    let left = (self.columns - j).saturating_sub(16 * v);
                    let to = self.c.wrapping_add((i + row) * self.c_stride + j + 16 * v);
                    let scaled = _mm512_mul_ps(alpha, sums[row][v]);
                    let x = match self.added {
                        None => scaled,
                        Some(d) => {
                            let rest = d.data.wrapping_add((i + row) * d.row_stride + j + 16 * v);
                            _mm512_fmadd_ps(beta, load(left, rest), scaled)
                        }
                    };
                    _mm512_mask_storeu_ps(to, mask(left), x);
                }
            }
        }
        MR
    }
}
