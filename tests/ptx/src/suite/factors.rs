//! Factorizations: each is checked by what defines it, on orders below and above a tile of 32, and on inputs
//! without a result.

use super::bench::{Bench, Check, Shape, View, numbers};

/// Problem `p` of a batch as rows.
fn rows(shape: Shape, values: &[f64], p: usize) -> Vec<Vec<f64>> {
    (0..shape.rows).map(|i| (0..shape.cols).map(|j| values[shape.at(p, i, j)]).collect()).collect()
}

/// `A' B`.
fn inner(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (n, m) = (a[0].len(), b[0].len());
    (0..n).map(|i| (0..m).map(|j| a.iter().zip(b).map(|(x, y)| x[i] * y[j]).sum()).collect()).collect()
}

/// `A B`.
fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let m = b[0].len();
    a.iter().map(|row| (0..m).map(|j| row.iter().zip(b).map(|(x, y)| x * y[j]).sum()).collect()).collect()
}

fn identity(i: usize, j: usize) -> f64 {
    f64::from(u8::from(i == j))
}

/// Fails where a matrix is further than `bound` from what `wanted` says.
fn near(what: &str, found: &[Vec<f64>], bound: f64, wanted: impl Fn(usize, usize) -> f64) -> Check {
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

/// A status for every problem, zero at first; what is there in the end is compared with `wanted`.
fn check_status(bench: &Bench, status: &View, wanted: &[f64]) -> Check {
    bench.compare("status", status, 0.0, |p, _, _| (wanted[p], 0.0))
}

fn statuses(bench: &mut Bench, batch: usize) -> View {
    bench.inout(Shape::gapped(batch, 1, 1), &vec![0.0; batch])
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
/// negative trace.
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
            _ => {}
        }
    }
    bench.inout(shape, &values)
}

