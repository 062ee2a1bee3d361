//! The device's address space: allocations with redzones between them, freed ones kept as forbidden.
//!
//! Addresses are never used twice. The host reads, writes, copies and fills; kernels access the same bytes through
//! [`Store`], which keeps the shadow of each word.

use crate::fault::{MemoryError, Race};
use crate::program::Coherence;
use crate::shadow::{Access, Cell, Clock, Write};

const FIRST_ADDRESS: u64 = 0x7_0000_0000;
const ALIGNMENT: u64 = 256;
const REDZONE: u64 = 512;

/// Bytes and their shadow.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) bytes: Vec<u8>,
    pub(crate) cells: Vec<Cell>,
}

/// Why a kernel's access to a store failed.
#[derive(Debug)]
pub(crate) enum Problem {
    Uninitialized,
    Redzone,
    Race { race: Race, other: String },
}

impl Store {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], cells: vec![Cell::default(); bytes.div_ceil(4)] }
    }

    /// Bits of the bytes of word `word` that a range covers.
    #[inline]
    fn covered(word: usize, start: usize, end: usize) -> u8 {
        let from = start.max(4 * word) - 4 * word;
        let to = end.min(4 * word + 4) - 4 * word;
        ((1u8 << to) - 1) & !((1u8 << from) - 1)
    }

    /// Value of `size` bytes at `at`, which lie inside.
    #[inline]
    pub(crate) fn value(&self, at: usize, size: usize) -> u64 {
        let bytes = &self.bytes[at..at + size];
        match *bytes {
            [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)),
        }
    }

    #[inline]
    pub(crate) fn set_value(&mut self, at: usize, size: usize, value: u64) {
        let bytes = value.to_le_bytes();
        match size {
            4 => self.bytes[at..at + 4].copy_from_slice(&bytes[..4]),
            8 => self.bytes[at..at + 8].copy_from_slice(&bytes),
            _ => self.bytes[at..at + size].copy_from_slice(&bytes[..size]),
        }
    }

    /// Checks and notes a read of a range, which lies inside.
    #[inline]
    pub(crate) fn note_read(
        &mut self,
        at: usize,
        size: usize,
        clock: &Clock,
        now: Access,
        coherence: Coherence,
    ) -> Result<(), Problem> {
        for word in at / 4..(at + size).div_ceil(4) {
            let cell = &mut self.cells[word];
            let covered = Self::covered(word, at, at + size);
            if cell.initialized(clock) & covered != covered {
                return Err(if cell.is_redzone() { Problem::Redzone } else { Problem::Uninitialized });
            }
            if coherence == Coherence::NonCoherent && cell.written_by_launch(clock) {
                return Err(Problem::Race { race: Race::NonCoherent, other: cell.writer(clock) });
            }
            cell.note_read(clock, now).map_err(|race| Problem::Race { race, other: cell.writer(clock) })?;
        }
        Ok(())
    }

    /// Checks and notes a write of a range, which lies inside.
    #[inline]
    pub(crate) fn note_write(
        &mut self,
        at: usize,
        size: usize,
        clock: &Clock,
        now: Access,
        kind: Write,
    ) -> Result<(), Problem> {
        for word in at / 4..(at + size).div_ceil(4) {
            let cell = &mut self.cells[word];
            if cell.is_redzone() {
                return Err(Problem::Redzone);
            }
            let covered = Self::covered(word, at, at + size);
            cell.note_write(clock, now, covered, kind).map_err(|race| Problem::Race {
                race,
                other: if race == Race::WriteAfterRead { cell.reader(clock) } else { cell.writer(clock) },
            })?;
        }
        Ok(())
    }

    /// Whether a kernel finds values in the whole range, which lies inside.
    pub(crate) fn holds(&self, at: usize, size: usize, clock: &Clock) -> bool {
        (at / 4..(at + size).div_ceil(4)).all(|word| {
            let covered = Self::covered(word, at, at + size);
            self.cells[word].initialized(clock) & covered == covered
        })
    }

    fn set_initialized(&mut self, start: usize, end: usize, value: bool) {
        for word in start / 4..end.div_ceil(4) {
            self.cells[word].set_initialized(Self::covered(word, start, end), value);
        }
    }

    fn is_initialized(&self, start: usize, end: usize) -> bool {
        (start / 4..end.div_ceil(4)).all(|word| {
            let covered = Self::covered(word, start, end);
            self.cells[word].host_initialized() & covered == covered
        })
    }
}

#[derive(Debug)]
struct Allocation {
    start: u64,
    size: u64,
    /// `None` after it was freed.
    store: Option<Store>,
}

/// The memory of one device.
#[derive(Debug)]
pub struct Memory {
    /// In the order of their addresses.
    allocations: Vec<Allocation>,
    next: u64,
    live: u64,
    ticks: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty device.
    pub fn new() -> Self {
        Self { allocations: Vec::new(), next: FIRST_ADDRESS, live: 0, ticks: 0 }
    }

    /// Address of `bytes` new, uninitialized bytes, aligned to 256.
    pub fn allocate(&mut self, bytes: u64) -> u64 {
        let start = self.next;
        self.next = (start + bytes + REDZONE).next_multiple_of(ALIGNMENT);
        self.live += bytes;
        let store = Some(Store::new(bytes as usize));
        self.allocations.push(Allocation { start, size: bytes, store });
        start
    }

