//! [`Blas`] on a GPU: element-wise operations and reductions by the kernels of `lr-kernels`, products and
//! triangular solves by [`super::products`].

use super::{Args, Cuda, CudaReal, Grid, products, workspace::Piece};
use crate::{
    AdamWCoefficients, Blas, Coef, Dims, Epilogue, Layout, Map, MatsMut, MatsRef, Op, Operand, Part, Side,
    Triangle, check,
};
use lr_kernels::ptx::{self, Kernel};

type Ref<'a, T> = MatsRef<'a, Cuda<T>>;
type Mut<'a, T> = MatsMut<'a, Cuda<T>>;

/// Rows and columns of the matrices of `d` after merging what has no gaps in any operand: a whole batch, or the
/// rows of each matrix.
fn merged(d: Dims, operands: &[Layout]) -> (usize, usize) {
    let rows = d.rows <= 1 || operands.iter().all(|l| l.row_stride == d.cols);
    let matrix = d.rows * d.cols;
    let batch = d.batch <= 1 || operands.iter().all(|l| l.dims.batch == d.batch && l.batch_stride == matrix);
    match (rows, batch) {
        (true, true) => (1, d.len()),
        (true, false) => (1, matrix),
        (false, _) => (d.rows, d.cols),
    }
}

/// The extents with which an element-wise kernel begins.
fn extents(d: Dims, (rows, cols): (usize, usize)) -> Args {
    Args::new().size(d.len()).size(rows).size(cols)
}

/// Elements below which a problem's reduction stays in one block.
const PIECE: usize = 8192;

/// Blocks into which a reduction is cut at most when there are fewer problems.
const JOBS: usize = 1024;

/// `(pieces, chunk)`: how many blocks share one problem's `n` elements, and how many elements each takes.
fn cut(problems: usize, n: usize) -> (usize, usize) {
    let pieces = (JOBS / problems.max(1)).clamp(1, n.div_ceil(PIECE).max(1));
    let chunk = n.div_ceil(pieces);
    (n.checked_div(chunk).map_or(1, |_| n.div_ceil(chunk)), chunk)
}

/// The extents with which a reduction begins.
fn jobs(problems: usize, (pieces, chunk): (usize, usize), (rows, cols): (usize, usize)) -> Args {
    Args::new().size(problems * pieces).size(pieces).size(chunk).size(rows).size(cols)
}

/// Rows and columns of each matrix, merged where rows follow one another.
fn merged_rows(d: Dims, operands: &[Layout]) -> (usize, usize) {
    if d.rows <= 1 || operands.iter().all(|l| l.row_stride == d.cols) {
        (1, d.rows * d.cols)
    } else {
        (d.rows, d.cols)
    }
}

/// The bits of the largest `T` that is at most `bound`; of a negative one if `bound` is.
fn at_most<T: CudaReal>(bound: f64) -> u64 {
    let nearest = T::from_f64(bound);
    // Numbers of one sign are ordered as their bits are.
    T::bits(nearest) - u64::from(bound >= 0.0 && nearest.to_f64() > bound)
}

impl<T: CudaReal> Cuda<T> {
    /// Queues a kernel of this crate's own: shapes have been checked, and the operands are views.
    pub(super) fn run(&self, kernel: &Kernel, entry: &'static str, grid: Grid, args: &Args) {
        // SAFETY: callers pass what the entry takes, and views that lie in their buffers, of which an exclusive
        // one overlaps no other.
        unsafe { self.launch(kernel, entry, grid, args) }
    }

    /// Queues a kernel with a thread for each element of `d`.
    fn each(&self, kernel: &Kernel, entry: &'static str, d: Dims, args: &Args) {
        self.run(kernel, entry, Grid::threads(kernel, d.len()), args);
    }
}

impl<T: CudaReal> Blas for Cuda<T> {
    #[track_caller]
    fn copy(&self, source: Operand<'_, Self>, target: Mut<'_, T>) {
        let d = target.dims();
        check::fits("copy", source.dims(), d);
        let x = source.view;
        match source.op {
            Op::None => {
                let merged = merged(d, &[x.layout(), target.layout()]);
                let args = extents(d, merged).matrix(target.as_ref()).input(x, d.batch);
                self.each(&ptx::COPY, "copy_real", d, &args);
            }
            Op::Transpose => {
                let tiles = d.batch * d.rows.div_ceil(32) * d.cols.div_ceil(32);
                let args = Args::new().size(tiles).size(d.rows).size(d.cols);
                let args = args.matrix(target.as_ref()).input(x, d.batch);
                self.run(&ptx::COPY, "copy_transposed_real", Grid::blocks(tiles), &args);
            }
        }
    }

