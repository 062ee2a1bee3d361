//! The GPUs of this machine, through CUDA and through wgpu.

use lr_linalg::Linalg;
use serde::Serialize;

/// What kind of device something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A GPU.
    Hardware,
    /// A graphics driver that computes on the processor.
    Software,
    /// The tests' stand-in for the CUDA driver.
    StandIn,
}

/// Which library drives a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// CUDA.
    Cuda,
    /// wgpu.
    Wgpu,
}

/// A device that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who drives it.
    pub driver: Driver,
    /// Its number with that driver.
    pub index: usize,
    /// What it calls itself.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

impl Found {
    /// The device in one line, labelled where its times say nothing about a GPU.
    pub fn describe(&self) -> String {
        let label = match self.kind {
            Kind::Hardware => "",
            Kind::Software => " (software adapter)",
            Kind::StandIn => " (stand-in driver)",
        };
        format!("{}: {}{label}", self.option(), self.name)
    }

    /// The device as `--device` names it.
    pub fn option(&self) -> String {
        let driver = match self.driver {
            Driver::Cuda => "cuda",
            Driver::Wgpu => "wgpu",
        };
        format!("{driver}:{}", self.index)
    }
}

/// Something to do on a device, whichever drives it.
pub trait OnGpu {
    /// Does it.
    ///
    /// # Errors
    /// Why it could not be done at all.
    fn run<B: Linalg<Elem = f32>>(self, gpu: &B) -> Result<(), String>;
}

/// Every device, and a line for each kind that this machine lacks.
pub fn find() -> (Vec<Found>, Vec<String>) {
    let (mut devices, mut missing) = (Vec::new(), Vec::new());
    match lr_linalg::Cuda::<f32>::devices() {
        Ok(found) if found.is_empty() => missing.push("no CUDA device".to_owned()),
        Ok(found) => devices.extend(found.into_iter().enumerate().map(|(index, device)| {
            let kind = if device.name.starts_with("stand-in") { Kind::StandIn } else { Kind::Hardware };
            Found { driver: Driver::Cuda, index, name: device.name, kind }
        })),
        Err(error) => missing.push(format!("no CUDA device: {error}")),
    }
    {
        let adapters = lr_linalg::Wgpu::adapters();
        if !adapters.iter().any(|adapter| adapter.kind == lr_linalg::wgpu::AdapterKind::Hardware) {
            missing.push("no GPU adapter".to_owned());
        }
        devices.extend(adapters.into_iter().map(|adapter| Found {
            driver: Driver::Wgpu,
            index: adapter.index,
            kind: match adapter.kind {
                lr_linalg::wgpu::AdapterKind::Hardware => Kind::Hardware,
                lr_linalg::wgpu::AdapterKind::Software => Kind::Software,
            },
            name: adapter.name,
        }));
    }
    (devices, missing)
}

/// Opens `device` and does `work` on it.
///
/// # Errors
/// Why it cannot be opened, or what `work` says.
pub fn open(device: &Found, work: impl OnGpu) -> Result<(), String> {
    match device.driver {
        Driver::Cuda => {
            let cuda = lr_linalg::Cuda::<f32>::new(device.index).map_err(|error| error.to_string())?;
            work.run(&cuda)
        }
        Driver::Wgpu => {
            let wgpu = lr_linalg::Wgpu::new(Some(device.index)).map_err(|error| error.to_string())?;
            work.run(&wgpu)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_gpu_is_labelled() {
        let device = |kind| Found { driver: Driver::Cuda, index: 1, name: "X".to_owned(), kind };
        assert_eq!(device(Kind::Hardware).describe(), "cuda:1: X");
        assert_eq!(device(Kind::Software).describe(), "cuda:1: X (software adapter)");
        assert_eq!(device(Kind::StandIn).describe(), "cuda:1: X (stand-in driver)");
    }
}
