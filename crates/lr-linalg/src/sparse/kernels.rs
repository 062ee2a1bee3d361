//! The passes over the entries of a sparse matrix, compiled for every vector width that `pulp` knows.
//!
//! Lines are cut into pieces by numbers of entries, never by the number of threads; sums of pieces are added
//! in a fixed tree. No fused multiply-add, as everywhere in this crate.

use super::{Halves, Lines, Table, Work, table::LANES};
use crate::{Panel, PanelMut, Scalar, Threads};
use pulp::Arch;
use std::ops::Range;

/// Entries in a piece: some 50 us of work.
const PIECE: usize = 1 << 14;

/// Runs both, at the same time where the handle may.
fn join<L: Send, R: Send>(
    threads: Threads,
    left: impl FnOnce() -> L + Send,
    right: impl FnOnce() -> R + Send,
) -> (L, R) {
    match threads {
        Threads::Pool => rayon::join(left, right),
        Threads::Serial => (left(), right()),
    }
}

/// What a pass reads.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a, T> {
    pub lines: &'a Lines,
    pub own: &'a Table<T>,
    pub other: &'a Table<T>,
    pub values: &'a [T],
}

/// Runs a pass: `stored` (one for each entry, or empty) and `out` (one row for each line, or empty) are
/// written, two sums come back.
pub(super) fn run<T: Scalar>(
    threads: Threads,
    pass: Pass<'_, T>,
    stored: &mut [T],
    out: &mut [T],
    work: Work,
) -> [f64; 2] {
    assert!(stored.is_empty() || stored.len() == pass.values.len(), "one value for each stored entry");
    let lines = 0..pass.lines.count();
    pieces(threads, pass, lines, stored, out, work)
}

fn pieces<T: Scalar>(
    threads: Threads,
    pass: Pass<'_, T>,
    lines: Range<usize>,
    stored: &mut [T],
    out: &mut [T],
    work: Work,
) -> [f64; 2] {
    let offsets = &pass.lines.offsets;
    let (first, last) = (offsets[lines.start], offsets[lines.end]);
    if last - first <= PIECE || lines.len() == 1 {
        return piece(pass, lines, stored, out, work);
    }
    let middle = offsets[lines.start..lines.end].partition_point(|&at| at < first + (last - first) / 2);
    let middle = (lines.start + middle).clamp(lines.start + 1, lines.end - 1);
    let at = if stored.is_empty() { 0 } else { offsets[middle] - first };
    let row = if out.is_empty() { 0 } else { (middle - lines.start) * pass.own.width() };
    let ((stored_a, stored_b), (out_a, out_b)) = (stored.split_at_mut(at), out.split_at_mut(row));
    let (a, b) = join(
        threads,
        || pieces(threads, pass, lines.start..middle, stored_a, out_a, work),
        || pieces(threads, pass, middle..lines.end, stored_b, out_b, work),
    );
    [a[0] + b[0], a[1] + b[1]]
}

fn piece<T: Scalar>(
    pass: Pass<'_, T>,
    lines: Range<usize>,
    stored: &mut [T],
    out: &mut [T],
    work: Work,
) -> [f64; 2] {
    Arch::new().dispatch(
        #[inline(always)]
        || match (work, pass.own.width() / LANES) {
            (Work::Sample, 1) => fixed::<T, Sample, 1>(pass, lines, stored, out),
            (Work::Sample, 2) => fixed::<T, Sample, 2>(pass, lines, stored, out),
            (Work::Sample, 4) => fixed::<T, Sample, 4>(pass, lines, stored, out),
            (Work::Sample, 6) => fixed::<T, Sample, 6>(pass, lines, stored, out),
            (Work::Sums, 1) => fixed::<T, SumsOnly, 1>(pass, lines, stored, out),
            (Work::Sums, 2) => fixed::<T, SumsOnly, 2>(pass, lines, stored, out),
            (Work::Sums, 3) => fixed::<T, SumsOnly, 3>(pass, lines, stored, out),
            (Work::Sums, 4) => fixed::<T, SumsOnly, 4>(pass, lines, stored, out),
            (Work::Sums, 5) => fixed::<T, SumsOnly, 5>(pass, lines, stored, out),
            (Work::Product, 1) => fixed::<T, Product, 1>(pass, lines, stored, out),
            (Work::Product, 2) => fixed::<T, Product, 2>(pass, lines, stored, out),
            (Work::Product, 3) => fixed::<T, Product, 3>(pass, lines, stored, out),
            (Work::Product, 4) => fixed::<T, Product, 4>(pass, lines, stored, out),
            (Work::Residual, 1) => fixed::<T, Residual, 1>(pass, lines, stored, out),
            (Work::Residual, 2) => fixed::<T, Residual, 2>(pass, lines, stored, out),
            (Work::Residual, 3) => fixed::<T, Residual, 3>(pass, lines, stored, out),
            (Work::Residual, 4) => fixed::<T, Residual, 4>(pass, lines, stored, out),
            (Work::Curvature(Halves::SampledFirst), 2) => {
                fixed::<T, SampledFirst, 2>(pass, lines, stored, out)
            }
            (Work::Curvature(Halves::SampledFirst), 4) => {
                fixed::<T, SampledFirst, 4>(pass, lines, stored, out)
            }
            (Work::Curvature(Halves::SampledFirst), 6) => {
                fixed::<T, SampledFirst, 6>(pass, lines, stored, out)
            }
            (Work::Curvature(Halves::SampledFirst), 8) => {
                fixed::<T, SampledFirst, 8>(pass, lines, stored, out)
            }
            (Work::Curvature(Halves::SampledSecond), 2) => {
                fixed::<T, SampledSecond, 2>(pass, lines, stored, out)
            }
            (Work::Curvature(Halves::SampledSecond), 4) => {
                fixed::<T, SampledSecond, 4>(pass, lines, stored, out)
            }
            (Work::Curvature(Halves::SampledSecond), 6) => {
                fixed::<T, SampledSecond, 6>(pass, lines, stored, out)
            }
            (Work::Curvature(Halves::SampledSecond), 8) => {
                fixed::<T, SampledSecond, 8>(pass, lines, stored, out)
            }
            (_, _) => any(pass, lines, stored, out, work),
        },
    )
}

