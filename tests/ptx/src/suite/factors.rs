//! Cholesky factors, inverses, and what surrounds a library's eigenproblems: checked by what defines them, on orders
//! below and above a tile of 32, and on inputs without a result.

use super::bench::{Bench, Check, Shape, View, numbers};

/// Problem `p` of a batch as rows.
pub(super) fn rows(shape: Shape, values: &[f64], p: usize) -> Vec<Vec<f64>> {
    (0..shape.rows).map(|i| (0..shape.cols).map(|j| values[shape.at(p, i, j)]).collect()).collect()
}

/// `A' B`.
pub(super) fn inner(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (n, m) = (a[0].len(), b[0].len());
    (0..n).map(|i| (0..m).map(|j| a.iter().zip(b).map(|(x, y)| x[i] * y[j]).sum()).collect()).collect()
}

/// `A B`.
pub(super) fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let m = b[0].len();
    a.iter().map(|row| (0..m).map(|j| row.iter().zip(b).map(|(x, y)| x * y[j]).sum()).collect()).collect()
}

/// The largest magnitude.
pub(super) fn largest(a: &[Vec<f64>]) -> f64 {
    a.iter().flatten().fold(0.0, |most: f64, x| most.max(x.abs()))
}

/// Entry of the identity.
pub(super) fn identity(i: usize, j: usize) -> f64 {
    f64::from(u8::from(i == j))
}

/// Fails where a matrix is further than `bound` from what `wanted` says.
pub(super) fn near(
    what: &str,
    found: &[Vec<f64>],
    bound: f64,
    wanted: impl Fn(usize, usize) -> f64,
) -> Check {
    for (i, row) in found.iter().enumerate() {
        for (j, &x) in row.iter().enumerate() {
            let wanted = wanted(i, j);
            let close = (x - wanted).abs() <= bound;
            if !close {
                return Err(format!("{what}: ({i}, {j}) is {x:e}, not {wanted:e}"));
            }
        }
    }
    Ok(())
}

/// What a status holds before: kernels write it only where there is something to say.
pub(super) const BEFORE: f64 = 9.0;

/// Compares the status of every problem.
pub(super) fn check_status(bench: &Bench, status: &View, wanted: &[f64]) -> Check {
    bench.compare("status", status, 0.0, |p, _, _| (wanted[p], 0.0))
}

pub(super) fn statuses(bench: &mut Bench, batch: usize) -> View {
    bench.inout(Shape::gapped(batch, 1, 1), &vec![BEFORE; batch])
}

/// The Cholesky factor, or the index of the bad pivot from 1.
fn factor(a: &[Vec<f64>], shift: f64) -> Result<Vec<Vec<f64>>, usize> {
    let n = a.len();
    let mut l = vec![vec![0.0; n]; n];
    for j in 0..n {
        let pivot = a[j][j] + shift - l[j].iter().map(|x: &f64| x * x).sum::<f64>();
        let good = pivot > 0.0 && pivot.is_finite();
        if !good {
            return Err(j + 1);
        }
        l[j][j] = pivot.sqrt();
        for i in j + 1..n {
            let sum: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
            l[i][j] = (a[i][j] - sum) / l[j][j];
        }
    }
    Ok(l)
}

/// Symmetric matrices with NaN above the diagonal: a good one, one that needs a shift, one with NaN, one with a
/// negative trace, one with a zero row, one with infinity.
fn symmetric(bench: &mut Bench, shape: Shape) -> View {
    let n = shape.rows;
    let noise = numbers(shape.len(), 11);
    let mut values = vec![f64::NAN; shape.len()];
    for p in 0..shape.batch {
        for i in 0..n {
            for j in 0..=i {
                let scale = 0.5 / n as f64;
                values[shape.at(p, i, j)] =
                    if i == j { 1.0 + 0.25 * noise[p * n + i] } else { scale * noise[shape.at(p, i, j)] };
            }
        }
        let last = shape.at(p, n - 1, n - 1);
        match p {
            1 => values[last] = -0.25,
            2 => values[shape.at(p, n - 1, n / 2)] = f64::NAN,
            3 => values[shape.at(p, n / 2, n / 2)] = -2.0 * n as f64,
            4 => {
                (0..n).for_each(|i| values[shape.at(p, i.max(n / 2), i.min(n / 2))] = 0.0);
            }
            5 => values[last] = f64::INFINITY,
            _ => {}
        }
    }
    bench.inout(shape, &values)
}

