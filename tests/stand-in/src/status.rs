//! The driver's status codes that the stand-in returns, and their names.

use std::ffi::{CStr, CString, c_char};

use crate::state::lock;

/// A `CUresult`.
pub(crate) type Status = u32;

macro_rules! statuses {
    ($($name:ident = $value:literal: $words:literal;)*) => {
        $(pub(crate) const $name: Status = $value;)*

        fn name_of(status: Status) -> Option<(&'static CStr, &'static str)> {
            Some(match status {
                $($value => {
                    let name = concat!("CUDA_", stringify!($name), "\0");
                    (CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default(), $words)
                })*
                _ => return None,
            })
        }
    };
}

statuses! {
    SUCCESS = 0: "no error";
    ERROR_INVALID_VALUE = 1: "invalid argument";
    ERROR_OUT_OF_MEMORY = 2: "out of memory";
    ERROR_NOT_INITIALIZED = 3: "initialization error";
    ERROR_NO_DEVICE = 100: "no CUDA-capable device is detected";
    ERROR_INVALID_DEVICE = 101: "invalid device ordinal";
    ERROR_INVALID_CONTEXT = 201: "invalid device context";
    ERROR_INVALID_PTX = 218: "a PTX JIT compilation failed";
    ERROR_INVALID_HANDLE = 400: "invalid resource handle";
    ERROR_NOT_FOUND = 500: "named symbol not found";
    ERROR_NOT_READY = 600: "device not ready";
    ERROR_ILLEGAL_ADDRESS = 700: "an illegal memory access was encountered";
    ERROR_LAUNCH_OUT_OF_RESOURCES = 701: "too many resources requested for launch";
    ERROR_MISALIGNED_ADDRESS = 716: "misaligned address";
    ERROR_LAUNCH_FAILED = 719: "unspecified launch failure";
    ERROR_NOT_SUPPORTED = 801: "operation not supported";
    ERROR_STREAM_CAPTURE_UNSUPPORTED = 900: "operation not permitted when stream is capturing";
    ERROR_STREAM_CAPTURE_INVALIDATED = 901: "operation failed due to a previous error during capture";
    ERROR_UNKNOWN = 999: "unknown error";
}

/// Whether a status sticks to the context.
pub(crate) fn is_sticky(status: Status) -> bool {
    matches!(status, ERROR_ILLEGAL_ADDRESS | ERROR_MISALIGNED_ADDRESS | ERROR_LAUNCH_FAILED | ERROR_UNKNOWN)
}

/// Writes a result through a pointer of the caller.
///
/// # Safety
/// `target` is null or valid for a write.
pub(crate) unsafe fn give<T>(target: *mut T, value: T) -> Status {
    if target.is_null() {
        return ERROR_INVALID_VALUE;
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { target.write(value) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: Status, text: *mut *const c_char) -> Status {
    match name_of(error) {
        // SAFETY: the driver's contract.
        Some((name, _)) => unsafe { give(text, name.as_ptr()) },
        None => ERROR_INVALID_VALUE,
    }
}

/// The driver's words; for an error that sticks, the fault behind it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: Status, text: *mut *const c_char) -> Status {
    let Some((_, words)) = name_of(error) else { return ERROR_INVALID_VALUE };
    let fault = if is_sticky(error) { lock().last_fault.clone() } else { String::new() };
    let words =
        if fault.is_empty() { words.to_owned() } else { format!("{words} (stand-in driver: {fault})") };
    // The driver's strings live for ever, too.
    let words = CString::new(words).unwrap_or_default().into_raw();
    // SAFETY: the driver's contract.
    unsafe { give(text, words.cast_const()) }
}
