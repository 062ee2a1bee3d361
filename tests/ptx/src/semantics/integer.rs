//! Integer arithmetic and logic, comparisons of every type, and the functions of atomics.
//!
//! Division by zero, which PTX leaves open, yields all ones as on hardware.

use super::{
    Binary, Compare, Ternary, Type, Unary, Word, binary, for_float, for_integer, relation, ternary, unary,
};

/// Part of a product that an instruction keeps.
fn product(ty: Type, part: &str) -> Option<Binary> {
    match (part, ty) {
        ("lo", _) => {
            for_integer!(ty, T => Some(binary(|a, b| T::get(a).wrapping_mul(T::get(b)).put())), else None)
        }
        ("wide", Type::U16) => Some(binary(|a, b| (a as u16 as u64) * (b as u16 as u64))),
        ("wide", Type::S16) => Some(binary(|a, b| (i32::from(a as i16) * i32::from(b as i16)).put())),
        ("wide", Type::U32) => Some(binary(|a, b| (a as u32 as u64) * (b as u32 as u64))),
        ("wide", Type::S32) => Some(binary(|a, b| (i64::from(a as i32) * i64::from(b as i32)).put())),
        ("hi", _) => for_integer!(ty, T => Some(binary(|a, b| {
            ((i128::from(T::get(a)) * i128::from(T::get(b))) >> T::BITS) as u64 & T::get(u64::MAX).put()
        })), else None),
        _ => None,
    }
}

/// Unary integer instructions: `neg`, `abs`, `not`, `popc`, `clz`, `brev`.
pub(crate) fn integer_unary(name: &str, ty: Type) -> Option<Unary> {
    for_integer!(ty, T => Some(match name {
        "neg" => unary(|a| T::get(a).wrapping_neg().put()),
        "not" => unary(|a| (!T::get(a)).put()),
        "popc" => unary(|a| u64::from(T::get(a).count_ones())),
        "clz" => unary(|a| u64::from(T::get(a).leading_zeros())),
        "brev" => unary(|a| T::get(a).reverse_bits().put()),
        "abs" => return absolute(ty),
        _ => return None,
    }), else None)
}

fn absolute(ty: Type) -> Option<Unary> {
    Some(match ty {
        Type::S16 => unary(|a| (a as i16).wrapping_abs().put()),
        Type::S32 => unary(|a| (a as i32).wrapping_abs().put()),
        Type::S64 => unary(|a| (a as i64).wrapping_abs().put()),
        _ => return None,
    })
}

/// Binary integer instructions; `part` is `lo`, `hi` or `wide` for `mul`.
pub(crate) fn integer_binary(name: &str, part: &str, ty: Type) -> Option<Binary> {
    if name == "mul" {
        return product(ty, part);
    }
    for_integer!(ty, T => Some(match name {
        "add" => binary(|a, b| T::get(a).wrapping_add(T::get(b)).put()),
        "sub" => binary(|a, b| T::get(a).wrapping_sub(T::get(b)).put()),
        "div" => binary(|a, b| match T::get(b) {
            0 => T::get(u64::MAX).put(),
            b => T::get(a).wrapping_div(b).put(),
        }),
        "rem" => binary(|a, b| match T::get(b) {
            0 => T::get(u64::MAX).put(),
            b => T::get(a).wrapping_rem(b).put(),
        }),
        "min" => binary(|a, b| T::get(a).min(T::get(b)).put()),
        "max" => binary(|a, b| T::get(a).max(T::get(b)).put()),
        "and" => binary(|a, b| a & b),
        "or" => binary(|a, b| a | b),
        "xor" => binary(|a, b| a ^ b),
        // The amount is an unsigned 32-bit number; more than the width counts as the width.
        "shl" => binary(|a, b| T::get(a).checked_shl(b as u32).unwrap_or(0).put()),
        "shr" => binary(|a, b| {
            // Two shifts, so that a signed number ends as all sign.
            let amount = (b as u32).min(T::BITS);
            (T::get(a) >> (amount / 2) >> (amount - amount / 2)).put()
        }),
        _ => return None,
    }), else None)
}

/// `mad`: the kept part of a product, plus the third operand.
pub(crate) fn integer_ternary(part: &str, ty: Type) -> Option<Ternary> {
    match (part, ty) {
        ("lo", _) => for_integer!(ty, T => Some(ternary(|a, b, c| {
            T::get(a).wrapping_mul(T::get(b)).wrapping_add(T::get(c)).put()
        })), else None),
        ("hi", _) => for_integer!(ty, T => Some(ternary(|a, b, c| {
            let high = (i128::from(T::get(a)) * i128::from(T::get(b))) >> T::BITS;
            (high as T).wrapping_add(T::get(c)).put()
        })), else None),
        ("wide", Type::U16) => {
            Some(ternary(|a, b, c| ((a as u16 as u32) * (b as u16 as u32)).wrapping_add(c as u32).put()))
        }
        ("wide", Type::S16) => {
            Some(ternary(|a, b, c| (i32::from(a as i16) * i32::from(b as i16)).wrapping_add(c as i32).put()))
        }
        ("wide", Type::U32) => {
            Some(ternary(|a, b, c| ((a as u32 as u64) * (b as u32 as u64)).wrapping_add(c)))
        }
        ("wide", Type::S32) => {
            Some(ternary(|a, b, c| (i64::from(a as i32) * i64::from(b as i32)).wrapping_add(c as i64).put()))
        }
        _ => None,
    }
}

