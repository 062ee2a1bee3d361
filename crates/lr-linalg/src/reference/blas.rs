//! [`Blas`] by its definition: one loop nest an operation, sums in `f64`.

use super::Reference;
use crate::{
    AdamWCoefficients, Blas, Coef, Dims,
    Epilogue::{self, Add, Overwrite, Scale},
    Map, MatsMut, MatsRef, Op, Operand, Part, Scalar, Side, Triangle, check,
};

type Ref<'a, T> = MatsRef<'a, Reference<T>>;
type Mut<'a, T> = MatsMut<'a, Reference<T>>;

/// Element `(i, j)` that problem `p` of an output with `out` problems reads.
fn get<T: Scalar>(x: Ref<'_, T>, out: usize, p: usize, i: usize, j: usize) -> f64 {
    x.panel(check::source(p, x.dims().batch, out)).row(i)[j].to_f64()
}

/// The same, of an operand.
fn get_op<T: Scalar>(x: Operand<'_, Reference<T>>, out: usize, p: usize, i: usize, j: usize) -> f64 {
    match x.op {
        Op::None => get(x.view, out, p, i, j),
        Op::Transpose => get(x.view, out, p, j, i),
    }
}

/// Replaces every element by a function of its indices and its value.
fn update<T: Scalar>(target: &mut Mut<'_, T>, f: impl Fn(usize, usize, usize, f64) -> f64) {
    let d = target.dims();
    for p in 0..d.batch {
        let mut panel = target.panel_mut(p);
        for i in 0..d.rows {
            for (j, x) in panel.row_mut(i).iter_mut().enumerate() {
                *x = T::from_f64(f(p, i, j, x.to_f64()));
            }
        }
    }
}

fn coefficient<T: Scalar>(coef: Coef<'_, Reference<T>>, out: usize, p: usize) -> f64 {
    match coef {
        Coef::Host(x) => x,
        Coef::Device(x) => get(x, out, p, 0, 0),
    }
}

/// `beta x`, zero for `beta = 0` whatever `x` is.
fn scaled(beta: f64, x: f64) -> f64 {
    if beta == 0.0 { 0.0 } else { beta * x }
}

impl<T: Scalar> Blas for Reference<T> {
    #[track_caller]
    fn copy(&self, source: Operand<'_, Self>, mut target: Mut<'_, T>) {
        let d = target.dims();
        check::fits("copy", source.dims(), d);
        update(&mut target, |p, i, j, _| get_op(source, d.batch, p, i, j));
    }

    #[track_caller]
    fn copy_where(&self, status: Ref<'_, T>, source: Ref<'_, T>, mut target: Mut<'_, T>) {
        let d = target.dims();
        check::status("copy_where: status", status.dims(), d.batch);
        check::fits("copy_where", source.dims(), d);
        update(&mut target, |p, i, j, old| match get(status, d.batch, p, 0, 0) {
            0.0 => old,
            _ => get(source, d.batch, p, i, j),
        });
    }

    fn fill(&self, value: f64, mut target: Mut<'_, T>) {
        update(&mut target, |_, _, _, _| value);
    }

    fn add_diagonal(&self, value: f64, mut target: Mut<'_, T>) {
        update(&mut target, |_, i, j, x| if i == j { x + value } else { x });
    }

    #[track_caller]
    fn axpby(&self, alpha: Coef<'_, Self>, x: Ref<'_, T>, beta: f64, mut y: Mut<'_, T>) {
        let d = y.dims();
        check::fits("axpby", x.dims(), d);
        check::coef("axpby: alpha", &alpha, d.batch);
        update(&mut y, |p, i, j, old| {
            coefficient(alpha, d.batch, p) * get(x, d.batch, p, i, j) + scaled(beta, old)
        });
    }

    #[track_caller]
    fn take_part(&self, part: Part, mut target: Mut<'_, T>) {
        let d = target.dims();
        check::square("take_part", d);
        let sign = match part {
            Part::Sym => 1.0,
            Part::Skew => -1.0,
        };
        for p in 0..d.batch {
            let mut panel = target.panel_mut(p);
            for i in 0..d.rows {
                for j in 0..=i {
                    let (low, high) = (panel.row(i)[j].to_f64(), panel.row(j)[i].to_f64());
                    panel.row_mut(i)[j] = T::from_f64((low + sign * high) / 2.0);
                    panel.row_mut(j)[i] = T::from_f64((high + sign * low) / 2.0);
                }
            }
        }
    }

    #[track_caller]
    fn scale_columns(&self, diagonal: Ref<'_, T>, mut target: Mut<'_, T>) {
        let d = target.dims();
        check::fits("scale_columns", diagonal.dims(), Dims::new(d.batch, 1, d.cols));
        update(&mut target, |p, _, j, x| x * get(diagonal, d.batch, p, 0, j));
    }

    #[track_caller]
    fn multiply(&self, x: Ref<'_, T>, mut y: Mut<'_, T>) {
        let batch = y.dims().batch;
        check::fits("multiply", x.dims(), y.dims());
        update(&mut y, |p, i, j, y| y * get(x, batch, p, i, j));
    }

    fn map(&self, map: Map, mut target: Mut<'_, T>) {
        // `f64::max` prefers a number to NaN; a NaN must survive.
        let at_least = |x: f64, floor: f64| if x < floor { floor } else { x };
        update(&mut target, |_, _, _, x| match map {
            Map::Sqrt => at_least(x, 0.0).sqrt(),
            Map::Floor(floor) => at_least(x, floor),
            Map::Ratio { numerator, floor } => numerator / at_least(x, floor),
            Map::Scale(factor) => factor * x,
            Map::RoundToBf16 => round_to_bf16(x as f32).into(),
        });
    }

