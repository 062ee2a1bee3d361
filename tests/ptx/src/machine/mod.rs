//! Launches: the shape and the arguments are checked, then the blocks run one after the other.
//!
//! `block` schedules the warps of a block, `warp` the lanes of a warp, `execute` runs one instruction, `access`
//! the loads and stores, `collective` what the lanes of a warp do together.

mod access;
mod block;
mod collective;
mod execute;
mod warp;

use crate::fault::{Fault, FaultKind};
use crate::memory::{Memory, Store};
use crate::program::{Entry, Module};
use crate::shadow::{Cell, Clock};
use block::Run;
use warp::Warp;

/// Most bytes of shared memory of a block, on the architecture that has the least of those we name.
const MOST_SHARED: u64 = 99 * 1024;

/// Blocks of a grid, threads of a block, and bytes of dynamic shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
}

impl LaunchShape {
    /// A grid and a block without dynamic shared memory.
    pub fn new(grid: [u32; 3], block: [u32; 3]) -> Self {
        Self { grid, block, dynamic_shared: 0 }
    }
}

/// In which order threads proceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Blocks and warps in order, the lanes of a warp that are behind first.
    InOrder,
    /// Blocks, warps and diverged lanes in an order drawn from a seed.
    Random(u64),
}

/// How to run a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The order of threads.
    pub schedule: Schedule,
    /// Most instructions of warps before the launch counts as endless.
    pub step_limit: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { schedule: Schedule::InOrder, step_limit: 4_000_000_000 }
    }
}

/// Bytes of one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument(pub Vec<u8>);

macro_rules! argument {
    ($($ty:ty),*) => {
        $(impl From<$ty> for Argument {
            fn from(value: $ty) -> Self {
                Self(value.to_le_bytes().to_vec())
            }
        })*
    };
}

argument!(u32, i32, u64, i64, f32, f64);

/// What a launch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Instructions executed by warps.
    pub warp_instructions: u64,
    /// Instructions executed by threads.
    pub thread_instructions: u64,
    /// Barriers passed by blocks.
    pub barriers: u64,
    /// For every instruction of the entry, in order: its line and whether some thread executed it.
    pub executed: Vec<(u32, bool)>,
}

/// A small generator for schedules.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Runs an entry on the CPU with every check on.
///
/// # Errors
///
/// [`Fault`] names the first instruction that did something wrong, with block and thread. Memory is left as it
/// was at that moment.
pub fn launch(
    module: &Module,
    entry: &str,
    shape: LaunchShape,
    arguments: &[Argument],
    memory: &mut Memory,
    options: Options,
) -> Result<Report, Fault> {
    let refuse = |line: u32, kind: FaultKind| Fault {
        kernel: entry.into(),
        line,
        text: format!(".entry {entry}"),
        block: [0; 3],
        thread: [0; 3],
        kind,
    };
    let Some(entry) = module.entry(entry) else { return Err(refuse(0, FaultKind::NoEntry)) };
    check_shape(entry, shape).map_err(|kind| refuse(entry.line, kind))?;
    let parameters = pack(entry, arguments).map_err(|kind| refuse(entry.line, kind))?;

    let start = memory.begin_launch();
    let threads: u32 = shape.block.iter().product();
    let warps = (0..threads.div_ceil(32)).map(|index| Warp::new(entry, index, shape)).collect();
    let mut run = Run {
        entry,
        parameters: &parameters,
        memory,
        shared: shared_memory(entry, shape.dynamic_shared),
        global_clock: Clock { launch: start, block: start, interval: start, initialized_since: 0 },
        block: [0; 3],
        shape,
        draw: match options.schedule {
            Schedule::InOrder => None,
            Schedule::Random(seed) => Some(Draw::new(seed)),
        },
        step_limit: options.step_limit,
        hints: vec![0; entry.code.len()],
        executed: vec![false; entry.code.len()],
        warp_instructions: 0,
        thread_instructions: 0,
        barriers: 0,
    };
    run.grid(warps)?;
    Ok(Report {
        warp_instructions: run.warp_instructions,
        thread_instructions: run.thread_instructions,
        barriers: run.barriers,
        executed: entry.code.iter().map(|i| i.line).zip(run.executed).collect(),
    })
}

fn check_shape(entry: &Entry, shape: LaunchShape) -> Result<(), FaultKind> {
    let threads = shape.block.iter().map(|&n| u64::from(n)).product();
    if threads == 0 || threads > entry.most_threads {
        return Err(FaultKind::BlockSize { threads, most: entry.most_threads });
    }
    if shape.grid.contains(&0) {
        return Err(FaultKind::EmptyGrid);
    }
    let bytes = u64::from(entry.static_shared) + u64::from(shape.dynamic_shared);
    if bytes > MOST_SHARED {
        return Err(FaultKind::SharedMemory { bytes, most: MOST_SHARED });
    }
    Ok(())
}

/// The bytes of the parameters, each at its offset.
fn pack(entry: &Entry, arguments: &[Argument]) -> Result<Vec<u8>, FaultKind> {
    let parameters = &entry.parameters;
    if arguments.len() != parameters.len() {
        let message = format!("{} arguments for {} parameters", arguments.len(), parameters.len());
        return Err(FaultKind::Arguments(message));
    }
    let mut bytes = vec![0; parameters.last().map_or(0, |last| last.offset + last.size)];
    for (parameter, Argument(argument)) in parameters.iter().zip(arguments) {
        if argument.len() != parameter.size {
            let (name, size, given) = (&parameter.name, parameter.size, argument.len());
            return Err(FaultKind::Arguments(format!("{name} has {size} bytes, the argument {given}")));
        }
        bytes[parameter.offset..parameter.offset + parameter.size].copy_from_slice(argument);
    }
    Ok(bytes)
}

/// Shared memory of a block: static variables, redzones between them, dynamic memory.
fn shared_memory(entry: &Entry, dynamic: u32) -> Store {
    let mut store = Store::new((entry.dynamic + dynamic) as usize);
    let statics = (entry.dynamic as usize).div_ceil(4);
    store.cells[..statics].fill(Cell::redzone());
    for variable in &entry.shared {
        // A word that is partly a variable's counts as its.
        store.cells[variable.start as usize / 4..(variable.end as usize).div_ceil(4)].fill(Cell::default());
    }
    store
}
