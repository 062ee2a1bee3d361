//! What can go wrong: in a PTX text ([`ParseError`]), in a launch ([`Fault`]), in a host call ([`MemoryError`]).
//!
//! Limits of the checks. Races are judged by what the program orders, not by what happened to run first: two
//! accesses of different threads, at least one a write, are ordered by a block barrier, or within a warp by
//! `bar.warp.sync` of all its threads; blocks are never ordered. A word of 4 bytes is the unit, so neighbouring
//! bytes written by two threads are reported although hardware allows them. Fences and atomics used as locks
//! order nothing here: a kernel that waits for another block does not pass.

use std::fmt;

/// A text that is not PTX, or not of the subset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// A state space of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Device memory.
    Global,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// An address that may lie in any of the three.
    Generic,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Generic => "generic",
        })
    }
}

/// Two accesses to one word that nothing orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Race {
    /// This access reads what another thread wrote.
    ReadAfterWrite,
    /// This access overwrites what another thread read.
    WriteAfterRead,
    /// This access overwrites what another thread wrote.
    WriteAfterWrite,
    /// A read through the non-coherent cache (`ld.global.nc`) of a word that this launch wrote.
    NonCoherent,
}

/// A host call with a bad device address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// No allocation holds the whole range.
    #[error("{bytes} bytes at {address:#x} are outside of every allocation ({nearest})")]
    OutOfBounds {
        /// First byte.
        address: u64,
        /// Length of the range.
        bytes: u64,
        /// The allocation below it, in words.
        nearest: String,
    },
    /// The range was freed.
    #[error("{bytes} bytes at {address:#x} lie in memory that was freed")]
    UseAfterFree {
        /// First byte.
        address: u64,
        /// Length of the range.
        bytes: u64,
    },
    /// Not the start of a live allocation.
    #[error("{address:#x} is not the start of a live allocation")]
    BadFree {
        /// What was to be freed.
        address: u64,
    },
}

/// What a thread did wrong, or what is wrong with the launch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// An access outside of every allocation, of the block's shared memory or of the thread's local memory.
    #[error("access of {bytes} bytes at {space} address {address:#x} is out of bounds ({nearest})")]
    OutOfBounds {
        /// State space.
        space: Space,
        /// First byte.
        address: u64,
        /// Length of the access.
        bytes: u32,
        /// What lies near it, in words.
        nearest: String,
    },
    /// An access of freed global memory.
    #[error("access of {bytes} bytes at {address:#x}, which was freed")]
    UseAfterFree {
        /// First byte.
        address: u64,
        /// Length of the access.
        bytes: u32,
    },
    /// An address that is not a multiple of the access's size.
    #[error("{space} address {address:#x} is not aligned to {bytes} bytes")]
    Misaligned {
        /// State space.
        space: Space,
        /// First byte.
        address: u64,
        /// Length of the access.
        bytes: u32,
    },
    /// A read of memory that was never written.
    #[error("read of uninitialized {space} memory at {address:#x}")]
    UninitializedMemory {
        /// State space.
        space: Space,
        /// First byte.
        address: u64,
    },
    /// A read of a register that this thread never wrote.
    #[error("read of the uninitialized register {name}")]
    UninitializedRegister {
        /// Name in the text.
        name: String,
    },
    /// Two accesses that nothing orders.
    #[error("data race ({race:?}) with {other} at {space} address {address:#x}")]
    DataRace {
        /// Which access came second.
        race: Race,
        /// State space.
        space: Space,
        /// The word.
        address: u64,
        /// The other thread, in words.
        other: String,
    },
    /// Threads of one warp at different barriers, or a barrier that some thread never reaches.
    #[error("divergent barrier: {0}")]
    DivergentBarrier(String),
    /// A warp-wide instruction whose member mask or source lane is wrong.
    #[error("bad warp-wide instruction: {0}")]
    BadWarpMask(String),
    /// The step limit was reached: an endless loop, or a limit too low.
    #[error("stopped after {0} instructions: endless loop?")]
    StepLimit(u64),
    /// `trap`, or the end of the text without `ret`.
    #[error("trap")]
    Trap,
    /// A block that is empty, or larger than 1024 threads or than `.maxntid` allows.
    #[error("block of {threads} threads; the entry takes 1 to {most}")]
    BlockSize {
        /// Threads of the launch's block.
        threads: u64,
        /// Most threads that the entry takes.
        most: u64,
    },
    /// A grid without blocks.
    #[error("grid without blocks")]
    EmptyGrid,
    /// More shared memory than a block can have.
    #[error("{bytes} bytes of shared memory; a block has {most}")]
    SharedMemory {
        /// Static and dynamic bytes.
        bytes: u64,
        /// What a block can have.
        most: u64,
    },
    /// Arguments that do not fit the entry's parameters.
    #[error("wrong arguments: {0}")]
    Arguments(String),
    /// No entry of this name.
    #[error("no such entry")]
    NoEntry,
}

/// A launch that failed: who, where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Entry.
    pub kernel: String,
    /// Line of the instruction, or of the entry if the launch itself is wrong; 0 if there is no entry.
    pub line: u32,
    /// The instruction's text, as written.
    pub text: String,
    /// Block's index.
    pub block: [u32; 3],
    /// Thread's index in the block.
    pub thread: [u32; 3],
    /// What is wrong.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
        write!(
            f,
            "kernel {}, line {} `{}`, block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz}): {}",
            self.kernel, self.line, self.text, self.kind
        )
    }
}

impl std::error::Error for Fault {}
