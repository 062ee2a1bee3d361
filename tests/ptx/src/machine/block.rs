//! Running blocks: warps take turns until each waits at a barrier or has ended.

use super::warp::{Warp, thread_index};
use super::{Draw, LaunchShape};
use crate::fault::{Fault, FaultKind};
use crate::memory::{Memory, Store};
use crate::program::{Entry, TRUE};
use crate::semantics::each;
use crate::shadow::Clock;

/// Most instructions of a turn, in a random schedule.
const TURN: u64 = 40;

/// What went wrong, and in which lane.
pub(super) struct Trouble {
    pub(super) lane: u32,
    pub(super) kind: FaultKind,
}

/// A result whose error is small: it is the hot path's.
pub(super) type Outcome<T> = Result<T, Box<Trouble>>;

pub(super) fn trouble<T>(lane: usize, kind: FaultKind) -> Outcome<T> {
    Err(Box::new(Trouble { lane: lane as u32, kind }))
}

/// Where lanes go after an instruction.
pub(super) enum Flow {
    Next,
    /// The given lanes jump, the others go on.
    Jump(u32, u32),
    /// The given lanes end.
    End(u32),
    /// The given lanes wait at a barrier.
    Barrier(u32),
    /// The given lanes wait at this instruction for other members.
    Park(u32),
    /// Parked lanes have joined and go on behind this instruction.
    Joined(u32),
}

/// A launch under way.
pub(super) struct Run<'a> {
    pub(super) entry: &'a Entry,
    pub(super) parameters: &'a [u8],
    pub(super) memory: &'a mut Memory,
    pub(super) shared: Store,
    pub(super) global_clock: Clock,
    pub(super) block: [u32; 3],
    pub(super) shape: LaunchShape,
    pub(super) draw: Option<Draw>,
    pub(super) step_limit: u64,
    /// For every instruction, the allocation that it accessed last.
    pub(super) hints: Vec<usize>,
    pub(super) executed: Vec<bool>,
    pub(super) warp_instructions: u64,
    pub(super) thread_instructions: u64,
    pub(super) barriers: u64,
}

