//! Branches, barriers, fences, and the instructions of whole warps.

use super::instruction::{Opcode, next, target};
use super::operand::{Builder, Width};
use crate::fault::ParseError;
use crate::lexer::Cursor;
use crate::program::{Op, Shuffle, Vote};
use crate::semantics::Type;

pub(super) fn decode(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
) -> Result<Op, ParseError> {
    match opcode.name.as_str() {
        "bra" => {
            opcode.has("uni");
            let (line, label) = (cursor.line(), cursor.take()?);
            builder.branches.push((builder.code.len(), line, label));
            Ok(Op::Branch { target: 0 })
        }
        "ret" | "exit" => Ok(Op::Exit),
        "trap" => Ok(Op::Trap),
        "membar" | "fence" => {
            for word in ["cta", "gl", "sys", "gpu", "acq_rel", "sc"] {
                opcode.has(word);
            }
            Ok(Op::Fence)
        }
        "bar" | "barrier" => barrier(cursor, builder, opcode),
        "shfl" => shuffle(cursor, builder, opcode),
        _ => vote(cursor, builder, opcode),
    }
}

fn barrier(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    opcode.has("cta");
    opcode.has("aligned");
    let warp = opcode.has("warp");
    if !opcode.has("sync") {
        return opcode.unsupported(cursor);
    }
    let operand = builder.source(cursor, Type::U32, Width::Exact)?;
    if warp {
        return Ok(Op::WarpBarrier { members: operand });
    }
    if cursor.peek() == "," {
        return cursor.error("barriers of a part of the block are unsupported");
    }
    Ok(Op::Barrier { id: operand })
}

fn shuffle(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    let mode = match opcode.one_of(&["up", "down", "bfly", "idx"]) {
        Some("up") => Shuffle::Up,
        Some("down") => Shuffle::Down,
        Some("bfly") => Shuffle::Butterfly,
        Some(_) => Shuffle::Index,
        None => return opcode.unsupported(cursor),
    };
    if !opcode.has("sync") || opcode.ty(cursor)?.bits() != 32 {
        return opcode.unsupported(cursor);
    }
    let (d, _) = builder.target(cursor, Type::U32, Width::Exact)?;
    let found = if cursor.accept("|") { builder.predicate_target(cursor)? } else { None };
    let a = next(cursor, builder, Type::U32)?;
    let lane = next(cursor, builder, Type::U32)?;
    let clamp = next(cursor, builder, Type::U32)?;
    let members = next(cursor, builder, Type::U32)?;
    Ok(Op::Shuffle { d, found, mode, a, lane, clamp, members })
}

fn vote(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    if !opcode.has("sync") {
        return opcode.unsupported(cursor);
    }
    if opcode.has("ballot") {
        let d = target(cursor, builder, Type::U32)?;
        let a = builder.predicate_source(cursor)?;
        let members = next(cursor, builder, Type::U32)?;
        return Ok(Op::Ballot { d, a, members });
    }
    let mode = match opcode.one_of(&["all", "any", "uni"]) {
        Some("all") => Vote::All,
        Some("any") => Vote::Any,
        Some(_) => Vote::Uniform,
        None => return opcode.unsupported(cursor),
    };
    let Some(d) = builder.predicate_target(cursor)? else { return opcode.unsupported(cursor) };
    cursor.expect(",")?;
    let a = builder.predicate_source(cursor)?;
    let members = next(cursor, builder, Type::U32)?;
    Ok(Op::Vote { d, mode, a, members })
}
