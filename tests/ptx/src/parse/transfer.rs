//! Loads, stores and atomics.

use super::instruction::{Opcode, list, next, target};
use super::operand::{Builder, Width};
use crate::fault::{ParseError, Space};
use crate::lexer::Cursor;
use crate::program::{Coherence, Op, Transfer, ZERO};
use crate::semantics::{Type, atomic};

/// Modifiers of memory instructions that change nothing here: caches, scopes and orders.
const HINTS: [&str; 17] = [
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "volatile",
    "relaxed",
    "weak",
    "cta",
    "gpu",
    "sys",
    "L1::no_allocate",
    "L1::evict_last",
    "L1::evict_first",
    "L2::128B",
];

pub(super) fn decode(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
) -> Result<Op, ParseError> {
    for hint in HINTS {
        opcode.has(hint);
    }
    let parameter = opcode.has("param");
    let space = match opcode.one_of(&["global", "shared", "local"]) {
        Some("global") => Space::Global,
        Some("shared") => Space::Shared,
        Some(_) => Space::Local,
        None => Space::Generic,
    };
    let ty = opcode.ty(cursor)?;
    if ty == Type::Predicate {
        return opcode.unsupported(cursor);
    }
    match opcode.name.as_str() {
        "ld" | "st" => transfer(cursor, builder, opcode, ty, space, parameter),
        "atom" | "red" if !parameter && space != Space::Local => atomics(cursor, builder, opcode, ty, space),
        _ => opcode.unsupported(cursor),
    }
}

fn transfer(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
    ty: Type,
    space: Space,
    parameter: bool,
) -> Result<Op, ParseError> {
    let count = match opcode.one_of(&["v2", "v4"]) {
        Some("v2") => 2,
        Some(_) => 4,
        None => 1,
    };
    let size = ty.bits() / 8;
    let coherence = if opcode.has("nc") { Coherence::NonCoherent } else { Coherence::Coherent };
    if size * count as u32 > 16 || (coherence == Coherence::NonCoherent && space != Space::Global) {
        return opcode.unsupported(cursor);
    }
    if opcode.name == "st" {
        if parameter || coherence == Coherence::NonCoherent {
            return opcode.unsupported(cursor);
        }
        let address = builder.address(cursor, space)?;
        cursor.expect(",")?;
        let registers = list(cursor, |cursor| builder.source(cursor, ty, Width::Wider))?;
        check_count(cursor, &registers, count)?;
        return Ok(Op::Store(Transfer { space, address, size, registers, sign_bits: 0, coherence }));
    }
    let mut register_bits = 0;
    let registers = list(cursor, |cursor| {
        let (register, bits) = builder.target(cursor, ty, Width::Wider)?;
        register_bits = bits;
        Ok(register)
    })?;
    check_count(cursor, &registers, count)?;
    cursor.expect(",")?;
    let sign_bits = if ty.is_signed() { register_bits } else { 0 };
    if parameter {
        let offset = builder.parameter(cursor, size as usize * count)?;
        return Ok(Op::LoadParameter { registers, offset, size: size as usize, sign_bits });
    }
    let address = builder.address(cursor, space)?;
    Ok(Op::Load(Transfer { space, address, size, registers, sign_bits, coherence }))
}

fn check_count(cursor: &Cursor, registers: &[u16], count: usize) -> Result<(), ParseError> {
    if registers.len() == count {
        return Ok(());
    }
    cursor.error(format!("{} registers where the instruction moves {count}", registers.len()))
}

fn atomics(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
    ty: Type,
    space: Space,
) -> Result<Op, ParseError> {
    let names = ["add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"];
    let Some(name) = opcode.one_of(&names) else { return opcode.unsupported(cursor) };
    let Some(run) = atomic(name, ty) else { return opcode.unsupported(cursor) };
    let returns = opcode.name == "atom";
    if !returns && matches!(name, "exch" | "cas") {
        return opcode.unsupported(cursor);
    }
    let d = if returns { Some(target(cursor, builder, ty)?) } else { None };
    let address = builder.address(cursor, space)?;
    let b = next(cursor, builder, ty)?;
    let c = if name == "cas" { next(cursor, builder, ty)? } else { ZERO };
    Ok(Op::Atomic { d, space, address, size: ty.bits() / 8, b, c, run })
}
