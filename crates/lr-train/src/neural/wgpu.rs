//! [`Neural`] on the wgpu backend: WGSL kernels, attention block by block with the log-sum-exp of its rows.

use super::{Accumulation, Attended, Neural, ProjectionGradients, Projections, Rotation, shapes};
use lr_kernels::wgsl;
use lr_linalg::{
    Blas, DeviceError, Dims, Mats, MatsMut, MatsRef, Wgpu,
    wgpu::{Argument, Indices, Kernel, Launch},
};

type Ref<'a> = MatsRef<'a, Wgpu>;
type Mut<'a> = MatsMut<'a, Wgpu>;

/// Elements that a workgroup of an element-wise kernel handles.
const CHUNK: usize = 1024;

/// Queries or keys that a workgroup of attention handles.
const BLOCK: usize = 16;

fn bits(x: f64) -> u32 {
    (x as f32).to_bits()
}

fn add(accumulation: Accumulation) -> u32 {
    u32::from(accumulation == Accumulation::Add)
}

/// Launches the entry `main` of a file with `groups` workgroups a problem.
#[track_caller]
fn launch(b: &Wgpu, file: wgsl::Kernel, arguments: &[Argument<'_>], size: [usize; 2], words: &[u32]) {
    let [problems, groups] = size;
    b.launch(&Launch { kernel: Kernel::new(file, "main"), arguments, problems, groups, words });
}

/// Launches an element-wise kernel over matrices of `rows x cols`, its first two words.
#[track_caller]
fn elementwise(b: &Wgpu, file: wgsl::Kernel, arguments: &[Argument<'_>], d: Dims, words: &[u32]) {
    let words = [&[d.rows as u32, d.cols as u32], words].concat();
    launch(b, file, arguments, [d.batch, (d.rows * d.cols).div_ceil(CHUNK)], &words);
}

/// Words that begin with sequence, width and scale of attention over `d`.
fn attention_words(d: Dims) -> [u32; 3] {
    [d.rows as u32, d.cols as u32, bits((d.cols as f64).sqrt().recip())]
}

impl Neural for Wgpu {
    type Tokens = Indices;

    fn alloc_tokens(&self, len: usize) -> Result<Indices, DeviceError> {
        self.indices(len)
    }

    #[track_caller]
    fn upload_tokens(&self, source: &[u32], target: &mut Indices) {
        assert!(source.len() == target.len(), "{} tokens for {}", source.len(), target.len());
        self.upload_indices(source, target);
    }

    #[track_caller]
    fn embed(&self, table: Ref<'_>, tokens: &Indices, out: Mut<'_>) {
        shapes::embedding(table.dims(), tokens.len(), out.dims());
        let arguments = [table.into(), Argument::whole(tokens), (&out).into()];
        elementwise(self, wgsl::EMBED, &arguments, out.dims(), &[]);
    }

    #[track_caller]
    fn embed_backward(&self, tokens: &Indices, gradient: Ref<'_>, mut table: Mut<'_>) {
        shapes::embedding(table.dims(), tokens.len(), gradient.dims());
        self.fill(0.0, table.as_mut());
        let Dims { rows, cols, .. } = gradient.dims();
        let arguments = [Argument::whole(tokens), gradient.into(), (&table).into()];
        launch(self, wgsl::EMBED_BACKWARD, &arguments, [1, rows], &[rows as u32, cols as u32]);
    }

    #[track_caller]
    fn rms_norm(&self, epsilon: f64, x: Ref<'_>, y: Mut<'_>, inverse_rms: Mut<'_>) {
        shapes::rms_norm([x.dims(), y.dims()], inverse_rms.dims());
        let arguments = [x.into(), (&y).into(), (&inverse_rms).into()];
        let Dims { rows, cols, .. } = x.dims();
        launch(self, wgsl::RMS_NORM, &arguments, [1, rows], &[cols as u32, bits(epsilon)]);
    }

    #[track_caller]
    fn rms_norm_backward(
        &self,
        y: Ref<'_>,
        inverse_rms: Ref<'_>,
        dy: Ref<'_>,
        accumulation: Accumulation,
        dx: Mut<'_>,
    ) {
        shapes::rms_norm([y.dims(), dy.dims(), dx.dims()], inverse_rms.dims());
        let arguments = [y.into(), inverse_rms.into(), dy.into(), (&dx).into()];
        let Dims { rows, cols, .. } = y.dims();
        launch(self, wgsl::RMS_NORM_BACKWARD, &arguments, [1, rows], &[cols as u32, add(accumulation)]);
    }

    fn squared_relu(&self, x: Mut<'_>) {
        elementwise(self, wgsl::SQUARED_RELU, &[(&x).into()], x.dims(), &[]);
    }

    #[track_caller]
    fn squared_relu_backward(&self, h: Ref<'_>, d: Mut<'_>) {
        shapes::same("squared_relu_backward", h.dims(), d.dims());
        elementwise(self, wgsl::SQUARED_RELU_BACKWARD, &[h.into(), (&d).into()], d.dims(), &[]);
    }

    #[track_caller]
    fn rotate(&self, rotation: Rotation, angles: Ref<'_>, x: Mut<'_>) {
        shapes::rotate(angles.dims(), x.dims());
        let side = match rotation {
            Rotation::Forward => 1.0,
            Rotation::Inverse => -1.0,
        };
        let half = Dims { cols: x.dims().cols / 2, ..x.dims() };
        elementwise(self, wgsl::ROTATE, &[angles.into(), (&x).into()], half, &[bits(side)]);
    }

    /// One row of `do_i o_i` a problem.
    fn attention_workspace(&self, problems: usize, sequence: usize) -> Result<Vec<Mats<Self>>, DeviceError> {
        Ok(vec![Mats::zeros(self, Dims::new(problems, sequence, 1))?])
    }

    #[track_caller]
    fn causal_attention(
        &self,
        x: Projections<'_, Self>,
        o: Mut<'_>,
        lse: Mut<'_>,
        _workspace: &mut [Mats<Self>],
    ) {
        shapes::attention(&x, o.dims(), lse.dims());
        let d = o.dims();
        let arguments = [x.q.into(), x.k.into(), x.v.into(), (&o).into(), (&lse).into()];
        let size = [d.batch, d.rows.div_ceil(BLOCK)];
        launch(self, wgsl::CAUSAL_ATTENTION, &arguments, size, &attention_words(d));
    }

    #[track_caller]
    fn causal_attention_backward(
        &self,
        x: Projections<'_, Self>,
        attended: Attended<'_, Self>,
        d_o: Ref<'_>,
        gradients: ProjectionGradients<'_, Self>,
        workspace: &mut [Mats<Self>],
    ) {
        shapes::attention(&x, attended.o.dims(), attended.lse.dims());
        shapes::attention_backward(x.q.dims(), d_o.dims(), &gradients);
        let d = d_o.dims();
        let [a, b, c] = attention_words(d);
        let words = &[a, b, c, add(gradients.shared)];
        let delta = workspace[0].as_mut().problems(0..d.batch);
        let inputs: [Argument<'_>; 6] =
            [x.q.into(), x.k.into(), x.v.into(), d_o.into(), attended.lse.into(), (&delta).into()];
        let run = |entry, outputs: [Argument<'_>; 2]| {
            let kernel = Kernel::new(wgsl::CAUSAL_ATTENTION_BACKWARD, entry);
            let arguments = &[&inputs[..], &outputs].concat()[..];
            self.launch(&Launch {
                kernel,
                arguments,
                problems: d.batch,
                groups: d.rows.div_ceil(BLOCK),
                words,
            });
        };
        run("queries", [attended.o.into(), (&gradients.q).into()]);
        run("keys", [(&gradients.k).into(), (&gradients.v).into()]);
    }

    #[track_caller]
    fn cross_entropy(&self, targets: &Indices, first: usize, logits: Ref<'_>, losses: Mut<'_>) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        let Dims { rows, cols, .. } = logits.dims();
        let arguments = [Argument::whole(targets), logits.into(), (&losses).into()];
        launch(self, wgsl::CROSS_ENTROPY, &arguments, [1, rows], &[cols as u32, first as u32]);
    }

    #[track_caller]
    fn cross_entropy_backward(
        &self,
        weight: f64,
        targets: &Indices,
        first: usize,
        logits: Mut<'_>,
        losses: Mut<'_>,
    ) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        let Dims { rows, cols, .. } = logits.dims();
        let arguments = [Argument::whole(targets), (&logits).into(), (&losses).into()];
        let words = [cols as u32, first as u32, bits(weight)];
        launch(self, wgsl::CROSS_ENTROPY_BACKWARD, &arguments, [1, rows], &words);
    }
}
