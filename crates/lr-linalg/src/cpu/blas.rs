//! [`Blas`] on the CPU: checks shapes, resolves broadcasting, spreads problems over threads and calls
//! the element-wise kernels or the engine on single matrices.

use super::{
    Cpu, Engine, Source, elementwise as kernel,
    kernel::{self as own, Isa, Rest, Solved},
    threads::Threads,
};
use crate::{
    AdamWCoefficients, Blas, Coef, Dims,
    Epilogue::{self, Add, Overwrite, Scale},
    Map, MatsMut, MatsRef, Op, Operand, Panel, PanelMut, Part, Scalar, Side, Triangle, check,
};

/// Elements of a piece when a large matrix is cut for element-wise work: two fit the first-level cache.
const PIECE: usize = 1 << 14;

/// Multiplications in the smallest block of a product that is cut: some 100 us.
const SMALL_BLOCK: usize = 1 << 24;

/// Multiplications in the largest: a few ms.
const LARGE_BLOCK: usize = 1 << 29;

/// Terms from which a product is deep: its operands are long, and the smaller its blocks are, the more often they
/// are read. Blocks of deep products have edges of [`DEEP_EDGE`] at least.
const DEEP: usize = 1024;

/// See [`DEEP`].
const DEEP_EDGE: usize = 256;

/// Block edges lie on multiples of this, so that only the last block has ragged tiles.
const BLOCK_ALIGNMENT: usize = 64;

type Ref<'a, T, E> = MatsRef<'a, Cpu<T, E>>;
type Mut<'a, T, E> = MatsMut<'a, Cpu<T, E>>;

/// The matrix that problem `p` of `out` problems reads.
#[inline]
fn panel<'a, T: Scalar, E: Engine<T>>(x: Ref<'a, T, E>, p: usize, out: usize) -> Panel<'a, T> {
    x.panel(check::source(p, x.dims().batch, out))
}

fn source<'a, T: Scalar, E: Engine<T>>(x: Operand<'a, Cpu<T, E>>, p: usize, out: usize) -> Source<'a, T> {
    Source { panel: panel(x.view, p, out), op: x.op }
}

fn coefficient<T: Scalar, E: Engine<T>>(coef: Coef<'_, Cpu<T, E>>, p: usize, out: usize) -> T {
    match coef {
        Coef::Host(x) => T::from_f64(x),
        Coef::Device(x) => panel(x, p, out).row(0)[0],
    }
}

/// Where to cut gap-free views that hold large matrices into pieces of [`PIECE`] elements: the number
/// of elements in whole pieces, the rest being one shorter piece.
fn cut<T: Scalar, E: Engine<T>>(target: &Mut<'_, T, E>, sources: &[Ref<'_, T, E>]) -> Option<usize> {
    let d = target.dims();
    let even = |x: &Ref<'_, T, E>| x.layout().is_packed() && x.dims() == d;
    let whole = d.rows * d.cols > PIECE && target.layout().is_packed() && sources.iter().all(even);
    whole.then_some(d.len() / PIECE * PIECE)
}

/// Pieces of a view on both sides of `at`.
fn pieces<T: Scalar, E: Engine<T>>(x: Mut<'_, T, E>, at: usize) -> (Mut<'_, T, E>, Mut<'_, T, E>) {
    let flat = Dims::new(1, 1, x.dims().len());
    let (whole, rest) = x.reshape(flat).split_cols(at);
    (whole.reshape(Dims::new(at / PIECE, 1, PIECE)), rest)
}

/// The same of a shared view.
fn pieces_ref<T: Scalar, E: Engine<T>>(x: Ref<'_, T, E>, at: usize) -> (Ref<'_, T, E>, Ref<'_, T, E>) {
    let len = x.dims().len();
    let flat = x.reshape(Dims::new(1, 1, len));
    (flat.block(0..1, 0..at).reshape(Dims::new(at / PIECE, 1, PIECE)), flat.block(0..1, at..len))
}

