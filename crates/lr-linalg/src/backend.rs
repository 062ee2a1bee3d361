//! [`Backend`]: memory of a device and the slicing of a bank of problems over it.

use crate::{MatsMut, MatsRef, Scalar};
use std::fmt::Debug;

/// The environment failed: not the caller's contract, not the numbers.
///
/// Sticky: after one, every later [`Backend::sync`] or [`Backend::download`] returns it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// An allocation did not succeed.
    #[error("{device}: out of memory while allocating {bytes} bytes; use a smaller batch or model")]
    OutOfMemory {
        /// Which device.
        device: &'static str,
        /// Size asked for.
        bytes: usize,
    },
    /// The device stopped answering.
    #[error("{device}: device lost: {reason}")]
    Lost {
        /// Which device.
        device: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// No such device or driver on this machine.
    #[error("{device}: not available: {reason}")]
    Unavailable {
        /// Which device.
        device: &'static str,
        /// What was missing.
        reason: String,
    },
}

/// How a backend wants a bank of independent problems cut up; see [`Backend::slicing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slicing {
    /// Problems in a slice; divides the number of problems.
    pub problems_per_slice: usize,
    /// Slices that may run at the same time, each with its own scratch.
    pub workers: usize,
}

/// Memory of one device, and how to spread independent problems over it.
///
/// A backend value is a cheap handle; clones share the device. Static dispatch everywhere: algorithms
/// take `B: Linalg` and one `match` in the binary picks the backend.
pub trait Backend: Clone + Debug + Send + Sync + 'static {
    /// Element type of every matrix.
    type Elem: Scalar;
    /// Device memory.
    type Buffer: Debug + Send + Sync + 'static;
    /// Short name for reports, such as `"cpu"`.
    const NAME: &'static str;

    /// Memory for `len` zeros.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`], or an earlier sticky error.
    fn alloc(&self, len: usize) -> Result<Self::Buffer, DeviceError>;

    /// Memory for `len` zeros in the middle of a step, where nobody can take an error; see [`crate::Scratch`].
    ///
    /// A device whose failures stick gives memory that operations leave alone, and reports
    /// [`DeviceError::OutOfMemory`] at the next [`Backend::sync`] or [`Backend::download`].
    ///
    /// # Panics
    /// If there is no memory, on other backends.
    fn alloc_within_step(&self, len: usize) -> Self::Buffer {
        self.alloc(len).unwrap_or_else(|e| panic!("scratch: {e}"))
    }

    /// Copies host values (row-major) to the device.
    ///
    /// # Panics
    /// If the lengths differ.
    #[track_caller]
    fn upload(&self, source: &[Self::Elem], target: MatsMut<'_, Self>);

    /// Waits for the device and copies values (row-major) to the host.
    ///
    /// # Errors
    /// Any pending [`DeviceError`].
    fn download(&self, source: MatsRef<'_, Self>) -> Result<Vec<Self::Elem>, DeviceError>;

    /// Waits until all queued work is done.
    ///
    /// # Errors
    /// Any pending [`DeviceError`].
    fn sync(&self) -> Result<(), DeviceError>;

    /// How a bank of `problems` is cut: a GPU takes it whole, a CPU one problem at a time so that the
    /// problem stays in a core's cache.
    fn slicing(&self, problems: usize) -> Slicing;

    /// Runs `work` on every slice, each exactly once, with one worker's state in hand.
    ///
    /// Slices may run concurrently and in any order; `work` gets a handle on which operations run
    /// within the slice's share of the machine (single-threaded on a CPU).
    ///
    /// # Panics
    /// If `workers` is empty.
    fn for_each_slice<I, W>(
        &self,
        slices: I,
        workers: &mut [W],
        work: impl Fn(&Self, I::Item, &mut W) + Sync,
    ) where
        I: Iterator + Send,
        I::Item: Send,
        W: Send;

    /// Runs `repair` when a problem's `status` is not zero.
    ///
    /// A device that cannot look without stalling always runs it; `repair` must therefore be harmless
    /// for healthy problems, which [`crate::Blas::copy_where`] makes easy.
    fn when_any(&self, status: MatsRef<'_, Self>, repair: impl FnOnce());

    /// The largest of the device scalars `x` (`[batch, 1, 1]`), NaN when one is NaN, where looking costs
    /// nothing; `None` on a device that would have to stall. Algorithms choose by it how much work a
    /// problem needs, and must do without.
    fn glance(&self, x: MatsRef<'_, Self>) -> Option<f64>;
}
