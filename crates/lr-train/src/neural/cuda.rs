//! [`Neural`] on NVIDIA GPUs in f32, by the PTX kernels of `lr-kernels`. Rows, elements or tiles of queries are
//! spread over blocks; every sum is added up by one block in one order, so that results repeat bit by bit.

use super::{Accumulation, Attended, Neural, ProjectionGradients, Projections, Rotation, shapes};
use lr_kernels::ptx::{self, Kernel};
use lr_linalg::{
    Cuda, DeviceError, Dims, Mats, MatsMut, MatsRef,
    cuda::{Args, CudaBuffer, Grid},
};

type B = Cuda<f32>;

/// Columns of the table that a warp of `embed_backward` takes.
const EMBEDDING_COLUMNS: usize = 128;

/// Queries or keys that a block of the attention kernels takes.
const TILE: usize = 32;

/// Threads of a warp.
const WARP: usize = 32;

/// Address of the first element of a view without gaps.
#[track_caller]
fn address(view: MatsRef<'_, B>) -> u64 {
    let layout = view.layout();
    assert!(layout.is_packed(), "neural operations take packed views, not {layout:?}");
    view.buffer().address(layout.offset)
}

/// Queues a kernel of this file: shapes have been checked, and the operands are packed views.
fn run(b: &B, kernel: &Kernel, entry: &'static str, grid: Grid, args: &Args) {
    // SAFETY: the arguments are those that the kernel's file names, in its order; addresses and extents come
    // from views, of which those that are written are exclusive; all memory of a backend is of its device.
    unsafe { b.launch(kernel, entry, grid, args) }
}

/// A warp for each of `rows`, folded.
fn warps(kernel: &Kernel, rows: usize) -> Grid {
    Grid::threads(kernel, rows * WARP)
}

fn flag(accumulation: Accumulation) -> usize {
    match accumulation {
        Accumulation::Overwrite => 0,
        Accumulation::Add => 1,
    }
}

/// What the attention kernels begin with, and a block for each tile of every problem.
fn attention(d: Dims) -> (Args, Grid) {
    let scale = 1.0 / (d.cols as f64).sqrt();
    let grid = Grid { blocks: d.batch * d.rows.div_ceil(TILE), shared: 0 };
    (Args::new().size(d.rows).size(d.cols).real::<f32>(scale), grid)
}

/// Cross-entropy, with the gradients in place of the logits where a weight is given.
fn cross_entropy(
    b: &B,
    gradient: Option<f64>,
    targets: &CudaBuffer<u32>,
    first: usize,
    logits: MatsRef<'_, B>,
    losses: MatsRef<'_, B>,
) {
    let Dims { rows, cols, .. } = logits.dims();
    let args = Args::new().size(rows).size(cols).size(gradient.is_some().into());
    let args = args.real::<f32>(gradient.unwrap_or(0.0)).word(targets.address(first));
    let args = args.word(address(logits)).word(address(losses));
    run(b, &ptx::CROSS_ENTROPY, "cross_entropy_f32", Grid::blocks(rows), &args);
}

impl Neural for Cuda<f32> {
    type Tokens = CudaBuffer<u32>;

    fn alloc_tokens(&self, len: usize) -> Result<Self::Tokens, DeviceError> {
        self.alloc_words(len)
    }

    #[track_caller]
    fn upload_tokens(&self, source: &[u32], target: &mut Self::Tokens) {
        assert!(source.len() == target.len(), "{} tokens for a buffer of {}", source.len(), target.len());
        self.upload_words(source, target);
    }

    #[track_caller]
    fn embed(&self, table: MatsRef<'_, Self>, tokens: &Self::Tokens, out: MatsMut<'_, Self>) {
        shapes::embedding(table.dims(), tokens.len(), out.dims());
        let (total, width) = (out.dims().len(), out.dims().cols);
        let args = Args::new().size(total).size(width).size(table.dims().rows);
        let args = args.word(address(table)).word(tokens.address(0)).word(address(out.as_ref()));
        run(self, &ptx::EMBED, "embed_f32", Grid::threads(&ptx::EMBED, total), &args);
    }

    #[track_caller]
    fn embed_backward(&self, tokens: &Self::Tokens, gradient: MatsRef<'_, Self>, table: MatsMut<'_, Self>) {
        shapes::embedding(table.dims(), tokens.len(), gradient.dims());
        let Dims { rows, cols, .. } = table.dims();
        let units = rows * cols.div_ceil(EMBEDDING_COLUMNS);
        let args = Args::new().size(units).size(cols).size(tokens.len());
        let args = args.word(tokens.address(0)).word(address(gradient)).word(address(table.as_ref()));
        let grid = warps(&ptx::EMBED_BACKWARD, units);
        run(self, &ptx::EMBED_BACKWARD, "embed_backward_f32", grid, &args);
    }

    #[track_caller]
    fn rms_norm(
        &self,
        epsilon: f64,
        x: MatsRef<'_, Self>,
        y: MatsMut<'_, Self>,
        inverse_rms: MatsMut<'_, Self>,
    ) {
        shapes::rms_norm([x.dims(), y.dims()], inverse_rms.dims());
        let Dims { rows, cols, .. } = x.dims();
        let args = Args::new().size(rows).size(cols).real::<f32>(epsilon).word(address(x));
        let args = args.word(address(y.as_ref())).word(address(inverse_rms.as_ref()));
        run(self, &ptx::RMS_NORM, "rms_norm_f32", warps(&ptx::RMS_NORM, rows), &args);
    }

