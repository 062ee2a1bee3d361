//! Decoded programs: every operand is an index into a flat register file, every operation a closure over lanes.
//!
//! Constants, addresses of variables and special registers are registers that are filled before the first
//! instruction. Predicates are kept apart, one bit a lane.

use std::collections::HashMap;

use crate::fault::Space;
use crate::semantics::{Binary, Compare, Ternary, Unary};

/// Index of a register of 16 to 64 bits.
pub(crate) type Reg = u16;
/// Index of a predicate.
pub(crate) type Pred = u16;

/// A register that always holds 0, and stands where an instruction has no operand.
pub(crate) const ZERO: Reg = 0;
/// A predicate that is always true, and stands where an instruction has no guard.
pub(crate) const TRUE: Pred = 0;

/// A PTX text, decoded.
#[derive(Debug)]
pub struct Module {
    pub(crate) entries: HashMap<String, Entry>,
}

impl Module {
    /// The entry of a name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Names of all entries, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

/// A parameter of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: usize,
    pub(crate) offset: usize,
}

/// A variable in shared memory: its range of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// One kernel.
pub struct Entry {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) most_threads: u64,
    pub(crate) code: Vec<Instruction>,
    pub(crate) registers: Registers,
    /// Static variables; between two of them lies a redzone.
    pub(crate) shared: Vec<Variable>,
    /// First byte of dynamic shared memory.
    pub(crate) dynamic: u32,
    /// Bytes of static shared memory, without the redzones.
    pub(crate) static_shared: u32,
    /// Bytes of local memory a thread.
    pub(crate) local: u32,
}

impl Entry {
    /// Name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Bytes of static shared memory, as an assembler would count them.
    pub fn static_shared(&self) -> u32 {
        self.static_shared
    }

    /// Most threads that a block may have.
    pub fn most_threads(&self) -> u64 {
        self.most_threads
    }

    /// Lines that hold an instruction, in order.
    pub fn lines(&self) -> Vec<u32> {
        self.code.iter().map(|instruction| instruction.line).collect()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({}, {} instructions)", self.name, self.code.len())
    }
}

/// What the register file holds.
#[derive(Default)]
pub(crate) struct Registers {
    /// Names, for messages; constants have their value's.
    pub(crate) names: Vec<String>,
    pub(crate) predicate_names: Vec<String>,
    pub(crate) constants: Vec<(Reg, u64)>,
    pub(crate) specials: Vec<(Reg, Special)>,
}

/// A special register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Lane,
    Warp,
    Warps,
    LanemaskEqual,
    LanemaskLess,
    LanemaskLessEqual,
    LanemaskGreater,
    LanemaskGreaterEqual,
}

/// One instruction.
pub(crate) struct Instruction {
    pub(crate) op: Op,
    pub(crate) guard: Pred,
    /// The guard holds where its predicate is false.
    pub(crate) negated: bool,
    pub(crate) line: u32,
    pub(crate) text: String,
    /// Registers read; [`ZERO`] fills the rest.
    pub(crate) reads: [Reg; 5],
    /// Predicates read besides the guard; [`TRUE`] fills the rest.
    pub(crate) predicate_reads: [Pred; 2],
}

/// An address: a register and a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) base: Reg,
    pub(crate) offset: i64,
}

/// A load or store of 1, 2 or 4 values.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) space: Space,
    pub(crate) address: Address,
    /// Bytes of one value.
    pub(crate) size: u32,
    pub(crate) registers: Vec<Reg>,
    /// Bits of the register that a signed value is extended to; 0 for an unsigned one.
    pub(crate) sign_bits: u32,
    pub(crate) coherence: Coherence,
}

/// Which cache a load goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coherence {
    Coherent,
    /// `.nc`: only for data that the launch does not write.
    NonCoherent,
}

/// How a predicate result is combined with another predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    None,
    And,
    Or,
    Xor,
}

/// Which lane a shuffle reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What a vote returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
}

/// A destination predicate and the one that receives the complement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    pub(crate) result: Pred,
    pub(crate) complement: Option<Pred>,
}

/// A predicate as an operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) predicate: Pred,
    pub(crate) negated: bool,
}

/// Decoded operations.
pub(crate) enum Op {
    Unary {
        run: Unary,
        d: Reg,
        a: Reg,
    },
    Binary {
        run: Binary,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    Ternary {
        run: Ternary,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Select {
        d: Reg,
        a: Reg,
        b: Reg,
        by: Truth,
    },
    /// Several narrow registers into a wide one, lowest first, `bits` each.
    Pack {
        d: Reg,
        parts: Vec<Reg>,
        bits: u32,
    },
    Unpack {
        parts: Vec<Reg>,
        a: Reg,
        bits: u32,
    },
    Compare {
        run: Compare,
        targets: Targets,
        a: Reg,
        b: Reg,
        combine: Combine,
        with: Truth,
    },
    /// Boolean operations on predicates; `combine` is `None` for a move.
    Logic {
        d: Pred,
        a: Truth,
        b: Truth,
        combine: Combine,
    },
    LoadParameter {
        registers: Vec<Reg>,
        offset: usize,
        size: usize,
        sign_bits: u32,
    },
    Load(Transfer),
    Store(Transfer),
    /// Read, modify, write: `run(old, b, c)`; `d` is absent for `red`.
    Atomic {
        d: Option<Reg>,
        space: Space,
        address: Address,
        size: u32,
        b: Reg,
        c: Reg,
        run: Ternary,
    },
    Shuffle {
        d: Reg,
        found: Option<Pred>,
        mode: Shuffle,
        a: Reg,
        lane: Reg,
        clamp: Reg,
        members: Reg,
    },
    Vote {
        d: Pred,
        mode: Vote,
        a: Truth,
        members: Reg,
    },
    Ballot {
        d: Reg,
        a: Truth,
        members: Reg,
    },
    WarpBarrier {
        members: Reg,
    },
    Barrier {
        id: Reg,
    },
    Branch {
        target: u32,
    },
    Fence,
    Exit,
    Trap,
}
