//! QR and the singular value decomposition: each is checked by what defines it, on matrices below and above a tile
//! of 32, far too large and too small to be squared, and without a result.

use super::bench::{Bench, Check, Shape, numbers};
use super::factors::{BEFORE, PLACES, check_status, identity, inner, largest, near, product, rows, statuses};

/// Tall matrices and which of them have no result.
struct Batch {
    shape: Shape,
    values: Vec<f64>,
    bad: Vec<bool>,
}

impl Batch {
    /// A huge number whose square overflows.
    fn huge(bench: &Bench) -> f64 {
        if bench.size() == 4 { 1e25 } else { 1e200 }
    }

    /// Up to seven matrices: ordinary, with dependent columns, with columns that vanish or nearly so, with infinity or
    /// NaN, very large, very small, zero.
    fn tall(bench: &Bench, batch: usize, m: usize, n: usize) -> Self {
        let (shape, scale) = (Shape::gapped(batch, m, n), Self::huge(bench));
        let mut values = numbers(shape.len(), 6);
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            for p in 1..batch {
                let at = shape.at(p, i, j);
                match p {
                    1 => values[at] = values[shape.at(p, i, j / 2 * 2)],
                    2 if j == 0 => values[at] /= scale,
                    2 if j + 1 < n => values[at] = 0.0,
                    BAD if (i, j) == (m - 1, n - 1) => {
                        values[at] = if matches!(n, 3 | 5) { f64::NAN } else { f64::INFINITY }
                    }
                    4 => values[at] *= scale,
                    5 => values[at] /= scale,
                    6 => values[at] = 0.0,
                    _ => {}
                }
            }
        }
        Self { shape, values, bad: (0..batch).map(|p| p == BAD).collect() }
    }

    /// Identities but for one entry of the diagonal, huge or infinite, which every step of a search must meet.
    fn needles(bench: &Bench) -> Self {
        let n = 33;
        let shape = Shape::gapped(2 * PLACES.len(), n, n);
        let mut values = vec![0.0; shape.len()];
        for p in 0..shape.batch {
            (0..n).for_each(|i| values[shape.at(p, i, i)] = 1.0);
            let place = PLACES[p % PLACES.len()];
            let sign = if place == 1 { -1.0 } else { 1.0 };
            values[shape.at(p, place, place)] =
                sign * if p < PLACES.len() { Self::huge(bench) } else { f64::INFINITY };
        }
        Self { shape, values, bad: (0..shape.batch).map(|p| p >= PLACES.len()).collect() }
    }

    fn statuses(&self) -> Vec<f64> {
        self.bad.iter().map(|&bad| if bad { 1.0 } else { BEFORE }).collect()
    }
}

/// The problem of [`Batch::tall`] without a result.
const BAD: usize = 3;

pub(super) fn qr(bench: &mut Bench) -> Check {
    // More rows than threads, too.
    for (m, n) in [(1, 1), (5, 3), (41, 35), (300, 3)] {
        for keep in [true, false] {
            let batch = Batch::tall(bench, 7, m, n);
            qr_each(bench, &batch, keep)?;
        }
    }
    let batch = Batch::needles(bench);
    qr_each(bench, &batch, true)
}

fn qr_each(bench: &mut Bench, batch: &Batch, keep: bool) -> Check {
    let (least, floor) = (bench.least(), if bench.size() == 4 { 1e-15 } else { 1e-140 });
    let shape = batch.shape;
    let (m, n) = (shape.rows, shape.cols);
    let a = bench.inout(shape, &batch.values);
    let square = Shape::gapped(shape.batch, n, n);
    let r = bench.output(square);
    let status = statuses(bench, shape.batch);
    let call = bench.call("qr_real").matrix(&a);
    let call = if keep { call.matrix(&r) } else { call.word(0).size(0).size(0) };
    let call = call.scalar(&status).size(m).size(n).real(least).real(floor);
    call.run(shape.batch, 0)?;
    check_status(bench, &status, &batch.statuses())?;
    let q = bench.read("Q", &a)?;
    let r = if keep { Some(bench.read("R", &r)?) } else { None };
    let bound = 4.0 * (m + n) as f64 * bench.epsilon();
    for p in 0..shape.batch {
        let (matrix, q) = (rows(shape, &a.values, p), rows(shape, &q, p));
        if batch.bad[p] {
            near("Q of a bad matrix", &q, 0.0, identity)?;
        } else {
            near("Q'Q", &inner(&q, &q), bound, identity)?;
        }
        let r = match &r {
            Some(r) => rows(square, r, p),
            // R is not kept: then Q'A is upper triangular.
            None if !batch.bad[p] => inner(&q, &matrix),
            None => continue,
        };
        if batch.bad[p] {
            near("R of a bad matrix", &r, 0.0, identity)?;
            continue;
        }
        let scale = bound * largest(&matrix).max(least);
        near("QR", &product(&q, &r), scale, |i, j| matrix[i][j])?;
        let below = if keep { 0.0 } else { scale };
        for (i, row) in r.iter().enumerate() {
            if row[i] < -below || row[..i].iter().any(|x| x.abs() > below) {
                return Err(format!("row {i} of R is {row:?}"));
            }
        }
    }
    Ok(())
}