    #[track_caller]
    fn copy_where(&self, status: Ref<'_, T>, source: Ref<'_, T>, target: Mut<'_, T>) {
        let d = target.dims();
        check::status("copy_where: status", status.dims(), d.batch);
        check::fits("copy_where", source.dims(), d);
        let merged = merged_rows(d, &[source.layout(), target.layout()]);
        let args = extents(d, merged).matrix(target.as_ref()).input(source, d.batch).scalar(status);
        self.each(&ptx::COPY_WHERE, "copy_where_real", d, &args);
    }

    fn fill(&self, value: f64, target: Mut<'_, T>) {
        let d = target.dims();
        let args = extents(d, merged(d, &[target.layout()])).matrix(target.as_ref()).real::<T>(value);
        self.each(&ptx::FILL, "fill_real", d, &args);
    }

    fn add_diagonal(&self, value: f64, target: Mut<'_, T>) {
        let d = target.dims();
        let diagonal = Dims::new(d.batch, 1, d.rows.min(d.cols));
        let args = Args::new().size(diagonal.len()).size(diagonal.cols);
        let args = args.matrix(target.as_ref()).real::<T>(value);
        self.each(&ptx::ADD_DIAGONAL, "add_diagonal_real", diagonal, &args);
    }

    #[track_caller]
    fn axpby(&self, alpha: Coef<'_, Self>, x: Ref<'_, T>, beta: f64, y: Mut<'_, T>) {
        let d = y.dims();
        check::fits("axpby", x.dims(), d);
        check::coef("axpby: alpha", &alpha, d.batch);
        let views = [x.layout(), y.layout()];
        let (merged, factors, alpha) = match alpha {
            Coef::Host(alpha) => (merged(d, &views), Args::new().word(0).size(0).size(1), alpha),
            Coef::Device(alpha) => (merged_rows(d, &views), Args::new().scalars(alpha, d.batch), 0.0),
        };
        let args = extents(d, merged).matrix(y.as_ref()).input(x, d.batch);
        let args = args.then(&factors).real::<T>(alpha).real::<T>(beta);
        self.each(&ptx::AXPBY, "axpby_real", d, &args);
    }

    #[track_caller]
    fn take_part(&self, part: Part, target: Mut<'_, T>) {
        let d = target.dims();
        check::square("take_part", d);
        let sign = match part {
            Part::Sym => 1.0,
            Part::Skew => -1.0,
        };
        let args = Args::new().size(d.len()).size(d.rows).matrix(target.as_ref()).real::<T>(sign);
        self.each(&ptx::TAKE_PART, "take_part_real", d, &args);
    }

    #[track_caller]
    fn scale_columns(&self, diagonal: Ref<'_, T>, target: Mut<'_, T>) {
        let d = target.dims();
        check::fits("scale_columns", diagonal.dims(), Dims::new(d.batch, 1, d.cols));
        let args = extents(d, (d.rows, d.cols)).matrix(target.as_ref()).row(diagonal, d.batch);
        self.each(&ptx::MULTIPLY, "multiply_real", d, &args);
    }

    #[track_caller]
    fn multiply(&self, x: Ref<'_, T>, y: Mut<'_, T>) {
        let d = y.dims();
        check::fits("multiply", x.dims(), d);
        let merged = merged(d, &[x.layout(), y.layout()]);
        let args = extents(d, merged).matrix(y.as_ref()).input(x, d.batch);
        self.each(&ptx::MULTIPLY, "multiply_real", d, &args);
    }

    fn map(&self, map: Map, target: Mut<'_, T>) {
        let d = target.dims();
        let (kind, a, b) = match map {
            Map::Sqrt => (0, 0.0, 0.0),
            Map::Floor(floor) => (1, floor, 0.0),
            Map::Ratio { numerator, floor } => (2, numerator, floor),
            Map::Scale(factor) => (3, factor, 0.0),
            Map::RoundToBf16 => (4, 0.0, 0.0),
        };
        let args = extents(d, merged(d, &[target.layout()])).matrix(target.as_ref());
        self.each(&ptx::MAP, "map_real", d, &args.size(kind).real::<T>(a).real::<T>(b));
    }

