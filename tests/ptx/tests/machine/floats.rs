//! Floating point: IEEE rounding, the rules for NaN and signed zeros, conversions, approximations.

use crate::{computes, computes_wide};

const NAN: &str = "0f7FC00000";

/// Bits of an f32 as PTX writes them.
fn single(x: f32) -> String {
    format!("0f{:08X}", x.to_bits())
}

/// Asserts the f32 that `code` leaves in `%f1`.
fn gives(code: &str, expected: f32) {
    let bits = if expected.is_nan() { 0x7FFF_FFFF } else { expected.to_bits() };
    computes(&format!("{code} mov.b32 %r4, %f1;"), bits);
}

fn gives_double(code: &str, expected: f64) {
    computes_wide(&format!("{code} mov.b64 %rd4, %d1;"), expected.to_bits());
}

#[test]
fn arithmetic_rounds_to_nearest() {
    let (a, b) = (single(0.1), single(0.3));
    gives(&format!("mov.f32 %f2, {a}; add.f32 %f1, %f2, {b};"), 0.1 + 0.3);
    gives(&format!("mov.f32 %f2, {a}; sub.rn.f32 %f1, %f2, {b};"), 0.1 - 0.3);
    gives(&format!("mov.f32 %f2, {a}; mul.f32 %f1, %f2, {b};"), 0.1 * 0.3);
    gives(&format!("mov.f32 %f2, {a}; div.rn.f32 %f1, %f2, {b};"), 0.1 / 0.3);
    gives(&format!("mov.f32 %f2, {a}; sqrt.rn.f32 %f1, %f2;"), 0.1f32.sqrt());
    gives(&format!("mov.f32 %f2, {b}; rcp.rn.f32 %f1, %f2;"), 1.0 / 0.3);
    let (x, y) = (1.0 + f32::EPSILON, 1.0 - f32::EPSILON);
    gives(
        &format!("mov.f32 %f2, {}; fma.rn.f32 %f1, %f2, {}, -1.0;", single(x), single(y)),
        x.mul_add(y, -1.0),
    );
    assert_ne!(x.mul_add(y, -1.0), x * y - 1.0);
    gives_double("mov.f64 %d2, 0d3FB999999999999A; add.f64 %d1, %d2, 0.2;", 0.1 + 0.2);
    gives_double("mov.f64 %d2, 0.1; div.rn.f64 %d1, %d2, 0.3;", 0.1 / 0.3);
    gives_double("mov.f64 %d2, 0.1; fma.rn.f64 %d1, %d2, 10.0, -1.0;", 0.1f64.mul_add(10.0, -1.0));
    gives_double("mov.f64 %d2, 2.0; sqrt.rn.f64 %d1, %d2;", 2f64.sqrt());
    gives("mov.f32 %f2, 0f00000003; mul.f32 %f1, %f2, 0.5;", f32::from_bits(2));
    gives("mov.f32 %f2, 0f00000003; mul.ftz.f32 %f1, %f2, 0.5;", 0.0);
}

#[test]
fn extrema_prefer_numbers_and_order_zeros() {
    gives(&format!("mov.f32 %f2, {NAN}; max.f32 %f1, %f2, 1.0;"), 1.0);
    gives(&format!("mov.f32 %f2, {NAN}; min.f32 %f1, 1.0, %f2;"), 1.0);
    gives(&format!("mov.f32 %f2, {NAN}; max.NaN.f32 %f1, %f2, 1.0;"), f32::NAN);
    gives(&format!("mov.f32 %f2, {NAN}; min.NaN.f32 %f1, 1.0, %f2;"), f32::NAN);
    gives(&format!("mov.f32 %f2, {NAN}; min.f32 %f1, %f2, %f2;"), f32::NAN);
    gives("mov.f32 %f2, 0f80000000; max.f32 %f1, %f2, 0f00000000;", 0.0);
    gives("mov.f32 %f2, 0f80000000; min.f32 %f1, 0f00000000, %f2;", -0.0);
    gives("mov.f32 %f2, 3.0; min.f32 %f1, %f2, 2.0;", 2.0);
    gives("mov.f32 %f2, 3.0; max.f32 %f1, %f2, 2.0;", 3.0);
}

#[test]
fn signs_and_classes() {
    gives("mov.f32 %f2, -3.0; mov.f32 %f3, 2.0; copysign.f32 %f1, %f2, %f3;", -2.0);
    gives("mov.f32 %f2, -3.0; abs.f32 %f1, %f2;", 3.0);
    gives("mov.f32 %f2, 0.0; neg.f32 %f1, %f2;", -0.0);
    gives_double("mov.f64 %d2, -3.0; neg.f64 %d1, %d2;", 3.0);
    let infinity = single(f32::INFINITY);
    for (class, value, holds) in [
        ("finite", infinity.as_str(), 0),
        ("finite", "0f00000001", 1),
        ("infinite", infinity.as_str(), 1),
        ("number", infinity.as_str(), 1),
        ("number", NAN, 0),
        ("notanumber", NAN, 1),
        ("normal", "0f00000001", 0),
        ("subnormal", "0f00000001", 1),
    ] {
        let code = format!("mov.f32 %f2, {value}; testp.{class}.f32 %p1, %f2; selp.u32 %r4, 1, 0, %p1;");
        computes(&code, holds);
    }
}

