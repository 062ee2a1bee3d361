//! Instructions that only compute: moves, conversions, arithmetic, logic, comparisons, selections.

use super::instruction::{Opcode, list, next, target};
use super::operand::{Builder, Width};
use crate::fault::ParseError;
use crate::lexer::Cursor;
use crate::program::{Combine, Op, TRUE, Targets, Truth};
use crate::semantics::{
    Rounding, Type, class_test, compare, convert, copy_sign, extract, float_binary, float_ternary,
    float_unary, integer_binary, integer_ternary, integer_unary, unary,
};

pub(super) fn decode(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
) -> Result<Op, ParseError> {
    match opcode.name.as_str() {
        "mov" => return move_value(cursor, builder, opcode),
        "cvta" => return convert_address(cursor, builder, opcode),
        "cvt" => return conversion(cursor, builder, opcode),
        "setp" => return set_predicate(cursor, builder, opcode),
        _ => {}
    }
    let ty = opcode.ty(cursor)?;
    if ty == Type::Predicate {
        return logic(cursor, builder, opcode);
    }
    match opcode.name.as_str() {
        "testp" => {
            let Some(run) = opcode.read(|class| class_test(class, ty)) else {
                return opcode.unsupported(cursor);
            };
            let targets = targets(cursor, builder)?;
            let a = next(cursor, builder, ty)?;
            let with = Truth { predicate: TRUE, negated: false };
            Ok(Op::Compare { run, targets, a, b: a, combine: Combine::None, with })
        }
        "selp" => {
            let d = target(cursor, builder, ty)?;
            let a = builder.source(cursor, ty, Width::Exact)?;
            let b = next(cursor, builder, ty)?;
            cursor.expect(",")?;
            let by = builder.predicate_source(cursor)?;
            // Only what is selected has to be there.
            builder.forget_reads();
            Ok(Op::Select { d, a, b, by })
        }
        "neg" | "abs" | "not" | "popc" | "clz" | "brev" | "sqrt" | "rcp" | "rsqrt" | "ex2" | "lg2"
        | "sin" | "cos" | "tanh" => one_operand(cursor, builder, opcode, ty),
        "fma" | "mad" | "bfe" => three_operands(cursor, builder, opcode, ty),
        _ => two_operands(cursor, builder, opcode, ty),
    }
}

/// Whether the modifiers of a floating-point instruction ask for an approximation, and for `.ftz`.
fn precision(cursor: &Cursor, opcode: &mut Opcode, needs_rounding: bool) -> Result<(bool, bool), ParseError> {
    let approx = opcode.has("approx") || opcode.has("full");
    let rounded = opcode.has("rn");
    if needs_rounding && !approx && !rounded || approx && rounded {
        return cursor.error(format!("`{}` needs one of .rn and .approx", opcode.name));
    }
    Ok((approx, opcode.has("ftz")))
}

fn one_operand(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
    ty: Type,
) -> Result<Op, ParseError> {
    let run = if ty.is_float() {
        let needs = !matches!(opcode.name.as_str(), "neg" | "abs");
        let (approx, ftz) = precision(cursor, opcode, needs)?;
        float_unary(&opcode.name, ty, approx, ftz)
    } else {
        integer_unary(&opcode.name, ty)
    };
    let Some(run) = run else { return opcode.unsupported(cursor) };
    // Counts of bits fit 32 bits whatever was counted.
    let counted = matches!(opcode.name.as_str(), "popc" | "clz");
    let d = target(cursor, builder, if counted { Type::U32 } else { ty })?;
    let a = builder.source(cursor, ty, Width::Exact)?;
    Ok(Op::Unary { run, d, a })
}