    #[track_caller]
    fn rms_norm_backward(
        &self,
        y: MatsRef<'_, Self>,
        inverse_rms: MatsRef<'_, Self>,
        dy: MatsRef<'_, Self>,
        accumulation: Accumulation,
        dx: MatsMut<'_, Self>,
    ) {
        shapes::rms_norm([y.dims(), dy.dims(), dx.dims()], inverse_rms.dims());
        let Dims { rows, cols, .. } = y.dims();
        let args = Args::new().size(rows).size(cols).size(flag(accumulation)).word(address(y));
        let args = args.word(address(inverse_rms)).word(address(dy)).word(address(dx.as_ref()));
        let grid = warps(&ptx::RMS_NORM_BACKWARD, rows);
        run(self, &ptx::RMS_NORM_BACKWARD, "rms_norm_backward_f32", grid, &args);
    }

    #[track_caller]
    fn squared_relu(&self, x: MatsMut<'_, Self>) {
        let total = x.dims().len();
        let args = Args::new().size(total).word(address(x.as_ref()));
        let grid = Grid::threads(&ptx::SQUARED_RELU, total);
        run(self, &ptx::SQUARED_RELU, "squared_relu_f32", grid, &args);
    }

    #[track_caller]
    fn squared_relu_backward(&self, h: MatsRef<'_, Self>, d: MatsMut<'_, Self>) {
        shapes::same("squared_relu_backward", h.dims(), d.dims());
        let total = h.dims().len();
        let args = Args::new().size(total).word(address(h)).word(address(d.as_ref()));
        let grid = Grid::threads(&ptx::SQUARED_RELU_BACKWARD, total);
        run(self, &ptx::SQUARED_RELU_BACKWARD, "squared_relu_backward_f32", grid, &args);
    }

    #[track_caller]
    fn rotate(&self, rotation: Rotation, angles: MatsRef<'_, Self>, x: MatsMut<'_, Self>) {
        shapes::rotate(angles.dims(), x.dims());
        let d = x.dims();
        let (pairs, half) = (d.len() / 2, d.cols / 2);
        let sign = match rotation {
            Rotation::Forward => 1.0,
            Rotation::Inverse => -1.0,
        };
        let args = Args::new().size(pairs).size(d.rows).size(half).real::<f32>(sign);
        let args = args.word(address(angles)).word(address(x.as_ref()));
        run(self, &ptx::ROTATE, "rotate_f32", Grid::threads(&ptx::ROTATE, pairs), &args);
    }

    /// One number for each query: the inner product of its output and that output's gradient.
    fn attention_workspace(&self, problems: usize, sequence: usize) -> Result<Vec<Mats<Self>>, DeviceError> {
        Ok(vec![Mats::zeros(self, Dims::new(problems, sequence, 1))?])
    }

    #[track_caller]
    fn causal_attention(
        &self,
        x: Projections<'_, Self>,
        o: MatsMut<'_, Self>,
        lse: MatsMut<'_, Self>,
        _workspace: &mut [Mats<Self>],
    ) {
        shapes::attention(&x, o.dims(), lse.dims());
        let (args, grid) = attention(o.dims());
        let args = args.word(address(x.q)).word(address(x.k)).word(address(x.v));
        let args = args.word(address(o.as_ref())).word(address(lse.as_ref()));
        run(self, &ptx::CAUSAL_ATTENTION, "causal_attention_f32", grid, &args);
    }

    #[track_caller]
    fn causal_attention_backward(
        &self,
        x: Projections<'_, Self>,
        attended: Attended<'_, Self>,
        d_o: MatsRef<'_, Self>,
        gradients: ProjectionGradients<'_, Self>,
        workspace: &mut [Mats<Self>],
    ) {
        const KERNEL: &Kernel = &ptx::CAUSAL_ATTENTION_BACKWARD;
        const ENTRY: &str = "causal_attention_backward_f32";
        let d = x.q.dims();
        shapes::attention(&x, attended.o.dims(), attended.lse.dims());
        shapes::attention_backward(d, d_o.dims(), &gradients);
        let rows = d.batch * d.rows;
        let Some(delta) = workspace.first_mut().filter(|delta| delta.dims().len() >= rows) else {
            panic!("attention: the workspace was not made for {d:?}");
        };
        let [q, k, v, o, d_o] = [x.q, x.k, x.v, attended.o, d_o].map(address);
        let (lse, delta) = (address(attended.lse), address(delta.as_ref()));
        let args = Args::new().size(rows).size(d.cols).word(o).word(d_o).word(delta);
        run(self, KERNEL, "causal_attention_backward_delta_f32", warps(KERNEL, rows), &args);

        let ProjectionGradients { q: dq, k: dk, v: dv, shared } = gradients;
        let [dq, dk, dv] = [dq.as_ref(), dk.as_ref(), dv.as_ref()].map(address);
        let (args, grid) = attention(d);
        let queries = args.clone().size(0).size(flag(Accumulation::Overwrite));
        let queries = queries.word(q).word(k).word(d_o).word(v).word(lse).word(delta).word(0).word(dq);
        run(self, KERNEL, ENTRY, grid, &queries);
        let keys = args.size(1).size(flag(shared));
        let keys = keys.word(k).word(q).word(v).word(d_o).word(lse).word(delta).word(dv).word(dk);
        run(self, KERNEL, ENTRY, grid, &keys);
    }

    #[track_caller]
    fn cross_entropy(
        &self,
        targets: &Self::Tokens,
        first: usize,
        logits: MatsRef<'_, Self>,
        losses: MatsMut<'_, Self>,
    ) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        cross_entropy(self, None, targets, first, logits, losses.as_ref());
    }

    #[track_caller]
    fn cross_entropy_backward(
        &self,
        weight: f64,
        targets: &Self::Tokens,
        first: usize,
        logits: MatsMut<'_, Self>,
        losses: MatsMut<'_, Self>,
    ) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        cross_entropy(self, Some(weight), targets, first, logits.as_ref(), losses.as_ref());
    }
}
