//! What streams do: each operation as data, so that it can be queued, recorded and replayed.

use std::sync::Arc;

use lr_ptx::{Argument, FaultKind, LaunchShape, MemoryError, Options, Schedule, launch};

use crate::blas::{Gemm, Trsm};
use crate::solver::Syevj;
use crate::state::{Function, State};
use crate::status::*;

/// More instructions of warps than any kernel of ours needs in one launch.
const STEP_LIMIT: u64 = 4_000_000_000;

/// One operation of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Launch {
        function: Arc<Function>,
        shape: LaunchShape,
        arguments: Arc<[Argument]>,
    },
    Upload {
        to: u64,
        bytes: Arc<[u8]>,
    },
    /// `to` is an address of the host that stays valid until the host has waited.
    Download {
        from: u64,
        to: u64,
        bytes: usize,
    },
    Copy {
        to: u64,
        from: u64,
        bytes: u64,
    },
    Fill {
        address: u64,
        pattern: u32,
        size: usize,
        count: usize,
    },
    Free {
        address: u64,
    },
    Record {
        event: u64,
        recording: u64,
    },
    Wait {
        event: u64,
        recording: u64,
    },
    Graph(Arc<[Work]>),
    Gemm(Gemm),
    Trsm(Trsm),
    Syevj(Syevj),
}

impl Work {
    /// Copies from and to pageable memory and the release of memory are not.
    pub(crate) fn can_be_captured(&self) -> bool {
        !matches!(
            self,
            Self::Upload { .. }
                | Self::Download { .. }
                | Self::Free { .. }
                | Self::Record { .. }
                | Self::Wait { .. }
        )
    }

    /// Whether it counts as a launch of a kernel or library routine.
    fn is_launch(&self) -> bool {
        matches!(self, Self::Launch { .. } | Self::Gemm(_) | Self::Trsm(_) | Self::Syevj(_))
    }
}

impl State {
    /// Does one operation now. A failure sticks.
    pub(crate) fn perform(&mut self, work: Work) {
        if self.sticky != SUCCESS {
            return;
        }
        if work.is_launch() {
            self.launches += 1;
            if self.settings.lost_after.is_some_and(|most| self.launches > most) {
                return self.fault(ERROR_UNKNOWN, format!("the device is lost at launch {}", self.launches));
            }
        }
        let done = match work {
            Work::Launch { function, shape, arguments } => return self.launch(&function, shape, &arguments),
            Work::Graph(recorded) => return recorded.iter().for_each(|work| self.perform(work.clone())),
            Work::Record { event, recording } => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.reached = event.reached.max(recording);
                }
                return;
            }
            Work::Wait { .. } => return,
            Work::Upload { to, bytes } => {
                self.memory.write(to, &bytes).map_err(|e| format!("copy to the device: {e}"))
            }
            Work::Download { from, to, bytes } => self.download(from, to, bytes),
            Work::Copy { to, from, bytes } => {
                self.memory.copy(from, to, bytes).map_err(|e| format!("copy on the device: {e}"))
            }
            Work::Fill { address, pattern, size, count } => {
                let bytes = pattern.to_le_bytes()[..size].repeat(count);
                self.memory.write(address, &bytes).map_err(|e| format!("fill: {e}"))
            }
            Work::Free { address } => {
                self.memory.free(address).map_err(|e| format!("release of memory: {e}"))
            }
            Work::Gemm(gemm) => gemm.run(&mut self.memory),
            Work::Trsm(trsm) => trsm.run(&mut self.memory),
            Work::Syevj(syevj) => syevj.run(&mut self.memory),
        };
        if let Err(text) = done {
            self.fault(ERROR_ILLEGAL_ADDRESS, text);
        }
    }

    fn launch(&mut self, function: &Function, shape: LaunchShape, arguments: &[Argument]) {
        let schedule = match self.settings.schedule {
            None => Schedule::InOrder,
            Some(seed) => Schedule::Random(seed.wrapping_add(self.launches)),
        };
        let options = Options { schedule, step_limit: STEP_LIMIT };
        let done = launch(&function.module, &function.name, shape, arguments, &mut self.memory, options);
        if let Err(fault) = done {
            let status = match fault.kind {
                FaultKind::OutOfBounds { .. } | FaultKind::UseAfterFree { .. } => ERROR_ILLEGAL_ADDRESS,
                FaultKind::Misaligned { .. } => ERROR_MISALIGNED_ADDRESS,
                _ => ERROR_LAUNCH_FAILED,
            };
            self.fault(status, fault.to_string());
        }
    }

    fn download(&mut self, from: u64, to: u64, bytes: usize) -> Result<(), String> {
        let describe = |e: MemoryError| format!("copy to the host: {e}");
        let known = self.memory.is_initialized(from, bytes as u64).map_err(describe)?;
        if !known {
            return Err(format!(
                "copy to the host: some of the {bytes} bytes at {from:#x} were never written"
            ));
        }
        // SAFETY: the host promised these bytes until it has waited, which is now or later.
        let target = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) };
        self.memory.read(from, target).map_err(describe)
    }
}
