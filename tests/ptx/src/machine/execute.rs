//! One instruction on some lanes of a warp.

use super::block::{Flow, Outcome, Run, defined_register, trouble};
use super::warp::Warp;
use crate::fault::FaultKind;
use crate::program::{Combine, Instruction, Op, Pred, Reg, Truth};
use crate::semantics::{Lanes, each};

impl Warp {
    #[inline]
    pub(super) fn get(&self, register: Reg) -> &Lanes {
        &self.registers[usize::from(register)]
    }

    /// The register to write; its lanes count as written.
    #[inline]
    pub(super) fn set(&mut self, register: Reg, lanes: u32) -> &mut Lanes {
        self.defined[usize::from(register)] |= lanes;
        &mut self.registers[usize::from(register)]
    }

    pub(super) fn set_predicate(&mut self, predicate: Pred, lanes: u32, value: u32) {
        let predicate = usize::from(predicate);
        self.predicates_defined[predicate] |= lanes;
        self.predicates[predicate] = (self.predicates[predicate] & !lanes) | (value & lanes);
    }

    pub(super) fn truth(&self, truth: Truth) -> u32 {
        let value = self.predicates[usize::from(truth.predicate)];
        if truth.negated { !value } else { value }
    }
}

fn combined(combine: Combine, a: u32, b: u32) -> u32 {
    match combine {
        Combine::None => a,
        Combine::And => a & b,
        Combine::Or => a | b,
        Combine::Xor => a ^ b,
    }
}

impl Run<'_> {
    #[inline]
    pub(super) fn execute(
        &mut self,
        warp: &mut Warp,
        instruction: &Instruction,
        at: u32,
        lanes: u32,
    ) -> Outcome<Flow> {
        match &instruction.op {
            Op::Unary { run, d, a } => {
                let a = *warp.get(*a);
                run(lanes, warp.set(*d, lanes), &a);
            }
            Op::Binary { run, d, a, b } => {
                let (a, b) = (*warp.get(*a), *warp.get(*b));
                run(lanes, warp.set(*d, lanes), &a, &b);
            }
            Op::Ternary { run, d, a, b, c } => {
                let (a, b, c) = (*warp.get(*a), *warp.get(*b), *warp.get(*c));
                run(lanes, warp.set(*d, lanes), &a, &b, &c);
            }
            Op::Select { d, a, b, by } => {
                let first = warp.truth(*by);
                defined_register(self.entry, warp, usize::from(*a), lanes & first)?;
                defined_register(self.entry, warp, usize::from(*b), lanes & !first)?;
                let (a, b) = (*warp.get(*a), *warp.get(*b));
                let d = warp.set(*d, lanes);
                each(lanes, |lane| d[lane] = if first >> lane & 1 == 1 { a[lane] } else { b[lane] });
            }
            Op::Pack { d, parts, bits } => {
                let mut packed = [0; 32];
                for (i, part) in parts.iter().enumerate() {
                    let part = warp.get(*part);
                    each(lanes, |lane| packed[lane] |= part[lane] << (i as u32 * bits));
                }
                let d = warp.set(*d, lanes);
                each(lanes, |lane| d[lane] = packed[lane]);
            }
            Op::Unpack { parts, a, bits } => {
                let a = *warp.get(*a);
                for (i, part) in parts.iter().enumerate() {
                    let part = warp.set(*part, lanes);
                    each(lanes, |lane| part[lane] = (a[lane] >> (i as u32 * bits)) & ((1 << bits) - 1));
                }
            }
            Op::Compare { run, targets, a, b, combine, with } => {
                let holds = run(lanes, warp.get(*a), warp.get(*b));
                let with = warp.truth(*with);
                warp.set_predicate(targets.result, lanes, combined(*combine, holds, with));
                if let Some(complement) = targets.complement {
                    warp.set_predicate(complement, lanes, combined(*combine, !holds, with));
                }
            }
            Op::Logic { d, a, b, combine } => {
                let value = combined(*combine, warp.truth(*a), warp.truth(*b));
                warp.set_predicate(*d, lanes, value);
            }
            Op::LoadParameter { registers, offset, size, sign_bits } => {
                for (i, register) in registers.iter().enumerate() {
                    let start = offset + i * size;
                    let bytes = &self.parameters[start..start + size];
                    let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
                    let value = extend(value, *size as u32, *sign_bits);
                    let d = warp.set(*register, lanes);
                    each(lanes, |lane| d[lane] = value);
                }
            }
            Op::Load(transfer) => self.load(warp, transfer, at, lanes)?,
            Op::Store(transfer) => self.store(warp, transfer, at, lanes)?,
            Op::Atomic { .. } => self.atomic(warp, &instruction.op, at, lanes)?,
            Op::Shuffle { .. } | Op::Vote { .. } | Op::Ballot { .. } | Op::WarpBarrier { .. } => {
                return self.collective(warp, &instruction.op, at, lanes);
            }
            Op::Barrier { id } => {
                let id = *warp.get(*id);
                let mut bad = None;
                each(lanes, |lane| {
                    warp.barrier[lane] = id[lane] as u8;
                    bad = bad.or((id[lane] > 15).then_some(lane));
                });
                if let Some(lane) = bad {
                    let message = format!("no barrier {}", id[lane]);
                    return trouble(lane, FaultKind::DivergentBarrier(message));
                }
                return Ok(Flow::Barrier(lanes));
            }
            Op::Branch { target } => return Ok(Flow::Jump(*target, lanes)),
            Op::Fence => {}
            Op::Exit => return Ok(Flow::End(lanes)),
            Op::Trap => return trouble(lanes.trailing_zeros() as usize, FaultKind::Trap),
        }
        Ok(Flow::Next)
    }
}

/// Extends a value of `size` bytes by its sign to `bits` bits; by zeros if `bits` is 0.
pub(super) fn extend(value: u64, size: u32, bits: u32) -> u64 {
    if bits == 0 || size == 8 {
        return value;
    }
    let shift = 64 - 8 * size;
    let extended = ((value << shift) as i64 >> shift) as u64;
    if bits >= 64 { extended } else { extended & ((1 << bits) - 1) }
}
