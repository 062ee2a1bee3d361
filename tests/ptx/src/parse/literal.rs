//! Literals of every notation, and the names of special registers.

use crate::fault::ParseError;
use crate::lexer::{Cursor, integer};
use crate::program::Special;
use crate::semantics::Type;

/// A number as the bits of a type.
pub(super) fn literal(cursor: &mut Cursor, ty: Type) -> Result<u64, ParseError> {
    let word = cursor.peek().to_owned();
    let single = word.strip_prefix("0f").or(word.strip_prefix("0F")).filter(|hex| hex.len() == 8);
    let double = word.strip_prefix("0d").or(word.strip_prefix("0D")).filter(|hex| hex.len() == 16);
    if let Some(bits) = single.and_then(|hex| u32::from_str_radix(hex, 16).ok()).filter(|_| ty.bits() == 32) {
        cursor.take()?;
        return Ok(u64::from(bits));
    }
    if let Some(bits) = double.and_then(|hex| u64::from_str_radix(hex, 16).ok()).filter(|_| ty.bits() == 64) {
        cursor.take()?;
        return Ok(bits);
    }
    if ty.is_float() {
        let negative = cursor.accept("-");
        return match cursor.peek().parse::<f64>() {
            Ok(x) if cursor.peek().contains('.') => {
                cursor.take()?;
                let x = if negative { -x } else { x };
                Ok(if ty == Type::F32 { u64::from((x as f32).to_bits()) } else { x.to_bits() })
            }
            _ => cursor.error(format!("unknown operand `{word}`")),
        };
    }
    if word != "-" && integer(&word).is_none() {
        return cursor.error(format!("unknown operand `{word}`"));
    }
    let value = cursor.integer()?;
    let bits = ty.bits().max(16);
    let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    Ok(value as u64 & mask)
}

/// A special register, or the value of one that is a constant.
pub(super) fn special(name: &str) -> Option<Result<Special, u64>> {
    let axis = |name: &str| match name {
        ".x" => Some(0),
        ".y" => Some(1),
        ".z" => Some(2),
        _ => None,
    };
    if let Some((vector, Some(axis))) =
        name.split_at_checked(name.len().saturating_sub(2)).map(|(v, a)| (v, axis(a)))
    {
        return match vector {
            "%tid" => Some(Ok(Special::Thread(axis))),
            "%ntid" => Some(Ok(Special::Threads(axis))),
            "%ctaid" => Some(Ok(Special::Block(axis))),
            "%nctaid" => Some(Ok(Special::Blocks(axis))),
            _ => None,
        };
    }
    Some(match name {
        "%laneid" => Ok(Special::Lane),
        "%warpid" => Ok(Special::Warp),
        "%nwarpid" => Ok(Special::Warps),
        "%lanemask_eq" => Ok(Special::LanemaskEqual),
        "%lanemask_lt" => Ok(Special::LanemaskLess),
        "%lanemask_le" => Ok(Special::LanemaskLessEqual),
        "%lanemask_gt" => Ok(Special::LanemaskGreater),
        "%lanemask_ge" => Ok(Special::LanemaskGreaterEqual),
        "WARP_SZ" => Err(32),
        _ => return None,
    })
}