fn two_operands(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
    ty: Type,
) -> Result<Op, ParseError> {
    let part = opcode.one_of(&["lo", "hi", "wide"]).unwrap_or("");
    let run = if opcode.name == "copysign" {
        copy_sign(ty)
    } else if ty.is_float() && part.is_empty() {
        let (approx, ftz) = precision(cursor, opcode, opcode.name == "div")?;
        let propagate = opcode.has("NaN");
        float_binary(&opcode.name, ty, approx, propagate, ftz)
    } else {
        integer_binary(&opcode.name, part, ty)
    };
    let Some(run) = run else { return opcode.unsupported(cursor) };
    let d = target(cursor, builder, product_type(part, ty))?;
    let a = builder.source(cursor, ty, Width::Exact)?;
    let amount = matches!(opcode.name.as_str(), "shl" | "shr");
    let b = next(cursor, builder, if amount { Type::U32 } else { ty })?;
    Ok(Op::Binary { run, d, a, b })
}

/// Type of a product: twice as wide for `.wide`.
fn product_type(part: &str, ty: Type) -> Type {
    match (part, ty.bits()) {
        ("wide", 16) => Type::U32,
        ("wide", 32) => Type::U64,
        _ => ty,
    }
}

fn three_operands(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
    ty: Type,
) -> Result<Op, ParseError> {
    let part = opcode.one_of(&["lo", "hi", "wide"]).unwrap_or("");
    let rounded = opcode.has("rn");
    let run = match (opcode.name.as_str(), ty.is_float()) {
        ("fma" | "mad", true) if part.is_empty() && rounded => float_ternary(ty),
        ("mad", false) if !rounded => integer_ternary(part, ty),
        ("bfe", false) if !rounded => extract(ty),
        _ => None,
    };
    let Some(run) = run else { return opcode.unsupported(cursor) };
    let wide = product_type(part, ty);
    let narrow = if opcode.name == "bfe" { Type::U32 } else { ty };
    let d = target(cursor, builder, wide)?;
    let a = builder.source(cursor, ty, Width::Exact)?;
    let b = next(cursor, builder, narrow)?;
    let c = next(cursor, builder, if opcode.name == "bfe" { narrow } else { wide })?;
    Ok(Op::Ternary { run, d, a, b, c })
}

/// `mov`, which also packs and unpacks.
fn move_value(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    let ty = opcode.ty(cursor)?;
    let narrow = |cursor: &Cursor, count: u32| match (ty.bits(), count) {
        (32, 2) | (64, 4) => Ok(Type::U16),
        (64, 2) => Ok(Type::U32),
        _ => cursor.error("no such packing"),
    };
    if ty == Type::Predicate {
        return logic(cursor, builder, opcode);
    }
    if cursor.peek() == "{" {
        let part = narrow(cursor, count_braced(cursor))?;
        let parts = list(cursor, |cursor| Ok(builder.target(cursor, part, Width::Exact)?.0))?;
        cursor.expect(",")?;
        let a = builder.source(cursor, ty, Width::Exact)?;
        return Ok(Op::Unpack { parts, a, bits: part.bits() });
    }
    let d = target(cursor, builder, ty)?;
    if cursor.peek() == "{" {
        let part = narrow(cursor, count_braced(cursor))?;
        let parts = list(cursor, |cursor| builder.source(cursor, part, Width::Exact))?;
        return Ok(Op::Pack { d, parts, bits: part.bits() });
    }
    let a = builder.source(cursor, ty, Width::Exact)?;
    Ok(Op::Unary { run: unary(|a| a), d, a })
}

/// Number of elements of the list that the cursor stands at.
fn count_braced(cursor: &Cursor) -> u32 {
    let mut count = 1;
    for ahead in 1.. {
        match cursor.peek_at(ahead) {
            "," => count += 1,
            "}" | ";" | "" => break,
            _ => {}
        }
    }
    count
}

/// Generic addresses of the windows of shared and local memory begin at these.
pub(crate) const SHARED_WINDOW: u64 = 1 << 60;
pub(crate) const LOCAL_WINDOW: u64 = 1 << 61;

