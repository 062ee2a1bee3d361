//! Causal attention and its backward pass, against loops over every pair of positions; `f32` only.

use super::bench::{Bench, Check, Shape, View, numbers};

/// Problems, positions and columns: within one tile and over several; the four rows of a warp end at each of four.
const SIZES: [(usize, usize, usize); 6] =
    [(2, 5, 3), (1, 8, 2), (2, 32, 2), (1, 33, 2), (1, 34, 3), (1, 67, 40)];

fn inputs(bench: &mut Bench, shape: Shape, seed: u64, scale: f64) -> View {
    let values: Vec<f64> = numbers(shape.len(), seed).iter().map(|x| scale * x).collect();
    bench.input(shape, &values)
}

fn dot(a: &View, b: &View, p: usize, i: usize, j: usize) -> f64 {
    let shape = a.shape;
    (0..shape.cols).map(|c| a.values[shape.at(p, i, c)] * b.values[shape.at(p, j, c)]).sum()
}

/// `lse_i` of all rows of all problems.
fn log_sums(q: &View, k: &View, scale: f64) -> Vec<f64> {
    let shape = q.shape;
    let mut sums = Vec::new();
    for (p, i) in (0..shape.batch).flat_map(|p| (0..shape.rows).map(move |i| (p, i))) {
        let scores: Vec<f64> = (0..=i).map(|j| scale * dot(q, k, p, i, j)).collect();
        let most = scores.iter().copied().fold(f64::MIN, f64::max);
        sums.push(most + scores.iter().map(|s| (s - most).exp()).sum::<f64>().ln());
    }
    sums
}

/// Magnitude of queries and keys: at one length so large that exp comes to its floor and the maxima count, at the
/// others so small that every score does.
fn spread(sequence: usize) -> f64 {
    if sequence == 34 { 32.0 } else { 2.0 }
}

pub(super) fn forward(bench: &mut Bench) -> Check {
    for (problems, sequence, width) in SIZES {
        let shape = Shape::packed(problems, sequence, width);
        let spread = spread(sequence);
        let (q, k) = (inputs(bench, shape, 1, spread), inputs(bench, shape, 2, spread));
        let v = inputs(bench, shape, 3, 1.0);
        let (o, lse) = (bench.output(shape), bench.output(Shape::packed(problems, sequence, 1)));
        let scale = 0.25;
        let call = bench.call("causal_attention_f32").size(sequence).size(width).single(scale as f32);
        let call = call.word(q.address).word(k.address).word(v.address);
        call.word(o.address).word(lse.address).run(problems * sequence.div_ceil(32), 0)?;
        let sums = log_sums(&q, &k, scale);
        // exp turns the scores' absolute error into a relative one.
        let size = spread * spread;
        let bound = 2.0 * size * bench.epsilon();
        bench.compare("lse", &lse, 2.0 * bench.epsilon(), |p, i, _| (sums[p * sequence + i], 4.0 + size))?;
        bench.compare("o", &o, bound, |p, i, c| {
            let weight = |j| (scale * dot(&q, &k, p, i, j) - sums[p * sequence + i]).exp();
            ((0..=i).map(|j| weight(j) * v.values[shape.at(p, j, c)]).sum(), 4.0)
        })?;
    }
    Ok(())
}

pub(super) fn backward(bench: &mut Bench) -> Check {
    for (problems, sequence, width) in SIZES {
        let shape = Shape::packed(problems, sequence, width);
        let rows = Shape::packed(problems, sequence, 1);
        let spread = spread(sequence);
        let (q, k) = (inputs(bench, shape, 1, spread), inputs(bench, shape, 2, spread));
        let (v, o) = (inputs(bench, shape, 3, 1.0), inputs(bench, shape, 4, 1.0));
        let d_o = inputs(bench, shape, 5, 1.0);
        let scale = 0.25;
        let sums = log_sums(&q, &k, scale);
        let lse = bench.input(rows, &sums);
        let delta = bench.output(rows);
        let call = bench.call("causal_attention_backward_delta_f32").size(problems * sequence).size(width);
        call.word(o.address).word(d_o.address).word(delta.address).run(2, 0)?;
        let size = width as f64;
        bench.compare("delta", &delta, 8.0 * bench.epsilon(), |p, i, _| (dot(&d_o, &o, p, i, i), size))?;

        let weights = |p: usize, i: usize, j: usize| {
            let probability = (scale * dot(&q, &k, p, i, j) - sums[p * sequence + i]).exp();
            (probability, probability * (dot(&d_o, &v, p, i, j) - dot(&d_o, &o, p, i, i)) * scale)
        };
        let mut table = vec![(0.0, 0.0); problems * sequence * sequence];
        for (p, i) in (0..problems).flat_map(|p| (0..sequence).map(move |i| (p, i))) {
            (0..=i).for_each(|j| table[(p * sequence + i) * sequence + j] = weights(p, i, j));
        }
        let pair = |p: usize, i: usize, j: usize| table[(p * sequence + i) * sequence + j];
        let blocks = problems * sequence.div_ceil(32);
        let old = numbers(shape.len(), 6);
        for add in [0, 1] {
            let place =
                |bench: &mut Bench| if add == 1 { bench.inout(shape, &old) } else { bench.output(shape) };
            let (dq, dk, dv) = (place(bench), place(bench), place(bench));
            for keys in [0, 1] {
                let call = bench.call("causal_attention_backward_f32").size(sequence).size(width);
                let call = call.single(scale as f32).size(keys).size(add);
                let operands = if keys == 0 { [&q, &k, &d_o, &v] } else { [&k, &q, &v, &d_o] };
                let call = operands.into_iter().fold(call, |call, view| call.word(view.address));
                let call = call.word(lse.address).word(delta.address);
                let sums = if keys == 0 { [0, dq.address] } else { [dv.address, dk.address] };
                call.word(sums[0]).word(sums[1]).run(blocks, 0)?;
            }
            let before = |view: &View, at: usize| if add == 1 { view.values[at] } else { 0.0 };
            let bound = 64.0 * bench.epsilon();
            let scale = 4.0 * size * spread * spread;
            bench.compare("dq", &dq, bound, |p, i, c| {
                let sum: f64 = (0..=i).map(|j| pair(p, i, j).1 * k.values[shape.at(p, j, c)]).sum();
                (sum + before(&dq, shape.at(p, i, c)), scale)
            })?;
            bench.compare("dk", &dk, bound, |p, j, c| {
                let sum: f64 = (j..sequence).map(|i| pair(p, i, j).1 * q.values[shape.at(p, i, c)]).sum();
                (sum + before(&dk, shape.at(p, j, c)), scale)
            })?;
            bench.compare("dv", &dv, bound, |p, j, c| {
                let sum: f64 = (j..sequence).map(|i| pair(p, i, j).0 * d_o.values[shape.at(p, i, c)]).sum();
                (sum + before(&dv, shape.at(p, j, c)), scale)
            })?;
        }
    }
    Ok(())
}
