//! Which adapters a machine has, and which of them is meant.

use crate::DeviceError;
use std::cmp::Reverse;

/// Whether an adapter is a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterKind {
    /// A GPU: discrete, integrated or virtual.
    Hardware,
    /// A driver that computes on the CPU, such as lavapipe: good for tests, its time says nothing about a GPU.
    Software,
}

/// One adapter of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Position in [`super::Wgpu::adapters`], as in `--device wgpu:N`.
    pub index: usize,
    /// What the driver calls it.
    pub name: String,
    /// Interface through which it is reached: Vulkan, Metal or D3D12.
    pub backend: &'static str,
    /// Hardware or software.
    pub kind: AdapterKind,
}

/// An adapter that can be opened.
#[derive(Debug)]
pub(super) struct Found {
    pub info: AdapterInfo,
    pub adapter: wgpu::Adapter,
}

const BACKENDS: [(wgpu::Backend, &str); 3] =
    [(wgpu::Backend::Vulkan, "Vulkan"), (wgpu::Backend::Metal, "Metal"), (wgpu::Backend::Dx12, "D3D12")];

/// All adapters, the most capable kinds first; the order within a kind is the driver's.
pub(super) fn enumerate() -> Vec<Found> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let descriptor =
        wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.sort_by_key(|adapter| {
        Reverse(match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 4,
            wgpu::DeviceType::IntegratedGpu => 3,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 1,
            wgpu::DeviceType::Cpu => 0,
        })
    });
    let found = adapters.into_iter().enumerate().map(|(index, adapter)| {
        let info = adapter.get_info();
        let backend = BACKENDS.iter().find(|(b, _)| *b == info.backend).map_or("unknown", |(_, name)| name);
        let kind = match info.device_type {
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            _ => AdapterKind::Hardware,
        };
        Found { info: AdapterInfo { index, name: info.name, backend, kind }, adapter }
    });
    found.collect()
}

/// The adapter meant by `--device wgpu[:N]`.
pub(super) fn choose(found: Vec<Found>, index: Option<usize>) -> Result<Found, DeviceError> {
    let names: Vec<String> = found.iter().map(|f| format!("{} {}", f.info.index, f.info.name)).collect();
    let reason = match index {
        _ if names.is_empty() => {
            "no GPU adapter: install a Vulkan driver for the GPU (on Linux the packages \
             libvulkan1 and mesa-vulkan-drivers, which has a software adapter, too)"
                .to_owned()
        }
        Some(index) => format!("no adapter {index}; there are: {}", names.join(", ")),
        None => "no adapter".to_owned(),
    };
    found.into_iter().nth(index.unwrap_or(0)).ok_or(DeviceError::Unavailable { device: "wgpu", reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_adapters_says_what_to_install() {
        for index in [None, Some(0), Some(3)] {
            let error = choose(Vec::new(), index).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, DeviceError::Unavailable { .. }), "{text}");
            assert!(text.contains("no GPU adapter") && text.contains("mesa-vulkan-drivers"), "{text}");
        }
    }

    #[test]
    fn an_index_out_of_range_names_the_adapters_there_are() {
        let found = enumerate();
        let names: Vec<String> = found.iter().map(|f| f.info.name.clone()).collect();
        let text = choose(found, Some(1000)).unwrap_err().to_string();
        let expected = if names.is_empty() { "no GPU adapter" } else { "no adapter 1000; there are: 0 " };
        assert!(text.contains(expected) && names.iter().all(|name| text.contains(name)), "{text}");
    }

    #[test]
    fn software_adapters_come_last() {
        let kinds: Vec<AdapterKind> = enumerate().iter().map(|f| f.info.kind).collect();
        assert!(kinds.is_sorted_by_key(|&kind| kind == AdapterKind::Software), "{kinds:?}");
    }
}
