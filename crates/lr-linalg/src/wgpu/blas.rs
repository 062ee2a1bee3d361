//! [`Blas`] by WGSL kernels: element-wise operations, reductions in two stages, products from tiles, triangular
//! solves.

use super::{
    Wgpu,
    launch::{Argument, Kernel, Launch},
    rows,
};
use crate::{
    AdamWCoefficients, Blas, Coef, Dims,
    Epilogue::{self, Add, Overwrite, Scale},
    Layout, Map, MatsMut, MatsRef, Op, Operand, Part, Side, Triangle, check,
};
use lr_kernels::wgsl;

type Ref<'a> = MatsRef<'a, Wgpu>;
type Mut<'a> = MatsMut<'a, Wgpu>;

/// Elements that a workgroup of an element-wise kernel handles.
const CHUNK: usize = 1024;

/// Elements that a workgroup of a reduction handles.
const SPAN: usize = 16384;

/// Products up to this size are cut into small tiles.
const NARROW: usize = 32;

/// Longest sums of one launch of a product: longer ones are added up from several.
const LONGEST: usize = 32768;

/// Largest triangle that one launch solves: of a larger one, halves are solved and multiplied.
const TRIANGLE: usize = 256;

fn bits(x: f64) -> u32 {
    (x as f32).to_bits()
}

fn flag(condition: bool) -> u32 {
    u32::from(condition)
}

/// The largest `f32` that is at most `bound`: for `f32` numbers, above one is above the other.
fn below(bound: f64) -> f32 {
    let near = bound as f32;
    if f64::from(near) > bound { near.next_down() } else { near }
}

