//! Branches, barriers, shuffles, votes and atomics.

use crate::{SCHEDULES, fails, leaves, run, run_blocks};
use lr_ptx::FaultKind;

#[test]
fn loops_with_different_trip_counts_meet_again() {
    leaves(
        "mov.u32 %r4, 0; mov.u32 %r5, 0;
         L: setp.ge.u32 %p1, %r4, %r1; @%p1 bra D; add.u32 %r5, %r5, %r4; add.u32 %r4, %r4, 1; bra L;
         D: bar.sync 0; st.global.u32 [%rd2], %r5;",
        70,
        |thread| thread * thread.saturating_sub(1) / 2,
    );
}

#[test]
fn guards_hold_lane_by_lane() {
    leaves(
        "setp.lt.u32 %p1, %r1, 5; mov.u32 %r4, 1; @%p1 mov.u32 %r4, 2; @!%p1 add.u32 %r4, %r4, 7;
         st.global.u32 [%rd2], %r4;",
        40,
        |thread| if thread < 5 { 2 } else { 8 },
    );
}

#[test]
fn values_pass_through_shared_memory_behind_a_barrier() {
    leaves(
        "st.shared.u32 [%r3], %r1; bar.sync 0; sub.u32 %r4, 252, %r2; mov.u32 %r5, s; add.u32 %r4, %r4, %r5; ld.shared.u32 %r6, [%r4];
         st.global.u32 [%rd2], %r6;",
        64,
        |thread| 63 - thread,
    );
}

#[test]
fn threads_that_ended_are_not_waited_for() {
    leaves("setp.lt.u32 %p1, %r1, 40; @!%p1 ret; barrier.sync 0; st.global.u32 [%rd2], %r1;", 64, |thread| {
        if thread < 40 { thread } else { 0 }
    });
    // Different warps may wait at different instructions.
    leaves(
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra A; bar.sync 1; bra B; A: bar.sync 1; B: st.global.u32 [%rd2], %r1;",
        64,
        |thread| thread,
    );
    let (_, report) = run_blocks("bar.sync 0; bar.sync 0;", 3, 64, SCHEDULES[1]).unwrap();
    assert_eq!(report.barriers, 6);
}

#[test]
fn shuffles_of_every_mode() {
    leaves(
        "shfl.sync.down.b32 %r4|%p1, %r1, 3, 31, -1; selp.u32 %r5, 1, 0, %p1; mad.lo.u32 %r6, %r4, 2, %r5;
         st.global.u32 [%rd2], %r6;",
        32,
        |lane| if lane + 3 <= 31 { 2 * (lane + 3) + 1 } else { 2 * lane },
    );
    leaves("shfl.sync.up.b32 %r4, %r1, 1, 0, -1; st.global.u32 [%rd2], %r4;", 32, |lane| {
        lane.saturating_sub(1)
    });
    leaves("shfl.sync.bfly.b32 %r4, %r1, 5, 31, -1; st.global.u32 [%rd2], %r4;", 32, |lane| lane ^ 5);
    // Segments of 8 lanes: every lane reads lane 2 of its own.
    leaves("shfl.sync.idx.b32 %r4, %r1, 2, 0x1807, -1; st.global.u32 [%rd2], %r4;", 32, |lane| {
        (lane & 24) + 2
    });
    leaves("shfl.sync.up.b32 %r4, %r1, 1, 0x1800, -1; st.global.u32 [%rd2], %r4;", 32, |lane| {
        if lane % 8 == 0 { lane } else { lane - 1 }
    });
    // Half of a warp, arriving one part after the other.
    leaves(
        "setp.lt.u32 %p1, %r1, 16; mov.u32 %r4, 0; @!%p1 bra B; setp.lt.u32 %p2, %r1, 4; @%p2 bra A;
         add.u32 %r4, %r4, 0; A: shfl.sync.bfly.b32 %r4, %r1, 9, 31, 0xffff; B: st.global.u32 [%rd2], %r4;",
        32,
        |lane| if lane < 16 { lane ^ 9 } else { 0 },
    );
}

