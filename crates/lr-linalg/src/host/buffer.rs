//! [`HostBuffer`]: zero-initialized, cache-line-aligned memory that views write through.

use crate::{DeviceError, Scalar};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    ptr::NonNull,
};

/// A cache line, and the width of the widest vector register.
const ALIGNMENT: usize = 64;

/// Owned host memory. Elements are read and written only through views, whose borrows of the owning
/// matrices keep exclusive views apart from all others.
#[derive(Debug)]
pub struct HostBuffer<T> {
    data: NonNull<T>,
    len: usize,
}

// SAFETY: the buffer owns plain numbers; access through shared references to it is governed by the
// views, of which an exclusive one never overlaps another live view.
unsafe impl<T: Scalar> Send for HostBuffer<T> {}
// SAFETY: as above.
unsafe impl<T: Scalar> Sync for HostBuffer<T> {}

impl<T> HostBuffer<T> {
    fn memory(len: usize) -> Option<Layout> {
        Layout::array::<T>(len).ok()?.align_to(ALIGNMENT).ok()
    }

    /// First element.
    pub(super) fn data(&self) -> NonNull<T> {
        self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T: Scalar> HostBuffer<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    pub fn zeros(len: usize, device: &'static str) -> Result<Self, DeviceError> {
        let out_of_memory = || DeviceError::OutOfMemory { device, bytes: len.saturating_mul(size_of::<T>()) };
        let memory = Self::memory(len).ok_or_else(out_of_memory)?;
        if memory.size() == 0 {
            return Ok(Self { data: NonNull::dangling(), len });
        }
        // SAFETY: the size is not zero; all-zero bytes are a valid float.
        let data = NonNull::new(unsafe { alloc_zeroed(memory) }.cast::<T>()).ok_or_else(out_of_memory)?;
        Ok(Self { data, len })
    }
}

impl<T> Drop for HostBuffer<T> {
    fn drop(&mut self) {
        if let Some(memory) = Self::memory(self.len).filter(|m| m.size() > 0) {
            // SAFETY: allocated by `zeros` with this very layout.
            unsafe { dealloc(self.data.as_ptr().cast(), memory) }
        }
    }
}
