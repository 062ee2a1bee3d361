//! Streams, faults, graphs and lost devices.

use std::sync::Arc;

use lr_ptx::{Argument, LaunchShape, Module};

use super::{bytes, values};
use crate::settings::Settings;
use crate::state::{Capture, CaptureMode, Event, Function, State, Stream};
use crate::status::*;
use crate::work::Work;

/// `x[thread] = 2 x[thread] + 1` on f64, for as many threads as there are.
const DOUBLE: &str = ".version 7.0 .target sm_80 .address_size 64
.entry double(.param .u64 p) { .reg .b64 %a, %b; .reg .b32 %t; .reg .f64 %x;
ld.param.u64 %a, [p]; mov.u32 %t, %tid.x; mul.wide.u32 %b, %t, 8; add.u64 %a, %a, %b;
ld.global.f64 %x, [%a]; fma.rn.f64 %x, %x, 2.0, 1.0; st.global.f64 [%a], %x; ret; }";

fn state(settings: Settings) -> State {
    let mut state = State::new(settings);
    state.streams.insert(5, Stream::default());
    state.streams.insert(6, Stream::default());
    state
}

fn double(address: u64, threads: u32) -> Work {
    let module = Arc::new(Module::parse(DOUBLE).unwrap());
    let function = Arc::new(Function { module, name: "double".into() });
    let shape = LaunchShape::new([1; 3], [threads, 1, 1]);
    Work::Launch { function, shape, arguments: [Argument::from(address)].into() }
}

#[test]
fn work_of_a_stream_runs_in_order_when_the_host_waits() {
    for lazy in [None, Some(3)] {
        let mut state = state(Settings { lazy, ..Settings::default() });
        let x = state.memory.allocate(16);
        assert_eq!(state.submit(5, Work::Upload { to: x, bytes: bytes(&[1.0, 2.0]).into() }), SUCCESS);
        state.submit(5, double(x, 2));
        state.submit(5, double(x, 1));
        assert_eq!(state.streams[&5].queue.len(), if lazy.is_some() { 3 } else { 0 });
        assert_eq!(state.wait_for_stream(5), SUCCESS);
        assert_eq!(values(&state.memory, x, 2), [7.0, 5.0]);
        assert_eq!((state.launches, state.submit(99, double(x, 1))), (2, ERROR_INVALID_HANDLE));
    }
}

#[test]
fn streams_without_events_run_in_any_order() {
    let outcome = |seed: u64, ordered: bool| {
        let mut state = state(Settings { lazy: Some(seed), ..Settings::default() });
        let x = state.memory.upload(&bytes(&[1.0]));
        let y = state.memory.upload(&bytes(&[0.0]));
        state.events.insert(9, Event { recorded: 1, reached: 0 });
        state.submit(5, double(x, 1));
        if ordered {
            state.submit(5, Work::Record { event: 9, recording: 1 });
            state.submit(6, Work::Wait { event: 9, recording: 1 });
        }
        state.submit(6, Work::Copy { to: y, from: x, bytes: 8 });
        assert_eq!(state.wait_for_all(), SUCCESS);
        values(&state.memory, y, 1)[0]
    };
    let free: Vec<f64> = (0..16).map(|seed| outcome(seed, false)).collect();
    assert!(free.contains(&1.0) && free.contains(&3.0), "{free:?}");
    assert!((0..16).all(|seed| outcome(seed, true) == 3.0));
}

#[test]
fn streams_that_wait_for_each_other_are_an_error() {
    let mut state = state(Settings { lazy: Some(1), ..Settings::default() });
    state.events.insert(9, Event { recorded: 1, reached: 0 });
    state.submit(5, Work::Wait { event: 9, recording: 1 });
    assert_eq!(state.wait_for_all(), ERROR_LAUNCH_FAILED);
}

