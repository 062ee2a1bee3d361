//! Modules and entries: directives, parameters, variables, labels; instructions are in the other files.

mod arithmetic;
mod control;
mod instruction;
mod literal;
mod operand;
mod transfer;

use std::collections::HashMap;

use crate::fault::ParseError;
use crate::lexer::Cursor;
use crate::program::{Entry, Module, Op, Parameter};
use crate::semantics::Type;
pub(crate) use arithmetic::{LOCAL_WINDOW, SHARED_WINDOW};
use operand::{Builder, Symbol};

/// Bytes between two static shared variables that belong to neither.
const REDZONE: u32 = 16;
/// Most threads of a block on every architecture.
const MOST_THREADS: u64 = 1024;

impl Module {
    /// Decodes a PTX text.
    ///
    /// # Errors
    ///
    /// [`ParseError`] names the first line that is not PTX or not of the subset.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(source)?;
        let mut entries = HashMap::new();
        let mut globals = Vec::new();
        while !cursor.peek().is_empty() {
            match cursor.peek() {
                ".version" | ".address_size" => {
                    cursor.take()?;
                    cursor.take()?;
                }
                ".target" => {
                    cursor.take()?;
                    cursor.take()?;
                    while cursor.accept(",") {
                        cursor.take()?;
                    }
                }
                ".visible" | ".extern" | ".weak" => {
                    cursor.take()?;
                }
                ".entry" => {
                    let entry = entry(&mut cursor, &globals)?;
                    let line = entry.line;
                    if let Some(old) = entries.insert(entry.name.clone(), entry) {
                        return Err(ParseError {
                            line,
                            message: format!("a second entry named {}", old.name),
                        });
                    }
                }
                ".shared" => globals.push(variable(&mut cursor)?),
                other => return cursor.error(format!("unsupported directive `{other}`")),
            }
        }
        Ok(Self { entries })
    }
}

/// A declared variable of shared or local memory.
#[derive(Clone, Debug)]
struct Declared {
    name: String,
    align: u32,
    /// `None` for dynamic shared memory.
    bytes: Option<u32>,
}

/// `.shared .align 16 .b8 name[64];` and its like.
fn variable(cursor: &mut Cursor) -> Result<Declared, ParseError> {
    cursor.take()?;
    let mut align = None;
    if cursor.accept(".align") {
        align = Some(cursor.integer()? as u32);
    }
    let word = cursor.take()?;
    let Some(ty) = word.strip_prefix('.').and_then(Type::parse) else {
        return cursor.error(format!("a type expected, found `{word}`"));
    };
    let name = cursor.take()?;
    let element = ty.bits() / 8;
    let mut bytes = Some(element);
    while cursor.accept("[") {
        if cursor.accept("]") {
            bytes = None;
        } else {
            let length = cursor.integer()?;
            bytes = match (bytes, u32::try_from(length)) {
                (Some(bytes), Ok(length)) => bytes.checked_mul(length),
                _ => return cursor.error("bad array length"),
            };
            cursor.expect("]")?;
        }
    }
    cursor.expect(";")?;
    let align = align.unwrap_or(element);
    if !align.is_power_of_two() {
        return cursor.error("the alignment is not a power of two");
    }
    Ok(Declared { name, align, bytes })
}

fn entry(cursor: &mut Cursor, globals: &[Declared]) -> Result<Entry, ParseError> {
    let line = cursor.line();
    cursor.expect(".entry")?;
    let name = cursor.take()?;
    let parameters = parameters(cursor)?;
    let mut most_threads = MOST_THREADS;
    loop {
        match cursor.peek() {
            ".maxntid" | ".reqntid" => {
                cursor.take()?;
                most_threads = u64::try_from(cursor.integer()?).unwrap_or(0);
                while cursor.accept(",") {
                    most_threads *= u64::try_from(cursor.integer()?).unwrap_or(0);
                }
            }
            ".minnctapersm" | ".maxnreg" => {
                cursor.take()?;
                cursor.integer()?;
            }
            _ => break,
        }
    }
    let mut builder = Builder::new(&parameters);
    for global in globals {
        declare_shared(&mut builder, global.clone());
    }
    cursor.expect("{")?;
    body(cursor, &mut builder)?;
    let mut entry = Entry {
        name,
        line,
        parameters,
        most_threads,
        code: Vec::new(),
        registers: Default::default(),
        shared: Vec::new(),
        dynamic: 0,
        static_shared: 0,
        local: 0,
    };
    builder.finish(&mut entry)?;
    Ok(entry)
}

