//! Kernels with a thread for each element: flat and folded onto few blocks, with gaps, with broadcast inputs.

use super::bench::{Bench, Check, Shape, View, numbers};

/// Shapes of the output and blocks: one long row that one block folds, and matrices with gaps.
fn places() -> [(Shape, usize); 3] {
    [(Shape::packed(1, 1, 5), 1), (Shape::packed(1, 1, 600), 2), (Shape::gapped(6, 7, 13), 1)]
}

/// Problems of an input that `batch` problems of the output read two at a time.
fn half(shape: Shape) -> Shape {
    if shape.batch == 1 { shape } else { Shape::gapped(shape.batch / 2, shape.rows, shape.cols) }
}

fn group(y: &View, x: &View) -> usize {
    y.shape.batch / x.shape.batch
}

/// Value of an input for problem `p` of an output.
fn value(x: &View, group: usize, p: usize, i: usize, j: usize) -> f64 {
    x.values[x.shape.at(p / group, i, j)]
}

pub(super) fn adamw(bench: &mut Bench) -> Check {
    for (shape, blocks) in places() {
        let n = shape.len();
        let x = bench.inout(shape, &numbers(n, 1));
        let m = bench.inout(shape, &numbers(n, 2));
        let squares: Vec<f64> = numbers(n, 3).iter().map(|x| x * x).collect();
        let v = bench.inout(shape, &squares);
        let g = bench.input(shape, &numbers(n, 4));
        let c = [0.9, 0.125, 0.95, 0.0625, 0.01, 1.5, 0.03, 0.98].map(|x| bench.round(x));
        let call = bench.call("adamw_real").size(n).size(shape.rows).size(shape.cols);
        let call = call.matrix(&x).matrix(&m).matrix(&v).matrix(&g);
        c.iter().fold(call, |call, &c| call.real(c)).run(blocks, 0)?;
        let [beta1, rest1, beta2, rest2, rate, correction, epsilon, decay] = c;
        let moments = |p, i, j| {
            let at = shape.at(p, i, j);
            let g = g.values[at];
            (beta1 * m.values[at] + rest1 * g, beta2 * v.values[at] + rest2 * g * g)
        };
        let bound = 8.0 * bench.epsilon();
        bench.compare("m", &m, bound, |p, i, j| (moments(p, i, j).0, 1.0))?;
        bench.compare("v", &v, bound, |p, i, j| (moments(p, i, j).1, moments(p, i, j).1))?;
        bench.compare("x", &x, bound, |p, i, j| {
            let (m, v) = moments(p, i, j);
            let step = rate * m / ((correction * v).sqrt() + epsilon);
            (decay * x.values[shape.at(p, i, j)] - step, 1.0)
        })?;
    }
    Ok(())
}

pub(super) fn add_diagonal(bench: &mut Bench) -> Check {
    for (shape, n, blocks) in [(Shape::packed(1, 5, 5), 5, 1), (Shape::gapped(60, 10, 11), 10, 2)] {
        let y = bench.inout(shape, &numbers(shape.len(), 1));
        bench.call("add_diagonal_real").size(n * shape.batch).size(n).matrix(&y).real(0.75).run(blocks, 0)?;
        bench.compare("y", &y, bench.epsilon(), |p, i, j| {
            let old = y.values[shape.at(p, i, j)];
            if i == j { (old + 0.75, 2.0) } else { (old, 0.0) }
        })?;
    }
    Ok(())
}

pub(super) fn axpby(bench: &mut Bench) -> Check {
    for (shape, blocks) in places() {
        for (device, beta) in [(false, 0.0), (false, -0.5), (true, 0.75)] {
            let values = numbers(shape.len(), 2);
            let y = if beta == 0.0 { bench.output(shape) } else { bench.inout(shape, &values) };
            let x = bench.input(half(shape), &numbers(half(shape).len(), 3));
            let factors = bench.input(Shape::gapped(half(shape).batch, 1, 1), &numbers(half(shape).batch, 4));
            let call = bench.call("axpby_real").size(shape.len()).size(shape.rows).size(shape.cols);
            let call = call.matrix(&y).input(&x, shape.batch).word(if device { factors.address } else { 0 });
            let call = call.size(factors.shape.batch_stride()).size(group(&y, &factors));
            call.real(1.25).real(beta).run(blocks, 0)?;
            bench.compare("y", &y, 2.0 * bench.epsilon(), |p, i, j| {
                let alpha = if device { value(&factors, group(&y, &factors), p, 0, 0) } else { 1.25 };
                let old = if beta == 0.0 { 0.0 } else { y.values[shape.at(p, i, j)] };
                (alpha * value(&x, group(&y, &x), p, i, j) + beta * old, 2.0)
            })?;
        }
    }
    Ok(())
}

