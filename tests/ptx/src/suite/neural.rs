//! The transformer's operations besides attention; `f32` only, everything packed.

use super::bench::{Bench, Check, Shape, numbers};

pub(super) fn embed(bench: &mut Bench) -> Check {
    let (rows, width) = (9, 67);
    let tokens: Vec<u32> = vec![3, 0, 8, 9, 3, u32::MAX, 1, 2, 7];
    let table = bench.input(Shape::packed(1, rows, width), &numbers(rows * width, 1));
    let out = bench.output(Shape::packed(1, tokens.len(), width));
    let words = bench.words(&tokens);
    let call = bench.call("embed_f32").size(tokens.len() * width).size(width).size(rows);
    call.word(table.address).word(words).word(out.address).run(2, 0)?;
    bench.compare("out", &out, 0.0, |_, t, c| {
        let token = tokens[t] as usize;
        (if token < rows { table.values[token * width + c] } else { f64::NAN }, 0.0)
    })
}

pub(super) fn embed_backward(bench: &mut Bench) -> Check {
    for (rows, width, count) in
        [(3, 5, 4), (2, 64, 3), (2, 70, 3), (2, 96, 3), (2, 100, 3), (2, 128, 3), (11, 300, 70)]
    {
        // Token 1 does not occur; some tokens are beyond the table.
        let tokens: Vec<u32> =
            (0..count as u32).map(|t| if t * 7 % 13 == 1 { 0 } else { t * 7 % 13 }).collect();
        let gradient = bench.input(Shape::packed(1, count, width), &numbers(count * width, 2));
        let table = bench.output(Shape::packed(1, rows, width));
        let words = bench.words(&tokens);
        let call = bench.call("embed_backward_f32").size(rows * width.div_ceil(128)).size(width).size(count);
        call.word(words).word(gradient.address).word(table.address).run(2, 0)?;
        bench.compare("table", &table, 32.0 * bench.epsilon(), |_, row, c| {
            let hits = (0..count).filter(|&t| tokens[t] as usize == row);
            let sum = |sum: f64, t: usize| sum + gradient.values[t * width + c];
            (hits.fold(0.0, sum), if tokens.contains(&(row as u32)) { 1.0 } else { 0.0 })
        })?;
    }
    Ok(())
}

pub(super) fn rms_norm(bench: &mut Bench) -> Check {
    for (rows, width) in [(3, 5), (19, 70)] {
        let shape = Shape::packed(1, rows, width);
        let mut values = numbers(shape.len(), 3);
        values[..width].fill(0.0);
        let x = bench.input(shape, &values);
        let (y, inverse) = (bench.output(shape), bench.output(Shape::packed(1, rows, 1)));
        let epsilon = bench.round(0.015);
        let call = bench.call("rms_norm_f32").size(rows).size(width).single(epsilon as f32);
        call.word(x.address).word(y.address).word(inverse.address).run(2, 0)?;
        let scale = |i: usize| {
            let row = &x.values[i * width..(i + 1) * width];
            1.0 / (row.iter().map(|x| x * x).sum::<f64>() / width as f64 + epsilon).sqrt()
        };
        let bound = 16.0 * bench.epsilon();
        bench.compare("inverse_rms", &inverse, bound, |_, i, _| (scale(i), scale(i)))?;
        bench.compare("y", &y, bound, |_, i, j| (scale(i) * x.values[i * width + j], scale(i)))?;
    }
    Ok(())
}

pub(super) fn rms_norm_backward(bench: &mut Bench) -> Check {
    for (rows, width) in [(3, 5), (19, 70)] {
        for add in [0, 1] {
            let shape = Shape::packed(1, rows, width);
            let y = bench.input(shape, &numbers(shape.len(), 4));
            let inverse = bench.input(Shape::packed(1, rows, 1), &numbers(rows, 5));
            let dy = bench.input(shape, &numbers(shape.len(), 6));
            let old = numbers(shape.len(), 7);
            let dx = if add == 1 { bench.inout(shape, &old) } else { bench.output(shape) };
            let call = bench.call("rms_norm_backward_f32").size(rows).size(width).size(add);
            let call = call.word(y.address).word(inverse.address).word(dy.address);
            call.word(dx.address).run(2, 0)?;
            bench.compare("dx", &dx, 16.0 * bench.epsilon(), |_, i, j| {
                let at = i * width..(i + 1) * width;
                let pairs = y.values[at.clone()].iter().zip(&dy.values[at]);
                let mean = pairs.map(|(y, dy)| y * dy).sum::<f64>() / width as f64;
                let e = i * width + j;
                let old = if add == 1 { dx.values[e] } else { 0.0 };
                (inverse.values[i] * (dy.values[e] - y.values[e] * mean) + old, 2.0)
            })?;
        }
    }
    Ok(())
}

