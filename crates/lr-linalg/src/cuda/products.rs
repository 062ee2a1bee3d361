//! Products and triangular solves by cuBLAS.
//!
//! Our row-major matrices are the transposes of its column-major ones: `C = A B` is `C^T = B^T A^T` there, the
//! same operands in the other order. Full precision: TF32 is off. Batches go as strides where every operand
//! has a matrix for each problem or a single one, and as arrays of addresses otherwise; the arrays are made
//! on the device.

use super::{
    Args, Cuda, CudaReal, Grid,
    library::{Pointed, Product, Solve, Strided},
    workspace::{Piece, Workspace},
};
use crate::{
    Blas, Dims,
    Epilogue::{self, Add, Overwrite, Scale},
    Layout, Map, MatsMut, MatsRef, Op, Operand, Side, Triangle,
};
use cudarc::cublas::sys::{
    cublasFillMode_t::{CUBLAS_FILL_MODE_LOWER, CUBLAS_FILL_MODE_UPPER},
    cublasOperation_t::{self, CUBLAS_OP_N, CUBLAS_OP_T},
    cublasSideMode_t::{CUBLAS_SIDE_LEFT, CUBLAS_SIDE_RIGHT},
    cublasStatus_t,
};
use lr_kernels::ptx;
use std::ffi::c_int;

/// Most problems of one call: more do not fit into a grid's second or third dimension.
const MOST_PROBLEMS: usize = 65_535;

/// Sizes fit, since no buffer has more elements than 32 bits count; cuBLAS reports what is negative.
fn int(size: usize) -> c_int {
    c_int::try_from(size).unwrap_or(-1)
}

fn operation(op: Op) -> cublasOperation_t {
    match op {
        Op::None => CUBLAS_OP_N,
        Op::Transpose => CUBLAS_OP_T,
    }
}

/// A view without its buffer.
#[derive(Clone, Copy)]
struct View {
    address: u64,
    layout: Layout,
}

impl View {
    fn new<T: CudaReal>(view: MatsRef<'_, Cuda<T>>) -> Self {
        let layout = view.layout();
        Self { address: view.buffer().address(layout.offset), layout }
    }

    /// Elements from row to row, which cuBLAS checks even where there is a single row.
    fn leading(&self) -> c_int {
        int(self.layout.row_stride.max(self.layout.dims.cols))
    }

    /// Elements from one problem's matrix to the next one's, where that is the same for all of `batch`.
    fn stride(&self, batch: usize) -> Option<i64> {
        match self.layout.dims.batch {
            1 => Some(0),
            own if own == batch => i64::try_from(self.layout.batch_stride).ok(),
            _ => None,
        }
    }

    /// As an operand of a strided batch, from problem `first` of `batch` on.
    fn strided<T>(&self, first: usize, batch: usize) -> Option<Strided> {
        let stride = self.stride(batch)?;
        let address = self.address + first as u64 * stride.unsigned_abs() * size_of::<T>() as u64;
        Some(Strided { address, leading: self.leading(), stride })
    }

    /// All matrices below one another, if rows follow at one distance throughout.
    fn stacked(&self) -> Option<Self> {
        let (l, d) = (self.layout, self.layout.dims);
        let stacks = d.batch == 1 || l.batch_stride == d.rows * l.row_stride;
        let dims = Dims::new(1, d.batch * d.rows, d.cols);
        stacks.then_some(Self { layout: Layout { dims, ..l }, ..*self })
    }
}

/// Fills arrays with the addresses of the matrices that each of `batch` problems reads; their own addresses.
fn addresses<T: CudaReal>(
    b: &Cuda<T>,
    workspace: &mut Workspace,
    batch: usize,
    views: [View; 3],
) -> Option<[u64; 3]> {
    let array = batch * size_of::<u64>();
    let out = workspace.reserve(&b.device, Piece::Pointers, 3 * array).ok()?;
    let args = views.iter().fold(Args::new().size(batch).word(out), |args, v| {
        let stride = (v.layout.batch_stride * size_of::<T>()) as u64;
        args.word(v.address).word(stride).size((batch / v.layout.dims.batch).max(1))
    });
    b.run(&ptx::POINTERS, "pointers_real", Grid::threads(&ptx::POINTERS, batch), &args);
    Some([0, 1, 2].map(|k| out + (k * array) as u64))
}

/// A failed call's status.
fn failure(status: cublasStatus_t) -> Option<String> {
    (status != cublasStatus_t::CUBLAS_STATUS_SUCCESS).then(|| format!("{status:?}"))
}

/// `[first, count]` of consecutive groups of problems that fit into one call.
fn calls(batch: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..batch).step_by(MOST_PROBLEMS).map(move |first| (first, MOST_PROBLEMS.min(batch - first)))
}