impl<T: Scalar, E: Engine<T>> Cpu<T, E> {
    /// Applies `f` to every matrix of `target`, or to pieces of large ones.
    fn update(&self, target: Mut<'_, T, E>, f: impl Fn(PanelMut<'_, T>) + Sync) {
        let each = |x: Mut<'_, T, E>| {
            let d = x.dims();
            self.threads.each(d.rows * d.cols, x, |_, one| f(one.into_panel()));
        };
        match cut(&target, &[]) {
            Some(at) => {
                let (whole, rest) = pieces(target, at);
                each(whole);
                each(rest);
            }
            None => each(target),
        }
    }

    /// Applies `f` to every matrix of `x` and `y`, or to pieces of large ones.
    fn combine(&self, x: Ref<'_, T, E>, y: Mut<'_, T, E>, f: impl Fn(Panel<'_, T>, PanelMut<'_, T>) + Sync) {
        let each = |x: Ref<'_, T, E>, y: Mut<'_, T, E>| {
            let d = y.dims();
            self.threads.each(d.rows * d.cols, y, |p, one| f(panel(x, p, d.batch), one.into_panel()));
        };
        match cut(&y, &[x]) {
            Some(at) => {
                let ((x, x_rest), (y, y_rest)) = (pieces_ref(x, at), pieces(y, at));
                each(x, y);
                each(x_rest, y_rest);
            }
            None => each(x, y),
        }
    }
}

impl<T: Scalar, E: Engine<T>> Blas for Cpu<T, E> {
    #[track_caller]
    fn copy(&self, source: Operand<'_, Self>, target: Mut<'_, T, E>) {
        let d = target.dims();
        check::fits("copy", source.dims(), d);
        match source.op {
            Op::None => self.combine(source.view, target, |x, y| kernel::copy(x, y)),
            Op::Transpose => self.threads.each(d.rows * d.cols, target, |p, one| {
                kernel::transpose(panel(source.view, p, d.batch), one.into_panel());
            }),
        }
    }

    #[track_caller]
    fn copy_where(&self, status: Ref<'_, T, E>, source: Ref<'_, T, E>, target: Mut<'_, T, E>) {
        let d = target.dims();
        check::status("copy_where: status", status.dims(), d.batch);
        check::fits("copy_where", source.dims(), d);
        self.threads.each(d.rows * d.cols, target, |p, one| {
            if status.panel(p).row(0)[0] != T::ZERO {
                kernel::copy(panel(source, p, d.batch), one.into_panel());
            }
        });
    }

    fn fill(&self, value: f64, target: Mut<'_, T, E>) {
        self.update(target, |y| kernel::fill(T::from_f64(value), y));
    }

    fn add_diagonal(&self, value: f64, target: Mut<'_, T, E>) {
        let cost = target.dims().rows;
        self.threads.each(cost, target, |_, one| kernel::add_diagonal(T::from_f64(value), one.into_panel()));
    }

    #[track_caller]
    fn axpby(&self, alpha: Coef<'_, Self>, x: Ref<'_, T, E>, beta: f64, y: Mut<'_, T, E>) {
        let (d, beta) = (y.dims(), T::from_f64(beta));
        check::fits("axpby", x.dims(), d);
        check::coef("axpby: alpha", &alpha, d.batch);
        match alpha {
            Coef::Host(alpha) => self.combine(x, y, |x, y| kernel::axpby(T::from_f64(alpha), x, beta, y)),
            Coef::Device(_) => self.threads.each(d.rows * d.cols, y, |p, one| {
                kernel::axpby(coefficient(alpha, p, d.batch), panel(x, p, d.batch), beta, one.into_panel());
            }),
        }
    }

    #[track_caller]
    fn add_scaled(&self, x: Ref<'_, T, E>, alpha: Coef<'_, Self>, y: Ref<'_, T, E>, out: Mut<'_, T, E>) {
        let d = out.dims();
        check::fits("add_scaled: x", x.dims(), d);
        check::fits("add_scaled: y", y.dims(), d);
        check::coef("add_scaled: alpha", &alpha, d.batch);
        let each = |x: Ref<'_, T, E>, alpha: Coef<'_, Self>, y: Ref<'_, T, E>, out: Mut<'_, T, E>| {
            let d = out.dims();
            self.threads.each(d.rows * d.cols, out, |p, one| {
                let alpha = coefficient(alpha, p, d.batch);
                kernel::add_scaled(panel(x, p, d.batch), alpha, panel(y, p, d.batch), one.into_panel());
            });
        };
        match (alpha, cut(&out, &[x, y])) {
            (Coef::Host(_), Some(at)) => {
                let ((x, x_rest), (y, y_rest)) = (pieces_ref(x, at), pieces_ref(y, at));
                let (out, out_rest) = pieces(out, at);
                each(x, alpha, y, out);
                each(x_rest, alpha, y_rest, out_rest);
            }
            _ => each(x, alpha, y, out),
        }
    }

