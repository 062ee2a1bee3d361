//! [`Recorder`]: launches gathered until they are submitted together, with the pipelines and bind groups that they use,
//! which are made at first use and kept.

use super::{BLOCK, Device, Window, locked};
use crate::wgpu::launch::{BLOCK_WORDS, Launch};
use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};

/// Launches gathered before they are submitted: a submission costs as much as many of them, but a device should
/// not wait for long.
pub(super) const GATHERED: usize = 256;

#[derive(Debug)]
struct Recorded {
    pipeline: wgpu::ComputePipeline,
    views: wgpu::BindGroup,
    grid: [u32; 2],
}

#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// By the module's address and the entry: sources are static.
    pipelines: HashMap<(usize, &'static str), wgpu::ComputePipeline>,
    /// Layouts of that many views.
    layouts: HashMap<usize, wgpu::BindGroupLayout>,
    views: HashMap<Vec<Window>, wgpu::BindGroup>,
    launches: Vec<Recorded>,
    blocks: Vec<u32>,
}

impl Recorder {
    /// Drops the bind groups of a buffer that is gone.
    pub(super) fn forget(&mut self, id: u64) {
        self.views.retain(|windows, _| windows.iter().all(|window| window.id != id));
    }
}

impl Device {
    /// Records one dispatch.
    pub(in crate::wgpu) fn record(
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
            source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
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

    pub(super) fn submit(&self, recorder: &mut Recorder) {
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

    pub(super) fn flush(&self) {
        self.submit(&mut locked(&self.recorder));
    }
}

/// Whether the place of a binding is named with every launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockOffset {
    None,
    Dynamic,
}

pub(super) fn entry(
    binding: u32,
    ty: wgpu::BufferBindingType,
    offset: BlockOffset,
) -> wgpu::BindGroupLayoutEntry {
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

pub(super) fn binding(buffer: &wgpu::Buffer, offset: u64, size: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset,
        size: std::num::NonZeroU64::new(size),
    })
}
