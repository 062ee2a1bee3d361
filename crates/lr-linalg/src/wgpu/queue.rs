//! [`Device`]: an opened adapter with its memory, the launches recorded for it and the first thing that went wrong.
//!
//! Launches are gathered and submitted together, their parameter blocks side by side in one buffer that is written
//! once a submission.

mod recorder;

use super::{AdapterInfo, AdapterKind, BindingLimit, WgpuBuffer, adapter::Found, launch::BLOCK_WORDS};
use crate::DeviceError;
use recorder::{BlockOffset, GATHERED, Recorder, binding, entry};
use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

const DEVICE: &str = "wgpu";

/// Bytes of a parameter block, and between two of them: dynamic offsets are multiples of this everywhere.
const BLOCK: u64 = (4 * BLOCK_WORDS) as u64;

/// What has been asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Pieces of device memory.
    pub allocations: u64,
    /// Copies to the host, each of which waits.
    pub downloads: u64,
    /// Kernels.
    pub launches: u64,
}

#[derive(Debug, Default)]
struct AtomicCounters {
    allocations: AtomicU64,
    downloads: AtomicU64,
    launches: AtomicU64,
}

/// The part of a buffer that is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Window {
    /// Buffer.
    id: u64,
    /// First byte.
    pub(super) start: u64,
    /// Bytes.
    size: u64,
}

/// The first failure, which every later wait returns.
type Sticky = Arc<Mutex<Option<DeviceError>>>;