impl Wgpu {
    /// Launches an element-wise kernel over matrices of `rows x cols`; its words begin with these two.
    #[track_caller]
    fn elementwise(
        &self,
        file: wgsl::Kernel,
        arguments: &[Argument<'_>],
        (problems, rows, cols): (usize, usize, usize),
        words: &[u32],
    ) {
        let words = [&[rows as u32, cols as u32], words].concat();
        self.launch(&Launch {
            kernel: Kernel::new(file, "main"),
            arguments,
            problems,
            groups: (rows * cols).div_ceil(CHUNK),
            words: &words,
        });
    }

    /// The same, where an element's value depends on nothing but its place in views of one shape: batches without
    /// gaps are seen as one row, and single matrices that are too large to bind as a batch of rows.
    #[track_caller]
    fn pointwise(&self, file: wgsl::Kernel, arguments: &mut [Argument<'_>], dims: Dims, words: &[u32]) {
        let Dims { batch, rows, cols } = dims;
        let fits = |a: &Argument<'_>| self.device.window(a.buffer, reach(a.layout)).is_some();
        let same = |a: &Argument<'_>| a.layout.dims == dims;
        let shape = if dims.is_empty() {
            return;
        } else if arguments.iter().all(|a| same(a) && a.layout.is_packed() && fits(a)) {
            arguments.iter_mut().for_each(|a| a.layout = a.layout.reshape(Dims::new(1, 1, dims.len())));
            (1, 1, dims.len())
        } else if rows == 1 && arguments.iter().all(|a| same(a) && fits(a)) {
            for Argument { layout: l, .. } in arguments.iter_mut() {
                *l = Layout { dims: Dims::new(1, batch, cols), row_stride: l.batch_stride, ..*l };
            }
            (1, batch, cols)
        } else if batch == 1 && !arguments.iter().all(fits) {
            for Argument { layout: l, .. } in arguments.iter_mut() {
                *l = Layout { dims: Dims::new(rows, 1, cols), batch_stride: l.row_stride, ..*l };
            }
            (rows, 1, cols)
        } else {
            (batch, rows, cols)
        };
        self.elementwise(file, arguments, shape, words);
    }

    /// `y = x`, for views of one shape.
    pub(super) fn record_copy(&self, x: Argument<'_>, y: Argument<'_>) {
        let dims = y.layout.dims;
        self.pointwise(wgsl::COPY, &mut [x, y], dims, &[0]);
    }

    /// A triangular solve by halves: one solved, its product with the block beside the diagonal subtracted from the
    /// other, which is solved then.
    #[track_caller]
    fn halved_trsm(&self, side: Side, triangle: Triangle, t: Operand<'_, Self>, x: Mut<'_>) {
        let order = t.dims().rows;
        let at = order / 2;
        let block = |rows, cols| Operand { view: t.view.block(rows, cols), op: t.op };
        let diagonal = [block(0..at, 0..at), block(at..order, at..order)];
        let beside = match triangle {
            Triangle::Lower => block(at..order, 0..at),
            Triangle::Upper => block(0..at, at..order),
        };
        let halves: [Mut<'_>; 2] = match side {
            Side::Left => x.split_rows(at).into(),
            Side::Right => x.split_cols(at).into(),
        };
        let turned = (t.op == Op::Transpose) != (side == Side::Right);
        let forward = (triangle == Triangle::Lower) != turned;
        let ([first, second], [first_triangle, second_triangle]) = if forward {
            (halves, diagonal)
        } else {
            let ([a, b], [c, d]) = (halves, diagonal);
            ([b, a], [d, c])
        };
        let (mut first, mut second) = (first, second);
        self.trsm(side, triangle, first_triangle, first.as_mut());
        let known = first.as_ref().n();
        match side {
            Side::Left => self.gemm(-1.0, beside, known, Scale(1.0), second.as_mut()),
            Side::Right => self.gemm(-1.0, known, beside, Scale(1.0), second.as_mut()),
        }
        self.trsm(side, triangle, second_triangle, second);
    }

    /// Reduces `inputs`, matrices of `d`, to one scalar a problem.
    #[track_caller]
    fn reduce(&self, file: wgsl::Kernel, inputs: &[Argument<'_>], d: Dims, out: &Mut<'_>, words: [u32; 2]) {
        let (problems, out) = (out.dims().batch, Argument::from(out));
        let words = [&[d.rows as u32, d.cols as u32][..], &words].concat();
        let pieces = (d.rows * d.cols).div_ceil(SPAN);
        if pieces <= 1 {
            let arguments = &[inputs, &[out]].concat()[..];
            let kernel = Kernel::new(file, "whole");
            return self.launch(&Launch { kernel, arguments, problems, groups: 1, words: &words });
        }
        self.device.with_workspace(problems * pieces, |workspace| {
            let partial = Argument::new(workspace, Layout::packed(0, rows(problems, pieces)));
            let arguments = &[inputs, &[partial]].concat()[..];
            let kernel = Kernel::new(file, "partial");
            self.launch(&Launch { kernel, arguments, problems, groups: pieces, words: &words });
            let arguments = &[vec![partial; inputs.len()], vec![out]].concat()[..];
            let words = [&[1, pieces as u32], &words[2..]].concat();
            let kernel = Kernel::new(file, "finish");
            self.launch(&Launch { kernel, arguments, problems, groups: 1, words: &words });
        });
    }
}

/// Direction in which an operand is cut, as it is read.
#[derive(Clone, Copy)]
enum Cut {
    Rows,
    Columns,
}

impl Operand<'_, Wgpu> {
    /// The parts before and behind row or column `at`.
    fn cut(self, cut: Cut, at: usize) -> [Self; 2] {
        let Dims { rows, cols, .. } = self.view.dims();
        let views = match (cut, self.op) {
            (Cut::Rows, Op::None) | (Cut::Columns, Op::Transpose) => {
                [0..at, at..rows].map(|range| self.view.rows(range))
            }
            (Cut::Columns, Op::None) | (Cut::Rows, Op::Transpose) => {
                [0..at, at..cols].map(|range| self.view.block(0..rows, range))
            }
        };
        views.map(|view| Operand { view, op: self.op })
    }
}

/// Elements of its buffer that a layout spans.
fn reach(l: Layout) -> std::ops::Range<usize> {
    l.offset..l.index(l.dims.batch - 1, l.dims.rows - 1, l.dims.cols - 1) + 1
}

impl Blas for Wgpu {
    #[track_caller]
    fn copy(&self, source: Operand<'_, Self>, target: Mut<'_>) {
        let d = target.dims();
        check::fits("copy", source.dims(), d);
        match source.op {
            Op::None => self.pointwise(wgsl::COPY, &mut [source.view.into(), (&target).into()], d, &[0]),
            Op::Transpose => {
                let arguments = [source.view.into(), (&target).into()];
                self.elementwise(wgsl::COPY, &arguments, (d.batch, d.rows, d.cols), &[1]);
            }
        }
    }

    #[track_caller]
    fn copy_where(&self, status: Ref<'_>, source: Ref<'_>, target: Mut<'_>) {
        let d = target.dims();
        check::status("copy_where: status", status.dims(), d.batch);
        check::fits("copy_where", source.dims(), d);
        let arguments = [status.into(), source.into(), (&target).into()];
        self.elementwise(wgsl::COPY_WHERE, &arguments, (d.batch, d.rows, d.cols), &[]);
    }

    fn fill(&self, value: f64, target: Mut<'_>) {
        self.pointwise(wgsl::FILL, &mut [(&target).into()], target.dims(), &[bits(value)]);
    }

    fn add_diagonal(&self, value: f64, target: Mut<'_>) {
        let d = target.dims();
        let shape = (d.batch, 1, d.rows.min(d.cols));
        self.elementwise(wgsl::ADD_DIAGONAL, &[(&target).into()], shape, &[bits(value)]);
    }

    #[track_caller]
    fn axpby(&self, alpha: Coef<'_, Self>, x: Ref<'_>, beta: f64, y: Mut<'_>) {
        let d = y.dims();
        check::fits("axpby", x.dims(), d);
        check::coef("axpby: alpha", &alpha, d.batch);
        match alpha {
            Coef::Host(alpha) => {
                let words = [bits(alpha), bits(beta), 0];
                self.pointwise(wgsl::AXPBY, &mut [x.into(), x.into(), (&y).into()], d, &words);
            }
            Coef::Device(alpha) => {
                let (arguments, words) = ([alpha.into(), x.into(), (&y).into()], [0, bits(beta), 1]);
                self.elementwise(wgsl::AXPBY, &arguments, (d.batch, d.rows, d.cols), &words);
            }
        }
    }

    #[track_caller]
    fn take_part(&self, part: Part, target: Mut<'_>) {
        let d = target.dims();
        check::square("take_part", d);
        let sign = match part {
            Part::Sym => 1.0,
            Part::Skew => -1.0,
        };
        self.elementwise(wgsl::TAKE_PART, &[(&target).into()], (d.batch, d.rows, d.cols), &[bits(sign)]);
    }

    #[track_caller]
    fn scale_columns(&self, diagonal: Ref<'_>, target: Mut<'_>) {
        let d = target.dims();
        check::fits("scale_columns", diagonal.dims(), Dims::new(d.batch, 1, d.cols));
        let arguments = [diagonal.into(), (&target).into()];
        self.elementwise(wgsl::SCALE_COLUMNS, &arguments, (d.batch, d.rows, d.cols), &[]);
    }

    #[track_caller]
    fn multiply(&self, x: Ref<'_>, y: Mut<'_>) {
        check::fits("multiply", x.dims(), y.dims());
        self.pointwise(wgsl::MULTIPLY, &mut [x.into(), (&y).into()], y.dims(), &[]);
    }

    fn map(&self, map: Map, target: Mut<'_>) {
        let (function, factor, floor) = match map {
            Map::Sqrt => (0, 0.0, 0.0),
            Map::Floor(floor) => (1, 0.0, floor),
            Map::Ratio { numerator, floor } => (2, numerator, floor),
            Map::Scale(factor) => (3, factor, 0.0),
            Map::RoundToBf16 => (4, 0.0, 0.0),
        };
        let words = [function, bits(factor), bits(floor)];
        self.pointwise(wgsl::MAP, &mut [(&target).into()], target.dims(), &words);
    }

    #[track_caller]
    fn dot(&self, weight: f64, x: Ref<'_>, y: Ref<'_>, beta: f64, out: Mut<'_>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("dot: out", out.dims(), batch);
        check::fits("dot: x", x.dims(), Dims { batch, ..d });
        check::fits("dot: y", y.dims(), Dims { batch, ..d });
        self.reduce(wgsl::DOT, &[x.into(), y.into()], d, &out, [bits(weight), bits(beta)]);
    }

    #[track_caller]
    fn max_abs(&self, x: Ref<'_>, out: Mut<'_>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("max_abs: out", out.dims(), batch);
        check::fits("max_abs", d, Dims { batch, ..d });
        self.reduce(wgsl::MAX_ABS, &[x.into()], d, &out, [0, 0]);
    }

    #[track_caller]
    fn flag_above(&self, bound: f64, x: Ref<'_>, out: Mut<'_>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("flag_above: out", out.dims(), batch);
        check::fits("flag_above", d, Dims { batch, ..d });
        let arguments = [x.into(), (&out).into()];
        if bound >= 0.0 {
            let bound = below(bound.min(f32::MAX.into())).to_bits();
            self.elementwise(wgsl::FLAG_ABOVE, &arguments, (batch, d.rows, d.cols), &[bound]);
        } else if d.rows * d.cols > 0 {
            // No magnitude is at most a negative number.
            self.fill(1.0, out);
        }
    }

    #[track_caller]
    fn gemm(
        &self,
        alpha: f64,
        a: Operand<'_, Self>,
        b: Operand<'_, Self>,
        epilogue: Epilogue<'_, Self>,
        c: Mut<'_>,
    ) {
        let (d, inner) = (c.dims(), a.dims().cols);
        check::gemm(&a, &b, &epilogue, d);
        if inner > LONGEST {
            let ([a, a_rest], [b, b_rest]) = (a.cut(Cut::Columns, LONGEST), b.cut(Cut::Rows, LONGEST));
            let mut c = c;
            self.gemm(alpha, a, b, epilogue, c.as_mut());
            return self.gemm(alpha, a_rest, b_rest, Scale(1.0), c);
        }
        let (beta, other) = match &epilogue {
            Overwrite => (0.0, Argument::from(&c)),
            Scale(beta) => (*beta, Argument::from(&c)),
            Add(beta, other) => (*beta, Argument::from(*other)),
        };
        let (entry, tile) = if d.rows.max(d.cols) <= NARROW { ("narrow", 16) } else { ("wide", 64) };
        self.launch(&Launch {
            kernel: Kernel::new(wgsl::GEMM, entry),
            arguments: &[a.view.into(), b.view.into(), other, (&c).into()],
            problems: d.batch,
            groups: d.rows.div_ceil(tile) * d.cols.div_ceil(tile),
            words: &[
                d.rows as u32,
                d.cols as u32,
                inner as u32,
                flag(a.op == Op::Transpose),
                flag(b.op == Op::Transpose),
                bits(alpha),
                bits(beta),
            ],
        });
    }

    #[track_caller]
    fn trsm(&self, side: Side, triangle: Triangle, t: Operand<'_, Self>, x: Mut<'_>) {
        let d = x.dims();
        check::trsm(side, t.dims(), d);
        if t.dims().rows > TRIANGLE {
            return self.halved_trsm(side, triangle, t, x);
        }
        let (t_stride, x_stride) = (t.view.layout().row_stride as u32, x.layout().row_stride as u32);
        let (order, vectors, x_step, x_vector) = match side {
            Side::Left => (d.rows, d.cols, x_stride, 1),
            Side::Right => (d.cols, d.rows, 1, x_stride),
        };
        // A transposition, and a place on the right, each turn lower into upper and rows into columns.
        let turned = (t.op == Op::Transpose) != (side == Side::Right);
        let forward = (triangle == Triangle::Lower) != turned;
        let (t_row, t_col) = if turned { (1, t_stride) } else { (t_stride, 1) };
        self.launch(&Launch {
            kernel: Kernel::new(wgsl::TRSM, "main"),
            arguments: &[t.view.into(), (&x).into()],
            problems: d.batch,
            groups: if order == 0 { 0 } else { vectors.div_ceil(64) },
            words: &[order as u32, vectors as u32, flag(forward), t_row, t_col, x_step, x_vector],
        });
    }

    #[track_caller]
    fn adamw(
        &self,
        c: AdamWCoefficients,
        gradient: Ref<'_>,
        first_moment: Mut<'_>,
        second_moment: Mut<'_>,
        parameters: Mut<'_>,
    ) {
        let d = parameters.dims();
        check::is("adamw: gradient", gradient.dims(), d);
        check::is("adamw: first moment", first_moment.dims(), d);
        check::is("adamw: second moment", second_moment.dims(), d);
        let words = [
            c.beta1,
            1.0 - c.beta1,
            c.beta2,
            1.0 - c.beta2,
            1.0 - c.lr * c.weight_decay,
            c.lr,
            c.bias_correction1.recip(),
            c.bias_correction2.recip(),
            c.epsilon,
        ];
        let mut arguments =
            [gradient.into(), (&first_moment).into(), (&second_moment).into(), (&parameters).into()];
        self.pointwise(wgsl::ADAMW, &mut arguments, d, &words.map(bits));
    }
}
