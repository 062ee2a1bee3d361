//! Operands: names to register indexes; literals and special registers to registers that are filled beforehand.

use std::collections::HashMap;

use super::literal::{literal, special};
use crate::fault::{ParseError, Space};
use crate::lexer::Cursor;
use crate::program::{
    Address, Entry, Instruction, Op, Parameter, Pred, Reg, Registers, TRUE, Truth, Variable, ZERO,
};
use crate::semantics::Type;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Symbol {
    Register(Reg, Type),
    Predicate(Pred),
    Shared(u32),
    /// Dynamic shared memory, which lies behind all static variables.
    Dynamic,
    Local(u32),
}

/// Variables of one state space, one behind the other.
pub(super) struct Region {
    end: u32,
    packed: u32,
    variables: Vec<Variable>,
}

impl Region {
    /// The first variable comes behind `redzone` bytes, so that no address is 0.
    fn new(redzone: u32) -> Self {
        Self { end: redzone, packed: 0, variables: Vec::new() }
    }

    /// Places a variable and keeps `redzone` bytes free behind it.
    pub(super) fn place(&mut self, bytes: u32, align: u32, redzone: u32) -> u32 {
        let start = self.end.next_multiple_of(align);
        self.packed = self.packed.next_multiple_of(align) + bytes;
        self.variables.push(Variable { start, end: start + bytes });
        self.end = start + bytes + redzone;
        start
    }
}

/// An entry under construction.
pub(super) struct Builder {
    scopes: Vec<HashMap<String, Symbol>>,
    parameters: HashMap<String, Parameter>,
    constants: HashMap<u64, Reg>,
    specials: HashMap<String, Reg>,
    dynamic: Option<Reg>,
    registers: Registers,
    pub(super) labels: HashMap<String, u32>,
    /// Branches by instruction, with line and label.
    pub(super) branches: Vec<(usize, u32, String)>,
    pub(super) code: Vec<Instruction>,
    pub(super) shared: Region,
    pub(super) local: Region,
    /// Guard, reads and predicate reads of the instruction that is being decoded.
    pub(super) guard: Truth,
    reads: Vec<Reg>,
    predicate_reads: Vec<Pred>,
}

impl Builder {
    pub(super) fn new(parameters: &[Parameter]) -> Self {
        let mut registers = Registers::default();
        registers.names.push("0".into());
        registers.constants.push((ZERO, 0));
        registers.predicate_names.push("true".into());
        Self {
            scopes: vec![HashMap::new()],
            parameters: parameters.iter().map(|p| (p.name.clone(), p.clone())).collect(),
            constants: HashMap::from([(0, ZERO)]),
            specials: HashMap::new(),
            dynamic: None,
            registers,
            labels: HashMap::new(),
            branches: Vec::new(),
            code: Vec::new(),
            shared: Region::new(128),
            local: Region::new(0),
            guard: Truth { predicate: TRUE, negated: false },
            reads: Vec::new(),
            predicate_reads: Vec::new(),
        }
    }

    pub(super) fn open_scope(&mut self) {
        self.scopes.push(HashMap::new());
    }

    pub(super) fn close_scope(&mut self) {
        self.scopes.pop();
    }