#[derive(Debug)]
pub(super) struct Device {
    pub(super) info: AdapterInfo,
    device: wgpu::Device,
    queue: wgpu::Queue,
    most_bytes_bound: u64,
    alignment: u64,
    most_groups_across: u32,
    most_bytes: u64,
    /// Bound in place of a view without elements.
    nothing: wgpu::Buffer,
    params: wgpu::Buffer,
    params_layout: wgpu::BindGroupLayout,
    params_group: wgpu::BindGroup,
    recorder: Mutex<Recorder>,
    workspace: Mutex<Option<WgpuBuffer>>,
    failure: Sticky,
    counters: AtomicCounters,
    next_id: AtomicU64,
    this: Weak<Device>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of another thread at a broken contract leaves the records as they were.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(failure: &Sticky, error: DeviceError) {
    locked(failure).get_or_insert(error);
}

fn lost(reason: impl ToString) -> DeviceError {
    DeviceError::Lost { device: DEVICE, reason: reason.to_string() }
}

impl Device {
    /// Opens an adapter.
    pub(super) fn open(found: &Found, limit: BindingLimit) -> Result<Arc<Self>, DeviceError> {
        let limits = found.adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("lowrank"),
            required_limits: wgpu::Limits {
                max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
                max_buffer_size: limits.max_buffer_size,
                min_storage_buffer_offset_alignment: limits.min_storage_buffer_offset_alignment,
                ..wgpu::Limits::default()
            },
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(found.adapter.request_device(&descriptor)).map_err(|e| {
            let reason = format!("{} cannot be opened: {e}; update its driver", found.info.name);
            DeviceError::Unavailable { device: DEVICE, reason }
        })?;
        let failure = Sticky::default();
        let sticky = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            note(
                &sticky,
                match error {
                    wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory { device: DEVICE, bytes: 0 },
                    other => lost(other),
                },
            );
        }));
        let sticky = Arc::clone(&failure);
        device.set_device_lost_callback(move |reason, message| {
            note(&sticky, lost(format!("{reason:?}: {message}")));
        });
        let storage = wgpu::BufferUsages::STORAGE;
        let buffer = |size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let nothing = buffer(16, storage);
        let params =
            buffer(GATHERED as u64 * BLOCK, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
        let params_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &[entry(0, wgpu::BufferBindingType::Uniform, BlockOffset::Dynamic)],
        });
        let params_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &params_layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: binding(&params, 0, BLOCK) }],
        });
        let most_bytes_bound = match limit {
            BindingLimit::Adapter => limits.max_storage_buffer_binding_size,
            BindingLimit::Bytes(bytes) => bytes.min(limits.max_storage_buffer_binding_size),
        };
        Ok(Arc::new_cyclic(|this| Self {
            info: found.info.clone(),
            most_bytes_bound,
            alignment: u64::from(limits.min_storage_buffer_offset_alignment),
            most_groups_across: wgpu::Limits::default().max_compute_workgroups_per_dimension,
            most_bytes: limits.max_buffer_size,
            nothing,
            params,
            params_layout,
            params_group,
            recorder: Mutex::default(),
            workspace: Mutex::default(),
            failure,
            counters: AtomicCounters::default(),
            next_id: AtomicU64::new(1),
            this: Weak::clone(this),
            device,
            queue,
        }))
    }

    pub(super) fn counters(&self) -> Counters {
        let c = &self.counters;
        Counters {
            allocations: c.allocations.load(Relaxed),
            downloads: c.downloads.load(Relaxed),
            launches: c.launches.load(Relaxed),
        }
    }

    pub(super) fn destroy(&self) {
        self.device.destroy();
        note(&self.failure, lost("it was destroyed"));
    }

    pub(super) fn fail(&self, error: DeviceError) {
        note(&self.failure, error);
    }

    fn check(&self) -> Result<(), DeviceError> {
        locked(&self.failure).clone().map_or(Ok(()), Err)
    }

    /// Most workgroups of one dispatch, folded into two dimensions.
    pub(super) fn most_groups(&self) -> usize {
        (self.most_groups_across as usize).pow(2)
    }

    /// Passes through loops that one invocation may make in a launch. Mesa's lavapipe leaves every loop of a shader
    /// for good after 65535 passes through all of them together (`LP_MAX_TGSI_LOOP_ITERATIONS`), and computes on
    /// with what it has; a GPU should answer before its driver takes it for dead.
    pub(super) fn loop_budget(&self) -> usize {
        match self.info.kind {
            AdapterKind::Software => 50_000,
            AdapterKind::Hardware => 1 << 22,
        }
    }

    pub(super) fn binding_limit(&self) -> u64 {
        self.most_bytes_bound
    }

    /// Zeroed memory for `len` elements of 4 bytes.
    pub(super) fn alloc(&self, len: usize) -> Result<WgpuBuffer, DeviceError> {
        self.check()?;
        let id = self.next_id.fetch_add(1, Relaxed);
        let bytes = len.saturating_mul(4);
        let memory = if len == 0 { None } else { Some(self.create(bytes)?) };
        self.counters.allocations.fetch_add(u64::from(len > 0), Relaxed);
        Ok(WgpuBuffer { memory, id, len, device: Weak::clone(&self.this) })
    }

    /// A buffer of a device that has failed: nothing is recorded any more.
    pub(super) fn useless(&self, len: usize) -> WgpuBuffer {
        let id = self.next_id.fetch_add(1, Relaxed);
        WgpuBuffer { memory: None, id, len, device: Weak::clone(&self.this) }
    }

    fn create(&self, bytes: usize) -> Result<wgpu::Buffer, DeviceError> {
        let out_of_memory = DeviceError::OutOfMemory { device: DEVICE, bytes };
        if bytes as u64 > self.most_bytes {
            return Err(out_of_memory);
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let scopes =
            [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal]
                .map(|filter| self.device.push_error_scope(filter));
        let descriptor =
            wgpu::BufferDescriptor { label: None, size: bytes as u64, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        let [memory, validation, internal] = scopes;
        // Scopes close in the reverse order.
        let other = [internal, validation].map(|scope| pollster::block_on(scope.pop()));
        if pollster::block_on(memory.pop()).is_some() {
            return Err(out_of_memory);
        }
        if let Some(error) = other.into_iter().flatten().next() {
            self.fail(lost(error));
            self.check()?;
        }
        Ok(buffer)
    }

    /// Forgets what is kept of a buffer that its owner gave up.
    pub(super) fn forget(&self, id: u64) {
        locked(&self.recorder).forget(id);
    }

    /// The window of a buffer through which elements `span` are seen; `None` where it would be too large.
    pub(super) fn window(&self, buffer: &WgpuBuffer, span: Range<usize>) -> Option<Window> {
        let Some(memory) = buffer.memory.as_ref().filter(|_| !span.is_empty()) else {
            return Some(Window { id: 0, start: 0, size: 16 });
        };
        let total = memory.size();
        if total <= self.most_bytes_bound {
            return Some(Window { id: buffer.id, start: 0, size: total });
        }
        let start = span.start as u64 * 4 / self.alignment * self.alignment;
        let size = (total - start).min(self.most_bytes_bound / 4 * 4);
        (span.end as u64 * 4 <= start + size).then_some(Window { id: buffer.id, start, size })
    }

    /// Runs `work` with the shared temporary memory of at least `len` elements. Launches recorded by `work` come
    /// one after the other, so one piece serves all operations.
    pub(super) fn with_workspace(&self, len: usize, work: impl FnOnce(&WgpuBuffer)) {
        let mut workspace = locked(&self.workspace);
        if workspace.as_ref().is_none_or(|buffer| buffer.len < len) {
            let held = workspace.as_ref().map_or(0, |buffer| buffer.len);
            match self.alloc(len.max(2 * held)) {
                Ok(buffer) => *workspace = Some(buffer),
                Err(error) => return self.fail(error),
            }
        }
        if let Some(buffer) = workspace.as_ref() {
            work(buffer);
        }
    }

    /// Copies bytes to a buffer from an element on, behind everything recorded.
    pub(super) fn write(&self, bytes: &[u8], target: &WgpuBuffer, element: usize) {
        if let Some(memory) = target.memory.as_ref().filter(|_| !bytes.is_empty()) {
            let mut recorder = locked(&self.recorder);
            self.submit(&mut recorder);
            self.queue.write_buffer(memory, 4 * element as u64, bytes);
        }
    }

    /// Copies elements to the host.
    pub(super) fn read(&self, source: &WgpuBuffer, elements: Range<usize>) -> Result<Vec<f32>, DeviceError> {
        self.flush();
        self.check()?;
        self.counters.downloads.fetch_add(1, Relaxed);
        let Some(memory) = source.memory.as_ref() else { return Ok(Vec::new()) };
        let size = 4 * elements.len() as u64;
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(memory, 4 * elements.start as u64, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        let failure = Arc::clone(&self.failure);
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            if let Err(error) = result {
                note(&failure, lost(error));
            }
        });
        self.wait()?;
        let mapped = staging.slice(..).get_mapped_range().map_err(lost)?;
        Ok(bytemuck::pod_collect_to_vec(&mapped[..]))
    }

    /// Submits what is recorded and waits for the device.
    pub(super) fn wait(&self) -> Result<(), DeviceError> {
        self.flush();
        self.check()?;
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            self.fail(lost(error));
        }
        self.check()
    }
}
