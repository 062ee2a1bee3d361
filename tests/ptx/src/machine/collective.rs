//! What the lanes of a warp do together: shuffles, votes and warp barriers.
//!
//! Lanes that arrive before the other members of their mask are parked; the last ones to arrive run the
//! instruction for all. Members that have ended are not waited for.

use super::block::{Flow, Outcome, Run, trouble};
use super::warp::Warp;
use crate::fault::FaultKind;
use crate::program::{Op, Reg, Shuffle, Vote};
use crate::semantics::{Lanes, each};

/// Lane that a lane reads, and whether that lies in its segment (`clamp` is PTX's operand c).
fn source(mode: Shuffle, lane: u32, by: u32, clamp: u32) -> (u32, bool) {
    let (segment, by) = (clamp >> 8 & 31, by & 31);
    let (low, high) = (lane & segment, (lane & segment) | (clamp & 31 & !segment));
    let (from, inside) = match mode {
        Shuffle::Up => (lane.wrapping_sub(by), lane as i32 - by as i32 >= high as i32),
        Shuffle::Down => (lane + by, lane + by <= high),
        Shuffle::Butterfly => (lane ^ by, lane ^ by <= high),
        Shuffle::Index => (low | (by & !segment), low | (by & !segment) <= high),
    };
    (if inside { from } else { lane }, inside)
}

/// A lane's bit.
fn bit(mask: u32, lane: usize) -> bool {
    mask >> lane & 1 == 1
}

impl Run<'_> {
    pub(super) fn collective(&mut self, warp: &mut Warp, op: &Op, at: u32, lanes: u32) -> Outcome<Flow> {
        let members = match op {
            Op::Shuffle { members, .. }
            | Op::Vote { members, .. }
            | Op::Ballot { members, .. }
            | Op::WarpBarrier { members } => mask(warp, *members, lanes)?,
            _ => return Ok(Flow::Next),
        };
        let mut parked = 0;
        each(warp.at_sync, |lane| parked |= u32::from(warp.at[lane] == at) << lane);
        let here = lanes | parked;
        if members & !warp.ended & !here != 0 {
            return Ok(Flow::Park(lanes));
        }
        match op {
            Op::Shuffle { d, found, mode, a, lane, clamp, .. } => {
                let (values, by, clamp) = (*warp.get(*a), *warp.get(*lane), *warp.get(*clamp));
                let (moved, inside) = shuffle(*mode, &values, &by, &clamp, here)?;
                let d = warp.set(*d, here);
                each(here, |lane| d[lane] = moved[lane]);
                if let Some(found) = found {
                    warp.set_predicate(*found, here, inside);
                }
            }
            Op::Vote { d, mode, a, .. } => {
                let votes = warp.truth(*a) & here;
                let holds = match mode {
                    Vote::All => votes == here,
                    Vote::Any => votes != 0,
                    Vote::Uniform => votes == 0 || votes == here,
                };
                warp.set_predicate(*d, here, if holds { u32::MAX } else { 0 });
            }
            Op::Ballot { d, a, .. } => {
                let votes = warp.truth(*a) & here;
                let d = warp.set(*d, here);
                each(here, |lane| d[lane] = u64::from(votes));
            }
            _ => {
                // Orders the memory accesses of its members; only for whole warps is that followed up.
                if here == !warp.ended {
                    warp.moment = self.memory.tick();
                }
            }
        }
        Ok(if parked == 0 { Flow::Next } else { Flow::Joined(parked) })
    }
}

/// The member mask, which all lanes must give alike and be in.
fn mask(warp: &Warp, register: Reg, lanes: u32) -> Outcome<u32> {
    let values = warp.get(register);
    let members = values[lanes.trailing_zeros() as usize] as u32;
    let mut wrong = None;
    each(lanes, |lane| {
        wrong = wrong.or((values[lane] as u32 != members || !bit(members, lane)).then_some(lane))
    });
    match wrong {
        None => Ok(members),
        Some(lane) => {
            let message = format!("the member mask {members:#010x} is not this lane's, or lacks it");
            trouble(lane, FaultKind::BadWarpMask(message))
        }
    }
}

fn shuffle(mode: Shuffle, values: &Lanes, by: &Lanes, clamp: &Lanes, here: u32) -> Outcome<(Lanes, u32)> {
    let (mut moved, mut insides) = ([0; 32], 0);
    let mut missing = None;
    each(here, |lane| {
        let (from, inside) = source(mode, lane as u32, by[lane] as u32, clamp[lane] as u32);
        let from = from as usize & 31;
        if !bit(here, from) {
            missing = missing.or(Some((lane, from)));
        }
        moved[lane] = values[from];
        insides |= u32::from(inside) << lane;
    });
    match missing {
        None => Ok((moved, insides)),
        Some((lane, from)) => {
            let message = format!("it reads lane {from}, which does not take part");
            trouble(lane, FaultKind::BadWarpMask(message))
        }
    }
}
