//! Integer arithmetic, logic, conversions, moves, and memory of every width.

use crate::{computes, computes_wide, leaves};

#[test]
fn sums_and_products_wrap() {
    computes("mov.u32 %r5, 0xFFFFFFFF; add.u32 %r4, %r5, 3;", 2);
    computes("mov.u32 %r5, 3; sub.s32 %r4, %r5, 5;", -2i32 as u32);
    computes("mov.u32 %r5, 0x10001; mul.lo.u32 %r4, %r5, %r5;", 0x20001);
    computes("mov.u32 %r5, 0x80000000; mul.hi.u32 %r4, %r5, 6;", 3);
    computes("mov.u32 %r5, 0x80000000; mul.hi.s32 %r4, %r5, 6;", -3i32 as u32);
    computes("mov.u32 %r5, 7; mad.lo.u32 %r4, %r5, 6, 5;", 47);
    computes("mov.u32 %r5, 0x80000000; mad.hi.u32 %r4, %r5, 6, 5;", 8);
    computes_wide("mov.u32 %r5, 0xFFFFFFFF; mul.wide.u32 %rd4, %r5, %r5;", 0xFFFF_FFFE_0000_0001);
    computes_wide("mov.u32 %r5, -2; mul.wide.s32 %rd4, %r5, 3;", -6i64 as u64);
    computes_wide("mov.u32 %r5, -2; mov.u64 %rd5, 10; mad.wide.s32 %rd4, %r5, 3, %rd5;", 4);
    computes_wide("mov.u32 %r5, 4; mov.u64 %rd5, 10; mad.wide.u32 %rd4, %r5, 3, %rd5;", 22);
    computes("mov.b16 %h1, 0xFFFF; mul.wide.u16 %r4, %h1, %h1;", 0xFFFE_0001);
    computes("mov.b16 %h1, 0xFFFF; mul.wide.s16 %r4, %h1, 5;", -5i32 as u32);
    computes_wide("mov.u64 %rd5, 0x8000000000000000; mul.hi.u64 %rd4, %rd5, 6;", 3);
}

#[test]
fn division_truncates() {
    computes("mov.s32 %r5, -7; div.s32 %r4, %r5, 2;", -3i32 as u32);
    computes("mov.s32 %r5, -7; rem.s32 %r4, %r5, 2;", -1i32 as u32);
    computes("mov.u32 %r5, 0xFFFFFFF9; div.u32 %r4, %r5, 2;", 0x7FFF_FFFC);
    computes("mov.u32 %r5, 17; rem.u32 %r4, %r5, 5;", 2);
    computes("mov.u32 %r5, 17; mov.u32 %r6, 0; div.u32 %r4, %r5, %r6;", u32::MAX);
}

#[test]
fn extrema_heed_the_sign() {
    computes("mov.s32 %r5, -1; min.s32 %r4, %r5, 1;", u32::MAX);
    computes("mov.s32 %r5, -1; min.u32 %r4, %r5, 1;", 1);
    computes("mov.s32 %r5, -1; max.s32 %r4, %r5, 1;", 1);
    computes("mov.s32 %r5, -1; max.u32 %r4, %r5, 1;", u32::MAX);
    computes("mov.s32 %r5, -8; abs.s32 %r4, %r5;", 8);
    computes("mov.s32 %r5, -8; neg.s32 %r4, %r5;", 8);
}

#[test]
fn bits() {
    computes("mov.b32 %r5, 12; and.b32 %r4, %r5, 10;", 8);
    computes("mov.b32 %r5, 12; or.b32 %r4, %r5, 10;", 14);
    computes("mov.b32 %r5, 12; xor.b32 %r4, %r5, 10;", 6);
    computes("mov.b32 %r5, 12; not.b32 %r4, %r5;", !12);
    computes("mov.b32 %r5, 12; popc.b32 %r4, %r5;", 2);
    computes("mov.b64 %rd5, 12; clz.b64 %r4, %rd5;", 60);
    computes("mov.b32 %r5, 1; brev.b32 %r4, %r5;", 1 << 31);
    computes("mov.b32 %r5, 3; mov.u32 %r6, 32; shl.b32 %r4, %r5, %r6;", 0);
    computes("mov.b32 %r5, 3; shl.b32 %r4, %r5, 4;", 48);
    computes("mov.s32 %r5, -16; shr.s32 %r4, %r5, 2;", -4i32 as u32);
    computes("mov.s32 %r5, -16; mov.u32 %r6, 99; shr.s32 %r4, %r5, %r6;", u32::MAX);
    computes("mov.s32 %r5, -16; shr.u32 %r4, %r5, 28;", 15);
    computes("mov.s32 %r5, -16; shr.b32 %r4, %r5, 32;", 0);
}

