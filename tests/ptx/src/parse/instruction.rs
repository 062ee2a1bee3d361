//! One instruction: its guard, its opcode with modifiers and type, and which file decodes it.

use super::operand::{Builder, Width};
use super::{arithmetic, control, transfer};
use crate::fault::ParseError;
use crate::lexer::Cursor;
use crate::program::{Op, TRUE, Truth};
use crate::semantics::Type;

/// The words of an opcode: `fma.rn.f32` is a name, the modifier `rn` and the type `f32`.
pub(super) struct Opcode {
    pub(super) name: String,
    /// Words that are not types, in order.
    pub(super) modifiers: Vec<String>,
    /// Types, in order; `cvt` has two.
    pub(super) types: Vec<Type>,
    used: Vec<bool>,
}

impl Opcode {
    fn new(word: &str) -> Self {
        let mut parts = word.split('.');
        let name = parts.next().unwrap_or_default().to_owned();
        let (mut modifiers, mut types) = (Vec::new(), Vec::new());
        for part in parts {
            match Type::parse(part) {
                Some(ty) => types.push(ty),
                None => modifiers.push(part.to_owned()),
            }
        }
        let used = vec![false; modifiers.len()];
        Self { name, modifiers, types, used }
    }

    /// Whether a modifier is there; it then counts as understood.
    pub(super) fn has(&mut self, modifier: &str) -> bool {
        let found = self.modifiers.iter().position(|m| m == modifier);
        if let Some(at) = found {
            self.used[at] = true;
        }
        found.is_some()
    }

    /// The first of some modifiers that is there.
    pub(super) fn one_of<'a>(&mut self, choices: &[&'a str]) -> Option<&'a str> {
        choices.iter().copied().find(|choice| self.has(choice))
    }

    /// The modifier that `read` understands.
    pub(super) fn read<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, value) =
            self.modifiers.iter().enumerate().find_map(|(i, m)| read(m).map(|value| (i, value)))?;
        self.used[at] = true;
        Some(value)
    }

    /// The only type.
    pub(super) fn ty(&self, cursor: &Cursor) -> Result<Type, ParseError> {
        match self.types[..] {
            [ty] => Ok(ty),
            _ => self.unsupported(cursor),
        }
    }

    /// What this opcode is not.
    pub(super) fn unsupported<T>(&self, cursor: &Cursor) -> Result<T, ParseError> {
        cursor.error(format!("unsupported instruction `{}` {:?} {:?}", self.name, self.modifiers, self.types))
    }

    fn all_understood(&self) -> bool {
        self.used.iter().all(|&used| used)
    }
}

/// Decodes `@p name.modifiers.type operands;`.
pub(super) fn instruction(cursor: &mut Cursor, builder: &mut Builder) -> Result<(), ParseError> {
    let (line, mark) = (cursor.line(), cursor.mark());
    builder.guard = Truth { predicate: TRUE, negated: false };
    if cursor.accept("@") {
        builder.guard = builder.truth(cursor)?;
    }
    // Modifiers such as `L1::no_allocate` hold colons.
    let mut word = cursor.take()?;
    while cursor.peek() == ":" && cursor.peek_at(1) == ":" {
        cursor.take()?;
        cursor.take()?;
        word = format!("{word}::{}", cursor.take()?);
    }
    let mut opcode = Opcode::new(&word);
    let op = decode(cursor, builder, &mut opcode)?;
    if !opcode.all_understood() {
        return opcode.unsupported(cursor);
    }
    cursor.expect(";")?;
    let text = cursor.text_since(mark);
    builder.emit(line, text, op);
    builder.guard = Truth { predicate: TRUE, negated: false };
    Ok(())
}

fn decode(cursor: &mut Cursor, builder: &mut Builder, opcode: &mut Opcode) -> Result<Op, ParseError> {
    match opcode.name.as_str() {
        "ld" | "ldu" | "st" | "atom" | "red" => transfer::decode(cursor, builder, opcode),
        "bra" | "bar" | "barrier" | "membar" | "fence" | "shfl" | "vote" | "ret" | "exit" | "trap" => {
            control::decode(cursor, builder, opcode)
        }
        _ => arithmetic::decode(cursor, builder, opcode),
    }
}

/// Registers in braces, or a single one.
pub(super) fn list(
    cursor: &mut Cursor,
    mut one: impl FnMut(&mut Cursor) -> Result<u16, ParseError>,
) -> Result<Vec<u16>, ParseError> {
    if !cursor.accept("{") {
        return Ok(vec![one(cursor)?]);
    }
    let mut registers = vec![one(cursor)?];
    while cursor.accept(",") {
        registers.push(one(cursor)?);
    }
    cursor.expect("}")?;
    Ok(registers)
}

/// A destination of the opcode's type and the comma behind it.
pub(super) fn target(cursor: &mut Cursor, builder: &mut Builder, ty: Type) -> Result<u16, ParseError> {
    let (register, _) = builder.target(cursor, ty, Width::Exact)?;
    cursor.expect(",")?;
    Ok(register)
}

/// A comma and a source.
pub(super) fn next(cursor: &mut Cursor, builder: &mut Builder, ty: Type) -> Result<u16, ParseError> {
    cursor.expect(",")?;
    builder.source(cursor, ty, Width::Exact)
}