pub(super) fn rotate(bench: &mut Bench) -> Check {
    for sign in [1.0f32, -1.0] {
        let (problems, sequence, half) = (4, 11, 13);
        let angles = bench.input(Shape::packed(1, sequence, 2 * half), &numbers(sequence * 2 * half, 1));
        let shape = Shape::packed(problems, sequence, 2 * half);
        let x = bench.inout(shape, &numbers(shape.len(), 2));
        let total = problems * sequence * half;
        let call = bench.call("rotate_f32").size(total).size(sequence).size(half).single(sign);
        call.word(angles.address).word(x.address).run(2, 0)?;
        bench.compare("x", &x, 2.0 * bench.epsilon(), |p, i, j| {
            let c = j % half;
            let (a, b) = (x.values[shape.at(p, i, c)], x.values[shape.at(p, i, c + half)]);
            let row = &angles.values[2 * half * i..];
            let (cos, sin) = (row[c], f64::from(sign) * row[c + half]);
            (if j < half { a * cos - b * sin } else { b * cos + a * sin }, 2.0)
        })?;
    }
    Ok(())
}

pub(super) fn squared_relu(bench: &mut Bench) -> Check {
    for (n, blocks) in [(5, 1), (600, 2)] {
        let mut values = numbers(n, 3);
        values[1] = f64::NAN;
        values[2] = f64::NEG_INFINITY;
        let x = bench.inout(Shape::packed(1, 1, n), &values);
        bench.call("squared_relu_f32").size(n).word(x.address).run(blocks, 0)?;
        bench.compare("x", &x, bench.epsilon(), |_, _, j| {
            let x = x.values[j];
            let y = if x < 0.0 { 0.0 } else { x * x };
            (y, y)
        })?;
    }
    Ok(())
}

pub(super) fn squared_relu_backward(bench: &mut Bench) -> Check {
    for (n, blocks) in [(5, 1), (600, 2)] {
        let squares: Vec<f64> = numbers(n, 3).iter().map(|x| x.max(0.0).powi(2)).collect();
        let h = bench.input(Shape::packed(1, 1, n), &squares);
        let d = bench.inout(Shape::packed(1, 1, n), &numbers(n, 4));
        bench.call("squared_relu_backward_f32").size(n).word(h.address).word(d.address).run(blocks, 0)?;
        bench.compare("d", &d, 4.0 * bench.epsilon(), |_, _, j| {
            (2.0 * h.values[j].sqrt() * d.values[j], 2.0)
        })?;
    }
    Ok(())
}

/// Columns of a row's largest logit, such that every step of the search for it counts; the last two rows have no
/// loss that could show it.
const PEAKS: [usize; 17] = [0, 1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256, 299, 0, 0];

pub(super) fn cross_entropy(bench: &mut Bench) -> Check {
    for (rows, vocabulary, blocks) in [(3, 5, 1), (PEAKS.len(), 300, 5)] {
        for gradient in [0, 1] {
            let shape = Shape::packed(1, rows, vocabulary);
            // One logit is so large that the row overflows where it is not taken off.
            let mut logits: Vec<f64> = numbers(shape.len(), 6).iter().map(|x| 4.0 * x).collect();
            if rows == PEAKS.len() {
                PEAKS.iter().enumerate().for_each(|(i, peak)| logits[i * vocabulary + peak] = 150.0);
                logits[..vocabulary].iter_mut().for_each(|x| *x = 80.0 - x.abs());
            }
            let x = bench.inout(shape, &logits);
            let losses = bench.output(Shape::packed(1, rows, 1));
            let target = |i: usize| match rows - i {
                1 => vocabulary as u32,
                2 => u32::MAX,
                _ => [vocabulary as u32 - 1, 1, 0][i % 3],
            };
            let targets: Vec<u32> = (0..rows).map(target).collect();
            let words = bench.words(&targets);
            let weight = bench.round(0.3);
            let call = bench.call("cross_entropy_f32").size(rows).size(vocabulary).size(gradient);
            let call = call.single(weight as f32).word(words).word(x.address).word(losses.address);
            call.run(blocks, 0)?;
            let sums: Vec<f64> = x
                .values
                .chunks(vocabulary)
                .map(|row| {
                    let most = row.iter().copied().fold(f64::MIN, f64::max);
                    most + row.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
                })
                .collect();
            let bound = 32.0 * bench.epsilon();
            bench.compare("losses", &losses, bound, |_, i, _| match targets[i] {
                u32::MAX => (0.0, 0.0),
                t if t as usize >= vocabulary => (f64::NAN, 0.0),
                t => (sums[i] - x.values[i * vocabulary + t as usize], 20.0),
            })?;
            bench.compare("logits", &x, bound, |_, i, j| {
                let old = x.values[i * vocabulary + j];
                let hit = f64::from(u8::from(targets[i] as usize == j));
                match (gradient, targets[i]) {
                    (0, _) => (old, 0.0),
                    (_, u32::MAX) => (0.0, 0.0),
                    _ => (weight * ((old - sums[i]).exp() - hit), 1.0),
                }
            })?;
        }
    }
    Ok(())
}
