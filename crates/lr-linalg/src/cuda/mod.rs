//! [`Cuda`]: the backend for NVIDIA GPUs, in `f32` or `f64`. Products and triangular solves come from
//! cuBLAS, the symmetric eigendecomposition from cuSOLVER, everything else from the PTX kernels of
//! `lr-kernels`.
//!
//! The driver and the libraries are loaded at run time: the crate builds without a toolkit, and
//! [`Cuda::new`] says what is missing. All work of a handle goes to one stream, in order; nothing waits for
//! the device but [`Backend::sync`] and [`Backend::download`], so that a whole step can be captured as a
//! [`Graph`]. The first failure sticks: every operation after it does nothing, and the next call that can
//! fail returns it.

mod args;
mod blas;
mod buffer;
mod device;
mod factor;
mod graph;
mod library;
mod probe;
mod products;
mod solver;
mod workspace;

use crate::{Backend, DeviceError, Dims, Layout, MatsMut, MatsRef, Scalar, Slicing};
use device::Device;
use lr_kernels::ptx::Kernel;
use std::{fmt, marker::PhantomData, sync::Arc};

pub use args::{Args, Grid};
pub use buffer::CudaBuffer;
pub use device::Counters;
pub use graph::Graph;
pub use probe::DeviceInfo;

/// Name of the backend, in errors too.
const NAME: &str = "cuda";

/// An element type of [`Cuda`]: `f32` or `f64`.
pub trait CudaReal: Scalar + library::Library {}
impl CudaReal for f32 {}
impl CudaReal for f64 {}

/// The backend for one NVIDIA GPU and elements `T`; a cheap handle, clones share the stream.
pub struct Cuda<T> {
    device: Arc<Device>,
    element: PhantomData<fn() -> T>,
}

impl<T> Clone for Cuda<T> {
    fn clone(&self) -> Self {
        Self { device: self.device.clone(), element: PhantomData }
    }
}

impl<T> fmt::Debug for Cuda<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cuda").field(&self.device).finish()
    }
}

impl<T: CudaReal> Cuda<T> {
    /// A handle on the device with this index in [`Cuda::devices`], with a stream of its own.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] where the driver, a library or the device is missing, or the device is
    /// older than compute capability 8.0; the reason says what to install.
    pub fn new(ordinal: usize) -> Result<Self, DeviceError> {
        Ok(Self { device: Arc::new(Device::open(ordinal)?), element: PhantomData })
    }

    /// The devices of this machine.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] where the driver is missing or does not start; a driver without a
    /// device gives an empty list.
    pub fn devices() -> Result<Vec<DeviceInfo>, DeviceError> {
        probe::devices()
    }

    /// The device of this handle.
    pub fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    /// What this handle and its clones have asked of the device so far.
    pub fn counters(&self) -> Counters {
        self.device.counters()
    }

    /// Queues a kernel of `lr-kernels`: `entry` as its file spells it, such as `"axpby_real"`.
    ///
    /// Does nothing for a grid without blocks. A failure sticks, as everywhere.
    ///
    /// # Safety
    /// `args` are the entry's parameters in order; every address that the kernel makes of them lies in a
    /// live buffer of this device; what it writes is not read or written through any other live view; and
    /// those buffers are dropped on this handle's stream only, as [`CudaBuffer`] does.
    pub unsafe fn launch(&self, kernel: &Kernel, entry: &'static str, grid: Grid, args: &Args) {
        // SAFETY: the caller's promise.
        unsafe { self.device.launch(kernel, entry, T::PRECISION, grid, args) }
    }

    /// Memory for `len` zero words, such as tokens.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`], or an earlier sticky error.
    pub fn alloc_words(&self, len: usize) -> Result<CudaBuffer<u32>, DeviceError> {
        CudaBuffer::zeros(&self.device, len)
    }

    /// Copies words to the start of a buffer.
    ///
    /// # Panics
    /// If there are more than the buffer holds.
    #[track_caller]
    pub fn upload_words(&self, words: &[u32], buffer: &mut CudaBuffer<u32>) {
        assert!(words.len() <= buffer.len(), "{} words for a buffer of {}", words.len(), buffer.len());
        self.device.upload(words, buffer.address(0));
    }

    /// Runs `work` without executing it and keeps what it queued, to be replayed by [`Graph::launch`] with
    /// the same addresses and constants. Work that alternates between two places, as optimizers do with the
    /// frames of two points, is recorded an even number of times.
    ///
    /// Run `work` at least twice before: memory that is allocated, kernels that are loaded, values that are
    /// uploaded or downloaded cannot be part of it.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] where `work` did one of these; any pending [`DeviceError`]. Where a
    /// [`crate::Scratch`] had to grow, the failure sticks: it has no memory now.
    pub fn capture(&self, work: impl FnOnce(&Self)) -> Result<Graph, DeviceError> {
        Graph::capture(&self.device, || work(self))
    }
}

/// Ranges of consecutive elements that a view consists of: the first index and the length of each.
fn runs(layout: Layout) -> impl Iterator<Item = (usize, usize)> {
    let Dims { batch, rows, cols } = layout.dims;
    let (batch, rows, len) = if layout.dims.is_empty() {
        (0, 0, 0)
    } else if layout.is_packed() {
        (1, 1, layout.dims.len())
    } else if rows == 1 || layout.row_stride == cols {
        (batch, 1, rows * cols)
    } else {
        (batch, rows, cols)
    };
    (0..batch).flat_map(move |p| (0..rows).map(move |i| (layout.index(p, i, 0), len)))
}

impl<T: CudaReal> Backend for Cuda<T> {
    type Elem = T;
    type Buffer = CudaBuffer<T>;
    const NAME: &'static str = NAME;

    fn alloc(&self, len: usize) -> Result<Self::Buffer, DeviceError> {
        CudaBuffer::zeros(&self.device, len)
    }

    fn alloc_within_step(&self, len: usize) -> Self::Buffer {
        CudaBuffer::zeros(&self.device, len).unwrap_or_else(|e| {
            self.device.stick(e);
            CudaBuffer::none(&self.device, len)
        })
    }

    #[track_caller]
    fn upload(&self, source: &[T], target: MatsMut<'_, Self>) {
        let d = target.dims();
        assert!(source.len() == d.len(), "upload: {} values for {} elements", source.len(), d.len());
        let mut rest = source;
        for (first, len) in runs(target.layout()) {
            let (values, after) = rest.split_at(len);
            self.device.upload(values, target.buffer().address(first));
            rest = after;
        }
    }

    fn download(&self, source: MatsRef<'_, Self>) -> Result<Vec<T>, DeviceError> {
        let mut values = vec![T::ZERO; source.dims().len()];
        let mut rest = values.as_mut_slice();
        for (first, len) in runs(source.layout()) {
            let (part, after) = rest.split_at_mut(len);
            self.device.download(source.buffer().address(first), part);
            rest = after;
        }
        self.device.sync()?;
        Ok(values)
    }

    fn sync(&self) -> Result<(), DeviceError> {
        self.device.sync()
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
        repair();
    }

    fn glance(&self, _x: MatsRef<'_, Self>) -> Option<f64> {
        None
    }
}