/// One of [`Work`], known to the compiler.
trait Kind {
    /// Weights of the two halves of the other row, given the sampled product and the stored value.
    fn weights<T: Scalar>(product: T, value: T) -> (T, T);
    /// What is written for the entry.
    fn kept<T: Scalar>(product: T, _: T) -> T {
        product
    }
    const SUMS: Sums;
    /// Whether what is kept of every entry is written.
    const STORES: bool;
    /// Whether the other rows are summed up, weighted.
    const GATHERS: bool;
}

/// Which sums over the entries a pass needs.
#[derive(PartialEq, Eq)]
enum Sums {
    None,
    Square,
    SquareAndMixed,
}

struct Sample;
struct SumsOnly;
struct Residual;
struct Product;
struct SampledFirst;
struct SampledSecond;

impl Kind for Sample {
    const SUMS: Sums = Sums::SquareAndMixed;
    const STORES: bool = true;
    const GATHERS: bool = false;
    #[inline(always)]
    fn weights<T: Scalar>(_: T, _: T) -> (T, T) {
        (T::ZERO, T::ZERO)
    }
}

impl Kind for SumsOnly {
    const SUMS: Sums = Sums::SquareAndMixed;
    const STORES: bool = false;
    const GATHERS: bool = false;
    #[inline(always)]
    fn weights<T: Scalar>(_: T, _: T) -> (T, T) {
        (T::ZERO, T::ZERO)
    }
}

impl Kind for Residual {
    const SUMS: Sums = Sums::Square;
    const STORES: bool = true;
    const GATHERS: bool = true;
    #[inline(always)]
    fn weights<T: Scalar>(product: T, value: T) -> (T, T) {
        (product - value, product - value)
    }
    #[inline(always)]
    fn kept<T: Scalar>(product: T, value: T) -> T {
        product - value
    }
}

impl Kind for Product {
    const SUMS: Sums = Sums::None;
    const STORES: bool = false;
    const GATHERS: bool = true;
    #[inline(always)]
    fn weights<T: Scalar>(product: T, value: T) -> (T, T) {
        (product - value, product - value)
    }
}

impl Kind for SampledFirst {
    const SUMS: Sums = Sums::None;
    const STORES: bool = false;
    const GATHERS: bool = true;
    #[inline(always)]
    fn weights<T: Scalar>(product: T, value: T) -> (T, T) {
        (product, value)
    }
}

impl Kind for SampledSecond {
    const SUMS: Sums = Sums::None;
    const STORES: bool = false;
    const GATHERS: bool = true;
    #[inline(always)]
    fn weights<T: Scalar>(product: T, value: T) -> (T, T) {
        (value, product)
    }
}