pub(super) fn cholesky(bench: &mut Bench) -> Check {
    for n in [1, 6, 37] {
        for (tries, relative) in [(0, 0.0), (5, 0.1), (2, 0.1)] {
            let shape = Shape::gapped(4, n, n);
            let a = symmetric(bench, shape);
            let status = statuses(bench, shape.batch);
            let shared = n * bench.size();
            let call =
                bench.call("cholesky_real").matrix(&a).scalar(&status).size(n).size(tries).real(relative);
            call.run(shape.batch, shared)?;
            let mut wanted = vec![0.0; shape.batch];
            let mut factors = Vec::new();
            for (p, wanted) in wanted.iter_mut().enumerate() {
                let matrix = rows(shape, &a.values, p);
                let mut found = factor(&matrix, 0.0);
                if let (Err(pivot), 0) = (&found, tries) {
                    *wanted = *pivot as f64;
                }
                let mean = (0..n).map(|i| matrix[i][i]).sum::<f64>() / n as f64;
                for attempt in 1..=tries {
                    if found.is_err() && mean > 0.0 {
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

pub(super) fn invert(bench: &mut Bench) -> Check {
    for n in [1, 6, 35] {
        let shape = Shape::gapped(5, n, n);
        let mut values = numbers(shape.len(), 5);
        for i in 0..n {
            // The first matrices need exchanges of rows: zeros or nearly so on the diagonal. The third has a zero
            // column, the fourth NaN; the last has the pivot in its last row.
            values[shape.at(0, i, i)] = if n == 1 { -2.0 } else { 0.0 };
            values[shape.at(1, i, i)] *= if n == 1 { 1.0 } else { 1e-6 };
            values[shape.at(2, i, n / 2)] = 0.0;
        }
        values[shape.at(3, n - 1, n - 1)] = f64::NAN;
        values[shape.at(4, n - 1, 0)] = 3.0;
        let a = bench.inout(shape, &values);
        let status = statuses(bench, shape.batch);
        let call = bench.call("invert_real").matrix(&a).scalar(&status).size(n);
        call.run(shape.batch, 12 * n)?;
        check_status(bench, &status, &[0.0, 0.0, 1.0, 1.0, 0.0])?;
        let found = bench.read("inverse", &a)?;
        for p in 0..shape.batch {
            let inverse = rows(shape, &found, p);
            if matches!(p, 2 | 3) {
                near("inverse of a singular matrix", &inverse, 0.0, identity)?;
                continue;
            }
            let largest = inverse.iter().flatten().fold(1.0, |most: f64, x| most.max(x.abs()));
            let bound = 16.0 * (n * n) as f64 * largest * bench.epsilon();
            near("A inverse", &product(&rows(shape, &a.values, p), &inverse), bound, identity)?;
        }
    }
    Ok(())
}

/// Tall matrices: ordinary, and unless there is only one, with dependent columns, zero, with infinity, very large,
/// very small.
fn tall(bench: &Bench, shape: Shape) -> Vec<f64> {
    let scale = if bench.size() == 4 { 1e25 } else { 1e200 };
    let mut values = numbers(shape.len(), 6);
    for (i, j) in (0..shape.rows).flat_map(|i| (0..shape.cols).map(move |j| (i, j))) {
        for p in 1..shape.batch {
            let at = shape.at(p, i, j);
            match p {
                1 => values[at] = values[shape.at(p, i, j / 2 * 2)],
                2 => values[at] = 0.0,
                BAD if (i, j) == (shape.rows - 1, shape.cols - 1) => values[at] = f64::INFINITY,
                4 => values[at] *= scale,
                5 => values[at] /= scale,
                _ => {}
            }
        }
    }
    values
}

const BAD: usize = 3;

fn largest(a: &[Vec<f64>]) -> f64 {
    a.iter().flatten().fold(0.0, |most: f64, x| most.max(x.abs()))
}

pub(super) fn qr(bench: &mut Bench) -> Check {
    let (least, floor) = (bench.least(), if bench.size() == 4 { 1e-15 } else { 1e-140 });
    for (m, n) in [(1, 1), (5, 3), (41, 35)] {
        for keep in [true, false] {
            let shape = Shape::gapped(6, m, n);
            let values = tall(bench, shape);
            let a = bench.inout(shape, &values);
            let square = Shape::gapped(shape.batch, n, n);
            let r = bench.output(square);
            let status = statuses(bench, shape.batch);
            let call = bench.call("qr_real").matrix(&a);
            let call = if keep { call.matrix(&r) } else { call.word(0).size(0).size(0) };
            let call = call.scalar(&status).size(m).size(n).real(least).real(floor);
            call.run(shape.batch, 0)?;
            check_status(bench, &status, &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0])?;
            let q = bench.read("Q", &a)?;
            let r = if keep { Some(bench.read("R", &r)?) } else { None };
            let bound = 4.0 * (m + n) as f64 * bench.epsilon();
            for p in 0..shape.batch {
                let (matrix, q) = (rows(shape, &a.values, p), rows(shape, &q, p));
                if p == BAD {
                    near("Q of a bad matrix", &q, 0.0, identity)?;
                } else {
                    near("Q'Q", &inner(&q, &q), bound, identity)?;
                }
                let r = match &r {
                    Some(r) => rows(square, r, p),
                    // R is not kept: then Q'A is upper triangular.
                    None if p != BAD => inner(&q, &matrix),
                    None => continue,
                };
                if p == BAD {
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

pub(super) fn jacobi_svd(bench: &mut Bench) -> Check {
    never_orthogonal(bench)?;
    // More than 64 columns are more than a tile of pairs.
    for (batch, m, n) in [(6, 1, 1), (6, 3, 2), (6, 7, 5), (3, 38, 35), (1, 66, 66)] {
        let shape = Shape::gapped(batch, m, n);
        let values = tall(bench, shape);
        let a = bench.inout(shape, &values);
        let s = bench.output(Shape::gapped(shape.batch, 1, n));
        let square = Shape::gapped(shape.batch, n, n);
        let v = bench.output(square);
        let status = statuses(bench, shape.batch);
        let (epsilon, rounding) = (bench.epsilon(), (m as f64 / 4.0 + 16.0) * bench.epsilon());
        let least = bench.least();
        let call = bench.call("jacobi_svd_real").matrix(&a).scalar(&s).matrix(&v).scalar(&status);
        let call = call.size(m).size(n).real(least).real(rounding).real((m as f64 * epsilon).powi(2));
        call.run(shape.batch, 0)?;
        check_status(bench, &status, &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0])?;
        let (turned, lengths, v) = (bench.read("A V", &a)?, bench.read("s", &s)?, bench.read("V", &v)?);
        for p in 0..shape.batch {
            let (turned, v) = (rows(shape, &turned, p), rows(square, &v, p));
            let lengths = &lengths[p * n..(p + 1) * n];
            if p == BAD {
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
                    return Err(format!(
                        "s_{i} is {:e}, the column's length {:e}",
                        lengths[i],
                        length * power
                    ));
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
        values[shape.at(3, n - 1, n / 2)] = f64::NAN;
        let a = bench.input(shape, &values);
        let packed = Shape::packed(shape.batch, n, n);
        let (work, powers) = (bench.output(packed), bench.output(Shape::packed(shape.batch, 1, 1)));
        let status = statuses(bench, shape.batch);
        let least = bench.least();
        let call = bench.call("eigh_prepare_real").size(shape.batch).size(n).matrix(&a);
        call.word(work.address).word(powers.address).scalar(&status).real(least).run(2, 0)?;
        check_status(bench, &status, &[0.0, 0.0, 0.0, 1.0, 0.0])?;
        let lower = |p: usize, i: usize, j: usize| a.values[shape.at(p, i.max(j), i.min(j))];
        let power = |p: usize| {
            let most = (0..n * n).map(|e| lower(p, e / n, e % n).abs()).fold(0.0, f64::max);
            if most > 0.0 { most.log2().floor().exp2() } else { least }
        };
        let bad = |p: usize| p == BAD;
        bench.compare("powers", &powers, 0.0, |p, _, _| (if bad(p) { 0.0 } else { power(p) }, 0.0))?;
        bench.compare("work", &work, 0.0, |p, i, j| {
            (if bad(p) { identity(i, j) } else { lower(p, i, j) / power(p) }, 0.0)
        })?;
        let column = Shape::packed(shape.batch, 1, n);
        let found = bench.input(column, &numbers(column.len(), 9));
        let factors = bench.input(Shape::packed(shape.batch, 1, 1), &[0.5, 1024.0, 1.0, 0.0, 2.0]);
        let info = bench.words(&[0, 7, 0, 0, 0]);
        let status = statuses(bench, shape.batch);
        let w = bench.output(Shape::gapped(shape.batch, 1, n));
        let call = bench.call("eigh_finish_real").size(shape.batch * n).size(n).scalar(&w);
        let call = call.word(found.address).word(factors.address).word(info).scalar(&status);
        call.run(1, 0)?;
        check_status(bench, &status, &[0.0, 1.0, 0.0, 0.0, 0.0])?;
        bench.compare("w", &w, 0.0, |p, _, j| (found.values[column.at(p, 0, j)] * factors.values[p], 0.0))?;
    }
    Ok(())
}