    #[track_caller]
    fn dot(&self, weight: f64, x: Ref<'_, T>, y: Ref<'_, T>, beta: f64, out: Mut<'_, T>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("dot: out", out.dims(), batch);
        check::fits("dot: x", x.dims(), Dims { batch, ..d });
        check::fits("dot: y", y.dims(), Dims { batch, ..d });
        let merged = merged_rows(d, &[x.layout(), y.layout()]);
        let (pieces, chunk) = cut(batch, d.rows * d.cols);
        let last = |args: Args| args.real::<T>(weight).real::<T>(beta);
        let first =
            |out: Args| jobs(batch, (pieces, chunk), merged).then(&out).input(x, batch).input(y, batch);
        let out = Args::new().scalar(out.as_ref());
        if pieces == 1 {
            self.run(&ptx::DOT, "dot_real", Grid::blocks(batch), &last(first(out)));
            return;
        }
        let mut workspace = self.device.workspace();
        let Ok(parts) = workspace.reserve(&self.device, Piece::Partials, batch * pieces * size_of::<T>())
        else {
            return;
        };
        let one = first(Args::new().word(parts).size(1)).real::<T>(1.0).real::<T>(0.0);
        self.run(&ptx::DOT, "dot_real", Grid::blocks(batch * pieces), &one);
        let two = jobs(batch, (1, pieces), (1, pieces)).then(&out);
        let two = last(two.word(parts).size(pieces).size(pieces).size(1));
        self.run(&ptx::DOT, "dot_sum_real", Grid::blocks(batch), &two);
    }

    #[track_caller]
    fn max_abs(&self, x: Ref<'_, T>, out: Mut<'_, T>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("max_abs: out", out.dims(), batch);
        check::fits("max_abs", d, Dims { batch, ..d });
        let merged = merged_rows(d, &[x.layout()]);
        let (pieces, chunk) = cut(batch, d.rows * d.cols);
        let first = |out: Args| jobs(batch, (pieces, chunk), merged).then(&out).input(x, batch);
        let out = Args::new().scalar(out.as_ref());
        if pieces == 1 {
            self.run(&ptx::MAX_ABS, "max_abs_real", Grid::blocks(batch), &first(out).size(0));
            return;
        }
        let mut workspace = self.device.workspace();
        let Ok(parts) = workspace.reserve(&self.device, Piece::Partials, batch * pieces * size_of::<T>())
        else {
            return;
        };
        let one = first(Args::new().word(parts).size(1)).size(1);
        self.run(&ptx::MAX_ABS, "max_abs_real", Grid::blocks(batch * pieces), &one);
        let two = jobs(batch, (1, pieces), (1, pieces)).then(&out);
        let two = two.word(parts).size(pieces).size(pieces).size(1).size(0);
        self.run(&ptx::MAX_ABS, "max_abs_real", Grid::blocks(batch), &two);
    }

    #[track_caller]
    fn flag_above(&self, bound: f64, x: Ref<'_, T>, out: Mut<'_, T>) {
        let (d, batch) = (x.dims(), out.dims().batch);
        check::status("flag_above: out", out.dims(), batch);
        check::fits("flag_above", d, Dims { batch, ..d });
        let (pieces, chunk) = cut(batch, d.rows * d.cols);
        let args = jobs(batch, (pieces, chunk), merged_rows(d, &[x.layout()]));
        let args = args.scalar(out.as_ref()).input(x, batch).word(at_most::<T>(bound));
        self.run(&ptx::FLAG_ABOVE, "flag_above_real", Grid::blocks(batch * pieces), &args);
    }

    #[track_caller]
    fn gemm(
        &self,
        alpha: f64,
        a: Operand<'_, Self>,
        b: Operand<'_, Self>,
        epilogue: Epilogue<'_, Self>,
        c: Mut<'_, T>,
    ) {
        check::gemm(&a, &b, &epilogue, c.dims());
        products::gemm(self, alpha, a, b, epilogue, c);
    }

    #[track_caller]
    fn trsm(&self, side: Side, triangle: Triangle, t: Operand<'_, Self>, x: Mut<'_, T>) {
        check::trsm(side, t.dims(), x.dims());
        products::trsm(self, side, triangle, t, x);
    }

    #[track_caller]
    fn adamw(
        &self,
        c: AdamWCoefficients,
        gradient: Ref<'_, T>,
        first_moment: Mut<'_, T>,
        second_moment: Mut<'_, T>,
        parameters: Mut<'_, T>,
    ) {
        let d = parameters.dims();
        check::is("adamw: gradient", gradient.dims(), d);
        check::is("adamw: first moment", first_moment.dims(), d);
        check::is("adamw: second moment", second_moment.dims(), d);
        let views = [parameters.as_ref(), first_moment.as_ref(), second_moment.as_ref(), gradient];
        let args = extents(d, merged(d, &views.map(|v| v.layout())));
        let args = views.into_iter().fold(args, Args::matrix);
        let args = [
            c.beta1,
            1.0 - c.beta1,
            c.beta2,
            1.0 - c.beta2,
            c.lr / c.bias_correction1,
            c.bias_correction2.recip(),
            c.epsilon,
            1.0 - c.lr * c.weight_decay,
        ]
        .into_iter()
        .fold(args, Args::real::<T>);
        self.each(&ptx::ADAMW, "adamw_real", d, &args);
    }
}
