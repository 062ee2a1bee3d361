//! Kernels that add up or compare the elements of a problem, in one piece or several.

use super::bench::{Bench, Call, Check, Shape, View, numbers};

/// A problem count, the shape of its input (which several may share), pieces, and blocks.
struct Case {
    problems: usize,
    shape: Shape,
    pieces: usize,
    blocks: usize,
}

fn cases() -> [Case; 4] {
    [
        Case { problems: 1, shape: Shape::packed(1, 1, 5), pieces: 1, blocks: 1 },
        Case { problems: 2, shape: Shape::packed(2, 1, 600), pieces: 2, blocks: 3 },
        Case { problems: 4, shape: Shape::gapped(2, 11, 27), pieces: 4, blocks: 5 },
        Case { problems: 2, shape: Shape::gapped(2, 3, 70), pieces: 1, blocks: 2 },
    ]
}

impl Case {
    fn elements(&self) -> usize {
        self.shape.rows * self.shape.cols
    }

    fn chunk(&self) -> usize {
        self.elements().div_ceil(self.pieces)
    }

    fn jobs(&self) -> usize {
        self.problems * self.pieces
    }

    /// The extents that every reduction begins with.
    fn extents<'b, 'a>(&self, call: Call<'b, 'a>) -> Call<'b, 'a> {
        let call = call.size(self.jobs()).size(self.pieces).size(self.chunk());
        call.size(self.shape.rows).size(self.shape.cols)
    }

    /// Elements of a job: the matrix that its problem reads, and its piece.
    fn piece<'v>(&self, x: &'v View, job: usize) -> &'v [f64] {
        let matrix = job / self.pieces / (self.problems / x.shape.batch);
        let first = job % self.pieces * self.chunk();
        let last = (first + self.chunk()).min(self.elements());
        &x.values[matrix * self.elements()..][first..last]
    }
}

pub(super) fn dot(bench: &mut Bench) -> Check {
    for case in cases() {
        for beta in [0.0, -0.5] {
            let scalars = Shape::gapped(case.jobs(), 1, 1);
            let old = numbers(case.jobs(), 9);
            let x = bench.input(case.shape, &numbers(case.shape.len(), 1));
            let other = Shape::gapped(1, case.shape.rows, case.shape.cols);
            let y = bench.input(other, &numbers(other.len(), 2));
            for pair in [true, false] {
                let out = if beta == 0.0 { bench.output(scalars) } else { bench.inout(scalars, &old) };
                let call = bench.call(if pair { "dot_real" } else { "dot_sum_real" });
                let call = case.extents(call).scalar(&out).input(&x, case.problems);
                let call = if pair { call.input(&y, case.problems) } else { call };
                call.real(0.75).real(beta).run(case.blocks, 0)?;
                let bound = 16.0 * bench.epsilon();
                bench.compare(if pair { "dot" } else { "sum" }, &out, bound, |job, _, _| {
                    let xs = case.piece(&x, job);
                    let ys = case.piece(&y, job);
                    let terms = xs.iter().zip(ys).map(|(x, y)| if pair { x * y } else { *x });
                    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + f64::abs(t)));
                    let old = if beta == 0.0 { 0.0 } else { out.values[job] };
                    (0.75 * sum + beta * old, size + 1.0)
                })?;
            }
        }
    }
    Ok(())
}

/// Values with a largest one in the first problem, and a NaN in the last place of the second problem of several, an odd thread's.
fn with_nan(case: &Case) -> Vec<f64> {
    let mut values = numbers(case.shape.len(), 3);
    // The largest is the first of its thread's elements.
    values[3] = -1.5;
    if case.shape.batch > 1 {
        values[2 * case.elements() - 1] = f64::NAN;
    }
    values
}

pub(super) fn max_abs(bench: &mut Bench) -> Check {
    for case in cases() {
        for fresh in [1, 0] {
            let scalars = Shape::gapped(case.jobs(), 1, 1);
            // Old results below, above and NaN.
            let old: Vec<f64> = (0..case.jobs()).map(|job| [0.25, 2.0, f64::NAN][job % 3]).collect();
            let out = if fresh == 1 { bench.output(scalars) } else { bench.inout(scalars, &old) };
            let x = bench.input(case.shape, &with_nan(&case));
            let call = case.extents(bench.call("max_abs_real")).scalar(&out).input(&x, case.problems);
            call.size(fresh).run(case.blocks, 0)?;
            bench.compare("max", &out, 0.0, |job, _, _| {
                let start = if fresh == 1 { 0.0 } else { old[job] };
                let most = case.piece(&x, job).iter().fold(start, |most: f64, x| {
                    if most.is_nan() || x.is_nan() { f64::NAN } else { most.max(x.abs()) }
                });
                (most, 0.0)
            })?;
        }
    }
    Ok(())
}

/// What is above the bound.
#[derive(Clone, Copy, PartialEq)]
enum Above {
    /// One element of the first problem.
    One(usize),
    /// Nothing but NaN.
    Nan,
    /// Everything.
    Any,
}

pub(super) fn flag_above(bench: &mut Bench) -> Check {
    for case in cases() {
        let last = case.elements() - 1;
        for (kind, bound) in
            [(Above::One(last), 0.999), (Above::One(0), 0.999), (Above::Nan, 2.0), (Above::Any, -1.0)]
        {
            let mut values = if kind == Above::Nan { with_nan(&case) } else { numbers(case.shape.len(), 4) };
            if let Above::One(place) = kind {
                // Only by its magnitude; the other end of the matrix is on the bound.
                values.iter_mut().for_each(|x| *x *= 0.9);
                values[last - place] = -0.999;
                values[place] = -0.999_5;
            }
            let x = bench.input(case.shape, &values);
            let out = bench.inout(Shape::gapped(case.problems, 1, 1), &vec![0.0; case.problems]);
            let call = case.extents(bench.call("flag_above_real")).scalar(&out).input(&x, case.problems);
            call.real(bound).run(case.blocks, 0)?;
            let bound = bench.round(bound);
            bench.compare("flags", &out, 0.0, |p, _, _| {
                let above = (0..case.pieces)
                    .flat_map(|piece| case.piece(&x, p * case.pieces + piece))
                    .any(|x| x.is_nan() || x.abs() > bound);
                (f64::from(u8::from(above)), 0.0)
            })?;
        }
    }
    Ok(())
}
