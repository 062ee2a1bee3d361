//! Devices that the tests of one process share, and the rule for machines without one: a test passes after it said
//! so, unless the environment variable `LR_REQUIRE_DEVICES` (such as `wgpu,cuda`) names the backend.

use lr_linalg::{DeviceError, Wgpu};
use std::sync::OnceLock;

/// The device, or the reason why there is none, said once for every test.
fn available<'a, B>(name: &str, missing: &str, device: &'a Result<B, DeviceError>) -> Option<&'a B> {
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

/// The machine's first adapter.
pub fn wgpu() -> Option<&'static Wgpu> {
    static DEVICE: OnceLock<Result<Wgpu, DeviceError>> = OnceLock::new();
    available("wgpu", "no GPU adapter", DEVICE.get_or_init(|| Wgpu::new(None)))
}
