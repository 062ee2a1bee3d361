//! A walk through the driver's entry points as a caller sees them, in the process's one state.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::lr_stand_in_last_fault;
use crate::status::*;

unsafe extern "C" {
    safe fn cuInit(flags: u32) -> Status;
    fn cuDeviceGetCount(count: *mut c_int) -> Status;
    fn cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int) -> Status;
    safe fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Status;
    safe fn cuCtxSetCurrent(context: u64) -> Status;
    fn cuStreamCreate(stream: *mut u64, flags: u32) -> Status;
    safe fn cuStreamSynchronize(stream: u64) -> Status;
    fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) -> Status;
    safe fn cuMemFreeAsync(address: u64, stream: u64) -> Status;
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: u64) -> Status;
    fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: u64) -> Status;
    fn cuModuleLoadData(module: *mut u64, image: *const c_char) -> Status;
    fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char) -> Status;
    safe fn cuFuncSetAttribute(function: u64, attribute: u32, value: c_int) -> Status;
    fn cuLaunchKernel(
        function: u64,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: u64,
        arguments: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) -> Status;
    safe fn cuStreamBeginCapture_v2(stream: u64, mode: u32) -> Status;
    fn cuStreamEndCapture(stream: u64, graph: *mut u64) -> Status;
    fn cuGraphInstantiateWithFlags(executable: *mut u64, graph: u64, flags: u64) -> Status;
    safe fn cuGraphLaunch(executable: u64, stream: u64) -> Status;
    fn cuGetErrorName(error: Status, text: *mut *const c_char) -> Status;
    fn cuGetErrorString(error: Status, text: *mut *const c_char) -> Status;
}

const ADD: &CStr = c".version 7.0 .target sm_80 .address_size 64
.entry add(.param .u64 p, .param .u32 n) .maxntid 64, 1, 1
{ .reg .b64 %a; .reg .b32 %x, %n; ld.param.u64 %a, [p]; ld.param.u32 %n, [n];
ld.global.u32 %x, [%a]; add.u32 %x, %x, %n; st.global.u32 [%a], %x; ret; }";

/// The handle that a call gives.
fn given(call: impl FnOnce(*mut u64) -> Status) -> u64 {
    let mut handle = 0;
    assert_eq!(call(&mut handle), SUCCESS);
    handle
}

fn text_of(error: Status, call: unsafe extern "C" fn(Status, *mut *const c_char) -> Status) -> String {
    let mut text = std::ptr::null();
    // SAFETY: a pointer to write to; the string that comes back ends with a zero.
    unsafe {
        assert_eq!(call(error, &mut text), SUCCESS);
        CStr::from_ptr(text).to_str().unwrap().to_owned()
    }
}

#[test]
fn a_session() {
    // SAFETY: every call gets what the driver's interface asks for.
    unsafe {
        let mut address = 0;
        assert_eq!(cuMemAllocAsync(&mut address, 4, 0), ERROR_INVALID_CONTEXT);
        assert_eq!(cuInit(0), SUCCESS);
        let mut count = 0;
        assert_eq!((cuDeviceGetCount(&mut count), count), (SUCCESS, 1));
        let context = given(|handle| cuDevicePrimaryCtxRetain(handle, 0));
        assert_eq!(cuCtxSetCurrent(context), SUCCESS);
        let stream = given(|handle| cuStreamCreate(handle, 1));
        let module = given(|handle| cuModuleLoadData(handle, ADD.as_ptr()));
        let mut function = 0;
        assert_eq!(cuModuleGetFunction(&mut function, module, c"sub".as_ptr()), ERROR_NOT_FOUND);
        assert_eq!(cuModuleLoadData(&mut function, c"nonsense".as_ptr()), ERROR_INVALID_PTX);
        let function = given(|handle| cuModuleGetFunction(handle, module, c"add".as_ptr()));
        let x = given(|handle| cuMemAllocAsync(handle, 4, stream));
        assert_eq!(cuMemAllocAsync(&mut address, 5 << 30, stream), ERROR_OUT_OF_MEMORY);

        let launch = |mut pointer: u64, threads: u32, shared: u32| {
            let mut n = 5u32;
            let mut arguments = [(&raw mut pointer).cast::<c_void>(), (&raw mut n).cast()];
            let none = std::ptr::null_mut();
            cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, shared, stream, arguments.as_mut_ptr(), none)
        };
        assert_eq!(cuMemcpyHtoDAsync_v2(x, [1, 0, 0, 0].as_ptr(), 4, stream), SUCCESS);
        assert_eq!(launch(x, 1, 0), SUCCESS);
        assert_eq!(launch(x, 65, 0), ERROR_LAUNCH_OUT_OF_RESOURCES);
        assert_eq!(launch(x, 1025, 0), ERROR_INVALID_VALUE);
        assert_eq!(launch(x, 1, 60_000), ERROR_INVALID_VALUE);
        assert_eq!(cuFuncSetAttribute(function, 8, 60_000), SUCCESS);
        assert_eq!(launch(x, 1, 60_000), SUCCESS);
        assert_eq!(cuFuncSetAttribute(function, 8, 200_000), ERROR_INVALID_VALUE);

        assert_eq!(cuStreamBeginCapture_v2(stream, 1), SUCCESS);
        assert_eq!(launch(x, 1, 0), SUCCESS);
        let graph = given(|handle| cuStreamEndCapture(stream, handle));
        let executable = given(|handle| cuGraphInstantiateWithFlags(handle, graph, 0));
        assert_eq!(cuGraphLaunch(executable, stream), SUCCESS);
        assert_eq!(cuStreamBeginCapture_v2(stream, 1), SUCCESS);
        assert_eq!(cuStreamSynchronize(stream), ERROR_STREAM_CAPTURE_UNSUPPORTED);
        let mut failed = 7;
        assert_eq!(cuStreamEndCapture(stream, &mut failed), ERROR_STREAM_CAPTURE_INVALIDATED);

        let mut result = [0u8; 4];
        assert_eq!(cuMemcpyDtoHAsync_v2(result.as_mut_ptr(), x, 4, stream), SUCCESS);
        assert_eq!(cuStreamSynchronize(stream), SUCCESS);
        assert_eq!(result, [16, 0, 0, 0]);

        assert_eq!(cuMemFreeAsync(x, stream), SUCCESS);
        assert_eq!(launch(x, 1, 0), SUCCESS);
        assert_eq!(cuStreamSynchronize(stream), ERROR_ILLEGAL_ADDRESS);
        assert_eq!(text_of(ERROR_ILLEGAL_ADDRESS, cuGetErrorName), "CUDA_ERROR_ILLEGAL_ADDRESS");
        assert!(text_of(ERROR_ILLEGAL_ADDRESS, cuGetErrorString).contains("which was freed"));
        let mut text: [c_char; 9] = [1; 9];
        assert!(lr_stand_in_last_fault(text.as_mut_ptr(), 9) > 9);
        assert_eq!(CStr::from_ptr(text.as_ptr()), c"kernel a");

        assert_eq!(cuDevicePrimaryCtxRelease_v2(0), SUCCESS);
        assert_eq!(cuStreamSynchronize(stream), ERROR_INVALID_CONTEXT);
        given(|handle| cuDevicePrimaryCtxRetain(handle, 0));
        assert_eq!(cuStreamSynchronize(0), SUCCESS);
    }
}