fn convert_address(
    cursor: &mut Cursor,
    builder: &mut Builder,
    opcode: &mut Opcode,
) -> Result<Op, ParseError> {
    let ty = opcode.ty(cursor)?;
    let back = opcode.has("to");
    let window = match opcode.one_of(&["global", "shared", "local"]) {
        Some("shared") => SHARED_WINDOW,
        Some("local") => LOCAL_WINDOW,
        Some(_) => 0,
        None => return opcode.unsupported(cursor),
    };
    if ty != Type::U64 {
        return opcode.unsupported(cursor);
    }
    let d = target(cursor, builder, ty)?;
    let a = builder.source(cursor, ty, Width::Exact)?;
    let run =
        if back { unary(move |a| a.wrapping_sub(window)) } else { unary(move |a| a.wrapping_add(window)) };
    Ok(Op::Unary { run, d, a })
}

fn conversion(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    let [to, from] = opcode.types[..] else { return opcode.unsupported(cursor) };
    let rounding = opcode.read(Rounding::parse);
    let saturate = opcode.has("sat");
    if to == Type::Predicate || from == Type::Predicate {
        return opcode.unsupported(cursor);
    }
    let (d, bits) = builder.target(cursor, to, Width::Wider)?;
    cursor.expect(",")?;
    let a = builder.source(cursor, from, Width::Wider)?;
    match convert(to, from, rounding, saturate, bits) {
        Some(run) => Ok(Op::Unary { run, d, a }),
        None => opcode.unsupported(cursor),
    }
}

/// `p` or `p|q`.
fn targets(cursor: &mut Cursor, builder: &mut Builder) -> Result<Targets, ParseError> {
    let Some(result) = builder.predicate_target(cursor)? else { return cursor.error("a predicate expected") };
    let complement = if cursor.accept("|") { builder.predicate_target(cursor)? } else { None };
    Ok(Targets { result, complement })
}

fn set_predicate(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    let ty = opcode.ty(cursor)?;
    let Some(run) = opcode.read(|name| compare(name, ty)) else { return opcode.unsupported(cursor) };
    let combine = combination(opcode);
    let targets = targets(cursor, builder)?;
    let a = next(cursor, builder, ty)?;
    let b = next(cursor, builder, ty)?;
    let mut with = Truth { predicate: TRUE, negated: false };
    if combine != Combine::None {
        cursor.expect(",")?;
        with = builder.predicate_source(cursor)?;
    }
    Ok(Op::Compare { run, targets, a, b, combine, with })
}

fn combination(opcode: &mut Opcode) -> Combine {
    match opcode.one_of(&["and", "or", "xor"]) {
        Some("and") => Combine::And,
        Some("or") => Combine::Or,
        Some(_) => Combine::Xor,
        None => Combine::None,
    }
}

/// `mov.pred`, `not.pred`, `and.pred`, `or.pred`, `xor.pred`.
fn logic(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    let combine = match opcode.name.as_str() {
        "mov" | "not" => Combine::None,
        "and" => Combine::And,
        "or" => Combine::Or,
        "xor" => Combine::Xor,
        _ => return opcode.unsupported(cursor),
    };
    let Some(d) = builder.predicate_target(cursor)? else { return opcode.unsupported(cursor) };
    cursor.expect(",")?;
    // `mov.pred p, 1` sets a constant.
    if combine == Combine::None && matches!(cursor.peek(), "0" | "1") {
        let negated = (cursor.take()? == "0") != (opcode.name == "not");
        let a = Truth { predicate: TRUE, negated };
        return Ok(Op::Logic { d, a, b: a, combine });
    }
    let mut a = builder.predicate_source(cursor)?;
    a.negated ^= opcode.name == "not";
    let mut b = a;
    if combine != Combine::None {
        cursor.expect(",")?;
        b = builder.predicate_source(cursor)?;
    }
    Ok(Op::Logic { d, a, b, combine })
}
