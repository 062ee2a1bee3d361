//! [`Launch`]: a kernel, the views it works on, and its parameters; and how a batch is cut where a view exceeds what
//! the adapter binds at once.
//!
//! Every kernel finds its views at `@group(0) @binding(0..)`, all `read_write`, and its parameters as one uniform
//! struct at `@group(1) @binding(0)`: the [grid](GRID_WORDS), then four words for every view, then its own words.
//! `kernels/wgsl/common/view.wgsl` has the types and how to use them.

use super::{
    Indices, Wgpu, WgpuBuffer,
    queue::{Device, Window},
};
use crate::{DeviceError, Dims, Layout, MatsMut, MatsRef};
use std::ops::Range;

/// Words before the views: workgroups, first problem, workgroups for each problem, and a zero.
const GRID_WORDS: usize = 4;

/// Words of a view: offset, batch stride, row stride, and problems of the launch for each matrix.
const VIEW_WORDS: usize = 4;

/// Words of a parameter block.
pub(super) const BLOCK_WORDS: usize = 64;

/// An entry point of a WGSL module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Name for error messages.
    pub name: &'static str,
    /// The whole module.
    pub source: &'static str,
    /// Entry point.
    pub entry: &'static str,
}

impl Kernel {
    /// An entry of a file of `kernels/wgsl`.
    pub const fn new(file: lr_kernels::wgsl::Kernel, entry: &'static str) -> Self {
        Self { name: file.name, source: file.source, entry }
    }
}

/// A view that a kernel reads or writes.
#[derive(Clone, Copy, Debug)]
pub struct Argument<'a> {
    pub(super) buffer: &'a WgpuBuffer,
    pub(super) layout: Layout,
}

impl<'a> Argument<'a> {
    pub(super) fn new(buffer: &'a WgpuBuffer, layout: Layout) -> Self {
        Self { buffer, layout }
    }

    /// Integers as one matrix for every problem of a launch.
    pub fn whole(indices: &'a Indices) -> Self {
        Self::new(&indices.buffer, Layout::packed(0, Dims::new(1, 1, indices.len())))
    }
}

impl<'a> From<MatsRef<'a, Wgpu>> for Argument<'a> {
    fn from(view: MatsRef<'a, Wgpu>) -> Self {
        Self::new(view.buffer(), view.layout())
    }
}

impl<'a> From<&'a MatsMut<'_, Wgpu>> for Argument<'a> {
    fn from(view: &'a MatsMut<'_, Wgpu>) -> Self {
        Self::new(view.buffer(), view.layout())
    }
}

/// One launch: `groups` workgroups for each of `problems` problems. An argument's batch divides `problems` and is
/// broadcast as in [`crate::Blas`].
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// What runs.
    pub kernel: Kernel,
    /// Views, in the order of their bindings.
    pub arguments: &'a [Argument<'a>],
    /// Problems.
    pub problems: usize,
    /// Workgroups for each problem.
    pub groups: usize,
    /// The kernel's own parameters, behind the views.
    pub words: &'a [u32],
}

impl Launch<'_> {
    /// Matrices of an argument that the problems in `range` read.
    fn matrices(&self, argument: &Argument<'_>, range: &Range<usize>) -> Range<usize> {
        let ratio = self.problems / argument.layout.dims.batch;
        range.start / ratio..(range.end - 1) / ratio + 1
    }

    /// First and one past the last element that the problems in `range` reach in an argument.
    fn span(&self, argument: &Argument<'_>, range: &Range<usize>) -> Range<usize> {
        let (l, used) = (argument.layout, self.matrices(argument, range));
        if l.dims.rows * l.dims.cols == 0 {
            return 0..0;
        }
        l.index(used.start, 0, 0)..l.index(used.end - 1, l.dims.rows - 1, l.dims.cols - 1) + 1
    }

    /// The parameter block for the problems in `range`.
    fn block(&self, range: &Range<usize>, windows: &[Window]) -> [u32; BLOCK_WORDS] {
        let mut block = [0; BLOCK_WORDS];
        let words = GRID_WORDS + VIEW_WORDS * self.arguments.len();
        assert!(words + self.words.len() <= BLOCK_WORDS, "{}: too many parameters", self.kernel.name);
        block[..3].copy_from_slice(&[range.len() * self.groups, range.start, self.groups].map(|x| x as u32));
        for (k, (argument, window)) in self.arguments.iter().zip(windows).enumerate() {
            let l = argument.layout;
            // May be negative before problem `range.start` is added: both wrap alike.
            let offset = l.offset.wrapping_sub((window.start / 4) as usize);
            let ratio = self.problems / l.dims.batch;
            block[GRID_WORDS + VIEW_WORDS * k..][..VIEW_WORDS]
                .copy_from_slice(&[offset, l.batch_stride, l.row_stride, ratio].map(|x| x as u32));
        }
        block[words..words + self.words.len()].copy_from_slice(self.words);
        block
    }
}

impl Device {
    /// Records a launch, in several parts if need be.
    #[track_caller]
    pub(super) fn launch(&self, launch: &Launch<'_>) {
        if launch.problems == 0 || launch.groups == 0 {
            return;
        }
        for argument in launch.arguments {
            let batch = argument.layout.dims.batch;
            let divides = batch > 0 && launch.problems.is_multiple_of(batch);
            assert!(divides, "{}: a batch of {batch} for {} problems", launch.kernel.name, launch.problems);
        }
        self.launch_range(launch, 0..launch.problems);
    }

    fn launch_range(&self, launch: &Launch<'_>, range: Range<usize>) {
        let windows: Option<Vec<Window>> = launch
            .arguments
            .iter()
            .map(|argument| self.window(argument.buffer, launch.span(argument, &range)))
            .collect();
        let most = self.most_groups();
        match windows {
            Some(windows) if range.len() * launch.groups <= most => {
                self.record(launch, &windows, &launch.block(&range, &windows), range.len() * launch.groups);
            }
            _ if range.len() > 1 => {
                let middle = range.start + range.len() / 2;
                self.launch_range(launch, range.start..middle);
                self.launch_range(launch, middle..range.end);
            }
            _ => self.fail(DeviceError::Unavailable {
                device: "wgpu",
                reason: format!(
                    "{}: one matrix exceeds the {} bytes that this adapter binds at once; use a smaller model or \
                     another adapter",
                    launch.kernel.name,
                    self.binding_limit(),
                ),
            }),
        }
    }
}