    #[track_caller]
    fn dot(&self, weight: f64, x: Ref<'_, T>, y: Ref<'_, T>, beta: f64, mut out: Mut<'_, T>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("dot: out", out.dims(), batch);
        check::fits("dot: x", x.dims(), Dims { batch, ..d });
        check::fits("dot: y", y.dims(), Dims { batch, ..d });
        update(&mut out, |p, _, _, old| {
            let mut sum = 0.0;
            for i in 0..d.rows {
                for j in 0..d.cols {
                    sum += get(x, batch, p, i, j) * get(y, batch, p, i, j);
                }
            }
            weight * sum + scaled(beta, old)
        });
    }

    #[track_caller]
    fn max_abs(&self, x: Ref<'_, T>, mut out: Mut<'_, T>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("max_abs: out", out.dims(), batch);
        check::fits("max_abs", d, Dims { batch, ..d });
        update(&mut out, |p, _, _, old| {
            let mut largest = old;
            for i in 0..d.rows {
                for j in 0..d.cols {
                    let x = get(x, batch, p, i, j).abs();
                    // `f64::max` prefers a number to NaN; a NaN must survive.
                    if x > largest || x.is_nan() {
                        largest = x;
                    }
                }
            }
            largest
        });
    }

    #[track_caller]
    fn flag_above(&self, bound: f64, x: Ref<'_, T>, mut out: Mut<'_, T>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("flag_above: out", out.dims(), batch);
        check::fits("flag_above", d, Dims { batch, ..d });
        update(&mut out, |p, _, _, old| {
            let within = |k: usize| get(x, batch, p, k / d.cols, k % d.cols).abs() <= bound;
            if (0..d.rows * d.cols).all(within) { old } else { 1.0 }
        });
    }

    #[track_caller]
    fn gemm(
        &self,
        alpha: f64,
        a: Operand<'_, Self>,
        b: Operand<'_, Self>,
        epilogue: Epilogue<'_, Self>,
        mut c: Mut<'_, T>,
    ) {
        let (d, inner) = (c.dims(), a.dims().cols);
        check::gemm(&a, &b, &epilogue, d);
        update(&mut c, |p, i, j, old| {
            let sum: f64 =
                (0..inner).map(|k| get_op(a, d.batch, p, i, k) * get_op(b, d.batch, p, k, j)).sum();
            let rest = match epilogue {
                Overwrite => 0.0,
                Scale(beta) => scaled(beta, old),
                Add(beta, other) => scaled(beta, get(other, d.batch, p, i, j)),
            };
            alpha * sum + rest
        });
    }

    #[track_caller]
    fn trsm(&self, side: Side, triangle: Triangle, t: Operand<'_, Self>, mut x: Mut<'_, T>) {
        let d = x.dims();
        check::trsm(side, t.dims(), d);
        let (order, vectors) = match side {
            Side::Left => (d.rows, d.cols),
            Side::Right => (d.cols, d.rows),
        };
        // Entry (i, k) of the matrix M of `M y = x`, for one row or column of X at a time.
        let matrix = |p, i, k| match side {
            Side::Left => get_op(t, d.batch, p, i, k),
            Side::Right => get_op(t, d.batch, p, k, i),
        };
        // A transposition, and a place on the right, each turn lower into upper.
        let turned = (t.op == Op::Transpose) != (side == Side::Right);
        let forward = (triangle == Triangle::Lower) != turned;
        for p in 0..d.batch {
            for v in 0..vectors {
                let place = |i: usize| match side {
                    Side::Left => (i, v),
                    Side::Right => (v, i),
                };
                let mut y = vec![0.0; order];
                for step in 0..order {
                    let i = if forward { step } else { order - 1 - step };
                    let known = if forward { 0..i } else { i + 1..order };
                    let sum: f64 = known.map(|k| matrix(p, i, k) * y[k]).sum();
                    let (row, col) = place(i);
                    y[i] = (x.panel(p).row(row)[col].to_f64() - sum) / matrix(p, i, i);
                }
                for (i, value) in y.into_iter().enumerate() {
                    let (row, col) = place(i);
                    x.panel_mut(p).row_mut(row)[col] = T::from_f64(value);
                }
            }
        }
    }

    #[track_caller]
    fn adamw(
        &self,
        c: AdamWCoefficients,
        gradient: Ref<'_, T>,
        mut first_moment: Mut<'_, T>,
        mut second_moment: Mut<'_, T>,
        mut parameters: Mut<'_, T>,
    ) {
        let d = parameters.dims();
        check::is("adamw: gradient", gradient.dims(), d);
        check::is("adamw: first moment", first_moment.dims(), d);
        check::is("adamw: second moment", second_moment.dims(), d);
        let g = |p, i, j| get(gradient, d.batch, p, i, j);
        update(&mut first_moment, |p, i, j, m| c.beta1 * m + (1.0 - c.beta1) * g(p, i, j));
        update(&mut second_moment, |p, i, j, v| c.beta2 * v + (1.0 - c.beta2) * g(p, i, j).powi(2));
        let (m, v) = (first_moment.as_ref(), second_moment.as_ref());
        update(&mut parameters, |p, i, j, x| {
            let (m, v) = (get(m, d.batch, p, i, j), get(v, d.batch, p, i, j));
            let step = (m / c.bias_correction1) / ((v / c.bias_correction2).sqrt() + c.epsilon);
            x * (1.0 - c.lr * c.weight_decay) - c.lr * step
        });
    }
}

/// The nearest bfloat16, ties to even: the upper half of the bits, rounded.
fn round_to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return f32::from_bits(bits | 0x0040_0000);
    }
    let half = 0x7fff + ((bits >> 16) & 1);
    f32::from_bits(bits.wrapping_add(half) & 0xffff_0000)
}
