//! [`Device`]: the machine that a run computes on. In TOML and on the command line it is one word, `cuda:1` for
//! the second NVIDIA GPU.

use super::choices::UnknownName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The machine that the run computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// `cpu`: the processor, pure-Rust engine.
    Cpu,
    /// `cpu-openblas`: the processor through the system's BLAS and LAPACK; needs the feature `openblas`.
    CpuOpenblas,
    /// `cuda` or `cuda:N`: an NVIDIA GPU, the first or number N counted from 0; needs the feature `cuda`.
    Cuda(Option<usize>),
    /// `wgpu` or `wgpu:N`: a GPU that wgpu drives, the best or number N counted from 0; needs the feature `wgpu`.
    Wgpu(Option<usize>),
}

/// What a device is spelled like.
const SPELLINGS: &[&str] = &["cpu", "cpu-openblas", "cuda", "cuda:N", "wgpu", "wgpu:N"];

impl FromStr for Device {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName { field: "device", given: text.to_owned(), expected: SPELLINGS };
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

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::CpuOpenblas => f.pad("cpu-openblas"),
            Self::Cuda(None) => f.pad("cuda"),
            Self::Cuda(Some(index)) => f.pad(&format!("cuda:{index}")),
            Self::Wgpu(None) => f.pad("wgpu"),
            Self::Wgpu(Some(index)) => f.pad(&format!("wgpu:{index}")),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
