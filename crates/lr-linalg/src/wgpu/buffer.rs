//! [`WgpuBuffer`], memory of a device, and [`Indices`], unsigned integers in it.

use super::queue::Device;
use std::sync::Weak;

/// Device memory, 4 bytes an element. Recorded launches keep it alive until they have run.
#[derive(Debug)]
pub struct WgpuBuffer {
    /// `None` without elements: a device has no empty memory. Also when there was none left.
    pub(super) memory: Option<wgpu::Buffer>,
    /// Unique on the device.
    pub(super) id: u64,
    pub(super) len: usize,
    pub(super) device: Weak<Device>,
}

impl WgpuBuffer {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for WgpuBuffer {
    fn drop(&mut self) {
        if let Some(device) = self.device.upgrade() {
            device.forget(self.id);
        }
    }
}

/// Unsigned 32-bit integers on a device, such as tokens.
#[derive(Debug)]
pub struct Indices {
    pub(super) buffer: WgpuBuffer,
}

impl Indices {
    /// Number of integers.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}
