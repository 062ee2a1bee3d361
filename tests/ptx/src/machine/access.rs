//! Loads, stores and atomics of a warp, lane by lane, with every check.

use super::block::{Outcome, Run, Trouble, trouble};
use super::execute::extend;
use super::warp::Warp;
use crate::fault::{FaultKind, MemoryError, Space};
use crate::memory::{Problem, Store};
use crate::parse::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::program::{Address, Op, Transfer};
use crate::semantics::Lanes;
use crate::shadow::{Access, Clock, Write};

/// Where an address lies: its space, and the address in it.
fn resolve(space: Space, address: u64) -> (Space, u64) {
    match space {
        Space::Generic if address >= LOCAL_WINDOW => (Space::Local, address - LOCAL_WINDOW),
        Space::Generic if address >= SHARED_WINDOW => (Space::Shared, address - SHARED_WINDOW),
        Space::Generic => (Space::Global, address),
        _ => (space, address),
    }
}

/// One lane's access.
#[derive(Clone, Copy)]
struct Place {
    lane: usize,
    space: Space,
    address: u64,
    bytes: u32,
}

impl Place {
    fn out_of_bounds<T>(self, nearest: String) -> Outcome<T> {
        let Self { lane, space, address, bytes } = self;
        trouble(lane, FaultKind::OutOfBounds { space, address, bytes, nearest })
    }

    fn problem(self, problem: Problem) -> Box<Trouble> {
        let Self { lane, space, address, bytes } = self;
        let kind = match problem {
            Problem::Uninitialized => FaultKind::UninitializedMemory { space, address },
            Problem::Redzone => {
                let nearest = "between two variables".into();
                FaultKind::OutOfBounds { space, address, bytes, nearest }
            }
            Problem::Race { race, other } => FaultKind::DataRace { race, space, address, other },
        };
        Box::new(Trouble { lane: lane as u32, kind })
    }
}

