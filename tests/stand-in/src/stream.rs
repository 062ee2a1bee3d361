//! Streams and events.

use std::ffi::{c_int, c_uint};

use crate::context::context;
use crate::state::{Event, Stream, lock};
use crate::status::*;
use crate::work::Work;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut u64, _flags: c_uint) -> Status {
    let mut state = context!();
    let handle = state.handle();
    state.streams.insert(handle, Stream::default());
    // SAFETY: the driver's contract.
    unsafe { give(stream, handle) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut u64, flags: c_uint, _priority: c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { cuStreamCreate(stream, flags) }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: u64) -> Status {
    let mut state = lock();
    if stream <= 2 || !state.streams.contains_key(&stream) {
        return ERROR_INVALID_HANDLE;
    }
    // What is queued still happens.
    state.wait_for_stream(stream);
    state.streams.remove(&stream);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: u64) -> Status {
    let mut state = context!();
    if state.forbidden_in_capture(stream) {
        return ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    match state.stream(stream) {
        Some(_) => state.wait_for_stream(stream),
        None => ERROR_INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: u64, event: u64, _flags: c_uint) -> Status {
    let mut state = context!();
    match state.events.get(&event).map(|event| event.recorded) {
        Some(recording) => state.submit(stream, Work::Wait { event, recording }),
        None => ERROR_INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut u64, _flags: c_uint) -> Status {
    let mut state = context!();
    let handle = state.handle();
    state.events.insert(handle, Event::default());
    // SAFETY: the driver's contract.
    unsafe { give(event, handle) }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: u64) -> Status {
    if lock().events.remove(&event).is_some() { SUCCESS } else { ERROR_INVALID_HANDLE }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: u64, stream: u64) -> Status {
    let mut state = context!();
    let Some(entry) = state.events.get_mut(&event) else { return ERROR_INVALID_HANDLE };
    entry.recorded += 1;
    let recording = entry.recorded;
    state.submit(stream, Work::Record { event, recording })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: u64) -> Status {
    let mut state = context!();
    // A host that asks again and again gets an answer in the end.
    state.step();
    match state.events.get(&event) {
        Some(event) if event.reached >= event.recorded => state.sticky,
        Some(_) => ERROR_NOT_READY,
        None => ERROR_INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: u64) -> Status {
    let mut state = context!();
    state.wait(|state| state.events.get(&event).is_none_or(|event| event.reached >= event.recorded))
}

/// No time passes: whoever reads times of the stand-in reads zeros.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64) -> Status {
    let state = context!();
    if !state.events.contains_key(&start) || !state.events.contains_key(&end) {
        return ERROR_INVALID_HANDLE;
    }
    // SAFETY: the driver's contract.
    unsafe { give(milliseconds, 0.0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: u64, end: u64) -> Status {
    // SAFETY: the driver's contract.
    unsafe { cuEventElapsedTime(milliseconds, start, end) }
}
