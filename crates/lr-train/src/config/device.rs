//! [`Device`]: the machine that a run computes on, as it is spelled in TOML, on the command line and in reports.

use super::UnknownName;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The machine that the run computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// `cpu`: the processor, pure-Rust engine.
    Cpu,
    /// `cpu-openblas`: the processor through the system's BLAS and LAPACK; needs the feature `openblas`.
    CpuOpenblas,
    /// `cuda` or `cuda:N`: an NVIDIA GPU, the first or the one with that index.
    Cuda(Option<usize>),
    /// `wgpu` or `wgpu:N`: any GPU that wgpu drives, the most capable or the one with that index.
    Wgpu(Option<usize>),
}

impl Device {
    /// How devices are spelled.
    pub const NAMES: &'static [&'static str] = &["cpu", "cpu-openblas", "cuda[:N]", "wgpu[:N]"];
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, index) = match self {
            Self::Cpu => ("cpu", None),
            Self::CpuOpenblas => ("cpu-openblas", None),
            Self::Cuda(index) => ("cuda", *index),
            Self::Wgpu(index) => ("wgpu", *index),
        };
        match index {
            Some(index) => f.pad(&format!("{name}:{index}")),
            None => f.pad(name),
        }
    }
}

impl FromStr for Device {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName { field: "device", given: text.to_owned(), expected: Self::NAMES };
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, index) {
            ("cpu", None) => Ok(Self::Cpu),
            ("cpu-openblas", None) => Ok(Self::CpuOpenblas),
            ("cuda", index) => Ok(Self::Cuda(index)),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Self, UnknownName> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse_as_they_print() {
        for text in ["cpu", "cpu-openblas", "cuda", "cuda:0", "wgpu", "wgpu:12"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        for text in ["", "cpu:0", "cpu-openblas:1", "wgpu:", "wgpu:x", "wgpu:-1", "gpu", "cuda:0:1"] {
            let error = text.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains("device") && error.contains("wgpu[:N]"), "{text}: {error}");
        }
    }
}
