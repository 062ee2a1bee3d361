//! Devices that the tests of one process share, and the rule for machines without one: a test passes after it said
//! so, unless the environment variable `LR_REQUIRE_DEVICES` (such as `wgpu,cuda`) names the backend.
#![allow(dead_code, reason = "each test file uses its own part")]

use lr_linalg::DeviceError;

/// The device, or the reason why there is none, said once for every test.
fn available<B>(name: &str, missing: &str, device: Result<B, &DeviceError>) -> Option<B> {
    match device {
        Ok(b) => Some(b),
        Err(error) => {
            let required = std::env::var("LR_REQUIRE_DEVICES").unwrap_or_default();
            assert!(!required.split(',').any(|r| r.trim() == name), "{name} is required: {error}");
            println!("skipped: {missing}");
            None
        }
    }
}

/// A handle of its own on the machine's first CUDA device.
#[cfg(feature = "cuda")]
pub fn cuda<T: lr_linalg::CudaReal>() -> Option<lr_linalg::Cuda<T>> {
    available("cuda", "no CUDA device", lr_linalg::Cuda::new(0).as_ref().cloned())
}

/// The machine's first adapter.
#[cfg(feature = "wgpu")]
pub fn wgpu() -> Option<&'static lr_linalg::Wgpu> {
    static DEVICE: std::sync::OnceLock<Result<lr_linalg::Wgpu, DeviceError>> = std::sync::OnceLock::new();
    available("wgpu", "no GPU adapter", DEVICE.get_or_init(|| lr_linalg::Wgpu::new(None)).as_ref())
}
