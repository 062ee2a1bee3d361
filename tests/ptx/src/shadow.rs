//! What is known of each word of memory beside its value: which bytes were written, and who accessed it when.
//!
//! Time is one counter. It ticks when a launch begins, when a block begins, when a block passes a barrier, and
//! when a whole warp passes `bar.warp.sync`. Since blocks run one after the other, a tick tells all that orders
//! two accesses: one before the launch's first tick is ordered; one before the block's belongs to another block
//! and is not; one before the interval's (between two barriers) is ordered by the barrier; within the interval
//! only accesses of the same thread are, and those of the same warp before its last `bar.warp.sync`.

use crate::fault::Race;

/// First ticks of the present launch, block and interval between barriers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// For shared memory the same as `block`: what other blocks did is of no concern.
    pub(crate) launch: u32,
    pub(crate) block: u32,
    pub(crate) interval: u32,
    /// Bytes written before this tick count as uninitialized.
    pub(crate) initialized_since: u32,
}

/// Who accesses: the thread's number in its block, and the tick since which its warp is in step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) thread: u16,
    pub(crate) moment: u32,
}

/// Kinds of writes: atomic ones do not race with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Plain,
    Atomic,
}

/// Several lanes of one warp read the word in the present interval.
const READ_LANES: u8 = 1;
/// Several warps did.
const READ_WARPS: u8 = 2;
/// Several blocks did in the present launch.
const READ_BLOCKS: u8 = 4;
/// The last write was atomic.
const ATOMIC: u8 = 8;
/// Several threads wrote it atomically in the present interval.
const ATOMIC_THREADS: u8 = 16;
/// Several blocks did in the present launch.
const ATOMIC_BLOCKS: u8 = 32;
/// No variable's memory.
const REDZONE: u8 = 64;

/// The shadow of 4 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    written: u32,
    read: u32,
    writer: u16,
    reader: u16,
    flags: u8,
    /// A bit for each byte that was written.
    initialized: u8,
}

fn same_warp(a: u16, b: u16) -> bool {
    a / 32 == b / 32
}

/// Whether an access at `tick` by `thread` is unordered with the present one.
#[inline]
fn unordered(tick: u32, thread: u16, clock: &Clock, now: Access) -> bool {
    if tick < clock.launch {
        return false;
    }
    if tick < clock.block {
        return true;
    }
    tick >= clock.interval && thread != now.thread && !(same_warp(thread, now.thread) && tick < now.moment)
}

impl Cell {
    /// Marks a word that belongs to no variable.
    pub(crate) fn redzone() -> Self {
        Self { flags: REDZONE, ..Self::default() }
    }

    pub(crate) fn is_redzone(&self) -> bool {
        self.flags & REDZONE != 0
    }

    /// Bits of the bytes that hold a value.
    #[inline]
    pub(crate) fn initialized(&self, clock: &Clock) -> u8 {
        if self.written < clock.initialized_since { 0 } else { self.initialized }
    }

    /// Marks bytes as written, or as never written, by the host.
    pub(crate) fn set_initialized(&mut self, bytes: u8, value: bool) {
        if value { self.initialized |= bytes } else { self.initialized &= !bytes }
    }

    pub(crate) fn host_initialized(&self) -> u8 {
        self.initialized
    }

    /// Forgets who accessed the word.
    pub(crate) fn forget(&mut self) {
        *self = Self { initialized: self.initialized, flags: self.flags & REDZONE, ..Self::default() };
    }

    /// The last writer, in words.
    pub(crate) fn writer(&self, clock: &Clock) -> String {
        describe(self.written, self.writer, clock)
    }

    /// The last reader, in words.
    pub(crate) fn reader(&self, clock: &Clock) -> String {
        describe(self.read, self.reader, clock)
    }

    /// Whether this launch wrote the word.
    pub(crate) fn written_by_launch(&self, clock: &Clock) -> bool {
        self.written >= clock.launch && self.written != 0
    }

    /// Notes a read.
    #[inline]
    pub(crate) fn note_read(&mut self, clock: &Clock, now: Access) -> Result<(), Race> {
        if self.conflicts_with_write(clock, now) {
            return Err(Race::ReadAfterWrite);
        }
        if self.read < clock.launch {
            self.flags &= !(READ_LANES | READ_WARPS | READ_BLOCKS);
        } else if self.read < clock.block {
            self.flags = (self.flags & !(READ_LANES | READ_WARPS)) | READ_BLOCKS;
        } else if self.read < clock.interval {
            self.flags &= !(READ_LANES | READ_WARPS);
        } else if !same_warp(self.reader, now.thread) {
            self.flags |= READ_WARPS;
        } else if self.read < now.moment {
            self.flags &= !READ_LANES;
        } else if self.reader != now.thread {
            self.flags |= READ_LANES;
        }
        self.read = now.moment;
        self.reader = now.thread;
        Ok(())
    }

    #[inline]
    fn conflicts_with_write(&self, clock: &Clock, now: Access) -> bool {
        let atomics = (self.flags & ATOMIC_BLOCKS != 0 && self.written >= clock.launch)
            || (self.flags & ATOMIC_THREADS != 0 && self.written >= clock.interval);
        atomics || unordered(self.written, self.writer, clock, now)
    }

    #[inline]
    fn conflicts_with_read(&self, clock: &Clock, now: Access) -> bool {
        if self.read < clock.launch || self.read == 0 {
            return false;
        }
        if self.flags & READ_BLOCKS != 0 || self.read < clock.block {
            return true;
        }
        if self.read < clock.interval {
            return false;
        }
        let in_step = same_warp(self.reader, now.thread) && self.read < now.moment;
        self.flags & READ_WARPS != 0
            || (!in_step && (self.flags & READ_LANES != 0 || self.reader != now.thread))
    }

    /// Notes a write of some of the word's bytes.
    #[inline]
    pub(crate) fn note_write(
        &mut self,
        clock: &Clock,
        now: Access,
        bytes: u8,
        kind: Write,
    ) -> Result<(), Race> {
        let both_atomic = kind == Write::Atomic && self.flags & ATOMIC != 0;
        if !both_atomic && self.conflicts_with_write(clock, now) {
            return Err(Race::WriteAfterWrite);
        }
        if self.conflicts_with_read(clock, now) {
            return Err(Race::WriteAfterRead);
        }
        if both_atomic && self.written >= clock.launch {
            if self.written < clock.block {
                self.flags |= ATOMIC_BLOCKS;
            } else if self.written < clock.interval {
                self.flags &= !ATOMIC_THREADS;
            } else if self.writer != now.thread {
                self.flags |= ATOMIC_THREADS;
            }
        } else {
            self.flags &= !(ATOMIC_THREADS | ATOMIC_BLOCKS);
        }
        self.flags = if kind == Write::Atomic { self.flags | ATOMIC } else { self.flags & !ATOMIC };
        self.initialized = self.initialized(clock) | bytes;
        self.written = now.moment;
        self.writer = now.thread;
        Ok(())
    }
}

fn describe(tick: u32, thread: u16, clock: &Clock) -> String {
    if tick < clock.block { "another block".into() } else { format!("thread {thread} of the block") }
}
