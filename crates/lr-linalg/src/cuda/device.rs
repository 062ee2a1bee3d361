//! [`Device`]: one GPU's context, stream, library handle and loaded kernels, and the failure that sticks.

use super::{
    NAME,
    args::{Args, Grid},
    probe::{self, DeviceInfo, unavailable},
    workspace::Workspace,
};
use crate::DeviceError;
use cudarc::{
    cublas,
    driver::{CudaContext, CudaStream, DriverError, result, sys},
};
use lr_kernels::ptx::{self, Kernel, Precision};
use std::{
    collections::HashMap,
    ffi::CString,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

/// What one handle and its clones have asked of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pieces of device memory allocated.
    pub allocations: u64,
    /// Copies from the device to the host.
    pub downloads: u64,
    /// Copies from the host to the device.
    pub uploads: u64,
    /// Kernels, library calls and graphs queued.
    pub launches: u64,
}

/// A loaded entry.
#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    /// Bytes of dynamic shared memory that it may be launched with.
    shared: usize,
}

/// Kernels loaded so far; both keys hold the name and whether it is double precision.
#[derive(Default)]
struct Functions {
    modules: HashMap<(&'static str, bool), sys::CUmodule>,
    entries: HashMap<(&'static str, bool), Function>,
}

/// Dynamic shared memory that every device gives without being asked.
const PLAIN_SHARED: usize = 48 << 10;

/// One device as one stream sees it.
pub(super) struct Device {
    info: DeviceInfo,
    failure: OnceLock<DeviceError>,
    recording: AtomicBool,
    /// What a recorded step asked for that cannot be recorded.
    refused: Mutex<Option<DeviceError>>,
    /// Memory that it gave back.
    withheld: Mutex<Vec<u64>>,
    allocations: AtomicU64,
    downloads: AtomicU64,
    uploads: AtomicU64,
    launches: AtomicU64,
    functions: Mutex<Functions>,
    workspace: Mutex<Workspace>,
    blas: cublas::sys::cublasHandle_t,
    /// Memory that cuBLAS works in, so that it need not allocate while a step is recorded.
    blas_memory: u64,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

// SAFETY: the raw handles may be used from any thread once the context is bound to it, which every call does;
// the library handle is used under the workspace's lock only, the others are read-only.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("info", &self.info).field("failure", &self.failure.get()).finish()
    }
}

/// The driver's name and words for an error.
pub(super) fn describe(e: DriverError) -> String {
    match (e.error_name(), e.error_string()) {
        (Ok(name), Ok(words)) => format!("{}, {}", name.to_string_lossy(), words.to_string_lossy()),
        _ => format!("{:?}", e.0),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub(super) fn open(ordinal: usize) -> Result<Self, DeviceError> {
        let devices = probe::devices()?;
        probe::libraries()?;
        let Some(info) = devices.get(ordinal).cloned() else {
            return Err(unavailable(match devices.len() {
                0 => "the NVIDIA driver finds no device; check that a GPU is present and visible \
                      (CUDA_VISIBLE_DEVICES), or choose another device"
                    .to_owned(),
                n => format!("there is no device {ordinal}; the driver finds {n}, counted from 0"),
            }));
        };
        if info.compute_capability < (8, 0) {
            let (major, minor) = info.compute_capability;
            return Err(unavailable(format!(
                "{} has compute capability {major}.{minor}; the kernels need 8.0 (Ampere) or newer",
                info.name
            )));
        }
        let context = probe::ask("opening the device", CudaContext::new(ordinal))?;
        // SAFETY: all work of this handle runs on one stream, so that its order is the order of the calls.
        unsafe { context.disable_event_tracking() };
        let stream = probe::ask("opening a stream", context.new_stream())?;
        let blas = cublas::result::create_handle().map_err(|e| {
            unavailable(format!("cuBLAS does not start ({:?}); does its version suit the driver's?", e.0))
        })?;
        let mut device = Self {
            info,
            failure: OnceLock::new(),
            recording: AtomicBool::new(false),
            refused: Mutex::new(None),
            withheld: Mutex::default(),
            allocations: AtomicU64::new(0),
            downloads: AtomicU64::new(0),
            uploads: AtomicU64::new(0),
            launches: AtomicU64::new(0),
            functions: Mutex::default(),
            workspace: Mutex::default(),
            blas,
            blas_memory: 0,
            stream,
            context,
        };
        device.set_up_blas()?;
        Ok(device)
    }

    /// Full precision (the default mode has no TF32), our stream, our memory.
    fn set_up_blas(&mut self) -> Result<(), DeviceError> {
        use cublas::sys::{cublasMath_t::CUBLAS_DEFAULT_MATH, cublasSetMathMode, cublasSetWorkspace_v2};
        // As large as cuBLAS itself would take.
        let bytes = if self.info.compute_capability.0 >= 9 { 32 << 20 } else { 4 << 20 };
        self.blas_memory = self.allocate(bytes)?;
        // SAFETY: the handle and the stream are alive; the memory lives as long as the handle.
        let done = unsafe {
            cublas::result::set_stream(self.blas, self.stream.cu_stream().cast())
                .and_then(|()| cublasSetWorkspace_v2(self.blas, self.blas_memory as *mut _, bytes).result())
                .and_then(|()| cublasSetMathMode(self.blas, CUBLAS_DEFAULT_MATH).result())
        };
        done.map_err(|e| unavailable(format!("cuBLAS cannot be set up: {:?}", e.0)))
    }

    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            allocations: self.allocations.load(Relaxed),
            downloads: self.downloads.load(Relaxed),
            uploads: self.uploads.load(Relaxed),
            launches: self.launches.load(Relaxed),
        }
    }