/// See [`Blas::gemm`]; shapes have been checked.
pub(super) fn gemm<T: CudaReal>(
    b: &Cuda<T>,
    alpha: f64,
    left: Operand<'_, Cuda<T>>,
    right: Operand<'_, Cuda<T>>,
    epilogue: Epilogue<'_, Cuda<T>>,
    mut c: MatsMut<'_, Cuda<T>>,
) {
    let (d, inner) = (c.dims(), left.dims().cols);
    if d.is_empty() {
        return;
    }
    let beta = match epilogue {
        Overwrite => 0.0,
        Scale(beta) => beta,
        Add(beta, other) if beta != 0.0 => {
            b.copy(other.n(), c.as_mut());
            beta
        }
        Add(..) => 0.0,
    };
    if inner == 0 {
        match beta {
            0.0 => b.fill(0.0, c),
            beta => b.map(Map::Scale(beta), c),
        }
        return;
    }
    let (mut x, y, mut z) = (View::new(left.view), View::new(right.view), View::new(c.as_ref()));
    // One right-hand matrix for all: a single product of the stacked left-hand ones.
    if y.layout.dims.batch == 1
        && left.op == Op::None
        && x.layout.dims.batch == d.batch
        && let (Some(tall), Some(result)) = (x.stacked(), z.stacked())
    {
        (x, z) = (tall, result);
    }
    let d = z.layout.dims;
    let product = Product {
        ops: [operation(right.op), operation(left.op)],
        extents: [int(d.cols), int(d.rows), int(inner)],
        batch: int(d.batch),
        alpha,
        beta,
    };
    let device = &b.device;
    if !device.ready() {
        return;
    }
    let mut workspace = device.workspace();
    let strided = |first| {
        Some((
            y.strided::<T>(first, d.batch)?,
            x.strided::<T>(first, d.batch)?,
            z.strided::<T>(first, d.batch)?,
        ))
    };
    if strided(0).is_some() {
        for (first, count) in calls(d.batch) {
            let Some((y, x, z)) = strided(first) else { return };
            let product = Product { batch: int(count), ..product };
            // SAFETY: the handle is alive and used under the workspace's lock; the operands are views whose
            // shapes fit.
            let status = unsafe { T::gemm_strided(device.blas(), product, y, x, z) };
            device.called("cublasGemmStridedBatched", failure(status));
        }
        return;
    }
    let Some(arrays) = addresses(b, &mut workspace, d.batch, [y, x, z]) else { return };
    for (first, count) in calls(d.batch) {
        let operand = |k: usize, view: View| Pointed {
            addresses: arrays[k] + (first * size_of::<u64>()) as u64,
            leading: view.leading(),
        };
        let product = Product { batch: int(count), ..product };
        // SAFETY: as above; the arrays hold an address for each problem.
        let status =
            unsafe { T::gemm_pointed(device.blas(), product, operand(0, y), operand(1, x), operand(2, z)) };
        device.called("cublasGemmBatched", failure(status));
    }
}

/// See [`Blas::trsm`]; shapes have been checked.
///
/// `op(T) Y = X` reads `Y^T op(T)^T = X^T` there: the other side, the other triangle, the same transposition.
pub(super) fn trsm<T: CudaReal>(
    b: &Cuda<T>,
    side: Side,
    triangle: Triangle,
    t: Operand<'_, Cuda<T>>,
    x: MatsMut<'_, Cuda<T>>,
) {
    let (d, device) = (x.dims(), &b.device);
    if d.is_empty() || !device.ready() {
        return;
    }
    let (t_view, x_view) = (View::new(t.view), View::new(x.as_ref()));
    let solve = Solve {
        side: match side {
            Side::Left => CUBLAS_SIDE_RIGHT,
            Side::Right => CUBLAS_SIDE_LEFT,
        },
        fill: match triangle {
            Triangle::Lower => CUBLAS_FILL_MODE_UPPER,
            Triangle::Upper => CUBLAS_FILL_MODE_LOWER,
        },
        op: operation(t.op),
        extents: [int(d.cols), int(d.rows)],
        batch: int(d.batch),
    };
    let mut workspace = device.workspace();
    let Some(arrays) = addresses(b, &mut workspace, d.batch, [t_view, x_view, x_view]) else { return };
    for (first, count) in calls(d.batch) {
        let operand = |k: usize, view: View| Pointed {
            addresses: arrays[k] + (first * size_of::<u64>()) as u64,
            leading: view.leading(),
        };
        let solve = Solve { batch: int(count), ..solve };
        // SAFETY: the handle is alive and used under the workspace's lock; the arrays hold the addresses of views
        // whose shapes fit.
        let status = unsafe { T::trsm(device.blas(), solve, operand(0, t_view), operand(1, x_view)) };
        device.called("cublasTrsmBatched", failure(status));
    }
}
