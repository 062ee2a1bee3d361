//! [`Device`]: an opened adapter with its pipelines, the launches recorded for it and the first thing that went
//! wrong.
//!
//! Launches are gathered and submitted together, their parameter blocks side by side in one buffer that is written
//! once a submission. Pipelines and bind groups are made at first use and kept.

use super::{
    AdapterInfo, AdapterKind, BindingLimit, WgpuBuffer,
    adapter::Found,
    launch::{BLOCK_WORDS, Launch},
};
use crate::DeviceError;
use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

const DEVICE: &str = "wgpu";

/// Launches gathered before they are submitted: a submission costs as much as many of them, but a device should
/// not wait for long.
const GATHERED: usize = 256;

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
struct Recorded {
    pipeline: wgpu::ComputePipeline,
    views: wgpu::BindGroup,
    grid: [u32; 2],
}

#[derive(Debug, Default)]
struct Recorder {
    /// By the module's address and the entry: sources are static.
    pipelines: HashMap<(usize, &'static str), wgpu::ComputePipeline>,
    /// Layouts of that many views.
    layouts: HashMap<usize, wgpu::BindGroupLayout>,
    views: HashMap<Vec<Window>, wgpu::BindGroup>,
    launches: Vec<Recorded>,
    blocks: Vec<u32>,
}

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
        locked(&self.recorder).views.retain(|windows, _| windows.iter().all(|window| window.id != id));
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

    /// Records one dispatch.
    pub(super) fn record(
        &self,
        launch: &Launch<'_>,
        windows: &[Window],
        block: &[u32; BLOCK_WORDS],
        groups: usize,
    ) {
        if self.check().is_err() {
            return;
        }
        let mut guard = locked(&self.recorder);
        let recorder = &mut *guard;
        let kernel = launch.kernel;
        let layout =
            recorder.layouts.entry(windows.len()).or_insert_with(|| self.views_layout(windows.len()));
        let pipeline = recorder
            .pipelines
            .entry((kernel.source.as_ptr() as usize, kernel.entry))
            .or_insert_with(|| self.pipeline(launch, layout))
            .clone();
        let views = match recorder.views.get(windows) {
            Some(views) => views.clone(),
            None => {
                let views = self.bind(launch, windows, layout);
                recorder.views.insert(windows.to_vec(), views.clone());
                views
            }
        };
        let across = groups.min(self.most_groups_across as usize);
        let grid = [across as u32, groups.div_ceil(across) as u32];
        recorder.launches.push(Recorded { pipeline, views, grid });
        recorder.blocks.extend_from_slice(block);
        self.counters.launches.fetch_add(1, Relaxed);
        if recorder.launches.len() == GATHERED {
            self.submit(recorder);
        }
    }

    fn views_layout(&self, count: usize) -> wgpu::BindGroupLayout {
        let storage = wgpu::BufferBindingType::Storage { read_only: false };
        let entries: Vec<_> = (0..count).map(|k| entry(k as u32, storage, BlockOffset::None)).collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        self.device.create_bind_group_layout(&descriptor)
    }

    fn bind(
        &self,
        launch: &Launch<'_>,
        windows: &[Window],
        layout: &wgpu::BindGroupLayout,
    ) -> wgpu::BindGroup {
        let entries = launch.arguments.iter().zip(windows).zip(0..).map(|((argument, window), k)| {
            let memory = argument.buffer.memory.as_ref().filter(|_| window.id != 0);
            let resource = binding(memory.unwrap_or(&self.nothing), window.start, window.size);
            wgpu::BindGroupEntry { binding: k, resource }
        });
        let entries = entries.collect::<Vec<_>>();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    fn pipeline(&self, launch: &Launch<'_>, views: &wgpu::BindGroupLayout) -> wgpu::ComputePipeline {
        let kernel = launch.kernel;
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(views), Some(&self.params_layout)],
            immediate_size: 0,
        });
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(match std::env::var("LR_WGSL_DIR") {
                Ok(d) => {
                    let r = |f: &str| std::fs::read_to_string(format!("{d}/{f}.wgsl")).unwrap();
                    (r("common/view") + "\n" + &r("common/reduce") + "\n" + &r(kernel.name)).into()
                }
                Err(_) => kernel.source.into(),
            }),
        });
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Kernels write before they read.
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        })
    }

    fn submit(&self, recorder: &mut Recorder) {
        if recorder.launches.is_empty() {
            return;
        }
        self.queue.write_buffer(&self.params, 0, bytemuck::cast_slice(&recorder.blocks));
        recorder.blocks.clear();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (launch, at) in recorder.launches.drain(..).zip((0..).step_by(BLOCK as usize)) {
                pass.set_pipeline(&launch.pipeline);
                pass.set_bind_group(0, &launch.views, &[]);
                pass.set_bind_group(1, &self.params_group, &[at]);
                pass.dispatch_workgroups(launch.grid[0], launch.grid[1], 1);
            }
        }
        self.queue.submit([encoder.finish()]);
    }

    fn flush(&self) {
        self.submit(&mut locked(&self.recorder));
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

/// Whether the place of a binding is named with every launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockOffset {
    None,
    Dynamic,
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, offset: BlockOffset) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: offset == BlockOffset::Dynamic,
            min_binding_size: None,
        },
        count: None,
    }
}

fn binding(buffer: &wgpu::Buffer, offset: u64, size: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset,
        size: std::num::NonZeroU64::new(size),
    })
}