/// `bfe`: the field of `c` bits at `b`, extended by its highest bit if signed.
pub(crate) fn extract(ty: Type) -> Option<Ternary> {
    if !matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64) {
        return None;
    }
    let (top, signed) = (ty.bits() as u64 - 1, ty.is_signed());
    let whole = if ty.bits() == 64 { u64::MAX } else { u64::from(u32::MAX) };
    Some(ternary(move |a, b, c| {
        let (position, length) = (b & 0xFF, c & 0xFF);
        let sign = signed && length != 0 && a >> top.min(position + length - 1) & 1 == 1;
        let field = if position > top { 0 } else { a >> position };
        let kept = length.min(top + 1 - position.min(top + 1));
        let mask = if kept >= 64 { u64::MAX } else { (1 << kept) - 1 };
        let bits = field & mask;
        (if sign { bits | !mask } else { bits }) & whole
    }))
}

/// A comparison: `eq` to `gt` for every type, `lo` to `hs` for unsigned ones, `equ` to `gtu`, `num` and `nan`
/// for floating-point ones.
pub(crate) fn compare(name: &str, ty: Type) -> Option<Compare> {
    if ty.is_float() {
        return compare_float(name, ty);
    }
    let unsigned = !ty.is_signed();
    for_integer!(ty, T => Some(match name {
        "eq" => relation(|a, b| T::get(a) == T::get(b)),
        "ne" => relation(|a, b| T::get(a) != T::get(b)),
        "lt" => relation(|a, b| T::get(a) < T::get(b)),
        "le" => relation(|a, b| T::get(a) <= T::get(b)),
        "gt" => relation(|a, b| T::get(a) > T::get(b)),
        "ge" => relation(|a, b| T::get(a) >= T::get(b)),
        "lo" if unsigned => relation(|a, b| T::get(a) < T::get(b)),
        "ls" if unsigned => relation(|a, b| T::get(a) <= T::get(b)),
        "hi" if unsigned => relation(|a, b| T::get(a) > T::get(b)),
        "hs" if unsigned => relation(|a, b| T::get(a) >= T::get(b)),
        _ => return None,
    }), else None)
}

// The unordered relations hold when the ordered opposite does not.
#[allow(clippy::neg_cmp_op_on_partial_ord)]
fn compare_float(name: &str, ty: Type) -> Option<Compare> {
    for_float!(ty, T => Some(match name {
        "eq" => relation(|a, b| T::get(a) == T::get(b)),
        // Ordered: false when an operand is NaN.
        "ne" => relation(|a, b| T::get(a) < T::get(b) || T::get(a) > T::get(b)),
        "lt" => relation(|a, b| T::get(a) < T::get(b)),
        "le" => relation(|a, b| T::get(a) <= T::get(b)),
        "gt" => relation(|a, b| T::get(a) > T::get(b)),
        "ge" => relation(|a, b| T::get(a) >= T::get(b)),
        "equ" => relation(|a, b| !(T::get(a) < T::get(b) || T::get(a) > T::get(b))),
        "neu" => relation(|a, b| T::get(a) != T::get(b)),
        "ltu" => relation(|a, b| !(T::get(a) >= T::get(b))),
        "leu" => relation(|a, b| !(T::get(a) > T::get(b))),
        "gtu" => relation(|a, b| !(T::get(a) <= T::get(b))),
        "geu" => relation(|a, b| !(T::get(a) < T::get(b))),
        "num" => relation(|a, b| !T::get(a).is_nan() && !T::get(b).is_nan()),
        "nan" => relation(|a, b| T::get(a).is_nan() || T::get(b).is_nan()),
        _ => return None,
    }), else None)
}

/// What `atom` and `red` write: a function of the old value and one operand, two for `cas`.
pub(crate) fn atomic(name: &str, ty: Type) -> Option<Ternary> {
    if ty.is_float() {
        return match name {
            "add" => {
                for_float!(ty, T => Some(ternary(|old, b, _| (T::get(old) + T::get(b)).put())), else None)
            }
            _ => None,
        };
    }
    if ty.bits() < 32 {
        return None;
    }
    for_integer!(ty, T => Some(match name {
        "add" => ternary(|old, b, _| T::get(old).wrapping_add(T::get(b)).put()),
        "min" => ternary(|old, b, _| T::get(old).min(T::get(b)).put()),
        "max" => ternary(|old, b, _| T::get(old).max(T::get(b)).put()),
        "and" => ternary(|old, b, _| old & b),
        "or" => ternary(|old, b, _| old | b),
        "xor" => ternary(|old, b, _| old ^ b),
        "exch" => ternary(|_, b, _| b),
        "inc" => ternary(|old, b, _| if old >= b { 0 } else { old + 1 }),
        "dec" => ternary(|old, b, _| if old == 0 || old > b { b } else { old - 1 }),
        "cas" => ternary(|old, b, c| if old == b { c } else { old }),
        _ => return None,
    }), else None)
}