impl Run<'_> {
    /// The clock as shared memory sees it: nothing was before the block.
    pub(super) fn shared_clock(&self) -> Clock {
        let block = self.global_clock.block;
        Clock { launch: block, initialized_since: block, ..self.global_clock }
    }

    fn fault(&self, at: u32, warp: u32, trouble: Trouble) -> Fault {
        let instruction = &self.entry.code[at as usize];
        Fault {
            kernel: self.entry.name.clone(),
            line: instruction.line,
            text: instruction.text.clone(),
            block: self.block,
            thread: thread_index(self.shape.block, 32 * warp + trouble.lane),
            kind: trouble.kind,
        }
    }

    /// Runs every block.
    pub(super) fn grid(&mut self, mut warps: Vec<Warp>) -> Result<(), Fault> {
        let grid = self.shape.grid;
        let count: u64 = grid.iter().map(|&n| u64::from(n)).product();
        let mut order: Vec<u64> = (0..count).collect();
        if let Some(draw) = &mut self.draw {
            for i in (1..order.len()).rev() {
                order.swap(i, draw.below(i as u64 + 1) as usize);
            }
        }
        let (x, y) = (u64::from(grid[0]), u64::from(grid[1]));
        for block in order {
            self.block = [(block % x) as u32, (block / x % y) as u32, (block / x / y) as u32];
            let tick = self.memory.tick();
            self.global_clock.block = tick;
            self.global_clock.interval = tick;
            for warp in &mut warps {
                warp.begin(self.entry, self.shape, self.block, tick);
            }
            while !warps.iter().all(|warp| warp.ended == u32::MAX) {
                self.turns(&mut warps)?;
            }
        }
        Ok(())
    }

    /// One turn of every warp that can run; then barriers open if nothing else can happen.
    fn turns(&mut self, warps: &mut [Warp]) -> Result<(), Fault> {
        let count = warps.len();
        let first = self.draw.as_mut().map_or(0, |draw| draw.below(count as u64) as usize);
        let mut ran = false;
        for i in 0..count {
            let warp = &mut warps[(i + first) % count];
            if warp.ready() != 0 {
                ran = true;
                self.turn(warp)?;
            }
        }
        let opened = self.open_barriers(warps)?;
        if ran || opened || warps.iter().all(|warp| warp.ended == u32::MAX) {
            return Ok(());
        }
        self.stuck(warps)
    }

    fn stuck(&self, warps: &[Warp]) -> Result<(), Fault> {
        for warp in warps {
            if warp.at_barrier != 0 {
                let lane = warp.at_barrier.trailing_zeros();
                let message = "other threads of the block wait elsewhere and never arrive".into();
                let kind = FaultKind::DivergentBarrier(message);
                return Err(self.fault(warp.at[lane as usize] - 1, warp.index, Trouble { lane, kind }));
            }
        }
        Ok(())
    }

    /// Opens a barrier at which all threads that have not ended wait.
    fn open_barriers(&mut self, warps: &mut [Warp]) -> Result<bool, Fault> {
        let alive: u32 = warps.iter().map(|warp| (!warp.ended).count_ones()).sum();
        let waiting: u32 = warps.iter().map(|warp| warp.at_barrier.count_ones()).sum();
        if alive == 0 || waiting < alive {
            return Ok(false);
        }
        let mut id = None;
        for warp in warps.iter() {
            let Some(first) = (warp.at_barrier != 0).then(|| warp.at_barrier.trailing_zeros() as usize)
            else {
                continue;
            };
            let mut split = None;
            each(warp.at_barrier, |lane| {
                let same = warp.at[lane] == warp.at[first] && warp.barrier[lane] == warp.barrier[first];
                split = split.or((!same).then_some(lane));
            });
            if let Some(lane) = split {
                let line = self.entry.code[warp.at[first] as usize - 1].line;
                let kind =
                    FaultKind::DivergentBarrier(format!("lanes of one warp wait here and at line {line}"));
                let trouble = Trouble { lane: lane as u32, kind };
                return Err(self.fault(warp.at[lane] - 1, warp.index, trouble));
            }
            if *id.get_or_insert(warp.barrier[first]) != warp.barrier[first] {
                return Ok(false);
            }
        }
        let tick = self.memory.tick();
        self.global_clock.interval = tick;
        self.barriers += 1;
        for warp in warps {
            warp.at_barrier = 0;
            warp.moment = tick;
        }
        Ok(true)
    }

    /// Runs a warp until its lanes wait or ended, or its turn is over.
    fn turn(&mut self, warp: &mut Warp) -> Result<(), Fault> {
        let mut left = self.draw.as_mut().map_or(u64::MAX, |draw| 1 + draw.below(TURN));
        while left > 0 {
            let ready = warp.ready();
            if ready == 0 {
                if warp.at_sync == 0 {
                    return Ok(());
                }
                let lane = warp.at_sync.trailing_zeros();
                let message = format!(
                    "lanes {:#010x} wait for members that are at a barrier ({:#010x}) or ended ({:#010x})",
                    warp.at_sync, warp.at_barrier, warp.ended
                );
                let kind = FaultKind::BadWarpMask(message);
                return Err(self.fault(warp.at[lane as usize], warp.index, Trouble { lane, kind }));
            }
            let group = warp.group(ready, self.draw.as_mut());
            let (mut at, lanes) = (group.at, group.lanes);
            loop {
                left -= 1;
                let flow = self.instruction(warp, at, lanes).map_err(|t| self.fault(at, warp.index, *t))?;
                match flow {
                    Flow::Next => {
                        at += 1;
                        if at < group.meets && left > 0 {
                            continue;
                        }
                        warp.place(lanes, at);
                    }
                    Flow::Jump(target, taken) => {
                        if taken == lanes && group.meets == u32::MAX && left > 0 {
                            at = target;
                            continue;
                        }
                        warp.place(lanes & !taken, at + 1);
                        warp.place(taken, target);
                    }
                    Flow::End(ended) => {
                        warp.ended |= ended;
                        warp.place(lanes & !ended, at + 1);
                    }
                    Flow::Barrier(waiting) => {
                        warp.at_barrier |= waiting;
                        warp.place(lanes, at + 1);
                    }
                    Flow::Park(waiting) => {
                        warp.at_sync |= waiting;
                        warp.place(waiting, at);
                        warp.place(lanes & !waiting, at + 1);
                    }
                    Flow::Joined(joined) => {
                        warp.at_sync &= !joined;
                        warp.place(lanes | joined, at + 1);
                    }
                }
                break;
            }
        }
        Ok(())
    }

    /// Evaluates the guard, checks what the instruction reads, and executes it.
    #[inline]
    fn instruction(&mut self, warp: &mut Warp, at: u32, lanes: u32) -> Outcome<Flow> {
        let entry = self.entry;
        let instruction = &entry.code[at as usize];
        let mut active = lanes;
        if instruction.guard != TRUE {
            let guard = usize::from(instruction.guard);
            defined_predicate(entry, warp, guard, lanes)?;
            active &= if instruction.negated { !warp.predicates[guard] } else { warp.predicates[guard] };
        }
        self.warp_instructions += 1;
        if self.warp_instructions > self.step_limit {
            return trouble(lanes.trailing_zeros() as usize, FaultKind::StepLimit(self.step_limit));
        }
        if active == 0 {
            return Ok(Flow::Next);
        }
        self.thread_instructions += u64::from(active.count_ones());
        self.executed[at as usize] = true;
        let mut defined = u32::MAX;
        for register in instruction.reads {
            defined &= warp.defined[usize::from(register)];
        }
        for predicate in instruction.predicate_reads {
            defined &= warp.predicates_defined[usize::from(predicate)];
        }
        if active & !defined != 0 {
            for register in instruction.reads {
                defined_register(entry, warp, usize::from(register), active)?;
            }
            for predicate in instruction.predicate_reads {
                defined_predicate(entry, warp, usize::from(predicate), active)?;
            }
        }
        self.execute(warp, instruction, at, active)
    }
}

/// Fails if some lane has not written a register.
pub(super) fn defined_register(entry: &Entry, warp: &Warp, register: usize, lanes: u32) -> Outcome<()> {
    let missing = lanes & !warp.defined[register];
    if missing == 0 {
        return Ok(());
    }
    let name = entry.registers.names[register].clone();
    trouble(missing.trailing_zeros() as usize, FaultKind::UninitializedRegister { name })
}

fn defined_predicate(entry: &Entry, warp: &Warp, predicate: usize, lanes: u32) -> Outcome<()> {
    let missing = lanes & !warp.predicates_defined[predicate];
    if missing == 0 {
        return Ok(());
    }
    let name = entry.registers.predicate_names[predicate].clone();
    trouble(missing.trailing_zeros() as usize, FaultKind::UninitializedRegister { name })
}