    pub(super) fn declare(&mut self, name: String, symbol: Symbol) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, symbol);
        }
    }

    /// Declares a register or a predicate.
    pub(super) fn register(&mut self, name: String, ty: Type) {
        let symbol = if ty == Type::Predicate {
            self.registers.predicate_names.push(name.clone());
            Symbol::Predicate((self.registers.predicate_names.len() - 1) as Pred)
        } else {
            Symbol::Register(self.new_register(name.clone()), ty)
        };
        self.declare(name, symbol);
    }

    fn new_register(&mut self, name: String) -> Reg {
        self.registers.names.push(name);
        (self.registers.names.len() - 1) as Reg
    }

    fn constant(&mut self, value: u64) -> Reg {
        if let Some(&register) = self.constants.get(&value) {
            return register;
        }
        let register = self.new_register(format!("{value:#x}"));
        self.constants.insert(value, register);
        self.registers.constants.push((register, value));
        register
    }

    fn symbol(&self, name: &str) -> Option<Symbol> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name).copied())
    }

    /// Ends an instruction: what it read so far becomes its list of reads.
    pub(super) fn emit(&mut self, line: u32, text: String, op: Op) {
        let mut reads = [ZERO; 5];
        for (slot, read) in reads.iter_mut().zip(self.reads.drain(..)) {
            *slot = read;
        }
        let mut predicate_reads = [TRUE; 2];
        for (slot, read) in predicate_reads.iter_mut().zip(self.predicate_reads.drain(..)) {
            *slot = read;
        }
        let Truth { predicate: guard, negated } = self.guard;
        self.code.push(Instruction { op, guard, negated, line, text, reads, predicate_reads });
    }

    /// Leaves the check of what was read so far to the instruction.
    pub(super) fn forget_reads(&mut self) {
        self.reads.clear();
    }

    /// Resolves labels and hands everything over to the entry.
    pub(super) fn finish(mut self, entry: &mut Entry) -> Result<(), ParseError> {
        for (at, line, label) in std::mem::take(&mut self.branches) {
            let Some(&target) = self.labels.get(&label) else {
                return Err(ParseError { line, message: format!("no label {label}") });
            };
            self.code[at].op = Op::Branch { target };
        }
        entry.dynamic = self.shared.end.next_multiple_of(16);
        if let Some(register) = self.dynamic {
            self.registers.constants.push((register, u64::from(entry.dynamic)));
        }
        if self.registers.names.len() > usize::from(Reg::MAX) {
            return Err(ParseError { line: entry.line, message: "too many registers".into() });
        }
        entry.code = self.code;
        entry.registers = self.registers;
        entry.shared = self.shared.variables;
        entry.static_shared = self.shared.packed;
        entry.local = self.local.end;
        Ok(())
    }

    /// A register to write, of at least (`wider`) or exactly the width of the type.
    pub(super) fn target(
        &mut self,
        cursor: &mut Cursor,
        ty: Type,
        width: Width,
    ) -> Result<(Reg, u32), ParseError> {
        if cursor.peek() == "_" {
            cursor.take()?;
            return Ok((self.new_register("_".into()), ty.bits().max(16)));
        }
        let name = cursor.peek().to_owned();
        match self.symbol(&name) {
            Some(Symbol::Register(register, declared)) => {
                width.check(cursor, &name, declared, ty)?;
                cursor.take()?;
                Ok((register, declared.bits()))
            }
            _ => cursor.error(format!("`{name}` is not a register")),
        }
    }

    /// A register, literal, special register or address of a variable to read.
    pub(super) fn source(&mut self, cursor: &mut Cursor, ty: Type, width: Width) -> Result<Reg, ParseError> {
        let name = cursor.peek().to_owned();
        let register = match self.symbol(&name) {
            Some(Symbol::Register(register, declared)) => {
                width.check(cursor, &name, declared, ty)?;
                cursor.take()?;
                register
            }
            Some(Symbol::Predicate(_)) => {
                return cursor.error(format!("the predicate {name} is not a number"));
            }
            Some(symbol) => {
                cursor.take()?;
                let base = self.variable(symbol);
                if !cursor.accept("+") {
                    base
                } else {
                    return cursor.error("a variable's address plus a constant: add it in an instruction");
                }
            }
            None if special(&name).is_some() => {
                cursor.take()?;
                self.special(&name)
            }
            None => {
                let value = literal(cursor, ty)?;
                self.constant(value)
            }
        };
        self.reads.push(register);
        Ok(register)
    }

    fn variable(&mut self, symbol: Symbol) -> Reg {
        match symbol {
            Symbol::Shared(start) | Symbol::Local(start) => self.constant(u64::from(start)),
            _ => {
                let register =
                    self.dynamic.unwrap_or_else(|| self.new_register("dynamic shared memory".into()));
                self.dynamic = Some(register);
                register
            }
        }
    }

    fn special(&mut self, name: &str) -> Reg {
        if let Some(&register) = self.specials.get(name) {
            return register;
        }
        let register = self.new_register(name.into());
        self.specials.insert(name.into(), register);
        match special(name) {
            Some(Ok(special)) => self.registers.specials.push((register, special)),
            Some(Err(value)) => self.registers.constants.push((register, value)),
            None => {}
        }
        register
    }

    /// A predicate to write; `None` for `_`.
    pub(super) fn predicate_target(&mut self, cursor: &mut Cursor) -> Result<Option<Pred>, ParseError> {
        if cursor.accept("_") {
            return Ok(None);
        }
        match self.symbol(cursor.peek()) {
            Some(Symbol::Predicate(predicate)) => {
                cursor.take()?;
                Ok(Some(predicate))
            }
            _ => cursor.error(format!("`{}` is not a predicate", cursor.peek())),
        }
    }

    /// A predicate to read, perhaps negated. Not counted as a read: a guard is checked apart.
    pub(super) fn truth(&mut self, cursor: &mut Cursor) -> Result<Truth, ParseError> {
        let negated = cursor.accept("!");
        match self.symbol(cursor.peek()) {
            Some(Symbol::Predicate(predicate)) => {
                cursor.take()?;
                Ok(Truth { predicate, negated })
            }
            _ => cursor.error(format!("`{}` is not a predicate", cursor.peek())),
        }
    }

    /// A predicate operand.
    pub(super) fn predicate_source(&mut self, cursor: &mut Cursor) -> Result<Truth, ParseError> {
        let truth = self.truth(cursor)?;
        self.predicate_reads.push(truth.predicate);
        Ok(truth)
    }

    /// `[register+constant]` or `[variable+constant]`.
    pub(super) fn address(&mut self, cursor: &mut Cursor, space: Space) -> Result<Address, ParseError> {
        cursor.expect("[")?;
        let name = cursor.peek().to_owned();
        let base = match self.symbol(&name) {
            Some(Symbol::Register(register, declared)) => {
                let fits = declared.bits() == 64 || declared.bits() == 32 && space != Space::Global;
                if declared.is_float() || !fits || (declared.bits() == 32 && space == Space::Generic) {
                    return cursor.error(format!("{name} is no {space} address"));
                }
                register
            }
            Some(symbol @ (Symbol::Shared(_) | Symbol::Dynamic)) if space == Space::Shared => {
                self.variable(symbol)
            }
            Some(symbol @ Symbol::Local(_)) if space == Space::Local => self.variable(symbol),
            _ => return cursor.error(format!("`{name}` is no {space} address")),
        };
        cursor.take()?;
        let offset = if cursor.accept("+") || cursor.peek() == "-" { cursor.integer()? as i64 } else { 0 };
        cursor.expect("]")?;
        self.reads.push(base);
        Ok(Address { base, offset })
    }

    /// `[parameter+constant]`: the offset of `bytes` bytes inside of the parameter.
    pub(super) fn parameter(&mut self, cursor: &mut Cursor, bytes: usize) -> Result<usize, ParseError> {
        cursor.expect("[")?;
        let name = cursor.take()?;
        let Some(parameter) = self.parameters.get(&name).cloned() else {
            return cursor.error(format!("no parameter {name}"));
        };
        let offset = if cursor.accept("+") || cursor.peek() == "-" { cursor.integer()? } else { 0 };
        cursor.expect("]")?;
        match usize::try_from(offset) {
            Ok(offset) if offset + bytes <= parameter.size => Ok(parameter.offset + offset),
            _ => cursor.error(format!("{bytes} bytes at {offset} are outside of parameter {name}")),
        }
    }
}

/// How a register's width must fit an instruction's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Exact,
    /// Loads, stores and conversions take wider registers.
    Wider,
}

impl Width {
    fn check(self, cursor: &Cursor, name: &str, declared: Type, ty: Type) -> Result<(), ParseError> {
        let fits = match self {
            Self::Exact => declared.bits() == ty.bits().max(16),
            Self::Wider => declared.bits() >= ty.bits(),
        };
        if fits {
            return Ok(());
        }
        cursor.error(format!("{name} has {} bits, the instruction's type {}", declared.bits(), ty.bits()))
    }
}
