//! [`Wgpu`]: the portable GPU backend, in `f32`, on Vulkan, Metal or Direct3D 12 through the crate `wgpu`.
//!
//! An operation is one entry of a WGSL file (`kernels/wgsl`), recorded with the views it reads and writes.
//! Recorded launches reach the device in groups; nothing waits except [`Backend::sync`] and
//! [`Backend::download`]. What goes wrong on the way becomes a sticky [`DeviceError`].
//!
//! Views are bound as windows of their buffers. Where a window would exceed what the adapter binds at once, the
//! batch is cut into several launches.

mod blas;
mod factor;

mod adapter;
mod buffer;
mod launch;
mod queue;

use crate::{Backend, DeviceError, Dims, Layout, Linalg, MatsMut, MatsRef, Slicing};
use queue::Device;
use std::sync::Arc;

pub use adapter::{AdapterInfo, AdapterKind};
pub use buffer::{Indices, WgpuBuffer};
pub use launch::{Argument, Kernel, Launch};
pub use queue::Counters;

/// A device reached through `wgpu`; clones share it.
#[derive(Clone, Debug)]
pub struct Wgpu {
    device: Arc<Device>,
}

/// How much of a buffer the backend binds at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BindingLimit {
    /// As much as the adapter can.
    #[default]
    Adapter,
    /// At most this many bytes: tests see batches cut up without large ones.
    Bytes(u64),
}

impl Wgpu {
    /// The adapter with this index in [`Wgpu::adapters`], or the first one there.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] without such an adapter or its driver, [`DeviceError::Lost`] if it does not
    /// answer.
    pub fn new(index: Option<usize>) -> Result<Self, DeviceError> {
        Self::with_binding_limit(index, BindingLimit::Adapter)
    }

    /// As [`Wgpu::new`], with a limit of its own on what is bound at once.
    ///
    /// # Errors
    /// As [`Wgpu::new`].
    pub fn with_binding_limit(index: Option<usize>, limit: BindingLimit) -> Result<Self, DeviceError> {
        let adapter = adapter::choose(adapter::enumerate(), index)?;
        Ok(Self { device: Device::open(&adapter, limit)? })
    }

    /// The machine's adapters: discrete GPUs first, then integrated ones, software last.
    pub fn adapters() -> Vec<AdapterInfo> {
        adapter::enumerate().into_iter().map(|found| found.info).collect()
    }

    /// The adapter in use.
    pub fn adapter(&self) -> &AdapterInfo {
        &self.device.info
    }

    /// What has been asked of the device so far.
    pub fn counters(&self) -> Counters {
        self.device.counters()
    }

    /// Gives the device up, as a driver that resets does: everything later fails with [`DeviceError::Lost`].
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Records one launch of a kernel; see [`Launch`].
    ///
    /// # Panics
    /// If an argument's batch does not divide `launch.problems`, or there are more than 64 parameter words.
    #[track_caller]
    pub fn launch(&self, launch: &Launch<'_>) {
        self.device.launch(launch);
    }

    /// Device memory for `len` unsigned integers, zero at first.
    ///
    /// # Errors
    /// As [`Backend::alloc`].
    pub fn indices(&self, len: usize) -> Result<Indices, DeviceError> {
        Ok(Indices { buffer: self.device.alloc(len)? })
    }

    /// Copies integers to the device, behind all launches recorded so far.
    ///
    /// # Panics
    /// If there are more values than `target` has room for.
    #[track_caller]
    pub fn upload_indices(&self, source: &[u32], target: &mut Indices) {
        assert!(source.len() <= target.len(), "upload: {} indices for {}", source.len(), target.len());
        self.device.write(bytemuck::cast_slice(source), &target.buffer, 0);
    }
}

impl Backend for Wgpu {
    type Elem = f32;
    type Buffer = WgpuBuffer;
    const NAME: &'static str = "wgpu";

    fn alloc(&self, len: usize) -> Result<WgpuBuffer, DeviceError> {
        self.device.alloc(len)
    }

    fn alloc_within_step(&self, len: usize) -> WgpuBuffer {
        self.device.alloc(len).unwrap_or_else(|error| {
            self.device.fail(error);
            self.device.useless(len)
        })
    }

    #[track_caller]
    fn upload(&self, source: &[f32], target: MatsMut<'_, Self>) {
        let (d, layout) = (target.dims(), target.layout());
        assert!(source.len() == d.len(), "upload: {} values for {} elements", source.len(), d.len());
        if d.is_empty() {
            return;
        }
        if layout.is_packed() {
            self.device.write(bytemuck::cast_slice(source), target.buffer(), layout.offset);
            return;
        }
        // Through packed memory of its own, which lives as long as the recorded copy.
        let staging = match self.device.alloc(d.len()) {
            Ok(staging) => staging,
            Err(error) => return self.device.fail(error),
        };
        self.device.write(bytemuck::cast_slice(source), &staging, 0);
        self.record_copy(Argument::new(&staging, Layout::packed(0, d)), Argument::from(&target));
    }

    fn download(&self, source: MatsRef<'_, Self>) -> Result<Vec<f32>, DeviceError> {
        let (d, layout) = (source.dims(), source.layout());
        if d.is_empty() {
            self.sync()?;
            return Ok(Vec::new());
        }
        let end = layout.index(d.batch - 1, d.rows - 1, d.cols - 1) + 1;
        let span = self.device.read(source.buffer(), layout.offset..end)?;
        if layout.is_packed() {
            return Ok(span);
        }
        let starts =
            (0..d.batch).flat_map(|p| (0..d.rows).map(move |i| layout.index(p, i, 0) - layout.offset));
        Ok(starts.flat_map(|start| &span[start..start + d.cols]).copied().collect())
    }

    fn sync(&self) -> Result<(), DeviceError> {
        self.device.wait()
    }

    fn slicing(&self, problems: usize) -> Slicing {
        Slicing { problems_per_slice: problems.max(1), workers: 1 }
    }

    fn for_each_slice<I, W>(&self, slices: I, workers: &mut [W], work: impl Fn(&Self, I::Item, &mut W) + Sync)
    where
        I: Iterator + Send,
        I::Item: Send,
        W: Send,
    {
        let worker = workers.first_mut().expect("for_each_slice needs at least one worker");
        slices.for_each(|slice| work(self, slice, worker));
    }

    fn when_any(&self, _status: MatsRef<'_, Self>, repair: impl FnOnce()) {
        // To look would be to stall.
        repair();
    }

    fn glance(&self, _x: MatsRef<'_, Self>) -> Option<f64> {
        None
    }
}

impl Linalg for Wgpu {}

/// Shape of `count` rows of `cols` scratch elements, one for each problem.
fn rows(count: usize, cols: usize) -> Dims {
    Dims::new(count, 1, cols)
}