impl Run<'_> {
    /// Checks alignment and finds the place of a lane's access.
    #[inline]
    fn place(&self, space: Space, base: &Lanes, address: Address, lane: usize, bytes: u32) -> Outcome<Place> {
        let (space, address) = resolve(space, base[lane].wrapping_add(address.offset as u64));
        // Sizes are powers of two.
        if address & u64::from(bytes - 1) != 0 {
            return trouble(lane, FaultKind::Misaligned { space, address, bytes });
        }
        Ok(Place { lane, space, address, bytes })
    }

    /// The bytes that a place of global or shared memory names, with the clock that counts there.
    #[inline]
    fn locate(&mut self, place: Place, at: u32) -> Outcome<(&mut Store, usize, Clock)> {
        if place.space == Space::Shared {
            let clock = self.shared_clock();
            let (address, bytes) = (place.address as usize, place.bytes as usize);
            let size = self.shared.bytes.len();
            if place.address >= size as u64 || bytes > size - address {
                return place.out_of_bounds(format!("the block has {size} bytes"));
            }
            return Ok((&mut self.shared, address, clock));
        }
        let hint = &mut self.hints[at as usize];
        match self.memory.store(place.address, u64::from(place.bytes), hint) {
            Ok((store, offset)) => Ok((store, offset, self.global_clock)),
            Err(MemoryError::OutOfBounds { nearest, .. }) => place.out_of_bounds(nearest),
            Err(_) => {
                let (address, bytes) = (place.address, place.bytes);
                trouble(place.lane, FaultKind::UseAfterFree { address, bytes })
            }
        }
    }

    /// First byte of a place in the warp's local memory.
    fn local(&self, place: Place) -> Outcome<usize> {
        let size = self.entry.local as usize;
        let address = place.address as usize;
        if place.address >= size as u64 || place.bytes as usize > size - address {
            return place.out_of_bounds(format!("the thread has {size} bytes"));
        }
        Ok(place.lane * size + address)
    }

    fn access(&self, warp: &Warp, lane: usize) -> Access {
        Access { thread: (32 * warp.index) as u16 + lane as u16, moment: warp.moment }
    }

    pub(super) fn load(&mut self, warp: &mut Warp, transfer: &Transfer, at: u32, lanes: u32) -> Outcome<()> {
        let base = *warp.get(transfer.address.base);
        let size = transfer.size as usize;
        let bytes = transfer.size * transfer.registers.len() as u32;
        let mut rest = lanes;
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let place = self.place(transfer.space, &base, transfer.address, lane, bytes)?;
            if place.space == Space::Local {
                let start = self.local(place)?;
                for (i, &register) in transfer.registers.iter().enumerate() {
                    let from = start + i * size;
                    if !warp.local_written[from..from + size].iter().all(|&written| written) {
                        return Err(place.problem(Problem::Uninitialized));
                    }
                    let value = warp.local[from..from + size]
                        .iter()
                        .rev()
                        .fold(0, |v, &byte| v << 8 | u64::from(byte));
                    warp.set(register, lanes)[lane] = extend(value, transfer.size, transfer.sign_bits);
                }
                continue;
            }
            let now = self.access(warp, lane);
            let (store, offset, clock) = self.locate(place, at)?;
            store
                .note_read(offset, bytes as usize, &clock, now, transfer.coherence)
                .map_err(|problem| place.problem(problem))?;
            for (i, &register) in transfer.registers.iter().enumerate() {
                let value = store.value(offset + i * size, size);
                warp.registers[usize::from(register)][lane] =
                    extend(value, transfer.size, transfer.sign_bits);
            }
        }
        for &register in &transfer.registers {
            warp.set(register, lanes);
        }
        Ok(())
    }

    pub(super) fn store(&mut self, warp: &mut Warp, transfer: &Transfer, at: u32, lanes: u32) -> Outcome<()> {
        let base = *warp.get(transfer.address.base);
        let size = transfer.size as usize;
        let bytes = transfer.size * transfer.registers.len() as u32;
        let mut rest = lanes;
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let place = self.place(transfer.space, &base, transfer.address, lane, bytes)?;
            if place.space == Space::Local {
                let start = self.local(place)?;
                for (i, &register) in transfer.registers.iter().enumerate() {
                    let value = warp.get(register)[lane].to_le_bytes();
                    let to = start + i * size;
                    warp.local[to..to + size].copy_from_slice(&value[..size]);
                    warp.local_written[to..to + size].fill(true);
                }
                continue;
            }
            let now = self.access(warp, lane);
            let (store, offset, clock) = self.locate(place, at)?;
            store
                .note_write(offset, bytes as usize, &clock, now, Write::Plain)
                .map_err(|problem| place.problem(problem))?;
            for (i, &register) in transfer.registers.iter().enumerate() {
                store.set_value(offset + i * size, size, warp.get(register)[lane]);
            }
        }
        Ok(())
    }

    pub(super) fn atomic(&mut self, warp: &mut Warp, op: &Op, at: u32, lanes: u32) -> Outcome<()> {
        let Op::Atomic { d, space, address, size, b, c, run } = op else { return Ok(()) };
        let base = *warp.get(address.base);
        let (b, c) = (*warp.get(*b), *warp.get(*c));
        let (mut old, mut new) = ([0; 32], [0; 32]);
        let mut rest = lanes;
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let place = self.place(*space, &base, *address, lane, *size)?;
            if place.space == Space::Local {
                return place.out_of_bounds("atomics work on global and shared memory".into());
            }
            let now = self.access(warp, lane);
            let (store, offset, clock) = self.locate(place, at)?;
            let width = *size as usize;
            if !store.holds(offset, width, &clock) {
                return Err(place.problem(Problem::Uninitialized));
            }
            store
                .note_write(offset, width, &clock, now, Write::Atomic)
                .map_err(|problem| place.problem(problem))?;
            old[lane] = store.value(offset, width);
            run(1 << lane, &mut new, &old, &b, &c);
            store.set_value(offset, width, new[lane]);
        }
        if let Some(d) = d {
            let d = warp.set(*d, lanes);
            crate::semantics::each(lanes, |lane| d[lane] = old[lane]);
        }
        Ok(())
    }
}
