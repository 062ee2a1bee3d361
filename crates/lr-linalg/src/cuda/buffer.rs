//! [`CudaBuffer`]: owned device memory, freed on the stream that uses it.

use super::device::Device;
use crate::DeviceError;
use std::{fmt, marker::PhantomData, sync::Arc};

/// Elements that kernels can count with 32 bits, with room for one more stride of a whole grid.
const MOST_ELEMENTS: usize = (u32::MAX - (1 << 24)) as usize;

/// Owned device memory for numbers `T`. Elements are read and written only by the device, through views.
pub struct CudaBuffer<T> {
    device: Arc<Device>,
    /// Zero for a buffer without elements.
    address: u64,
    len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for CudaBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaBuffer").field("address", &self.address).field("len", &self.len).finish()
    }
}

impl<T> CudaBuffer<T> {
    /// `len` zeros; all-zero bytes must be a value of `T`.
    pub(super) fn zeros(device: &Arc<Device>, len: usize) -> Result<Self, DeviceError> {
        let bytes = len.saturating_mul(size_of::<T>());
        let address = match len {
            0 => device.check().map(|()| 0),
            1..=MOST_ELEMENTS => device.allocate(bytes),
            _ => Err(DeviceError::OutOfMemory { device: super::NAME, bytes }),
        }?;
        Ok(Self { device: device.clone(), address, len, element: PhantomData })
    }

    /// A buffer without memory behind it, of a device that has failed and does nothing any more.
    pub(super) fn none(device: &Arc<Device>, len: usize) -> Self {
        Self { device: device.clone(), address: 0, len, element: PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Device address of element `index`, for [`super::Args`].
    pub fn address(&self, index: usize) -> u64 {
        self.address + (index * size_of::<T>()) as u64
    }
}

impl<T> Drop for CudaBuffer<T> {
    fn drop(&mut self) {
        if self.address != 0 {
            self.device.free(self.address);
        }
    }
}