#[test]
fn fields() {
    computes("mov.b32 %r5, 0x12345678; bfe.u32 %r4, %r5, 8, 8;", 0x56);
    computes("mov.b32 %r5, 0x12345678; bfe.u32 %r4, %r5, 28, 9;", 1);
    computes("mov.b32 %r5, 0x0000F000; bfe.s32 %r4, %r5, 12, 4;", u32::MAX);
    computes("mov.b32 %r5, 0x0000F000; bfe.s32 %r4, %r5, 12, 5;", 15);
    computes("mov.b32 %r5, 0x0000F000; bfe.s32 %r4, %r5, 12, 0;", 0);
    computes_wide("mov.b64 %rd5, 0xF00000000000; bfe.u64 %rd4, %rd5, 44, 8;", 15);
}

#[test]
fn comparisons_and_their_combinations() {
    let value = |code: &str| format!("{code} selp.u32 %r4, 1, 0, %p1;");
    for (relation, ty, b, holds) in [
        ("lt", "s32", "1", 1),
        ("lt", "u32", "1", 0),
        ("lo", "u32", "1", 0),
        ("hi", "u32", "1", 1),
        ("hs", "u32", "-1", 1),
        ("ls", "u32", "-2", 0),
        ("le", "s32", "-1", 1),
        ("ge", "s32", "0", 0),
        ("gt", "s32", "-2", 1),
        ("eq", "b32", "-1", 1),
        ("ne", "b32", "-1", 0),
    ] {
        computes(&value(&format!("mov.s32 %r5, -1; setp.{relation}.{ty} %p1, %r5, {b};")), holds);
    }
    for (combine, with, holds) in
        [("and", "%p2", 0), ("and", "!%p2", 1), ("or", "%p2", 1), ("xor", "!%p2", 0)]
    {
        let code =
            format!("mov.u32 %r5, 3; setp.eq.u32 %p2, %r5, 4; setp.{combine}.eq.u32 %p1, %r5, 3, {with};");
        computes(&value(&code.replace(&format!("setp.{combine}.eq"), &format!("setp.eq.{combine}"))), holds);
    }
    computes("mov.u32 %r5, 3; setp.eq.u32 %p1|%p2, %r5, 4; selp.u32 %r4, 5, 6, %p2;", 5);
    computes("mov.u32 %r5, 3; setp.eq.u32 %p1, %r5, 3; not.pred %p2, %p1; selp.u32 %r4, 5, 6, %p2;", 6);
    computes("mov.pred %p1, 1; mov.pred %p2, 0; or.pred %p3, %p1, %p2; selp.u32 %r4, 5, 6, %p3;", 5);
    computes("mov.pred %p1, 1; mov.pred %p2, 0; xor.pred %p3, %p1, !%p2; selp.u32 %r4, 5, 6, %p3;", 6);
}

#[test]
fn conversions_between_integers() {
    computes("mov.b32 %r5, 0x180; cvt.s32.s8 %r4, %r5;", -128i32 as u32);
    computes("mov.b32 %r5, 0x180; cvt.u32.u8 %r4, %r5;", 0x80);
    computes("mov.b64 %rd5, 0x100000007; cvt.u32.u64 %r4, %rd5;", 7);
    computes_wide("mov.s32 %r5, -3; cvt.s64.s32 %rd4, %r5;", -3i64 as u64);
    computes_wide("mov.s32 %r5, -3; cvt.u64.u32 %rd4, %r5;", 0xFFFF_FFFD);
    computes("mov.s32 %r5, -3; cvt.sat.u32.s32 %r4, %r5;", 0);
    computes("mov.u32 %r5, 300; cvt.sat.u8.u32 %r4, %r5;", 255);
}

