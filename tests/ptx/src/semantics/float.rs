//! Floating-point arithmetic with IEEE rounding to nearest, PTX's rules for NaN, and the approximations.
//!
//! `min` and `max` return the operand that is a number, or NaN with `.NaN`; a negative zero is less than a
//! positive one. The `.approx` instructions are computed in f64 and then moved by up to their documented error,
//! by an amount that depends on the input's bits only; a result that is exact stays exact.

use super::{Binary, Lanes, Ternary, Type, Unary, Word, binary, each, for_float, ternary, unary};

/// Whether subnormal numbers count as zero (`.ftz`).
fn flush(x: f32, ftz: bool) -> f32 {
    if ftz && x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// The nearest f32, moved by -`ulps` to `ulps` unless it is exact.
fn disturb(exact: f64, seed: u64, ulps: i64) -> f32 {
    let nearest = exact as f32;
    if f64::from(nearest) == exact || !nearest.is_normal() {
        return nearest;
    }
    let hash = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let moved = i64::from(nearest.to_bits()) + (hash % (2 * ulps as u64 + 1)) as i64 - ulps;
    let moved = f32::from_bits(moved as u32);
    if moved.is_normal() { moved } else { nearest }
}

/// An approximation of a function of one f32, documented to be off by at most `ulps`.
fn approximate(ulps: i64, ftz: bool, f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Option<Unary> {
    Some(unary(move |a| {
        let x = flush(f32::get(a), ftz);
        flush(disturb(f(f64::from(x)), a, ulps), ftz).put()
    }))
}

/// `neg`, `abs`, `sqrt`, `rcp` and the approximations; `approx` and `ftz` are the instruction's modifiers.
pub(crate) fn float_unary(name: &str, ty: Type, approx: bool, ftz: bool) -> Option<Unary> {
    let sign = 1u64 << (ty.bits() - 1);
    match (name, approx) {
        ("neg", false) => return Some(unary(move |a| a ^ sign)),
        ("abs", false) => return Some(unary(move |a| a & !sign)),
        _ => {}
    }
    if approx {
        return match (name, ty) {
            ("rcp", Type::F32) => approximate(1, ftz, |x| 1.0 / x),
            ("sqrt", Type::F32) => approximate(2, ftz, f64::sqrt),
            ("rsqrt", Type::F32) => approximate(3, ftz, |x| 1.0 / x.sqrt()),
            ("ex2", Type::F32) => approximate(2, ftz, f64::exp2),
            ("lg2", Type::F32) => approximate(2, ftz, f64::log2),
            ("sin", Type::F32) => approximate(4, ftz, f64::sin),
            ("cos", Type::F32) => approximate(4, ftz, f64::cos),
            ("tanh", Type::F32) => approximate(1 << 13, ftz, f64::tanh),
            _ => None,
        };
    }
    for_float!(ty, T => Some(match (name, ftz) {
        ("sqrt", false) => unary(|a| T::get(a).sqrt().put()),
        ("rcp", false) => unary(|a| (1.0 / T::get(a)).put()),
        _ => return None,
    }), else None)
}

/// The arithmetic of two operands. For `div`, `approx` stands for `.approx` or `.full`.
pub(crate) fn float_binary(name: &str, ty: Type, approx: bool, propagate: bool, ftz: bool) -> Option<Binary> {
    match (name, ty) {
        ("div", Type::F32) if approx => {
            return Some(binary(move |a, b| {
                let (x, y) = (flush(f32::get(a), ftz), flush(f32::get(b), ftz));
                flush(disturb(f64::from(x) / f64::from(y), a ^ b.rotate_left(17), 2), ftz).put()
            }));
        }
        _ if approx => return None,
        _ => {}
    }
    if ftz {
        let f: fn(f32, f32) -> f32 = match (name, ty) {
            ("add", Type::F32) => |a, b| a + b,
            ("sub", Type::F32) => |a, b| a - b,
            ("mul", Type::F32) => |a, b| a * b,
            _ => return None,
        };
        return Some(binary(move |a, b| {
            flush(f(flush(f32::get(a), true), flush(f32::get(b), true)), true).put()
        }));
    }
    for_float!(ty, T => Some(match (name, propagate) {
        ("add", false) => binary(|a, b| (T::get(a) + T::get(b)).put()),
        ("sub", false) => binary(|a, b| (T::get(a) - T::get(b)).put()),
        ("mul", false) => binary(|a, b| (T::get(a) * T::get(b)).put()),
        ("div", false) => binary(|a, b| (T::get(a) / T::get(b)).put()),
        ("min" | "max", _) => {
            let wants_less = name == "min";
            binary(move |a, b| {
                let (x, y) = (T::get(a), T::get(b));
                let first = if x == y { x.is_sign_negative() == wants_less } else { (x < y) == wants_less };
                match (x.is_nan(), y.is_nan()) {
                    (false, false) => if first { x } else { y },
                    _ if propagate => T::NAN,
                    (true, _) => y,
                    _ => x,
                }
                .put()
            })
        }
        _ => return None,
    }), else None)
}

/// `fma`.
pub(crate) fn float_ternary(ty: Type) -> Option<Ternary> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx2") {
        return for_float!(ty, T => Some(Box::new(|mask, d: &mut Lanes, a: &Lanes, b: &Lanes, c: &Lanes| {
            // SAFETY: the features were detected just above.
            unsafe { fused::<T>(mask, d, a, b, c) }
        })), else None);
    }
    for_float!(ty, T => Some(ternary(|a, b, c| T::get(a).mul_add(T::get(b), T::get(c)).put())), else None)
}

/// A type with a fused multiply-add.
trait MulAdd: Word {
    fn fused(self, b: Self, c: Self) -> Self;
}

impl MulAdd for f32 {
    #[inline(always)]
    fn fused(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
}

impl MulAdd for f64 {
    #[inline(always)]
    fn fused(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
}

/// Compiled for machines with the instruction: elsewhere `mul_add` is a function call.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fused<T: MulAdd>(mask: u32, d: &mut Lanes, a: &Lanes, b: &Lanes, c: &Lanes) {
    each(mask, |lane| d[lane] = T::get(a[lane]).fused(T::get(b[lane]), T::get(c[lane])).put());
}

/// `copysign d, a, b`: the magnitude of `b` with the sign of `a`.
pub(crate) fn copy_sign(ty: Type) -> Option<Binary> {
    if !ty.is_float() {
        return None;
    }
    let sign = 1u64 << (ty.bits() - 1);
    Some(binary(move |a, b| (b & !sign) | (a & sign)))
}

/// `testp`: whether a number is of a class. The second operand of the relation is not used.
pub(crate) fn class_test(class: &str, ty: Type) -> Option<super::Compare> {
    for_float!(ty, T => Some(match class {
        "finite" => super::relation(|a, _| T::get(a).is_finite()),
        "infinite" => super::relation(|a, _| T::get(a).is_infinite()),
        "number" => super::relation(|a, _| !T::get(a).is_nan()),
        "notanumber" => super::relation(|a, _| T::get(a).is_nan()),
        "normal" => super::relation(|a, _| T::get(a).is_normal()),
        "subnormal" => super::relation(|a, _| T::get(a).is_subnormal()),
        _ => return None,
    }), else None)
}