/// A bound that no pair meets: the sweeps end without a result.
fn never_orthogonal(bench: &mut Bench) -> Check {
    let (shape, square) = (Shape::packed(1, 3, 2), Shape::packed(1, 2, 2));
    let a = bench.inout(shape, &numbers(6, 1));
    let (s, v) = (bench.output(Shape::packed(1, 1, 2)), bench.output(square));
    let status = statuses(bench, 1);
    let call = bench.call("jacobi_svd_real").matrix(&a).scalar(&s).matrix(&v).scalar(&status);
    call.size(3).size(2).real(1e-30).real(-1.0).real(0.0).run(1, 0)?;
    check_status(bench, &status, &[1.0])?;
    bench.compare("A without a result", &a, 0.0, |_, i, j| (identity(i, j), 0.0))?;
    bench.compare("V without a result", &v, 0.0, |_, i, j| (identity(i, j), 0.0))?;
    bench.compare("s without a result", &s, 0.0, |_, _, _| (0.0, 0.0))
}

/// Without columns there are no pairs, and nothing is written.
fn without_columns(bench: &mut Bench) -> Check {
    let a = bench.inout(Shape::packed(1, 3, 1), &numbers(3, 1));
    let (s, v) = (bench.output(Shape::packed(1, 1, 1)), bench.output(Shape::packed(1, 1, 1)));
    let status = statuses(bench, 1);
    let call = bench.call("jacobi_svd_real").matrix(&a).scalar(&s).matrix(&v).scalar(&status);
    call.size(3).size(0).real(1e-30).real(1.0).real(1.0).run(1, 0)?;
    check_status(bench, &status, &[BEFORE])?;
    let before = a.values.clone();
    bench.compare("A without columns", &a, 0.0, |_, i, _| (before[i], 0.0))
}

pub(super) fn jacobi_svd(bench: &mut Bench) -> Check {
    without_columns(bench)?;
    never_orthogonal(bench)?;
    for (count, m, n) in [(7, 1, 1), (7, 3, 2), (7, 7, 5), (3, 38, 33)] {
        let batch = Batch::tall(bench, count, m, n);
        svd_each(bench, &batch)?;
    }
    let batch = Batch::needles(bench);
    svd_each(bench, &batch)?;
    // More than 64 columns are more than a tile of pairs; nearly orthogonal ones, which take few sweeps.
    let mut batch = Batch::tall(bench, 1, 66, 66);
    (0..66 * 66).for_each(|e| batch.values[e] = 1e-4 * batch.values[e] + identity(e / 66, e % 66));
    svd_each(bench, &batch)
}

fn svd_each(bench: &mut Bench, batch: &Batch) -> Check {
    let shape = batch.shape;
    let (m, n) = (shape.rows, shape.cols);
    let a = bench.inout(shape, &batch.values);
    let s = bench.output(Shape::gapped(shape.batch, 1, n));
    // Rows of V lie closer than those of A.
    let square = Shape::packed(shape.batch, n, n);
    let v = bench.output(square);
    let status = statuses(bench, shape.batch);
    let (epsilon, rounding) = (bench.epsilon(), (m as f64 / 4.0 + 16.0) * bench.epsilon());
    let least = bench.least();
    let call = bench.call("jacobi_svd_real").matrix(&a).scalar(&s).matrix(&v).scalar(&status);
    let call = call.size(m).size(n).real(least).real(rounding).real((m as f64 * epsilon).powi(2));
    call.run(shape.batch, 0)?;
    check_status(bench, &status, &batch.statuses())?;
    let (turned, lengths, v) = (bench.read("A V", &a)?, bench.read("s", &s)?, bench.read("V", &v)?);
    for p in 0..shape.batch {
        let (turned, v) = (rows(shape, &turned, p), rows(square, &v, p));
        let lengths = &lengths[p * n..(p + 1) * n];
        if batch.bad[p] {
            near("A of a bad matrix", &turned, 0.0, identity)?;
            near("V of a bad matrix", &v, 0.0, identity)?;
            near("s of a bad matrix", &[lengths.to_vec()], 0.0, |_, _| 0.0)?;
            continue;
        }
        let matrix = rows(shape, &a.values, p);
        let bound = 16.0 * (m + n) as f64 * epsilon;
        near("V'V", &inner(&v, &v), bound, identity)?;
        // A V and what the kernel left differ by a power of two.
        let (wanted, size) = (product(&matrix, &v), largest(&matrix));
        let ratio = if size > 0.0 { (size / largest(&turned)).log2().round().exp2() } else { 1.0 };
        let power = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0].map(|f| f * ratio).into_iter().min_by(|x, y| {
            let error = |power: f64| (largest(&wanted) - power * largest(&turned)).abs();
            error(*x).total_cmp(&error(*y))
        });
        let power = power.unwrap_or(ratio);
        near("A V", &turned, bound * (size / power).max(least), |i, j| wanted[i][j] / power)?;
        let products = inner(&turned, &turned);
        for (i, row) in products.iter().enumerate() {
            let length = row[i].sqrt();
            if (length * power - lengths[i]).abs() > bound * size.max(least) {
                return Err(format!("s_{i} is {:e}, the column's length {:e}", lengths[i], length * power));
            }
            let others = row.iter().enumerate().filter(|&(j, _)| j != i);
            for (j, z) in others {
                let most =
                    2.0 * rounding * length * products[j][j].sqrt() + 4.0 * (m as f64 * epsilon).powi(2);
                if z.abs() > most {
                    return Err(format!("columns {i} and {j} have the inner product {z:e}"));
                }
            }
        }
        if lengths.windows(2).any(|pair| pair[0] < pair[1]) {
            return Err(format!("s does not descend: {lengths:?}"));
        }
    }
    Ok(())
}