/// A plain copy, and one through tiles.
pub(super) fn copy(bench: &mut Bench) -> Check {
    for (shape, blocks) in places() {
        let y = bench.output(shape);
        let x = bench.input(half(shape), &numbers(half(shape).len(), 3));
        let call = bench.call("copy_real").size(shape.len()).size(shape.rows).size(shape.cols);
        call.matrix(&y).input(&x, shape.batch).run(blocks, 0)?;
        bench.compare("y", &y, 0.0, |p, i, j| (value(&x, group(&y, &x), p, i, j), 0.0))?;
    }
    for (shape, blocks) in
        [(Shape::packed(1, 3, 5), 1), (Shape::gapped(2, 70, 37), 3), (Shape::gapped(2, 32, 64), 4)]
    {
        let y = bench.output(shape);
        let source = Shape::gapped(1, shape.cols, shape.rows);
        let x = bench.input(source, &numbers(source.len(), 5));
        let tiles = shape.batch * shape.rows.div_ceil(32) * shape.cols.div_ceil(32);
        let call = bench.call("copy_transposed_real").size(tiles).size(shape.rows).size(shape.cols);
        call.matrix(&y).input(&x, shape.batch).run(blocks, 0)?;
        bench.compare("transposed", &y, 0.0, |_, i, j| (x.values[source.at(0, j, i)], 0.0))?;
    }
    Ok(())
}

pub(super) fn copy_where(bench: &mut Bench) -> Check {
    for (shape, blocks) in places() {
        let states: Vec<f64> =
            (0..shape.batch).map(|p| [1.0, 0.0, f64::NAN, -0.0, -3.0, 0.0][p % 6]).collect();
        let status = bench.input(Shape::gapped(shape.batch, 1, 1), &states);
        let y = bench.inout(shape, &numbers(shape.len(), 2));
        let x = bench.input(half(shape), &numbers(half(shape).len(), 3));
        let call = bench.call("copy_where_real").size(shape.len()).size(shape.rows).size(shape.cols);
        call.matrix(&y).input(&x, shape.batch).scalar(&status).run(blocks, 0)?;
        bench.compare("y", &y, 0.0, |p, i, j| {
            let taken = states[p] != 0.0;
            (if taken { value(&x, group(&y, &x), p, i, j) } else { y.values[shape.at(p, i, j)] }, 0.0)
        })?;
    }
    Ok(())
}

pub(super) fn fill(bench: &mut Bench) -> Check {
    for (shape, blocks) in places() {
        let y = bench.output(shape);
        let call = bench.call("fill_real").size(shape.len()).size(shape.rows).size(shape.cols);
        call.matrix(&y).real(-1.5).run(blocks, 0)?;
        bench.compare("y", &y, 0.0, |_, _, _| (-1.5, 0.0))?;
    }
    Ok(())
}

/// The nearest bfloat16, ties to even, by trying both neighbours.
fn bfloat16(x: f64) -> f64 {
    let single = x as f32;
    let below = f32::from_bits(single.to_bits() & 0xFFFF_0000);
    let above = f32::from_bits((single.to_bits() & 0xFFFF_0000).wrapping_add(0x1_0000));
    let (down, up) = ((single - below).abs(), (above - single).abs());
    let even = below.to_bits() >> 16 & 1 == 0;
    f64::from(if !single.is_finite() || down < up || (down == up && even) { below } else { above })
}

