//! Device memory, copies and fills; page-locked host memory.

use std::ffi::{c_uchar, c_uint, c_void};

use crate::context::context;
use crate::state::{State, lock};
use crate::status::*;
use crate::work::Work;

impl State {
    fn allocate(&mut self, bytes: usize) -> Result<u64, Status> {
        if self.memory.live_bytes() + bytes as u64 > self.settings.memory {
            return Err(ERROR_OUT_OF_MEMORY);
        }
        Ok(self.memory.allocate(bytes as u64))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    let state = context!();
    let all = state.settings.memory;
    // SAFETY: the driver's contract.
    unsafe { give(free, (all - state.memory.live_bytes()) as usize).max(give(total, all as usize)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Status {
    let mut state = context!();
    if state.forbids_unsafe_calls() {
        return ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if bytes == 0 {
        return ERROR_INVALID_VALUE;
    }
    match state.allocate(bytes) {
        // SAFETY: the driver's contract.
        Ok(start) => unsafe { give(address, start) },
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) -> Status {
    let mut state = context!();
    if state.forbidden_in_capture(stream) {
        return ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    // Nothing is a null address.
    let allocated = if bytes == 0 { Ok(0) } else { state.allocate(bytes) };
    match allocated {
        // SAFETY: the driver's contract.
        Ok(start) => unsafe { give(address, start) },
        Err(status) => status,
    }
}

/// Waits for everything first, as the driver does.
#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Status {
    let mut state = context!();
    if state.wait_for_all() == SUCCESS && address != 0 {
        state.perform(Work::Free { address });
    }
    state.sticky
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: u64) -> Status {
    let mut state = context!();
    if address == 0 { SUCCESS } else { state.submit(stream, Work::Free { address }) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, _flags: c_uint) -> Status {
    let mut state = context!();
    let mut words = vec![0u64; bytes.div_ceil(8).max(1)];
    let start = words.as_mut_ptr();
    state.host_memory.insert(start as u64, words);
    // SAFETY: the driver's contract.
    unsafe { give(address, start.cast()) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: u64) -> Status {
    if lock().host_memory.remove(&address).is_some() { SUCCESS } else { ERROR_INVALID_VALUE }
}

/// The source is read before the call returns, as the driver does with pageable memory.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: u64) -> Status {
    let mut state = context!();
    // SAFETY: the driver's contract: `bytes` readable bytes.
    let bytes = unsafe { std::slice::from_raw_parts(from, bytes) };
    state.submit(stream, Work::Upload { to, bytes: bytes.into() })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const u8, bytes: usize) -> Status {
    // SAFETY: the driver's contract.
    let queued = unsafe { cuMemcpyHtoDAsync_v2(to, from, bytes, 0) };
    if queued == SUCCESS { context!().wait_for_stream(0) } else { queued }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: u64) -> Status {
    let mut state = context!();
    if state.settings.lazy.is_some() {
        // Whoever reads before waiting reads this.
        // SAFETY: the driver's contract: `bytes` writable bytes.
        unsafe { std::ptr::write_bytes(to, 0xFF, bytes) };
    }
    state.submit(stream, Work::Download { from, to: to as u64, bytes })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut u8, from: u64, bytes: usize) -> Status {
    // SAFETY: the driver's contract.
    let queued = unsafe { cuMemcpyDtoHAsync_v2(to, from, bytes, 0) };
    if queued == SUCCESS { context!().wait_for_stream(0) } else { queued }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) -> Status {
    context!().submit(stream, Work::Copy { to, from, bytes: bytes as u64 })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Status {
    let mut state = context!();
    let queued = state.submit(0, Work::Copy { to, from, bytes: bytes as u64 });
    if queued == SUCCESS { state.wait_for_stream(0) } else { queued }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(address: u64, value: c_uchar, count: usize, stream: u64) -> Status {
    context!().submit(stream, Work::Fill { address, pattern: value.into(), size: 1, count })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(address: u64, value: c_uint, count: usize, stream: u64) -> Status {
    context!().submit(stream, Work::Fill { address, pattern: value, size: 4, count })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(address: u64, value: c_uchar, count: usize) -> Status {
    let mut state = context!();
    let queued = state.submit(0, Work::Fill { address, pattern: value.into(), size: 1, count });
    if queued == SUCCESS { state.wait_for_stream(0) } else { queued }
}
