//! A stand-in for the CUDA driver, cuBLAS and cuSOLVER on the CPU: one dynamic library under all their names.
//!
//! With a folder of links to it (`libcuda.so.1`, `libcublas.so.13`, `libcusolver.so.12` and their short names) at
//! the front of `LD_LIBRARY_PATH`, the `cuda` backend runs unmodified on a machine without a GPU; `cargo xtask
//! test` makes the folder. Kernels are run by `lr-ptx` with every check on; the routines of cuBLAS and cuSOLVER
//! are plain loops in f64, independent of our own kernels. Device addresses are not addresses of the host.
//!
//! It behaves like the driver where that can hide or cause mistakes. A fault of a kernel is reported by the
//! *next* call, as `CUDA_ERROR_ILLEGAL_ADDRESS` or `CUDA_ERROR_LAUNCH_FAILED`, and by every call after it until
//! the context's last user releases it. Its text goes to the standard error, into `cuGetErrorString`, and to
//! [`lr_stand_in_last_fault`]. Copying uninitialized memory to the host is a fault, too. It shows nothing about
//! speed, and it is not a GPU: label every result with "stand-in driver".
//!
//! Environment variables, read at the first call:
//!
//! | variable | effect |
//! |---|---|
//! | `LR_STAND_IN_DEVICES=0` | the driver finds no device |
//! | `LR_STAND_IN_MEMORY=<bytes>` | device memory, 4 GiB if not given; more is `CUDA_ERROR_OUT_OF_MEMORY` |
//! | `LR_STAND_IN_SCHEDULE=<seed>` | kernels run their blocks, warps and lanes in a random order |
//! | `LR_STAND_IN_LOST_AFTER=<n>` | the device is lost (`CUDA_ERROR_UNKNOWN`) after so many launches and library calls |
//! | `LR_STAND_IN_LAZY=<seed>` | streams are queues: work runs only when the host waits, in random order between streams; a copy to the host fills its target with garbage until then |

#![deny(missing_docs)]
// The names are the driver's, and every entry point that takes a pointer has the driver's contract.
#![allow(non_snake_case, clippy::missing_safety_doc, clippy::too_many_arguments)]

mod blas;
mod capture;
mod context;
mod matrix;
mod memory;
mod module;
mod settings;
mod solver;
mod state;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod work;

use std::ffi::c_char;

/// Copies the text of the last fault, ended by a zero, into `buffer` of `length` bytes, as much as fits; returns
/// the text's length, 0 if there was no fault.
///
/// # Safety
/// `buffer` points to `length` writable bytes, or `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lr_stand_in_last_fault(buffer: *mut c_char, length: usize) -> usize {
    let state = state::lock();
    let text = state.last_fault.as_bytes();
    let copied = text.len().min(length.saturating_sub(1));
    if length > 0 {
        // SAFETY: the caller vouches for `length` bytes, of which at most that many are written.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), copied);
            buffer.add(copied).write(0);
        }
    }
    text.len()
}