#[test]
fn faults_stick_and_are_reported_by_the_next_call() {
    let mut state = state(Settings::default());
    let x = state.memory.upload(&bytes(&[1.0]));
    assert_eq!(state.submit(5, double(x, 2)), SUCCESS);
    assert_eq!(state.wait_for_stream(5), ERROR_ILLEGAL_ADDRESS);
    assert_eq!(state.submit(5, double(x, 1)), ERROR_ILLEGAL_ADDRESS);
    for part in ["kernel double", "line 4", "thread (1, 0, 0)", "out of bounds"] {
        assert!(state.last_fault.contains(part), "{}", state.last_fault);
    }
    // A new context has no error, and addresses nothing of the old one.
    state.begin_again();
    state.memory.allocate(8);
    assert_eq!((state.sticky, state.memory.live_bytes()), (SUCCESS, 8));
    let status = |work: Work| {
        let mut state = super::driver::state(Settings::default());
        state.perform(work);
        state.sticky
    };
    assert_eq!(status(double(4, 1)), ERROR_MISALIGNED_ADDRESS);
    assert_eq!(status(Work::Fill { address: 64, pattern: 0, size: 1, count: 8 }), ERROR_ILLEGAL_ADDRESS);
    assert_eq!(status(Work::Free { address: 64 }), ERROR_ILLEGAL_ADDRESS);
}

#[test]
fn uninitialized_memory_is_not_copied_to_the_host() {
    let mut state = state(Settings::default());
    let x = state.memory.allocate(8);
    let mut target = [0u8; 8];
    let download = Work::Download { from: x, to: target.as_mut_ptr() as u64, bytes: 8 };
    state.submit(5, Work::Fill { address: x, pattern: 0x0102_0304, size: 4, count: 2 });
    state.submit(5, download.clone());
    assert_eq!((state.sticky, target), (SUCCESS, [4, 3, 2, 1, 4, 3, 2, 1]));
    state.memory = lr_ptx::Memory::new();
    assert_eq!(state.memory.allocate(8), x);
    state.submit(5, download);
    assert_eq!(state.sticky, ERROR_ILLEGAL_ADDRESS);
}

#[test]
fn a_device_is_lost_after_so_many_launches() {
    let mut state = state(Settings { lost_after: Some(2), ..Settings::default() });
    let x = state.memory.upload(&bytes(&[1.0]));
    for _ in 0..3 {
        assert_eq!(state.submit(5, double(x, 1)), SUCCESS);
    }
    assert_eq!(state.wait_for_stream(5), ERROR_UNKNOWN);
    assert_eq!(values(&state.memory, x, 1), [7.0]);
}

#[test]
fn recorded_work_runs_when_it_is_replayed() {
    let mut state = state(Settings::default());
    let x = state.memory.upload(&bytes(&[1.0]));
    state.streams.get_mut(&5).unwrap().capture = Some(Capture::begin(CaptureMode::ThreadLocal));
    state.submit(5, double(x, 1));
    state.submit(5, double(x, 1));
    assert_eq!(values(&state.memory, x, 1), [1.0]);
    let recorded: Arc<[Work]> = state.streams.get_mut(&5).unwrap().capture.take().unwrap().work.into();
    state.submit(6, Work::Graph(recorded.clone()));
    assert_eq!(values(&state.memory, x, 1), [7.0]);
    state.streams.get_mut(&5).unwrap().capture = Some(Capture::begin(CaptureMode::ThreadLocal));
    for forbidden in [Work::Free { address: x }, Work::Upload { to: x, bytes: bytes(&[0.0]).into() }] {
        assert_eq!(state.submit(5, forbidden), ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    assert!(state.streams[&5].capture.as_ref().unwrap().invalid);
}

#[test]
fn a_recording_forbids_other_threads_only_what_its_mode_says() {
    for (mode, here, elsewhere) in [
        (CaptureMode::Global, true, true),
        (CaptureMode::ThreadLocal, true, false),
        (CaptureMode::Relaxed, false, false),
    ] {
        let mut state = state(Settings::default());
        assert!(!state.forbids_unsafe_calls());
        state.streams.get_mut(&5).unwrap().capture = Some(Capture::begin(mode));
        assert_eq!(state.forbids_unsafe_calls(), here, "{mode:?}");
        let other = std::thread::scope(|scope| scope.spawn(|| state.forbids_unsafe_calls()).join().unwrap());
        assert_eq!(other, elsewhere, "{mode:?}");
    }
}