    pub(super) fn stream(&self) -> sys::CUstream {
        self.stream.cu_stream()
    }

    pub(super) fn blas(&self) -> cublas::sys::cublasHandle_t {
        self.blas
    }

    /// Memory that operations share, and the right to use the library handles.
    pub(super) fn workspace(&self) -> MutexGuard<'_, Workspace> {
        lock(&self.workspace)
    }

    /// The failure that stuck, if any.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        self.failure.get().map_or(Ok(()), |e| Err(e.clone()))
    }

    /// Makes a failure stick; the first one wins, and is returned.
    pub(super) fn stick(&self, e: DeviceError) -> DeviceError {
        self.failure.get_or_init(|| e).clone()
    }

    /// Makes the failure of a driver call stick.
    pub(super) fn fail(&self, what: &str, e: DriverError) -> DeviceError {
        self.stick(DeviceError::Lost { device: NAME, reason: format!("{what}: {}", describe(e)) })
    }

    /// Makes this thread's driver calls go to the device.
    pub(super) fn bind(&self) -> Result<(), DeviceError> {
        self.check()?;
        self.context.bind_to_thread().map_err(|e| self.fail("cuCtxSetCurrent", e))
    }

    /// Whether work can be queued.
    pub(super) fn ready(&self) -> bool {
        self.bind().is_ok()
    }

    /// Counts queued work, or makes its failure stick.
    pub(super) fn launched(&self, what: &str, result: Result<(), DriverError>) {
        match result {
            Ok(()) => {
                self.launches.fetch_add(1, Relaxed);
            }
            Err(e) => {
                self.fail(what, e);
            }
        }
    }

    /// The same for a library call, given its status if that is not success.
    pub(super) fn called(&self, what: &str, failure: Option<String>) {
        match failure {
            None => {
                self.launches.fetch_add(1, Relaxed);
            }
            Some(status) => {
                self.stick(DeviceError::Lost { device: NAME, reason: format!("{what}: {status}") });
            }
        }
    }

    pub(super) fn begin_recording(&self) -> Result<(), DeviceError> {
        if self.recording.swap(true, Relaxed) {
            return Err(unavailable("a step is being recorded already"));
        }
        Ok(())
    }

    /// An error if the recorded step asked for what cannot be recorded.
    pub(super) fn end_recording(&self) -> Result<(), DeviceError> {
        self.recording.store(false, Relaxed);
        std::mem::take(&mut *lock(&self.withheld)).into_iter().for_each(|address| self.free(address));
        lock(&self.refused).take().map_or(Ok(()), Err)
    }

    /// An error while a step is recorded.
    fn unless_recording(&self, what: &str) -> Result<(), DeviceError> {
        if !self.recording.load(Relaxed) {
            return Ok(());
        }
        let e = unavailable(format!("{what} cannot be part of a recorded step; run it twice before"));
        Err(lock(&self.refused).get_or_insert(e).clone())
    }

    /// Zeroed memory.
    pub(super) fn allocate(&self, bytes: usize) -> Result<u64, DeviceError> {
        self.bind()?;
        self.unless_recording("an allocation")?;
        // SAFETY: the stream lives; the memory is zeroed before anything reads it.
        let allocated = unsafe {
            if self.context.has_async_alloc() {
                result::malloc_async(self.stream(), bytes)
            } else {
                result::malloc_sync(bytes)
            }
        };
        let address = allocated.map_err(|e| match e.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => DeviceError::OutOfMemory { device: NAME, bytes },
            _ => self.fail("cuMemAlloc", e),
        })?;
        self.allocations.fetch_add(1, Relaxed);
        // SAFETY: just allocated, this large.
        let zeroed = unsafe { result::memset_d8_async(address, 0, bytes, self.stream()) };
        zeroed.map_err(|e| self.fail("cuMemsetD8Async", e))?;
        Ok(address)
    }

    /// Gives memory back when the work queued so far is done.
    pub(super) fn free(&self, address: u64) {
        // What a lost device held is gone with its context; after other failures its memory is as good as before.
        if matches!(self.failure.get(), Some(DeviceError::Lost { .. })) {
            return;
        }
        if self.unless_recording("giving memory back").is_err() {
            lock(&self.withheld).push(address);
            return;
        }
        // SAFETY: allocated by `allocate`, freed once, used on this stream only.
        let freed = self.context.bind_to_thread().and_then(|()| unsafe {
            if self.context.has_async_alloc() {
                result::free_async(address, self.stream())
            } else {
                result::free_sync(address)
            }
        });
        if let Err(e) = freed {
            self.fail("cuMemFree", e);
        }
    }

    /// Copies to the device; a failure sticks.
    pub(super) fn upload<T>(&self, source: &[T], target: u64) {
        if source.is_empty() || self.bind().is_err() || self.unless_recording("an upload").is_err() {
            return;
        }
        self.uploads.fetch_add(1, Relaxed);
        // SAFETY: the caller's view holds as many elements. The driver has taken pageable memory over when
        // the call returns.
        if let Err(e) = unsafe { result::memcpy_htod_async(target, source, self.stream()) } {
            self.fail("cuMemcpyHtoDAsync", e);
        }
    }

    /// Queues a copy to the host; a failure sticks. The target must live until the next `sync`.
    pub(super) fn download<T>(&self, source: u64, target: &mut [T]) {
        if target.is_empty() || self.bind().is_err() || self.unless_recording("a download").is_err() {
            return;
        }
        self.downloads.fetch_add(1, Relaxed);
        // SAFETY: the caller's view holds as many elements, and it waits before the target is read.
        if let Err(e) = unsafe { result::memcpy_dtoh_async(target, source, self.stream()) } {
            self.fail("cuMemcpyDtoHAsync", e);
        }
    }

    /// Waits for all queued work.
    pub(super) fn sync(&self) -> Result<(), DeviceError> {
        self.bind()?;
        self.unless_recording("waiting for the device")?;
        self.stream.synchronize().map_err(|e| self.fail("cuStreamSynchronize", e))
    }

    /// Loads the entry if it is new, and lets it have that much dynamic shared memory.
    fn function(
        &self,
        kernel: &Kernel,
        entry: &'static str,
        precision: Precision,
        shared: usize,
    ) -> Result<sys::CUfunction, DeviceError> {
        let double = precision == Precision::Double;
        let mut functions = lock(&self.functions);
        let known = functions.entries.get(&(entry, double)).copied();
        let mut function = match known {
            Some(function) => function,
            None => {
                let module = self.module(&mut functions, kernel, precision)?;
                let name = CString::new(ptx::expand(entry, precision)).unwrap_or_default();
                // SAFETY: the module is loaded and stays so.
                let handle = unsafe { result::module::get_function(module, name) }
                    .map_err(|e| self.fail(&format!("kernel {}, entry {entry}", kernel.name), e))?;
                Function { handle, shared: PLAIN_SHARED }
            }
        };
        if shared > function.shared {
            use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
            let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
            // SAFETY: the function is loaded.
            unsafe { result::function::set_function_attribute(function.handle, SHARED, bytes) }
                .map_err(|e| self.fail(&format!("{entry} with {shared} bytes of shared memory"), e))?;
            function.shared = shared;
        }
        functions.entries.insert((entry, double), function);
        Ok(function.handle)
    }

    fn module(
        &self,
        functions: &mut Functions,
        kernel: &Kernel,
        precision: Precision,
    ) -> Result<sys::CUmodule, DeviceError> {
        let key = (kernel.name, precision == Precision::Double);
        if let Some(&module) = functions.modules.get(&key) {
            return Ok(module);
        }
        self.unless_recording("loading a kernel")?;
        let text = CString::new(ptx::expand(kernel.source, precision)).unwrap_or_default();
        // SAFETY: a text that ends with a zero.
        let module = unsafe { result::module::load_data(text.as_ptr().cast()) }.map_err(|e| {
            use sys::CUresult::{
                CUDA_ERROR_INVALID_PTX, CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
            };
            match e.0 {
                CUDA_ERROR_INVALID_PTX
                | CUDA_ERROR_NO_BINARY_FOR_GPU
                | CUDA_ERROR_UNSUPPORTED_PTX_VERSION => self.stick(unavailable(format!(
                    "the driver does not accept the kernel {} ({}); update the NVIDIA driver",
                    kernel.name,
                    describe(e)
                ))),
                _ => self.fail(&format!("loading the kernel {}", kernel.name), e),
            }
        })?;
        functions.modules.insert(key, module);
        Ok(module)
    }

    /// See [`super::Cuda::launch`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn launch(
        &self,
        kernel: &Kernel,
        entry: &'static str,
        precision: Precision,
        grid: Grid,
        args: &Args,
    ) {
        if grid.blocks == 0 || !self.ready() {
            return;
        }
        let Ok(function) = self.function(kernel, entry, precision, grid.shared) else {
            return;
        };
        let (mut pointers, len) = args.pointers();
        let blocks = u32::try_from(grid.blocks).unwrap_or(u32::MAX);
        let shared = u32::try_from(grid.shared).unwrap_or(u32::MAX);
        // SAFETY: the function is loaded, the arguments live until the call returns; the rest is the caller's
        // promise.
        let launched = unsafe {
            result::launch_kernel(
                function,
                (blocks, 1, 1),
                (kernel.block, 1, 1),
                shared,
                self.stream(),
                &mut pointers[..len],
            )
        };
        self.launched(entry, launched);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure, and a lost device's context takes everything along.
        if self.context.bind_to_thread().is_err() {
            return;
        }
        let _ = self.stream.synchronize();
        let workspace = std::mem::take(&mut *lock(&self.workspace));
        workspace.release(|address| self.free(address));
        // SAFETY: each is destroyed once, and no work is pending.
        unsafe {
            let _ = cublas::result::destroy_handle(self.blas);
            for (_, module) in lock(&self.functions).modules.drain() {
                let _ = result::module::unload(module);
            }
        }
        if self.blas_memory != 0 {
            self.free(self.blas_memory);
        }
    }
}
