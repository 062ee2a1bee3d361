//! An interpreter of the PTX that our kernels use, for tests on machines without a GPU.
//!
//! [`Module::parse`] decodes a PTX text once; [`launch`] runs one of its entries on the CPU, block after block,
//! and reports the first thing that a GPU would hide: an access out of bounds, misaligned, of freed or of
//! uninitialized memory; a register read before it is written; a data race in shared or global memory; a
//! divergent barrier; a shuffle from a lane that is not there; a loop without end; a launch that does not fit
//! the entry. See [`FaultKind`] for the list and [`fault`] for what each check can and cannot see.
//!
//! The subset is what hand-written kernels need; any other instruction is a [`ParseError`] naming its line.
//! Instructions whose result hardware only approximates (`ex2.approx` and its like) are wrong here too, by up
//! to their documented error, so that no test can rely on more.

#![deny(missing_docs)]

pub mod fault;
mod lexer;
mod machine;
mod memory;
pub mod mutation;
mod parse;
mod program;
mod semantics;
mod shadow;
pub mod suite;

pub use fault::{Fault, FaultKind, MemoryError, ParseError, Race, Space};
pub use machine::{Argument, LaunchShape, Options, Report, Schedule, launch};
pub use memory::Memory;
pub use program::{Entry, Module, Parameter};