    #[track_caller]
    fn take_part(&self, part: Part, target: Mut<'_, T, E>) {
        let d = target.dims();
        check::square("take_part", d);
        self.threads.each(d.rows * d.cols, target, |_, one| kernel::take_part(part, one.into_panel()));
    }

    #[track_caller]
    fn scale_columns(&self, diagonal: Ref<'_, T, E>, target: Mut<'_, T, E>) {
        let d = target.dims();
        check::fits("scale_columns", diagonal.dims(), Dims::new(d.batch, 1, d.cols));
        self.threads.each(d.rows * d.cols, target, |p, one| {
            kernel::scale_columns(panel(diagonal, p, d.batch).row(0), one.into_panel());
        });
    }

    #[track_caller]
    fn multiply(&self, x: Ref<'_, T, E>, y: Mut<'_, T, E>) {
        let d = y.dims();
        check::fits("multiply", x.dims(), d);
        self.threads.each(d.rows * d.cols, y, |p, one| {
            kernel::multiply(panel(x, p, d.batch), one.into_panel());
        });
    }

    fn map(&self, map: Map, target: Mut<'_, T, E>) {
        self.update(target, |y| kernel::map(map, y));
    }

    #[track_caller]
    fn dot(&self, weight: f64, x: Ref<'_, T, E>, y: Ref<'_, T, E>, beta: f64, out: Mut<'_, T, E>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("dot: out", out.dims(), batch);
        check::fits("dot: x", d, Dims { batch, ..d });
        check::fits("dot: y", y.dims(), Dims { batch, ..d });
        self.threads.each(d.rows * d.cols, out, |p, one| {
            let (x, y) = (panel(x, p, batch), panel(y, p, batch));
            let packed = x.is_packed() && y.is_packed();
            let (x, y) = if packed { (x.flat(), y.flat()) } else { (x, y) };
            let sum: f64 = (0..x.rows()).map(|i| dot(self.threads, x.row(i), y.row(i))).sum();
            let mut one = one.into_panel();
            let out = &mut one.row_mut(0)[0];
            let old = if beta == 0.0 { 0.0 } else { beta * out.to_f64() };
            *out = T::from_f64(weight * sum + old);
        });
    }

    #[track_caller]
    fn max_abs(&self, x: Ref<'_, T, E>, out: Mut<'_, T, E>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("max_abs: out", out.dims(), batch);
        check::fits("max_abs", d, Dims { batch, ..d });
        self.threads.each(d.rows * d.cols, out, |p, one| {
            let x = panel(x, p, batch);
            let mut one = one.into_panel();
            let out = &mut one.row_mut(0)[0];
            *out = kernel::max_abs_with_nan(*out, x);
        });
    }

    #[track_caller]
    fn flag_above(&self, bound: f64, x: Ref<'_, T, E>, out: Mut<'_, T, E>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("flag_above: out", out.dims(), batch);
        check::fits("flag_above", d, Dims { batch, ..d });
        self.threads.each(d.rows * d.cols, out, |p, one| {
            if !kernel::all_within(bound, panel(x, p, batch)) {
                kernel::fill(T::ONE, one.into_panel());
            }
        });
    }

