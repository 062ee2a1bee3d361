//! The state of a warp: registers of its lanes, where each lane stands, and which lanes may run together.

use super::{Draw, LaunchShape};
use crate::program::{Entry, Special};
use crate::semantics::{Lanes, each};

/// 32 threads.
pub(super) struct Warp {
    pub(super) index: u32,
    pub(super) registers: Vec<Lanes>,
    /// For every register, the lanes that wrote it.
    pub(super) defined: Vec<u32>,
    pub(super) predicates: Vec<u32>,
    pub(super) predicates_defined: Vec<u32>,
    /// Local memory, lane after lane, and which bytes were written.
    pub(super) local: Vec<u8>,
    pub(super) local_written: Vec<bool>,
    /// Next instruction of each lane.
    pub(super) at: [u32; 32],
    /// Lanes that ended or never were.
    pub(super) ended: u32,
    pub(super) at_barrier: u32,
    /// Lanes that wait at a warp-wide instruction for its other members.
    pub(super) at_sync: u32,
    pub(super) barrier: [u8; 32],
    /// Tick since which the lanes are in step; see [`crate::shadow`].
    pub(super) moment: u32,
    absent: u32,
}

/// Lanes that stand at the same instruction.
pub(super) struct Group {
    pub(super) at: u32,
    pub(super) lanes: u32,
    /// The next instruction at which other lanes stand: there they may join.
    pub(super) meets: u32,
}

impl Warp {
    pub(super) fn new(entry: &Entry, index: u32, shape: LaunchShape) -> Self {
        let threads: u32 = shape.block.iter().product();
        let present = threads - 32 * index;
        let names = &entry.registers;
        let mut warp = Self {
            index,
            registers: vec![[0; 32]; names.names.len()],
            defined: vec![0; names.names.len()],
            predicates: vec![0; names.predicate_names.len()],
            predicates_defined: vec![0; names.predicate_names.len()],
            local: vec![0; 32 * entry.local as usize],
            local_written: vec![false; 32 * entry.local as usize],
            at: [0; 32],
            ended: 0,
            at_barrier: 0,
            at_sync: 0,
            barrier: [0; 32],
            moment: 0,
            absent: if present >= 32 { 0 } else { u32::MAX << present },
        };
        for &(register, value) in &names.constants {
            warp.registers[usize::from(register)] = [value; 32];
        }
        warp.predicates[0] = u32::MAX;
        warp
    }

    /// Makes the warp ready for a block.
    pub(super) fn begin(&mut self, entry: &Entry, shape: LaunchShape, block: [u32; 3], tick: u32) {
        self.defined.fill(0);
        self.predicates_defined.fill(0);
        self.predicates_defined[0] = u32::MAX;
        for &(register, _) in &entry.registers.constants {
            self.defined[usize::from(register)] = u32::MAX;
        }
        for &(register, special) in &entry.registers.specials {
            let register = usize::from(register);
            self.defined[register] = u32::MAX;
            for lane in 0..32 {
                self.registers[register][lane as usize] =
                    u64::from(self.special(special, shape, block, lane));
            }
        }
        self.local_written.fill(false);
        self.at = [0; 32];
        self.ended = self.absent;
        self.at_barrier = 0;
        self.at_sync = 0;
        self.moment = tick;
    }

    fn special(&self, special: Special, shape: LaunchShape, block: [u32; 3], lane: u32) -> u32 {
        let up_to = u32::MAX >> (31 - lane);
        match special {
            Special::Thread(axis) => thread_index(shape.block, 32 * self.index + lane)[axis],
            Special::Threads(axis) => shape.block[axis],
            Special::Block(axis) => block[axis],
            Special::Blocks(axis) => shape.grid[axis],
            Special::Lane => lane,
            Special::Warp => self.index,
            Special::Warps => shape.block.iter().product::<u32>().div_ceil(32),
            Special::LanemaskEqual => 1 << lane,
            Special::LanemaskLess => up_to >> 1,
            Special::LanemaskLessEqual => up_to,
            Special::LanemaskGreater => !up_to,
            Special::LanemaskGreaterEqual => !(up_to >> 1),
        }
    }

    /// Lanes that can run now.
    pub(super) fn ready(&self) -> u32 {
        !(self.ended | self.at_barrier | self.at_sync)
    }

    /// The lanes to run next, out of some that are ready: those furthest behind, or with a random one.
    pub(super) fn group(&self, ready: u32, draw: Option<&mut Draw>) -> Group {
        let at = match draw {
            Some(draw) => {
                let mut rest = ready;
                for _ in 0..draw.below(u64::from(ready.count_ones())) {
                    rest &= rest - 1;
                }
                self.at[rest.trailing_zeros() as usize]
            }
            None => {
                let mut least = u32::MAX;
                each(ready, |lane| least = least.min(self.at[lane]));
                least
            }
        };
        let mut group = Group { at, lanes: 0, meets: u32::MAX };
        each(ready, |lane| {
            if self.at[lane] == at {
                group.lanes |= 1 << lane;
            } else if self.at[lane] > at {
                group.meets = group.meets.min(self.at[lane]);
            }
        });
        group
    }

    /// Puts lanes at an instruction.
    pub(super) fn place(&mut self, lanes: u32, at: u32) {
        each(lanes, |lane| self.at[lane] = at);
    }
}

/// Index of a thread in its block.
pub(super) fn thread_index(block: [u32; 3], thread: u32) -> [u32; 3] {
    [thread % block[0], thread / block[0] % block[1], thread / block[0] / block[1]]
}