#[test]
fn packing_and_unpacking() {
    computes_wide("mov.u32 %r5, 7; mov.u32 %r6, 9; mov.b64 %rd4, {%r5, %r6};", 7 | 9 << 32);
    computes(
        "mov.b64 %rd5, 0x900000007; mov.b64 {%r5, %r6}, %rd5; shl.b32 %r5, %r5, 8; or.b32 %r4, %r5, %r6;",
        0x709,
    );
    computes("mov.b64 %rd5, 0x900000007; mov.b64 {_, %r4}, %rd5;", 9);
    computes("mov.b32 %r5, 0x00020001; mov.b32 {%h1, %h2}, %r5; mov.b32 %r4, {%h2, %h1};", 0x0001_0002);
    computes("mov.f64 %d1, 0d3FF8000000000000; mov.b64 {%r5, %r4}, %d1;", 0x3FF8_0000);
}

#[test]
fn special_registers() {
    leaves(
        "mov.u32 %r4, %laneid; mov.u32 %r5, %warpid; mov.u32 %r6, %ntid.x;
            mad.lo.u32 %r4, %r5, 100, %r4; mad.lo.u32 %r4, %r6, 1000, %r4; st.global.u32 [%rd2], %r4;",
        50,
        |thread| 50_000 + thread / 32 * 100 + thread % 32,
    );
    computes("mov.u32 %r4, %nctaid.x; add.u32 %r4, %r4, %ctaid.x; add.u32 %r4, %r4, WARP_SZ;", 33);
    leaves(
        "mov.u32 %r4, %lanemask_lt; mov.u32 %r5, %lanemask_ge; add.u32 %r4, %r4, %r5;
            st.global.u32 [%rd2], %r4;",
        32,
        |_| u32::MAX,
    );
    leaves(
        "mov.u32 %r4, %lanemask_le; mov.u32 %r5, %lanemask_gt; add.u32 %r4, %r4, %r5;
            mov.u32 %r5, %lanemask_eq; sub.u32 %r4, %r4, %r5;
            st.global.u32 [%rd2], %r4;",
        32,
        |lane| u32::MAX - (1 << lane),
    );
}

#[test]
fn memory_of_every_width_and_space() {
    computes(
        "mov.u32 %r5, 0xABCD80; st.global.u8 [%rd1+8], %r5; ld.global.s8 %r4, [%rd1+8];",
        -128i32 as u32,
    );
    computes("mov.u32 %r5, 0xABCD; st.global.u16 [%rd1+8], %r5; ld.global.u16 %r4, [%rd1+8];", 0xABCD);
    computes(
        "mov.u32 %r5, 5; mov.u32 %r6, 6; st.shared.v2.u32 [s], {%r5, %r6}; ld.shared.v2.u32 {%r7, %r8}, [s];
              mad.lo.u32 %r4, %r7, 10, %r8;",
        56,
    );
    computes("mov.u32 %r5, 5; st.local.u32 [own+4], %r5; ld.local.u32 %r4, [own+4];", 5);
    computes("mov.u32 %r5, 5; mov.u32 %r6, after; st.shared.u32 [%r6], %r5; ld.shared.u32 %r4, [after];", 5);
    // Generic addresses of shared and local memory.
    computes(
        "mov.u32 %r5, 5; mov.u64 %rd5, s; cvta.shared.u64 %rd5, %rd5; st.u32 [%rd5+4], %r5;
              ld.shared.u32 %r4, [s+4];",
        5,
    );
    computes(
        "mov.u32 %r5, 6; mov.u64 %rd5, own; cvta.local.u64 %rd6, %rd5; st.u32 [%rd6], %r5;
              cvta.to.local.u64 %rd7, %rd6; ld.local.u32 %r4, [%rd7];",
        6,
    );
    // Dynamic shared memory lies behind the static variables.
    leaves(
        "mov.u32 %r4, dynamic; add.u32 %r4, %r4, %r2; st.shared.u32 [%r4], %r1; st.shared.u32 [%r3], %r2;
            ld.shared.u32 %r5, [%r4]; ld.shared.u32 %r6, [%r3]; add.u32 %r5, %r5, %r6;
            st.global.u32 [%rd2], %r5;",
        64,
        |thread| 5 * thread,
    );
    // Vectors of four, at a negative offset.
    computes("mov.u32 %r5, 1; mov.u32 %r6, 2; mov.u32 %r7, 3; mov.u32 %r8, 4; add.u64 %rd3, %rd1, 32;
              st.global.v4.b32 [%rd3+-16], {%r5, %r6, %r7, %r8}; ld.global.v4.u32 {%r9, %r10, %r11, %r12}, [%rd1+16];
              mad.lo.u32 %r4, %r9, 10, %r10; mad.lo.u32 %r4, %r4, 10, %r11; mad.lo.u32 %r4, %r4, 10, %r12;", 1234);
}