    #[track_caller]
    fn gemm(
        &self,
        alpha: f64,
        a: Operand<'_, Self>,
        b: Operand<'_, Self>,
        epilogue: Epilogue<'_, Self>,
        c: Mut<'_, T, E>,
    ) {
        let (d, inner) = (c.dims(), a.dims().cols);
        check::gemm(&a, &b, &epilogue, d);
        let far = a.op == Op::Transpose && own::is_far(inner, a.view.layout().row_stride);
        let multiplications = d.rows * d.cols * inner;
        let product = Product {
            threads: self.threads,
            alpha: T::from_f64(alpha),
            block: (multiplications / 32).clamp(SMALL_BLOCK, LARGE_BLOCK),
            kernel: if !far && own::takes(d.rows, d.cols, inner, b.op) {
                Kernel::Own
            } else {
                Kernel::Engine
            },
        };
        // A core multiplies some sixteen times as fast as it does element-wise work.
        self.threads.each(multiplications / 16 + d.rows * d.cols, c, |p, one| {
            let rest = match epilogue {
                Overwrite => Rest::Own(T::ZERO),
                Scale(beta) => Rest::Own(T::from_f64(beta)),
                Add(beta, other) => Rest::Other(T::from_f64(beta), panel(other, p, d.batch)),
            };
            let (a, b, c) = (source(a, p, d.batch), source(b, p, d.batch), one.into_panel());
            if is_gram(a, b) && own::takes_gram(d.cols, inner) && product.overwrites(rest) {
                product.gram(a, c);
            } else {
                product.run::<E>(a, b, rest, c);
            }
        });
    }

    #[track_caller]
    fn trsm(&self, side: Side, triangle: Triangle, t: Operand<'_, Self>, x: Mut<'_, T, E>) {
        let d = x.dims();
        check::trsm(side, t.dims(), d);
        if d.is_empty() {
            return;
        }
        let order = t.dims().rows;
        self.threads.each(order * d.rows * d.cols / 8, x, |p, one| {
            let (t, mut x) = (source(t, p, d.batch), one.into_panel());
            let tall = side == Side::Right && own::takes_solve(d.rows, order);
            if !tall || own::solve_right(Isa::current(), triangle, t, x.reborrow()) == Solved::No {
                E::trsm(side, triangle, t, x);
            }
        });
    }

    #[track_caller]
    fn adamw(
        &self,
        coefficients: AdamWCoefficients,
        gradient: Ref<'_, T, E>,
        first_moment: Mut<'_, T, E>,
        second_moment: Mut<'_, T, E>,
        parameters: Mut<'_, T, E>,
    ) {
        let d = parameters.dims();
        check::is("adamw: gradient", gradient.dims(), d);
        check::is("adamw: first moment", first_moment.dims(), d);
        check::is("adamw: second moment", second_moment.dims(), d);
        let each = |g: Ref<'_, T, E>, m: Mut<'_, T, E>, v: Mut<'_, T, E>, x: Mut<'_, T, E>| {
            let d = x.dims();
            self.threads.each(4 * d.rows * d.cols, (m, v, x), |p, (m, v, x)| {
                let (g, mut m, mut v, mut x) = (g.panel(p), m.into_panel(), v.into_panel(), x.into_panel());
                for i in 0..x.rows() {
                    kernel::adamw(coefficients, g.row(i), m.row_mut(i), v.row_mut(i), x.row_mut(i));
                }
            });
        };
        match cut(&parameters, &[gradient, first_moment.as_ref(), second_moment.as_ref()]) {
            Some(at) => {
                let (g, g_rest) = pieces_ref(gradient, at);
                let (m, m_rest) = pieces(first_moment, at);
                let (v, v_rest) = pieces(second_moment, at);
                let (x, x_rest) = pieces(parameters, at);
                each(g, m, v, x);
                each(g_rest, m_rest, v_rest, x_rest);
            }
            None => each(gradient, first_moment, second_moment, parameters),
        }
    }
}

/// A sum over halves, quarters, ... down to pieces, whatever the number of threads.
fn dot<T: Scalar>(threads: Threads, x: &[T], y: &[T]) -> f64 {
    if x.len() <= PIECE {
        return kernel::dot(x, y);
    }
    let half = (x.len() / 2).next_multiple_of(PIECE);
    let ((x0, x1), (y0, y1)) = (x.split_at(half), y.split_at(half));
    let (left, right) = threads.join(|| dot(threads, x0, y0), || dot(threads, x1, y1));
    left + right
}

impl<'a, T: Scalar> Rest<'a, T> {
    /// Applies a split to the other matrix.
    fn split(self, f: impl FnOnce(Panel<'a, T>) -> (Panel<'a, T>, Panel<'a, T>)) -> (Self, Self) {
        match self {
            Self::Own(_) => (self, self),
            Self::Other(beta, other) => {
                let (first, second) = f(other);
                (Self::Other(beta, first), Self::Other(beta, second))
            }
        }
    }
}

/// A product that is cut in halves down to blocks of at most `block` multiplications.
#[derive(Clone, Copy)]
struct Product<T> {
    threads: Threads,
    alpha: T,
    block: usize,
    kernel: Kernel,
}

/// Who multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Own,
    Engine,
}

