//! Modules, functions and kernel launches.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

use lr_ptx::{Argument, LaunchShape, Module};

use crate::context::context;
use crate::state::{Function, State, lock};
use crate::status::*;
use crate::work::Work;

/// `CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK`, `..._SHARED_SIZE_BYTES`, `..._NUM_REGS`,
/// `..._MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MOST_THREADS: c_uint = 0;
const STATIC_SHARED: c_uint = 1;
const REGISTERS: c_uint = 4;
const DYNAMIC_SHARED: c_uint = 8;

/// Dynamic shared memory without asking, and at most.
const PLAIN_SHARED: u32 = 48 << 10;
const MOST_SHARED: u32 = 99 << 10;

impl State {
    /// Parses a PTX text; like the driver's compiler, it says what is wrong only to who reads its log.
    fn load(&mut self, text: &str) -> Result<u64, Status> {
        match Module::parse(text) {
            Ok(module) => {
                let handle = self.handle();
                self.modules.insert(handle, Arc::new(module));
                Ok(handle)
            }
            Err(error) => {
                eprintln!("lr-stand-in: {error}");
                self.last_fault = error.to_string();
                Err(ERROR_INVALID_PTX)
            }
        }
    }

    /// What the driver refuses before it queues a launch.
    fn check_launch(&self, function: &Function, handle: u64, shape: LaunchShape) -> Result<(), Status> {
        let Some(entry) = function.module.entry(&function.name) else { return Err(ERROR_INVALID_HANDLE) };
        let threads: u64 = shape.block.iter().map(|&n| u64::from(n)).product();
        let grid_fits = !shape.grid.contains(&0) && shape.grid[1] <= 65_535 && shape.grid[2] <= 65_535;
        let limit = self.dynamic_limits.get(&handle).copied().unwrap_or(PLAIN_SHARED);
        let shared = shape.dynamic_shared;
        if !grid_fits || threads == 0 || threads > 1024 || shape.block[2] > 64 {
            return Err(ERROR_INVALID_VALUE);
        }
        if shared > limit || entry.static_shared() + shared > limit.max(PLAIN_SHARED) {
            return Err(ERROR_INVALID_VALUE);
        }
        if threads > entry.most_threads() { Err(ERROR_LAUNCH_OUT_OF_RESOURCES) } else { Ok(()) }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut u64, image: *const c_char) -> Status {
    // SAFETY: the driver's contract for a PTX image: it ends with a zero.
    let text = unsafe { CStr::from_ptr(image) };
    let mut state = context!();
    if state.forbids_unsafe_calls() {
        return ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    match text.to_str().map_err(|_| ERROR_INVALID_PTX).and_then(|text| state.load(text)) {
        // SAFETY: the driver's contract.
        Ok(handle) => unsafe { give(module, handle) },
        Err(status) => status,
    }
}

/// Functions stay valid here; nobody may use them anyhow.
#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: u64) -> Status {
    if lock().modules.remove(&module).is_some() { SUCCESS } else { ERROR_INVALID_HANDLE }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char) -> Status {
    // SAFETY: the driver's contract.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let mut state = context!();
    let Some(module) = state.modules.get(&module).cloned() else { return ERROR_INVALID_HANDLE };
    if module.entry(&name).is_none() {
        return ERROR_NOT_FOUND;
    }
    let handle = state.handle();
    state.functions.insert(handle, Arc::new(Function { module, name }));
    // SAFETY: the driver's contract.
    unsafe { give(function, handle) }
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: u64, attribute: c_uint, value: c_int) -> Status {
    let mut state = context!();
    let Some(known) = state.functions.get(&function).cloned() else { return ERROR_INVALID_HANDLE };
    let shared = known.module.entry(&known.name).map_or(0, |entry| entry.static_shared());
    match u32::try_from(value) {
        Ok(bytes) if attribute == DYNAMIC_SHARED && bytes + shared <= MOST_SHARED => {
            state.dynamic_limits.insert(function, bytes);
            SUCCESS
        }
        // Preferences between caches change nothing.
        Ok(_) if attribute > DYNAMIC_SHARED => SUCCESS,
        _ => ERROR_INVALID_VALUE,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_uint, function: u64) -> Status {
    let state = context!();
    let Some(known) = state.functions.get(&function) else { return ERROR_INVALID_HANDLE };
    let Some(entry) = known.module.entry(&known.name) else { return ERROR_INVALID_HANDLE };
    let answer = match attribute {
        MOST_THREADS => entry.most_threads() as c_int,
        STATIC_SHARED => entry.static_shared() as c_int,
        REGISTERS => 32,
        DYNAMIC_SHARED => state.dynamic_limits.get(&function).copied().unwrap_or(PLAIN_SHARED) as c_int,
        _ => 0,
    };
    // SAFETY: the driver's contract.
    unsafe { give(value, answer) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: u64,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: u64,
    arguments: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Status {
    let mut state = context!();
    let Some(known) = state.functions.get(&function).cloned() else { return ERROR_INVALID_HANDLE };
    let mut shape = LaunchShape::new([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    shape.dynamic_shared = shared;
    if let Err(status) = state.check_launch(&known, function, shape) {
        return status;
    }
    let parameters = known.module.entry(&known.name).map_or(&[][..], |entry| entry.parameters());
    if !extra.is_null() || (arguments.is_null() && !parameters.is_empty()) {
        return ERROR_INVALID_VALUE;
    }
    let mut values = Vec::with_capacity(parameters.len());
    for (i, parameter) in parameters.iter().enumerate() {
        // SAFETY: the driver's contract: a pointer to each argument, as large as the parameter.
        let bytes = unsafe { std::slice::from_raw_parts((*arguments.add(i)).cast::<u8>(), parameter.size) };
        values.push(Argument(bytes.to_vec()));
    }
    state.submit(stream, Work::Launch { function: known.clone(), shape, arguments: values.into() })
}