    /// Address of a copy of `bytes`.
    pub fn upload(&mut self, bytes: &[u8]) -> u64 {
        let address = self.allocate(bytes.len() as u64);
        if let Some(Allocation { store: Some(store), .. }) = self.allocations.last_mut() {
            store.bytes.copy_from_slice(bytes);
            store.set_initialized(0, bytes.len(), true);
        }
        address
    }

    /// Gives an allocation back; its addresses are never used again.
    ///
    /// # Errors
    ///
    /// [`MemoryError::BadFree`] if `address` is not what [`Memory::allocate`] returned, or was freed.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let found = self.allocations.binary_search_by_key(&address, |a| a.start).ok();
        match found.map(|index| &mut self.allocations[index]) {
            Some(allocation) if allocation.store.is_some() => {
                allocation.store = None;
                self.live -= allocation.size;
                Ok(())
            }
            _ => Err(MemoryError::BadFree { address }),
        }
    }

    /// Bytes that are allocated.
    pub fn live_bytes(&self) -> u64 {
        self.live
    }

    /// Number of allocations that were not freed.
    pub fn live_allocations(&self) -> usize {
        self.allocations.iter().filter(|a| a.store.is_some()).count()
    }

    /// Copies a range to the host. See [`Memory::is_initialized`].
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if the range is not inside of one live allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let (index, at) = self.find(address, out.len() as u64)?;
        if let Some(store) = &self.allocations[index].store {
            out.copy_from_slice(&store.bytes[at..at + out.len()]);
        }
        Ok(())
    }

    /// Copies from the host.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if the range is not inside of one live allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let (index, at) = self.find(address, bytes.len() as u64)?;
        if let Some(store) = &mut self.allocations[index].store {
            store.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            store.set_initialized(at, at + bytes.len(), true);
        }
        Ok(())
    }

    /// Whether every byte of a range was written.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if the range is not inside of one live allocation.
    pub fn is_initialized(&self, address: u64, bytes: u64) -> Result<bool, MemoryError> {
        let (index, at) = self.find(address, bytes)?;
        let store = self.allocations[index].store.as_ref();
        Ok(store.is_some_and(|store| store.is_initialized(at, at + bytes as usize)))
    }

    /// Copies within the device, bytes that were never written as such.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if a range is not inside of one live allocation.
    pub fn copy(&mut self, from: u64, to: u64, bytes: u64) -> Result<(), MemoryError> {
        let (source, at) = self.find(from, bytes)?;
        let (target, to) = self.find(to, bytes)?;
        let length = bytes as usize;
        let Some(store) = &self.allocations[source].store else { return Ok(()) };
        let copied = store.bytes[at..at + length].to_vec();
        let missing: Vec<usize> = if store.is_initialized(at, at + length) {
            Vec::new()
        } else {
            (0..length).filter(|i| !store.is_initialized(at + i, at + i + 1)).collect()
        };
        if let Some(store) = &mut self.allocations[target].store {
            store.bytes[to..to + length].copy_from_slice(&copied);
            store.set_initialized(to, to + length, true);
            for i in missing {
                store.set_initialized(to + i, to + i + 1, false);
            }
        }
        Ok(())
    }

    /// The allocation that holds a range, and the offset in it.
    fn find(&self, address: u64, bytes: u64) -> Result<(usize, usize), MemoryError> {
        let above = self.allocations.partition_point(|a| a.start <= address);
        if let Some(allocation) = above.checked_sub(1).map(|index| &self.allocations[index])
            && address - allocation.start <= allocation.size
            && bytes <= allocation.size - (address - allocation.start)
        {
            return match allocation.store {
                Some(_) => Ok((above - 1, (address - allocation.start) as usize)),
                None => Err(MemoryError::UseAfterFree { address, bytes }),
            };
        }
        Err(MemoryError::OutOfBounds { address, bytes, nearest: self.nearest(address) })
    }

    fn nearest(&self, address: u64) -> String {
        let above = self.allocations.partition_point(|a| a.start <= address);
        match above.checked_sub(1).map(|index| &self.allocations[index]) {
            Some(a) => format!("{} bytes behind the start of {} bytes", address - a.start, a.size),
            None => "below every allocation".into(),
        }
    }

    /// The store that holds a kernel's access, and the offset in it. `hint` is the allocation found last.
    #[inline]
    pub(crate) fn store(
        &mut self,
        address: u64,
        bytes: u64,
        hint: &mut usize,
    ) -> Result<(&mut Store, usize), MemoryError> {
        let fits = self.allocations.get(*hint).is_some_and(|a| {
            let at = address.wrapping_sub(a.start);
            at < a.size && bytes <= a.size - at && a.store.is_some()
        });
        if !fits {
            *hint = self.find(address, bytes)?.0;
        }
        let allocation = &mut self.allocations[*hint];
        let at = (address - allocation.start) as usize;
        match &mut allocation.store {
            Some(store) => Ok((store, at)),
            None => Err(MemoryError::UseAfterFree { address, bytes }),
        }
    }

    /// The next tick of the device's clock; see [`crate::shadow`].
    #[inline]
    pub(crate) fn tick(&mut self) -> u32 {
        self.ticks += 1;
        self.ticks
    }

    /// Starts the clock again while it is far from its end.
    pub(crate) fn begin_launch(&mut self) -> u32 {
        if self.ticks > u32::MAX / 4 {
            self.ticks = 0;
            for store in self.allocations.iter_mut().filter_map(|a| a.store.as_mut()) {
                store.cells.iter_mut().for_each(Cell::forget);
            }
        }
        self.tick()
    }
}