pub(super) fn cholesky(bench: &mut Bench) -> Check {
    for n in [1, 6, 33] {
        for (tries, relative) in [(0, 0.0), (5, 0.1), (2, 0.1)] {
            let shape = Shape::gapped(6, n, n);
            let a = symmetric(bench, shape);
            let status = statuses(bench, shape.batch);
            let shared = n * bench.size();
            let call =
                bench.call("cholesky_real").matrix(&a).scalar(&status).size(n).size(tries).real(relative);
            call.run(shape.batch, shared)?;
            let mut wanted = vec![BEFORE; shape.batch];
            let mut factors = Vec::new();
            for (p, wanted) in wanted.iter_mut().enumerate() {
                let matrix = rows(shape, &a.values, p);
                let mut found = factor(&matrix, 0.0);
                if let (Err(pivot), 0) = (&found, tries) {
                    *wanted = *pivot as f64;
                }
                let mean = (0..n).map(|i| matrix[i][i]).sum::<f64>() / n as f64;
                for attempt in 1..=tries {
                    if found.is_err() && mean > 0.0 && mean.is_finite() {
                        found = factor(&matrix, relative * mean * f64::from(1 << (attempt - 1)));
                        *wanted = attempt as f64;
                    }
                }
                if found.is_err() && tries > 0 {
                    *wanted = -1.0;
                }
                factors.push(found.ok());
            }
            check_status(bench, &status, &wanted)?;
            bench.compare("L", &a, 8.0 * (n + 2) as f64 * bench.epsilon(), |p, i, j| match &factors[p] {
                Some(l) => (l[i][j], f64::from(u8::from(i >= j))),
                None => (identity(i, j), 0.0),
            })?;
        }
    }
    Ok(())
}

/// What is special about a matrix to be inverted.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Zeros on the diagonal: rows must be exchanged.
    ZeroDiagonal,
    /// Nearly so: rows should be.
    TinyDiagonal,
    /// The first column is nearly zero but for a negative entry in this row.
    Needle(usize),
    /// A column of zeros.
    ZeroColumn(usize),
    /// NaN in the last place.
    Nan,
    /// The identity but for an infinite entry in this place of the diagonal, which no product spreads.
    Infinite(usize),
}

use Kind::{Infinite, Nan, Needle, TinyDiagonal, ZeroColumn, ZeroDiagonal};

/// Entry `(i, j)` of a matrix of order `n`, whose value without anything special is `x`.
fn special(kind: Kind, n: usize, i: usize, j: usize, x: f64) -> f64 {
    match kind {
        ZeroDiagonal if i == j && n > 1 => 0.0,
        TinyDiagonal if i == j && n > 1 => 1e-6 * x,
        Needle(row) if j == 0 => {
            if i == row.min(n - 1) {
                -3.0
            } else {
                1e-7 * x
            }
        }
        ZeroColumn(column) if j == column.min(n - 1) => 0.0,
        Nan if (i, j) == (n - 1, n - 1) => f64::NAN,
        Infinite(place) => {
            if i != j {
                0.0
            } else if i == place.min(n - 1) {
                if place == 1 { f64::NEG_INFINITY } else { f64::INFINITY }
            } else {
                1.0
            }
        }
        _ => x,
    }
}

/// Places that meet every step of a search by halves over 32 lanes and 8 warps.
pub(super) const PLACES: [usize; 6] = [1, 2, 4, 8, 16, 32];

pub(super) fn invert(bench: &mut Bench) -> Check {
    let mut kinds = vec![ZeroDiagonal, TinyDiagonal, ZeroColumn(3), Nan];
    kinds.extend(PLACES.map(Needle));
    kinds.extend(PLACES.map(Infinite));
    for n in [1, 6, 33] {
        invert_each(bench, n, &kinds)?;
    }
    // More rows than threads: the second pivot ends it.
    invert_each(bench, 260, &[ZeroColumn(1)])
}