/// Whether `b` is the transpose of `a`, being the same matrix.
fn is_gram<T: Scalar>(a: Source<'_, T>, b: Source<'_, T>) -> bool {
    let (x, y) = (a.panel, b.panel);
    a.op != b.op
        && (x.as_ptr(), x.rows(), x.cols(), x.row_stride())
            == (y.as_ptr(), y.rows(), y.cols(), y.row_stride())
}

impl<T: Scalar> Product<T> {
    fn run<E: Engine<T>>(self, a: Source<'_, T>, b: Source<'_, T>, rest: Rest<'_, T>, c: PanelMut<'_, T>) {
        let (m, n, k) = (c.rows(), c.cols(), a.cols());
        if m * n == 0 {
            return;
        }
        let half = (m.max(n) / 2).next_multiple_of(BLOCK_ALIGNMENT);
        let small = m * n * k <= self.block || (k > DEEP && half < DEEP_EDGE);
        if small || half >= m.max(n) {
            self.block::<E>(a, b, rest, c);
        } else if m >= n {
            let ((a0, a1), (c0, c1)) = (a.split_rows(half), c.split_rows(half));
            let (rest0, rest1) = rest.split(|other| other.split_rows(half));
            self.threads.join(|| self.run::<E>(a0, b, rest0, c0), || self.run::<E>(a1, b, rest1, c1));
        } else {
            let ((b0, b1), (c0, c1)) = (b.split_cols(half), c.split_cols(half));
            let (rest0, rest1) = rest.split(|other| other.split_cols(half));
            self.threads.join(|| self.run::<E>(a, b0, rest0, c0), || self.run::<E>(a, b1, rest1, c1));
        }
    }

    /// Whether nothing is added to the product, and there is one.
    fn overwrites(&self, rest: Rest<'_, T>) -> bool {
        let (Rest::Own(beta) | Rest::Other(beta, _)) = rest;
        beta == T::ZERO && self.alpha != T::ZERO
    }

    /// `c = alpha a a^T`: halves on the diagonal, their product beside it, its mirror image below.
    fn gram(self, a: Source<'_, T>, c: PanelMut<'_, T>) {
        let (n, k) = (c.rows(), a.cols());
        let half = (n / 2).next_multiple_of(BLOCK_ALIGNMENT);
        if n * n * k <= self.block || half >= n {
            own::gram(Isa::current(), self.alpha, a, c);
            return;
        }
        let (a0, a1) = a.split_rows(half);
        let (above, below) = c.split_rows(half);
        let ((c00, mut c01), (c10, c11)) = (above.split_cols(half), below.split_cols(half));
        let beside = |c01: PanelMut<'_, T>| {
            own::gemm(Isa::current(), self.alpha, a0, a1.transposed(), Rest::Own(T::ZERO), c01);
        };
        self.threads.join(
            || self.gram(a0, c00),
            || self.threads.join(|| self.gram(a1, c11), || beside(c01.reborrow())),
        );
        kernel::transpose(c01.as_panel(), c10);
    }

    /// One block, on this thread.
    fn block<E: Engine<T>>(
        self,
        a: Source<'_, T>,
        b: Source<'_, T>,
        rest: Rest<'_, T>,
        mut c: PanelMut<'_, T>,
    ) {
        if self.kernel == Kernel::Own && self.alpha != T::ZERO {
            own::gemm(Isa::current(), self.alpha, a, b, rest, c);
            return;
        }
        let beta = match rest {
            Rest::Own(beta) => beta,
            Rest::Other(beta, _) if beta == T::ZERO => beta,
            Rest::Other(beta, other) => {
                kernel::axpby(beta, other, T::ZERO, c.reborrow());
                T::ONE
            }
        };
        if a.cols() == 0 || self.alpha == T::ZERO {
            kernel::scale(beta, c);
        } else {
            E::gemm(self.alpha, a, b, beta, c);
        }
    }
}