#[test]
fn comparisons_with_nan() {
    for (relation, with_nan, one_two, one_one) in [
        ("eq", 0, 0, 1),
        ("ne", 0, 1, 0),
        ("lt", 0, 1, 0),
        ("le", 0, 1, 1),
        ("gt", 0, 0, 0),
        ("ge", 0, 0, 1),
        ("equ", 1, 0, 1),
        ("neu", 1, 1, 0),
        ("ltu", 1, 1, 0),
        ("leu", 1, 1, 1),
        ("gtu", 1, 0, 0),
        ("geu", 1, 0, 1),
        ("num", 0, 1, 1),
        ("nan", 1, 0, 0),
    ] {
        for (b, holds) in [(NAN, with_nan), ("2.0", one_two), ("1.0", one_one)] {
            let code = format!(
                "mov.f32 %f2, 1.0; mov.f32 %f3, {b}; setp.{relation}.f32 %p1, %f2, %f3; selp.u32 %r4, 1, 0, %p1;"
            );
            computes(&code, holds);
        }
    }
}

#[test]
fn conversions_to_integers_clamp() {
    for (mode, x, result) in [
        ("rzi", -2.5f32, -2i32),
        ("rni", -2.5, -2),
        ("rni", 3.5, 4),
        ("rmi", -2.5, -3),
        ("rpi", -2.5, -2),
        ("rpi", 2.1, 3),
        ("rzi", 1e20, i32::MAX),
        ("rzi", -1e20, i32::MIN),
        ("rzi", f32::NAN, 0),
    ] {
        computes(&format!("mov.f32 %f2, {}; cvt.{mode}.s32.f32 %r4, %f2;", single(x)), result as u32);
    }
    computes("mov.f32 %f2, -1.0; cvt.rzi.u32.f32 %r4, %f2;", 0);
    computes_wide(&format!("mov.f32 %f2, {NAN}; cvt.rzi.s64.f32 %rd4, %f2;"), 1 << 63);
    gives("mov.f32 %f2, 2.5; cvt.rni.f32.f32 %f1, %f2;", 2.0);
    gives("mov.f32 %f2, -2.5; cvt.rmi.f32.f32 %f1, %f2;", -3.0);
    gives("mov.f32 %f2, 2.5; cvt.sat.f32.f32 %f1, %f2;", 1.0);
}

#[test]
fn conversions_to_numbers_round_as_told() {
    let odd = (1u32 << 24) + 1;
    gives(&format!("mov.u32 %r5, {odd}; cvt.rn.f32.u32 %f1, %r5;"), 16_777_216.0);
    gives(&format!("mov.u32 %r5, {odd}; cvt.rp.f32.u32 %f1, %r5;"), 16_777_218.0);
    gives(&format!("mov.u32 %r5, -{odd}; cvt.rm.f32.s32 %f1, %r5;"), -16_777_218.0);
    gives(&format!("mov.u32 %r5, -{odd}; cvt.rz.f32.s32 %f1, %r5;"), -16_777_216.0);
    gives("mov.f64 %d2, 0.1; cvt.rn.f32.f64 %f1, %d2;", 0.1);
    gives("mov.f64 %d2, 0.1; cvt.rz.f32.f64 %f1, %d2;", 0.1f32.next_down());
    gives("mov.f64 %d2, 0.3; cvt.rp.f32.f64 %f1, %d2;", 0.3f32);
    gives("mov.f64 %d2, 0.3; cvt.rm.f32.f64 %f1, %d2;", 0.3f32.next_down());
    gives_double("mov.f32 %f2, 0f3DCCCCCD; cvt.f64.f32 %d1, %f2;", f64::from(0.1f32));
    gives_double("mov.u64 %rd5, 0xFFFFFFFFFFFFFFFF; cvt.rn.f64.u64 %d1, %rd5;", 18_446_744_073_709_551_615.0);
}

/// Distance in units in the last place.
fn off(found: u32, expected: f64) -> u32 {
    found.abs_diff((expected as f32).to_bits())
}

#[test]
fn approximations_are_off_by_no_more_than_documented_and_not_exact() {
    type Case = (&'static str, fn(f64) -> f64, u32);
    let cases: [Case; 6] = [
        ("ex2.approx.f32", f64::exp2, 2),
        ("lg2.approx.f32", f64::log2, 2),
        ("rcp.approx.ftz.f32", |x| 1.0 / x, 1),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), 3),
        ("sqrt.approx.f32", f64::sqrt, 2),
        ("sin.approx.f32", f64::sin, 4),
    ];
    for (name, exact, most) in cases {
        let mut furthest = 0;
        for i in 1..40 {
            let x = 0.37f32 * i as f32;
            let code = format!("mov.f32 %f2, {}; {name} %f1, %f2; mov.b32 %r4, %f1;", single(x));
            let words =
                crate::run(&format!("{code} st.global.u32 [%rd2], %r4;"), 1, crate::SCHEDULES[0]).unwrap();
            furthest = furthest.max(off(words[0], exact(f64::from(x))));
        }
        assert!(furthest > 0 && furthest <= most, "{name}: {furthest} units");
    }
    gives("mov.f32 %f2, 3.0; ex2.approx.f32 %f1, %f2;", 8.0);
    gives("mov.f32 %f2, 0.0; rcp.approx.f32 %f1, %f2;", f32::INFINITY);
    gives("mov.f32 %f2, 6.0; div.approx.f32 %f1, %f2, 2.0;", 3.0);
}
