//! [`Neural`] on the CPU backend: rows spread over threads, vectorized kernels inside.

mod attention;
mod exponential;
mod kernels;

use super::{Accumulation, Attended, IGNORE, Neural, ProjectionGradients, Projections, Rotation, shapes};
pub use exponential::Real;
use lr_linalg::{Cpu, DeviceError, Engine, Mats, MatsMut, MatsRef, Threads};
use rayon::prelude::*;

/// Elements that a task of an element-wise operation handles.
const GRAIN: usize = 1 << 14;

/// Runs `work` on all items: over the pool in tasks of at least `least` items, or within one task for the
/// handle that a slice gets.
fn spread<T: Real, E: Engine<T>, I: IndexedParallelIterator>(
    b: &Cpu<T, E>,
    least: usize,
    items: I,
    work: impl Fn(I::Item) + Send + Sync,
) {
    let least = match b.threads() {
        Threads::Pool => least,
        Threads::Serial => usize::MAX,
    };
    items.with_min_len(least).for_each(work);
}

impl<T: Real, E: Engine<T>> Neural for Cpu<T, E> {
    type Tokens = Vec<u32>;

    fn alloc_tokens(&self, len: usize) -> Result<Vec<u32>, DeviceError> {
        Ok(vec![0; len])
    }

    #[track_caller]
    fn upload_tokens(&self, source: &[u32], target: &mut Vec<u32>) {
        target.copy_from_slice(source);
    }

    #[track_caller]
    fn embed(&self, table: MatsRef<'_, Self>, tokens: &Vec<u32>, out: MatsMut<'_, Self>) {
        shapes::embedding(table.dims(), tokens.len(), out.dims());
        let (table, width) = (table.panel(0), out.dims().cols);
        let rows = out.into_slice().par_chunks_exact_mut(width).zip(tokens);
        let copy = |(row, &w): (&mut [T], &u32)| row.copy_from_slice(table.row(w as usize));
        spread(self, GRAIN.div_ceil(width), rows, copy);
    }

    #[track_caller]
    fn embed_backward(&self, tokens: &Vec<u32>, gradient: MatsRef<'_, Self>, table: MatsMut<'_, Self>) {
        shapes::embedding(table.dims(), tokens.len(), gradient.dims());
        let (gradient, width, rows) = (gradient.panel(0), table.dims().cols, table.dims().rows);
        // A task owns a range of the table and takes from all tokens those that fall into it.
        let range = rows.div_ceil(4 * rayon::current_num_threads()).max(1);
        let tasks = table.into_slice().par_chunks_mut(range * width).enumerate();
        spread(self, 1, tasks, |(task, table)| {
            table.fill(T::ZERO);
            let mine = task * range..(task + 1) * range;
            for (t, &w) in tokens.iter().enumerate().filter(|&(_, &w)| mine.contains(&(w as usize))) {
                let row = w as usize - mine.start;
                kernels::add(gradient.row(t), &mut table[row * width..(row + 1) * width]);
            }
        });
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
        let width = x.dims().cols;
        let (rows, epsilon) = (GRAIN.div_ceil(width), T::from_f64(epsilon));
        let chunks = x.as_slice().par_chunks(rows * width).zip(y.into_slice().par_chunks_mut(rows * width));
        let chunks = chunks.zip(inverse_rms.into_slice().par_chunks_mut(rows));
        spread(self, 1, chunks, |((x, y), s)| kernels::rms_norm(width, epsilon, x, y, s));
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
        let rows = GRAIN.div_ceil(y.dims().cols);
        let size = rows * y.dims().cols;
        let chunks = y.as_slice().par_chunks(size).zip(dy.as_slice().par_chunks(size));
        let chunks =
            chunks.zip(inverse_rms.as_slice().par_chunks(rows)).zip(dx.into_slice().par_chunks_mut(size));
        spread(self, 1, chunks, |(((y, dy), s), dx)| kernels::rms_norm_backward(accumulation, y, s, dy, dx));
    }

    #[track_caller]
    fn squared_relu(&self, x: MatsMut<'_, Self>) {
        spread(self, 1, x.into_slice().par_chunks_mut(GRAIN), kernels::squared_relu);
    }

    #[track_caller]
    fn squared_relu_backward(&self, h: MatsRef<'_, Self>, d: MatsMut<'_, Self>) {
        shapes::same("squared_relu_backward", h.dims(), d.dims());
        let chunks = h.as_slice().par_chunks(GRAIN).zip(d.into_slice().par_chunks_mut(GRAIN));
        spread(self, 1, chunks, |(h, d)| kernels::squared_relu_backward(h, d));
    }

    #[track_caller]
    fn rotate(&self, rotation: Rotation, angles: MatsRef<'_, Self>, x: MatsMut<'_, Self>) {
        shapes::rotate(angles.dims(), x.dims());
        let (size, width) = (x.dims().rows * x.dims().cols, x.dims().cols);
        let problems = x.into_slice().par_chunks_exact_mut(size);
        spread(self, GRAIN.div_ceil(size), problems, |x| {
            kernels::rotate(rotation, width, angles.as_slice(), x);
        });
    }

    fn attention_workspace(&self, problems: usize, sequence: usize) -> Result<Vec<Mats<Self>>, DeviceError> {
        attention::workspace(self, problems, sequence)
    }

    #[track_caller]
    fn causal_attention(
        &self,
        x: Projections<'_, Self>,
        o: MatsMut<'_, Self>,
        lse: MatsMut<'_, Self>,
        workspace: &mut [Mats<Self>],
    ) {
        shapes::attention(&x, o.dims(), lse.dims());
        attention::forward(self, x, o, lse, workspace);
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
        shapes::attention(&x, attended.o.dims(), attended.lse.dims());
        shapes::attention_backward(x.q.dims(), d_o.dims(), &gradients);
        attention::backward(self, x, attended, d_o, gradients, workspace);
    }

    #[track_caller]
    fn cross_entropy(
        &self,
        targets: &Vec<u32>,
        first: usize,
        logits: MatsRef<'_, Self>,
        losses: MatsMut<'_, Self>,
    ) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        let rows = logits.as_slice().par_chunks_exact(logits.dims().cols).zip(&targets[first..]);
        spread(self, 1, rows.zip(losses.into_slice()), |((row, &target), loss)| {
            *loss = match target {
                IGNORE => T::ZERO,
                target => kernels::cross_entropy(row, target as usize),
            };
        });
    }

    #[track_caller]
    fn cross_entropy_backward(
        &self,
        weight: f64,
        targets: &Vec<u32>,
        first: usize,
        logits: MatsMut<'_, Self>,
        losses: MatsMut<'_, Self>,
    ) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        let vocabulary = logits.dims().cols;
        let rows = logits.into_slice().par_chunks_exact_mut(vocabulary).zip(&targets[first..]);
        spread(self, 1, rows.zip(losses.into_slice()), |((row, &target), loss)| {
            *loss = match target {
                IGNORE => {
                    row.fill(T::ZERO);
                    T::ZERO
                }
                target => kernels::cross_entropy_backward(T::from_f64(weight), row, target as usize),
            };
        });
    }
}
