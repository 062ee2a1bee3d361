//! Recording a stream's work as a graph, and replaying it.

use std::ffi::{c_uint, c_ulonglong};

use crate::context::context;
use crate::state::{Capture, CaptureMode, lock};
use crate::status::*;
use crate::work::Work;

/// `CU_STREAM_CAPTURE_STATUS_ACTIVE` and `..._INVALIDATED`.
const ACTIVE: c_uint = 1;
const INVALIDATED: c_uint = 2;

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: u64, mode: c_uint) -> Status {
    let mut state = context!();
    let mode = match mode {
        0 => CaptureMode::Global,
        1 => CaptureMode::ThreadLocal,
        2 => CaptureMode::Relaxed,
        _ => return ERROR_INVALID_VALUE,
    };
    match state.stream(stream) {
        // The default stream cannot be recorded.
        None => ERROR_INVALID_HANDLE,
        Some(_) if stream <= 2 => ERROR_STREAM_CAPTURE_UNSUPPORTED,
        Some(entry) if entry.capture.is_some() => ERROR_STREAM_CAPTURE_UNSUPPORTED,
        Some(entry) => {
            entry.capture = Some(Capture::begin(mode));
            SUCCESS
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: u64, graph: *mut u64) -> Status {
    let mut state = lock();
    let Some(capture) = state.stream(stream).and_then(|stream| stream.capture.take()) else {
        return ERROR_INVALID_HANDLE;
    };
    if capture.invalid {
        // SAFETY: the driver's contract.
        unsafe { give(graph, 0) };
        return ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    let handle = state.handle();
    state.graphs.insert(handle, capture.work.into());
    // SAFETY: the driver's contract.
    unsafe { give(graph, handle) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(stream: u64, status: *mut c_uint) -> Status {
    let mut state = lock();
    let Some(entry) = state.stream(stream) else { return ERROR_INVALID_HANDLE };
    let answer =
        entry.capture.as_ref().map_or(0, |capture| if capture.invalid { INVALIDATED } else { ACTIVE });
    // SAFETY: the driver's contract.
    unsafe { give(status, answer) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(
    executable: *mut u64,
    graph: u64,
    _flags: c_ulonglong,
) -> Status {
    let mut state = context!();
    let Some(work) = state.graphs.get(&graph).cloned() else { return ERROR_INVALID_HANDLE };
    let handle = state.handle();
    state.graphs.insert(handle, work);
    // SAFETY: the driver's contract.
    unsafe { give(executable, handle) }
}

/// How many operations a graph holds. The nodes themselves have no handles here.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize) -> Status {
    let state = lock();
    match state.graphs.get(&graph) {
        // SAFETY: the driver's contract.
        Some(work) if nodes.is_null() => unsafe { give(count, work.len()) },
        Some(_) => ERROR_NOT_SUPPORTED,
        None => ERROR_INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphUpload(_executable: u64, _stream: u64) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(executable: u64, stream: u64) -> Status {
    let mut state = context!();
    match state.graphs.get(&executable).cloned() {
        Some(work) => state.submit(stream, Work::Graph(work)),
        None => ERROR_INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: u64) -> Status {
    if lock().graphs.remove(&graph).is_some() { SUCCESS } else { ERROR_INVALID_HANDLE }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(executable: u64) -> Status {
    cuGraphDestroy(executable)
}
