//! `cvt`: between integers of any width, between integers and floating point, and between the precisions.
//!
//! Integers are extended by the source's sign and cut to the target's width, or clamped with `.sat`. A number
//! becomes an integer by the stated rounding and is clamped to the target's range; NaN becomes 0, or the lowest
//! 64-bit pattern with only its top bit set where an f64 or a 64-bit integer is involved.

use super::{Type, Unary, Word, unary};

/// A rounding mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    NearestEven,
    Zero,
    Down,
    Up,
}

impl Rounding {
    /// Reads `rn`, `rz`, `rm`, `rp` (`integer` false) or `rni`, `rzi`, `rmi`, `rpi` (`integer` true).
    pub(crate) fn parse(name: &str) -> Option<(Self, bool)> {
        let (mode, integer) = match name.strip_suffix('i') {
            Some(mode) => (mode, true),
            None => (name, false),
        };
        let mode = match mode {
            "rn" => Self::NearestEven,
            "rz" => Self::Zero,
            "rm" => Self::Down,
            "rp" => Self::Up,
            _ => return None,
        };
        Some((mode, integer))
    }

    fn to_integer(self, x: f64) -> f64 {
        match self {
            Self::NearestEven => x.round_ties_even(),
            Self::Zero => x.trunc(),
            Self::Down => x.floor(),
            Self::Up => x.ceil(),
        }
    }

    /// Whether a value rounded to the nearest, off from the exact one by `error` (rounded minus exact, its sign
    /// is what counts), has to move up or down by one unit.
    fn correction(self, negative: bool, error: std::cmp::Ordering) -> i64 {
        use std::cmp::Ordering::{Greater, Less};
        match (self, error) {
            (Self::Down, Greater) => -1,
            (Self::Up, Less) => 1,
            (Self::Zero, Greater) if !negative => -1,
            (Self::Zero, Less) if negative => 1,
            _ => 0,
        }
    }
}

fn value(lane: u64, ty: Type) -> i128 {
    match ty {
        Type::U8 => i128::from(u8::get(lane)),
        Type::U16 => i128::from(u16::get(lane)),
        Type::U32 => i128::from(u32::get(lane)),
        Type::S8 => i128::from(i8::get(lane)),
        Type::S16 => i128::from(i16::get(lane)),
        Type::S32 => i128::from(i32::get(lane)),
        Type::S64 => i128::from(i64::get(lane)),
        _ => i128::from(lane),
    }
}

fn range(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// Bits of `x` cut to the type, then extended by its sign to the register that receives it.
fn place(x: i128, ty: Type, register_bits: u32) -> u64 {
    let cut = value(x as u64, ty);
    let mask = if register_bits >= 64 { u64::MAX } else { (1 << register_bits) - 1 };
    cut as u64 & mask
}

/// The next representable number above (`step` 1) or below (-1).
fn neighbour<F>(x: F, step: i64, up: fn(F) -> F, down: fn(F) -> F) -> F {
    match step {
        1 => up(x),
        -1 => down(x),
        _ => x,
    }
}

fn from_integer(x: i128, ty: Type, mode: Rounding) -> u64 {
    if ty == Type::F32 {
        let near = x as f32;
        let step = mode.correction(x < 0, (near as i128).cmp(&x));
        return neighbour(near, step, f32::next_up, f32::next_down).put();
    }
    let near = x as f64;
    let step = mode.correction(x < 0, (near as i128).cmp(&x));
    neighbour(near, step, f64::next_up, f64::next_down).put()
}

fn narrow(x: f64, mode: Rounding) -> f32 {
    let near = x as f32;
    let error = f64::from(near).partial_cmp(&x).unwrap_or(std::cmp::Ordering::Equal);
    neighbour(near, mode.correction(x < 0.0, error), f32::next_up, f32::next_down)
}

/// `cvt` from `source` to `target`; `rounding` with whether it rounds to an integer; `saturate` is `.sat`;
/// `register_bits` is the width of the register that receives the result.
pub(crate) fn convert(
    target: Type,
    source: Type,
    rounding: Option<(Rounding, bool)>,
    saturate: bool,
    register_bits: u32,
) -> Option<Unary> {
    let (low, high) = if target.is_float() { (0, 0) } else { range(target) };
    Some(match (target.is_float(), source.is_float(), rounding) {
        (false, false, None) if saturate => {
            unary(move |a| place(value(a, source).clamp(low, high), target, register_bits))
        }
        (false, false, None) => unary(move |a| place(value(a, source), target, register_bits)),
        (true, false, Some((mode, false))) if !saturate => {
            unary(move |a| from_integer(value(a, source), target, mode))
        }
        (false, true, Some((mode, true))) => {
            let wide = source == Type::F64 || target.bits() == 64;
            let nan = if wide { 1 << (target.bits() - 1) } else { 0 };
            unary(move |a| {
                let x = if source == Type::F32 { f64::from(f32::get(a)) } else { f64::get(a) };
                let integer = if x.is_nan() { nan } else { (mode.to_integer(x) as i128).clamp(low, high) };
                place(integer, target, register_bits)
            })
        }
        (true, true, None) if source == Type::F32 && target == Type::F64 && !saturate => {
            unary(|a| f64::from(f32::get(a)).put())
        }
        (true, true, Some((mode, false))) if source == Type::F64 && target == Type::F32 && !saturate => {
            unary(move |a| narrow(f64::get(a), mode).put())
        }
        (true, true, Some((mode, true))) if source == target && !saturate => match target {
            Type::F32 => unary(move |a| (mode.to_integer(f64::from(f32::get(a))) as f32).put()),
            _ => unary(move |a| mode.to_integer(f64::get(a)).put()),
        },
        (true, true, None) if source == target => {
            let clamp = saturate;
            match target {
                Type::F32 => unary(move |a| {
                    if clamp { saturated(f32::get(a).into()) as f32 } else { f32::get(a) }.put()
                }),
                _ => unary(move |a| if clamp { saturated(f64::get(a)) } else { f64::get(a) }.put()),
            }
        }
        _ => return None,
    })
}

/// `.sat`: clamped to 0..1, NaN to 0.
fn saturated(x: f64) -> f64 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) }
}