fn invert_each(bench: &mut Bench, n: usize, kinds: &[Kind]) -> Check {
    let shape = Shape::gapped(kinds.len(), n, n);
    let mut values = numbers(shape.len(), 5);
    for (p, &kind) in kinds.iter().enumerate() {
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let at = shape.at(p, i, j);
            values[at] = special(kind, n, i, j, values[at]);
        }
    }
    let a = bench.inout(shape, &values);
    let status = statuses(bench, shape.batch);
    let call = bench.call("invert_real").matrix(&a).scalar(&status).size(n);
    call.run(shape.batch, 12 * n)?;
    let hopeless = |kind: Kind| matches!(kind, ZeroColumn(_) | Nan | Infinite(_));
    let wanted: Vec<f64> = kinds.iter().map(|&kind| if hopeless(kind) { 1.0 } else { BEFORE }).collect();
    check_status(bench, &status, &wanted)?;
    let found = bench.read("inverse", &a)?;
    for (p, &kind) in kinds.iter().enumerate() {
        let inverse = rows(shape, &found, p);
        if hopeless(kind) {
            near("inverse of a singular matrix", &inverse, 0.0, identity)?;
            continue;
        }
        let bound = 16.0 * (n * n) as f64 * largest(&inverse).max(1.0) * bench.epsilon();
        near("A inverse", &product(&rows(shape, &a.values, p), &inverse), bound, identity)?;
    }
    Ok(())
}

pub(super) fn eigh(bench: &mut Bench) -> Check {
    for n in [1, 7, 19] {
        let shape = Shape::gapped(5, n, n);
        let mut values = numbers(shape.len(), 8);
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            values[shape.at(1, i, j)] *= 1000.0;
            values[shape.at(2, i, j)] = 0.0;
            if i < j {
                // Above the diagonal is nothing that counts.
                (0..shape.batch).for_each(|p| values[shape.at(p, i, j)] = 1e6);
            }
        }
        values[shape.at(3, n - 1, n / 2)] = if n == 7 { f64::INFINITY } else { f64::NAN };
        // The largest entry is the first of two of its thread.
        values[shape.at(1, 3.min(n - 1), 2.min(n / 4))] = -3000.0;
        // The largest entry belongs to a thread in the second half of the block.
        values[shape.at(4, n / 2 - n / 8, 3.min(n / 4))] = 70.0;
        let a = bench.input(shape, &values);
        let packed = Shape::packed(shape.batch, n, n);
        let (work, powers) = (bench.output(packed), bench.output(Shape::packed(shape.batch, 1, 1)));
        let status = statuses(bench, shape.batch);
        let least = bench.least();
        let call = bench.call("eigh_prepare_real").size(shape.batch).size(n).matrix(&a);
        call.word(work.address).word(powers.address).scalar(&status).real(least).run(2, 0)?;
        check_status(bench, &status, &[BEFORE, BEFORE, BEFORE, 1.0, BEFORE])?;
        let lower = |p: usize, i: usize, j: usize| a.values[shape.at(p, i.max(j), i.min(j))];
        let power = |p: usize| {
            let most = (0..n * n).map(|e| lower(p, e / n, e % n).abs()).fold(0.0, f64::max);
            if most > 0.0 { most.log2().floor().exp2() } else { least }
        };
        let bad = |p: usize| p == 3;
        bench.compare("powers", &powers, 0.0, |p, _, _| (if bad(p) { 0.0 } else { power(p) }, 0.0))?;
        bench.compare("work", &work, 0.0, |p, i, j| {
            (if bad(p) { identity(i, j) } else { lower(p, i, j) / power(p) }, 0.0)
        })?;
        // More values than two blocks have threads.
        let n = if n == 19 { 130 } else { n };
        let column = Shape::packed(shape.batch, 1, n);
        let found = bench.input(column, &numbers(column.len(), 9));
        let factors = bench.input(Shape::packed(shape.batch, 1, 1), &[0.5, 1024.0, 1.0, 0.0, 2.0]);
        let info = bench.words(&[0, 7, 0, 0, 0]);
        let status = statuses(bench, shape.batch);
        let w = bench.output(Shape::gapped(shape.batch, 1, n));
        let call = bench.call("eigh_finish_real").size(shape.batch * n).size(n).scalar(&w);
        let call = call.word(found.address).word(factors.address).word(info).scalar(&status);
        call.run(2, 0)?;
        check_status(bench, &status, &[BEFORE, 1.0, BEFORE, BEFORE, BEFORE])?;
        bench.compare("w", &w, 0.0, |p, _, j| (found.values[column.at(p, 0, j)] * factors.values[p], 0.0))?;
    }
    Ok(())
}
