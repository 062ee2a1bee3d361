//! Training on GPUs beside the CPU.
#![cfg(any(feature = "cuda", feature = "wgpu"))]

#[cfg(feature = "cuda")]
mod cuda;
#[path = "../../../../crates/lr-linalg/tests/common/devices.rs"]
mod devices;
#[cfg(feature = "wgpu")]
mod wgpu;
