//! Looks for the driver, the libraries and the devices before anything calls them: a missing library would
//! panic at its first use.

use super::NAME;
use crate::DeviceError;
use cudarc::{
    cublas, cusolver,
    driver::{CudaContext, DriverError, result::device, sys},
};

/// One device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Index for [`super::Cuda::new`].
    pub ordinal: usize,
    /// As the driver names it.
    pub name: String,
    /// Major and minor compute capability.
    pub compute_capability: (u32, u32),
    /// Device memory, in bytes.
    pub memory: usize,
}

pub(super) fn unavailable(reason: impl Into<String>) -> DeviceError {
    DeviceError::Unavailable { device: NAME, reason: reason.into() }
}

/// The driver can be called.
pub(super) fn driver() -> Result<(), DeviceError> {
    // SAFETY: loads a library of this name if there is one, and nothing else.
    if unsafe { sys::is_culib_present() } {
        return Ok(());
    }
    Err(unavailable(
        "the CUDA driver library (libcuda.so.1, nvcuda.dll) was not found; install the NVIDIA driver, or choose another device",
    ))
}

/// cuBLAS and cuSOLVER can be called.
pub(super) fn libraries() -> Result<(), DeviceError> {
    // SAFETY: loads libraries of these names if there are any, and nothing else.
    let found = unsafe { [cublas::sys::is_culib_present(), cusolver::sys::is_culib_present()] };
    for (found, name) in found.into_iter().zip(["cublas", "cusolver"]) {
        if !found {
            return Err(unavailable(format!(
                "the library {name} could not be loaded; install the CUDA toolkit's run-time libraries (version \
                 12 or 13) and put their folder on the library path (LD_LIBRARY_PATH, PATH on Windows)"
            )));
        }
    }
    Ok(())
}

/// A call that tells about the machine.
pub(super) fn ask<R>(what: &str, answer: Result<R, DriverError>) -> Result<R, DeviceError> {
    answer.map_err(|e| unavailable(format!("{what}: {}", super::device::describe(e))))
}

/// What the driver says of one device.
pub(super) fn describe(ordinal: usize) -> Result<DeviceInfo, DeviceError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let index = i32::try_from(ordinal).map_err(|_| unavailable(format!("there is no device {ordinal}")))?;
    let device = ask("opening the device", device::get(index))?;
    // SAFETY: the driver just gave this device.
    let (major, minor, memory) = unsafe {
        (
            device::get_attribute(device, MAJOR),
            device::get_attribute(device, MINOR),
            device::total_mem(device),
        )
    };
    let number = |answer| ask("its compute capability", answer).map(|x: i32| x.unsigned_abs());
    Ok(DeviceInfo {
        ordinal,
        name: ask("its name", device::get_name(device))?,
        compute_capability: (number(major)?, number(minor)?),
        memory: ask("its memory", memory)?,
    })
}

/// The devices of this machine.
pub(super) fn devices() -> Result<Vec<DeviceInfo>, DeviceError> {
    driver()?;
    let count = match CudaContext::device_count() {
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        answer => ask("the CUDA driver does not start", answer)?,
    };
    (0..count.unsigned_abs() as usize).map(describe).collect()
}