pub(super) fn map(bench: &mut Bench) -> Check {
    let (a, b) = (bench.round(0.3), bench.round(0.4));
    type Function = Box<dyn Fn(f64) -> f64>;
    let functions: [(usize, Function); 5] = [
        (0, Box::new(|y: f64| if y < 0.0 { 0.0 } else { y.sqrt() })),
        (1, Box::new(move |y: f64| if y < a { a } else { y })),
        (2, Box::new(move |y: f64| a / if y < b { b } else { y })),
        (3, Box::new(move |y: f64| a * y)),
        (4, Box::new(|y: f64| if y.is_nan() { y } else { bfloat16(y) })),
    ];
    for (shape, blocks) in places() {
        let mut values = numbers(shape.len(), 7);
        values[..5].copy_from_slice(&[f64::NAN, -0.0, 1.003_906_25, 1.011_718_75, f64::INFINITY]);
        for (kind, f) in &functions {
            let y = bench.inout(shape, &values);
            let call = bench.call("map_real").size(shape.len()).size(shape.rows).size(shape.cols);
            call.matrix(&y).size(*kind).real(a).real(b).run(blocks, 0)?;
            let bound = if *kind == 4 { 0.0 } else { bench.epsilon() };
            bench.compare(&format!("kind {kind}"), &y, bound, |p, i, j| {
                let wanted = f(y.values[shape.at(p, i, j)]);
                (wanted, wanted.abs())
            })?;
        }
    }
    Ok(())
}

pub(super) fn multiply(bench: &mut Bench) -> Check {
    for (shape, blocks) in places() {
        for by_row in [false, true] {
            let y = bench.inout(shape, &numbers(shape.len(), 2));
            let from = if by_row { Shape::gapped(half(shape).batch, 1, shape.cols) } else { half(shape) };
            let x = bench.input(from, &numbers(from.len(), 3));
            let call =
                bench.call("multiply_real").size(shape.len()).size(shape.rows).size(shape.cols).matrix(&y);
            let stride = if by_row { 0 } else { from.row_stride() };
            let call = call.word(x.address).size(from.batch_stride()).size(stride).size(group(&y, &x));
            call.run(blocks, 0)?;
            bench.compare("y", &y, bench.epsilon(), |p, i, j| {
                let i_from = if by_row { 0 } else { i };
                (value(&x, group(&y, &x), p, i_from, j) * y.values[shape.at(p, i, j)], 1.0)
            })?;
        }
    }
    Ok(())
}

pub(super) fn take_part(bench: &mut Bench) -> Check {
    for (shape, blocks) in
        [(Shape::packed(1, 3, 3), 1), (Shape::gapped(4, 9, 9), 1), (Shape::packed(2, 17, 17), 2)]
    {
        for sign in [1.0, -1.0] {
            let y = bench.inout(shape, &numbers(shape.len(), 2));
            let call = bench.call("take_part_real").size(shape.len()).size(shape.rows).matrix(&y);
            call.real(sign).run(blocks, 0)?;
            bench.compare("y", &y, bench.epsilon(), |p, i, j| {
                ((y.values[shape.at(p, i, j)] + sign * y.values[shape.at(p, j, i)]) / 2.0, 1.0)
            })?;
        }
    }
    Ok(())
}

pub(super) fn pointers(bench: &mut Bench) -> Check {
    for (count, groups, blocks) in [(5, [1, 1, 5], 1), (600, [1, 4, 600], 2)] {
        let starts = [0x1_0000_0010u64, 0x2_0000_0000, 0x3_0000_0000];
        let strides = [64u64, 0x1_0000_0008, 24];
        let out = bench.long_output(3 * count);
        let mut call = bench.call("pointers_real").size(count).word(out);
        for k in 0..3 {
            call = call.word(starts[k]).word(strides[k]).size(groups[k]);
        }
        call.run(blocks, 0)?;
        for (entry, &found) in bench.longs(out, 3 * count)?.iter().enumerate() {
            let (k, p) = (entry / count, entry % count);
            let wanted = starts[k] + (p / groups[k]) as u64 * strides[k];
            if found != wanted {
                return Err(format!("address {p} of batch {k} is {found:#x}, not {wanted:#x}"));
            }
        }
    }
    Ok(())
}