/// `( .param .u64 .ptr .global .align 4 name, .param .u32 n )`.
fn parameters(cursor: &mut Cursor) -> Result<Vec<Parameter>, ParseError> {
    let mut parameters = Vec::new();
    let mut offset = 0usize;
    cursor.expect("(")?;
    while !cursor.accept(")") {
        cursor.expect(".param")?;
        let mut align = 1;
        let (mut size, mut pointer) = (0, false);
        while cursor.peek().starts_with('.') {
            let word = cursor.take()?;
            match word.as_str() {
                ".align" if pointer => {
                    cursor.integer()?;
                }
                ".align" => align = cursor.integer()? as usize,
                ".ptr" => pointer = true,
                ".global" | ".shared" | ".const" | ".local" if pointer => {}
                _ => match Type::parse(&word[1..]) {
                    Some(ty) if ty != Type::Predicate => size = ty.bits() as usize / 8,
                    _ => return cursor.error(format!("unsupported parameter type `{word}`")),
                },
            }
        }
        let name = cursor.take()?;
        align = align.max(size);
        while cursor.accept("[") {
            size *= cursor.integer()? as usize;
            cursor.expect("]")?;
        }
        if size == 0 || !align.is_power_of_two() {
            return cursor.error(format!("parameter {name} has no size or no alignment"));
        }
        offset = offset.next_multiple_of(align);
        parameters.push(Parameter { name, size, offset });
        offset += size;
        cursor.accept(",");
    }
    Ok(parameters)
}

fn declare_shared(builder: &mut Builder, declared: Declared) {
    let symbol = match declared.bytes {
        Some(bytes) => Symbol::Shared(builder.shared.place(bytes, declared.align, REDZONE)),
        None => Symbol::Dynamic,
    };
    builder.declare(declared.name, symbol);
}

/// The text between the braces of an entry.
fn body(cursor: &mut Cursor, builder: &mut Builder) -> Result<(), ParseError> {
    let mut depth = 1;
    while depth > 0 {
        if cursor.peek_at(1) == ":" {
            let label = cursor.take()?;
            cursor.expect(":")?;
            if builder.labels.insert(label.clone(), builder.code.len() as u32).is_some() {
                return cursor.error(format!("a second label {label}"));
            }
            continue;
        }
        match cursor.peek() {
            "{" => {
                cursor.take()?;
                builder.open_scope();
                depth += 1;
            }
            "}" => {
                cursor.take()?;
                builder.close_scope();
                depth -= 1;
            }
            ".reg" => registers(cursor, builder)?,
            ".shared" => {
                let declared = variable(cursor)?;
                declare_shared(builder, declared);
            }
            ".local" => {
                let declared = variable(cursor)?;
                let Some(bytes) = declared.bytes else { return cursor.error("a local array needs a length") };
                let start = builder.local.place(bytes, declared.align, 0);
                builder.declare(declared.name, Symbol::Local(start));
            }
            ".pragma" => while cursor.take()? != ";" {},
            other if other.starts_with('.') => {
                return cursor.error(format!("unsupported directive `{other}`"));
            }
            _ => instruction::instruction(cursor, builder)?,
        }
    }
    // Running off the end is a fault, not an exit.
    builder.emit(cursor.line(), String::from("}"), Op::Trap);
    Ok(())
}

/// `.reg .b32 %r<8>, %a;`.
fn registers(cursor: &mut Cursor, builder: &mut Builder) -> Result<(), ParseError> {
    cursor.take()?;
    let word = cursor.take()?;
    let ty = match word.strip_prefix('.').and_then(Type::parse) {
        Some(ty) if ty == Type::Predicate || ty.bits() >= 16 => ty,
        _ => return cursor.error(format!("unsupported register type `{word}`")),
    };
    loop {
        let name = cursor.take()?;
        if cursor.accept("<") {
            let count = cursor.integer()?;
            cursor.expect(">")?;
            for i in 0..count {
                builder.register(format!("{name}{i}"), ty);
            }
        } else {
            builder.register(name, ty);
        }
        if !cursor.accept(",") {
            break;
        }
    }
    cursor.expect(";")
}
