//! Driver, device and context.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uint};

use crate::state::{State, lock};
use crate::status::*;

/// The primary context of the only device.
const CONTEXT: u64 = 0xC0DE;
/// Version 13.0: as new as the newest interface that the backend's bindings know.
const VERSION: c_int = 13_000;
const NAME: &[u8] = b"stand-in driver (PTX interpreter)\0";

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Whether this thread has a context, and the context no error.
pub(crate) fn usable(state: &State) -> Result<(), Status> {
    if CURRENT.get() == 0 || state.retained == 0 {
        return Err(ERROR_INVALID_CONTEXT);
    }
    if state.sticky == SUCCESS { Ok(()) } else { Err(state.sticky) }
}

/// The state, for a call that needs a context.
macro_rules! context {
    () => {{
        let state = $crate::state::lock();
        if let Err(status) = $crate::context::usable(&state) {
            return status;
        }
        state
    }};
}
pub(crate) use context;

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Status {
    let mut state = lock();
    state.initialized = true;
    if state.settings.devices == 0 { ERROR_NO_DEVICE } else { SUCCESS }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { give(version, VERSION) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    let state = lock();
    if !state.initialized {
        return ERROR_NOT_INITIALIZED;
    }
    // SAFETY: the driver's contract.
    unsafe { give(count, state.settings.devices) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status {
    let state = lock();
    if !state.initialized {
        return ERROR_NOT_INITIALIZED;
    }
    if !(0..state.settings.devices).contains(&ordinal) {
        return ERROR_INVALID_DEVICE;
    }
    // SAFETY: the driver's contract.
    unsafe { give(device, ordinal) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, _device: c_int) -> Status {
    let copied = NAME.len().min(length.max(0) as usize);
    // SAFETY: the driver's contract: `length` bytes are writable.
    unsafe { std::ptr::copy_nonoverlapping(NAME.as_ptr(), name.cast(), copied) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], _device: c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { give(uuid, *b"lr-stand-in-uuid") }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { cuDeviceGetUuid(uuid, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { give(bytes, lock().settings.memory as usize) }
}

/// The attributes of a small device of compute capability 8.0, by `CUdevice_attribute`.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, _device: c_int) -> Status {
    let answer = match attribute {
        1..=3 => 1024,   // threads of a block; of its axes x and y
        4 => 64,         // of its axis z
        5 => c_int::MAX, // blocks of a grid, axis x
        6 | 7 => 65_535, // axes y and z
        8 => 48 << 10,   // shared memory of a block
        10 => 32,        // threads of a warp
        12 => 65_536,    // registers of a block
        13 => 1_000_000, // clock, kHz
        16 => 1,         // multiprocessors
        39 => 2048,      // threads of a multiprocessor
        75 => 8,         // compute capability
        76 => 0,
        81 => 100 << 10, // shared memory of a multiprocessor
        97 => 99 << 10,  // shared memory of a block that asks for more
        115 => 1,        // memory pools
        _ => 0,
    };
    // SAFETY: the driver's contract.
    unsafe { give(value, answer) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut u64, _device: c_int) -> Status {
    lock().retained += 1;
    // SAFETY: the driver's contract.
    unsafe { give(context, CONTEXT) }
}

/// The last release ends the context: its memory, streams and modules go, and its error.
#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> Status {
    let mut state = lock();
    if state.retained == 0 {
        return ERROR_INVALID_CONTEXT;
    }
    state.retained -= 1;
    if state.retained == 0 {
        let leaked = state.memory.live_allocations();
        if leaked > 0 && state.sticky == SUCCESS {
            eprintln!("lr-stand-in: the context ends with {leaked} allocations that nobody freed");
        }
        state.begin_again();
    }
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut u64) -> Status {
    // SAFETY: the driver's contract.
    unsafe { give(context, CURRENT.get()) }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: u64) -> Status {
    if context != 0 && context != CONTEXT {
        return ERROR_INVALID_CONTEXT;
    }
    CURRENT.set(context);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(_flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { give(least, 0).max(give(greatest, 0)) }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Status {
    let mut state = context!();
    if state.streams.values().any(|stream| stream.capture.is_some()) {
        return ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    state.wait_for_all()
}