/// Rows of `C` vectors, known to the compiler: own row and sums stay in registers.
#[inline(always)]
fn fixed<T: Scalar, K: Kind, const C: usize>(
    pass: Pass<'_, T>,
    lines: Range<usize>,
    stored: &mut [T],
    out: &mut [T],
) -> [f64; 2] {
    let start = pass.lines.offsets[lines.start];
    let (mut square, mut mixed) = (T::ZERO, T::ZERO);
    let (owns, others) = (pass.own.vectors::<C>(), pass.other.vectors::<C>());
    let (out, _) = out.as_chunks_mut::<LANES>();
    let (out, _) = out.as_chunks_mut::<C>();
    for (place, i) in lines.enumerate() {
        let entries = pass.lines.offsets[i]..pass.lines.offsets[i + 1];
        let (indices, values) = (&pass.lines.indices[entries.clone()], &pass.values[entries.clone()]);
        let own = owns[i];
        let mut sum = [[T::ZERO; LANES]; C];
        for (e, (&j, &value)) in indices.iter().zip(values).enumerate() {
            let other = &others[j as usize];
            let mut lanes = [T::ZERO; LANES];
            for k in 0..C {
                for l in 0..LANES {
                    lanes[l] += own[k][l] * other[k][l];
                }
            }
            let product = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
            let kept = K::kept(product, value);
            if K::SUMS != Sums::None {
                square += kept * kept;
            }
            if K::SUMS == Sums::SquareAndMixed {
                mixed += kept * value;
            }
            if K::STORES {
                stored[entries.start - start + e] = kept;
            }
            if K::GATHERS {
                let (first, second) = K::weights(product, value);
                for k in 0..C {
                    let weight = if k < C / 2 { first } else { second };
                    for l in 0..LANES {
                        sum[k][l] += weight * other[k][l];
                    }
                }
            }
        }
        if let Some(row) = out.get_mut(place) {
            *row = sum;
        }
    }
    [square.to_f64(), mixed.to_f64()]
}

/// The same for any width.
#[inline(always)]
fn any<T: Scalar>(
    pass: Pass<'_, T>,
    lines: Range<usize>,
    stored: &mut [T],
    out: &mut [T],
    work: Work,
) -> [f64; 2] {
    let width = pass.own.width();
    let start = pass.lines.offsets[lines.start];
    let (mut square, mut mixed) = (T::ZERO, T::ZERO);
    for (place, i) in lines.enumerate() {
        let own = pass.own.row(i);
        let mut sum = out.get_mut(place * width..(place + 1) * width);
        if let Some(sum) = &mut sum {
            sum.fill(T::ZERO);
        }
        for e in pass.lines.offsets[i]..pass.lines.offsets[i + 1] {
            let (other, value) = (pass.other.row(pass.lines.indices[e] as usize), pass.values[e]);
            let mut lanes = [T::ZERO; LANES];
            for (a, c) in own.chunks_exact(LANES).zip(other.chunks_exact(LANES)) {
                for l in 0..LANES {
                    lanes[l] += a[l] * c[l];
                }
            }
            let product = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
            let (first, second) = match work {
                Work::Sample => {
                    square += product * product;
                    mixed += product * value;
                    stored[e - start] = product;
                    continue;
                }
                Work::Sums => {
                    square += product * product;
                    mixed += product * value;
                    continue;
                }
                Work::Product => (product - value, product - value),
                Work::Residual => {
                    let d = product - value;
                    square += d * d;
                    stored[e - start] = d;
                    (d, d)
                }
                Work::Curvature(halves) => weights(halves, product, value),
            };
            if let Some(sum) = &mut sum {
                add_scaled(first, &other[..width / 2], &mut sum[..width / 2]);
                add_scaled(second, &other[width / 2..], &mut sum[width / 2..]);
            }
        }
    }
    [square.to_f64(), mixed.to_f64()]
}

#[inline(always)]
fn weights<T>(halves: Halves, sampled: T, given: T) -> (T, T) {
    match halves {
        Halves::SampledFirst => (sampled, given),
        Halves::SampledSecond => (given, sampled),
    }
}

#[inline(always)]
fn add_scaled<T: Scalar>(factor: T, x: &[T], y: &mut [T]) {
    for (x, y) in x.iter().zip(y) {
        *y += factor * *x;
    }
}

/// `out = S x` for the orientation whose lines are given.
pub(super) fn multiply<T: Scalar>(
    threads: Threads,
    lines: &Lines,
    values: &[T],
    x: Panel<'_, T>,
    out: PanelMut<'_, T>,
) {
    multiply_lines(threads, lines, 0, values, x, out);
}

fn multiply_lines<T: Scalar>(
    threads: Threads,
    lines: &Lines,
    first: usize,
    values: &[T],
    x: Panel<'_, T>,
    mut out: PanelMut<'_, T>,
) {
    let count = out.rows();
    if count == 0 {
        return;
    }
    let entries = lines.offsets[first + count] - lines.offsets[first];
    if entries > PIECE && count > 1 {
        let (above, below) = out.split_rows(count / 2);
        join(
            threads,
            || multiply_lines(threads, lines, first, values, x, above),
            || multiply_lines(threads, lines, first + count / 2, values, x, below),
        );
        return;
    }
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for i in 0..count {
                let sum = out.row_mut(i);
                sum.fill(T::ZERO);
                let entries = lines.offsets[first + i]..lines.offsets[first + i + 1];
                for (&value, &j) in values[entries.clone()].iter().zip(&lines.indices[entries]) {
                    add_scaled(value, x.row(j as usize), sum);
                }
            }
        },
    );
}
