//! What each instruction computes: scalar functions on lane values, and their lifting to the 32 lanes of a warp.
//!
//! A lane value is a `u64` that holds the bits of its register, zero-extended. [`Word`] converts from and to the
//! types of PTX; the macros `for_integer!` and `for_float!` pick the Rust type of a PTX type.

mod convert;
mod float;
mod integer;

pub(crate) use convert::{Rounding, convert};
pub(crate) use float::{class_test, copy_sign, float_binary, float_ternary, float_unary};
pub(crate) use integer::{atomic, compare, extract, integer_binary, integer_ternary, integer_unary};

/// The values of one register in the lanes of a warp.
pub(crate) type Lanes = [u64; 32];
/// `run(mask, d, a)`: writes the lanes of `mask` only.
pub(crate) type Unary = Box<dyn Fn(u32, &mut Lanes, &Lanes) + Send + Sync>;
/// `run(mask, d, a, b)`.
pub(crate) type Binary = Box<dyn Fn(u32, &mut Lanes, &Lanes, &Lanes) + Send + Sync>;
/// `run(mask, d, a, b, c)`.
pub(crate) type Ternary = Box<dyn Fn(u32, &mut Lanes, &Lanes, &Lanes, &Lanes) + Send + Sync>;
/// `run(mask, a, b)`: a bit for each lane.
pub(crate) type Compare = Box<dyn Fn(u32, &Lanes, &Lanes) -> u32 + Send + Sync>;

/// A type of PTX. Untyped bits count as unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F32,
    F64,
    Predicate,
}

impl Type {
    /// Reads the name of a type, without its dot.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "u8" | "b8" => Self::U8,
            "u16" | "b16" => Self::U16,
            "u32" | "b32" => Self::U32,
            "u64" | "b64" => Self::U64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "pred" => Self::Predicate,
            _ => return None,
        })
    }

    /// Width; 1 for a predicate.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Predicate => 1,
            Self::U8 | Self::S8 => 8,
            Self::U16 | Self::S16 => 16,
            Self::U32 | Self::S32 | Self::F32 => 32,
            Self::U64 | Self::S64 | Self::F64 => 64,
        }
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }
}

/// A Rust type that stands for a type of PTX.
pub(crate) trait Word: Copy {
    /// The value that a lane holds.
    fn get(lane: u64) -> Self;
    /// The lane that holds a value.
    fn put(self) -> u64;
}

macro_rules! integer_word {
    ($($ty:ty as $unsigned:ty),*) => {
        $(impl Word for $ty {
            #[inline(always)]
            fn get(lane: u64) -> Self {
                lane as $ty
            }
            #[inline(always)]
            fn put(self) -> u64 {
                u64::from(self as $unsigned)
            }
        })*
    };
}

integer_word!(u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64);

impl Word for f32 {
    #[inline(always)]
    fn get(lane: u64) -> Self {
        Self::from_bits(lane as u32)
    }
    /// Hardware returns one NaN whatever NaN went in.
    #[inline(always)]
    fn put(self) -> u64 {
        u64::from(if self.is_nan() { 0x7FFF_FFFF } else { self.to_bits() })
    }
}

impl Word for f64 {
    #[inline(always)]
    fn get(lane: u64) -> Self {
        Self::from_bits(lane)
    }
    #[inline(always)]
    fn put(self) -> u64 {
        self.to_bits()
    }
}

/// `body` with `T` the Rust type of an integer type of PTX; the last arm is for the other types.
macro_rules! for_integer {
    ($ty:expr, $T:ident => $body:expr, else $other:expr) => {
        match $ty {
            $crate::semantics::Type::U16 => {
                type $T = u16;
                $body
            }
            $crate::semantics::Type::S16 => {
                type $T = i16;
                $body
            }
            $crate::semantics::Type::U32 => {
                type $T = u32;
                $body
            }
            $crate::semantics::Type::S32 => {
                type $T = i32;
                $body
            }
            $crate::semantics::Type::U64 => {
                type $T = u64;
                $body
            }
            $crate::semantics::Type::S64 => {
                type $T = i64;
                $body
            }
            _ => $other,
        }
    };
}

/// `body` with `T` the Rust type of a floating-point type of PTX.
macro_rules! for_float {
    ($ty:expr, $T:ident => $body:expr, else $other:expr) => {
        match $ty {
            $crate::semantics::Type::F32 => {
                type $T = f32;
                $body
            }
            $crate::semantics::Type::F64 => {
                type $T = f64;
                $body
            }
            _ => $other,
        }
    };
}

pub(crate) use {for_float, for_integer};

/// Calls `f` with every lane of a mask.
#[inline(always)]
pub(crate) fn each(mask: u32, mut f: impl FnMut(usize)) {
    if mask == u32::MAX {
        for lane in 0..32 {
            f(lane);
        }
    } else {
        let mut rest = mask;
        while rest != 0 {
            f(rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}

/// Lifts a function of one operand.
pub(crate) fn unary(f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Unary {
    Box::new(move |mask, d, a| each(mask, |lane| d[lane] = f(a[lane])))
}

/// Lifts a function of two operands.
pub(crate) fn binary(f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static) -> Binary {
    Box::new(move |mask, d, a, b| each(mask, |lane| d[lane] = f(a[lane], b[lane])))
}

/// Lifts a function of three operands.
pub(crate) fn ternary(f: impl Fn(u64, u64, u64) -> u64 + Send + Sync + 'static) -> Ternary {
    Box::new(move |mask, d, a, b, c| each(mask, |lane| d[lane] = f(a[lane], b[lane], c[lane])))
}

/// Lifts a relation.
pub(crate) fn relation(f: impl Fn(u64, u64) -> bool + Send + Sync + 'static) -> Compare {
    Box::new(move |mask, a, b| {
        let mut holds = 0;
        each(mask, |lane| holds |= u32::from(f(a[lane], b[lane])) << lane);
        holds
    })
}
