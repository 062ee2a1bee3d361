//! Data races in shared and global memory, and what orders accesses.

use crate::{SCHEDULES, fails, fails_blocks, leaves, run_blocks};
use lr_ptx::{FaultKind, Race, Space};

fn race(wanted: Space) -> impl Fn(&FaultKind) -> bool {
    move |kind| matches!(kind, FaultKind::DataRace { space, .. } if *space == wanted)
}

/// Writes the own word, then `between`, then reads the word of the thread 4 bytes times `apart` away.
fn exchange(between: &str, apart: u32) -> String {
    format!(
        "st.shared.u32 [%r3], %r1; {between} xor.b32 %r4, %r2, {}; mov.u32 %r5, s; add.u32 %r4, %r4, %r5; ld.shared.u32 %r6, [%r4];
         st.global.u32 [%rd2], %r6;",
        4 * apart
    )
}

#[test]
fn a_barrier_orders_the_block() {
    leaves(&exchange("bar.sync 0;", 32), 64, |thread| thread ^ 32);
    for schedule in SCHEDULES {
        // Without it the other warp's word is uninitialized or unordered, whichever comes first.
        crate::run(&exchange("", 32), 64, schedule).unwrap_err();
    }
    fails(
        &format!("mov.u32 %r9, 1; st.shared.u32 [%r3], %r9; bar.sync 0; {}", exchange("", 32)),
        64,
        race(Space::Shared),
    );
    // The barrier is there, but the next write comes too early.
    fails(&format!("{} st.shared.u32 [%r3], %r2;", exchange("bar.sync 0;", 32)), 64, race(Space::Shared));
    leaves(&format!("{} bar.sync 0; st.shared.u32 [%r3], %r2;", exchange("bar.sync 0;", 32)), 64, |t| t ^ 32);
}

#[test]
fn a_warp_barrier_orders_the_warp_only() {
    leaves(&exchange("bar.warp.sync -1;", 4), 32, |thread| thread ^ 4);
    let first = "mov.u32 %r9, 1; st.shared.u32 [%r3], %r9; bar.sync 0;";
    fails(&format!("{first} {}", exchange("", 4)), 32, race(Space::Shared));
    fails(&format!("{first} {}", exchange("bar.warp.sync -1;", 32)), 64, race(Space::Shared));
    // Reads of several lanes, then a write of one of them.
    let reads = format!("{first} ld.shared.u32 %r5, [s]; setp.eq.u32 %p1, %r1, 3;");
    fails(&format!("{reads} @%p1 st.shared.u32 [s], %r5;"), 32, race(Space::Shared));
    leaves(&format!("{reads} bar.warp.sync -1; @%p1 st.shared.u32 [s], %r5;"), 32, |_| 0);
    fails(&format!("{reads} bar.warp.sync -1; @%p1 st.shared.u32 [s], %r5;"), 64, race(Space::Shared));
}

#[test]
fn writes_of_two_threads() {
    fails("st.shared.u32 [s], %r1;", 2, race(Space::Shared));
    fails("st.global.u32 [%rd1], %r1;", 2, race(Space::Global));
    leaves("setp.eq.u32 %p1, %r1, 1; @%p1 st.global.u32 [%rd1], %r1;", 2, |thread| 1 - thread);
}

#[test]
fn blocks_are_never_ordered() {
    let unordered = race(Space::Global);
    fails_blocks("bar.sync 0; st.global.u32 [%rd1+8], %r1;", 2, 1, &unordered);
    fails_blocks(
        "ld.global.u32 %r4, [%rd1+8]; bar.sync 0; mov.u32 %r5, %ctaid.x; setp.eq.u32 %p1, %r5, 0;
                  @%p1 st.global.u32 [%rd1+8], %r4;",
        3,
        1,
        &unordered,
    );
    // Read by all, written in its own place by each.
    let body = "ld.global.u32 %r4, [%rd1]; mov.u32 %r5, %ctaid.x; mad.lo.u32 %r6, %r5, 4, 8;
                cvt.u64.u32 %rd3, %r6; add.u64 %rd3, %rd1, %rd3; st.global.u32 [%rd3], %r5;";
    for schedule in SCHEDULES {
        let (words, _) = run_blocks(body, 3, 1, schedule).unwrap();
        assert_eq!(words[2..5], [0, 1, 2]);
    }
}

#[test]
fn atomics_race_with_plain_accesses() {
    fails("red.global.add.u32 [%rd1], 1; ld.global.u32 %r4, [%rd1];", 64, race(Space::Global));
    fails("red.global.add.u32 [%rd1], 1; st.global.u32 [%rd1], %r1;", 64, race(Space::Global));
    // The last thread to add still races with the others' additions.
    fails(
        "red.global.add.u32 [%rd1], 1; mov.u32 %r4, %ctaid.x; setp.eq.u32 %p1, %r1, 31; @%p1 ld.global.u32 %r4, [%rd1];",
        32,
        race(Space::Global),
    );
    fails_blocks(
        "red.global.add.u32 [%rd1], 1; bar.sync 0; ld.global.u32 %r4, [%rd1];",
        2,
        1,
        race(Space::Global),
    );
    leaves(
        "red.global.add.u32 [%rd1+1024], 1; bar.sync 0; ld.global.u32 %r4, [%rd1+1024]; st.global.u32 [%rd2], %r4;",
        64,
        |_| 64,
    );
}

#[test]
fn the_non_coherent_cache_is_for_data_that_the_launch_does_not_write() {
    fails("st.global.u32 [%rd2], %r1; ld.global.nc.u32 %r4, [%rd2];", 1, |kind| {
        matches!(kind, FaultKind::DataRace { race: Race::NonCoherent, .. })
    });
    leaves("ld.global.nc.u32 %r4, [%rd1+1024]; st.global.u32 [%rd2], %r1;", 32, |thread| thread);
}