#[test]
fn shuffles_need_their_members() {
    let bad = |kind: &FaultKind| matches!(kind, FaultKind::BadWarpMask(_));
    // Half of the warp is elsewhere.
    fails(
        "setp.lt.u32 %p1, %r1, 16; @!%p1 bra B; shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1;
         st.global.u32 [%rd2], %r4; B: bar.sync 0;",
        32,
        bad,
    );
    // The reader is not in the mask.
    fails("shfl.sync.bfly.b32 %r4, %r1, 1, 31, 0xff;", 32, bad);
    // The source is not in the mask.
    fails("setp.lt.u32 %p1, %r1, 16; @%p1 shfl.sync.bfly.b32 %r4, %r1, 16, 31, 0xffff;", 32, bad);
    // The source does not exist: the block is smaller than the warp.
    fails("shfl.sync.bfly.b32 %r4, %r1, 16, 31, -1;", 16, bad);
}

#[test]
fn votes() {
    let vote = |mode: &str, bound: u32| {
        format!(
            "setp.lt.u32 %p1, %r1, {bound}; vote.sync.{mode}.pred %p2, %p1, -1; selp.u32 %r4, 1, 0, %p2;
             st.global.u32 [%rd2], %r4;"
        )
    };
    for (mode, none, some, all) in [("all", 0, 0, 1), ("any", 0, 1, 1), ("uni", 1, 0, 1)] {
        for (bound, holds) in [(0, none), (7, some), (32, all)] {
            leaves(&vote(mode, bound), 32, |_| holds);
        }
    }
    leaves(
        "and.b32 %r4, %r1, 1; setp.eq.u32 %p1, %r4, 1; vote.sync.ballot.b32 %r5, !%p1, -1;
         st.global.u32 [%rd2], %r5;",
        32,
        |_| 0x5555_5555,
    );
}

#[test]
fn atomics_lose_no_update() {
    for schedule in SCHEDULES {
        let (words, _) = run_blocks("red.global.add.u32 [%rd1], 1;", 4, 256, schedule).unwrap();
        assert_eq!(words[0], 1024);
        let (words, _) =
            run_blocks("red.global.max.s32 [%rd1], %r1; red.global.or.b32 [%rd1+4], %r1;", 1, 100, schedule)
                .unwrap();
        assert_eq!(words[..2], [99, 127]);
        let body = "cvt.rn.f32.u32 %f1, %r1; red.global.add.f32 [%rd1], %f1;
                    cvt.rn.f64.u32 %d1, %r1; red.global.add.f64 [%rd1+8], %d1;";
        let (words, _) = run_blocks(body, 1, 64, schedule).unwrap();
        assert_eq!(f32::from_bits(words[0]), 2016.0);
        assert_eq!(f64::from_bits(u64::from(words[3]) << 32 | u64::from(words[2])), 2016.0);
        // Every thread gets another old value; exactly one wins the exchange from 0.
        let body =
            "atom.global.add.u32 %r4, [%rd1+2048], 1; mul.wide.u32 %rd3, %r4, 4; add.u64 %rd3, %rd1, %rd3;
                    mov.u32 %r5, 1; st.global.u32 [%rd3], %r5;
                    atom.global.cas.b32 %r6, [%rd1+2052], 0, %r5; setp.eq.u32 %p1, %r6, 0;
                    @%p1 red.global.add.u32 [%rd1+2056], 1;";
        let words = run(body, 200, schedule).unwrap();
        assert!(words[..200].iter().all(|&word| word == 1) && words[200] == 0);
        assert_eq!(words[514], 1);
        let body = "setp.eq.u32 %p1, %r1, 0; mov.u32 %r4, 0; @%p1 st.shared.u32 [s], %r4; bar.sync 0;
                    atom.shared.add.u32 %r5, [s], 2; bar.sync 0; ld.shared.u32 %r6, [s];
                    st.global.u32 [%rd2], %r6;";
        assert_eq!(run(body, 64, schedule).unwrap()[63], 128);
        let body = "atom.global.exch.b32 %r4, [%rd1], 5; atom.global.inc.u32 %r5, [%rd1+4], 0;
                    atom.global.dec.u32 %r5, [%rd1+8], 6; atom.global.min.s32 %r5, [%rd1+12], -4;
                    atom.global.xor.b32 %r5, [%rd1+16], 9; atom.global.and.b32 %r5, [%rd1+16], 8;";
        assert_eq!(run(body, 1, schedule).unwrap()[..5], [5, 0, 6, -4i32 as u32, 8]);
    }
}
