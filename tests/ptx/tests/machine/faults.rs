//! Every other kind of fault, and what a fault says.

use crate::{HEAD, fails, leaves, source};
use lr_ptx::{Argument, FaultKind, LaunchShape, Memory, MemoryError, Module, Options, Space, launch};

#[test]
fn out_of_bounds() {
    let outside = |wanted: Space| move |kind: &FaultKind| matches!(kind, FaultKind::OutOfBounds { space, .. } if *space == wanted);
    fails("ld.global.u32 %r4, [%rd1+4096];", 1, outside(Space::Global));
    fails("st.global.u32 [%rd1+-4], %r1;", 1, outside(Space::Global));
    fails("mov.u64 %rd4, 0; ld.global.u32 %r4, [%rd4];", 1, outside(Space::Global));
    fails("st.global.v2.u32 [%rd1+4096], {%r1, %r1};", 1, outside(Space::Global));
    // Behind the array but before the next variable; behind everything.
    fails("st.shared.u32 [s+1024], %r1;", 1, outside(Space::Shared));
    fails("st.shared.u32 [after+4], %r1;", 1, outside(Space::Shared));
    fails("ld.shared.u32 %r4, [s+8192];", 1, outside(Space::Shared));
    fails("st.shared.u32 [dynamic+512], %r1;", 1, outside(Space::Shared));
    leaves(
        "st.shared.u32 [dynamic+508], %r1; st.shared.u32 [after], %r1; st.shared.u32 [s+1020], %r1;",
        1,
        |_| 0,
    );
    fails("st.local.u32 [own+16], %r1;", 1, outside(Space::Local));
}

#[test]
fn misaligned() {
    let misaligned = |kind: &FaultKind| matches!(kind, FaultKind::Misaligned { .. });
    fails("ld.global.u32 %r4, [%rd1+2];", 1, misaligned);
    fails("ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1+4];", 1, misaligned);
    fails("st.shared.u64 [s+4], %rd1;", 1, misaligned);
    fails("red.global.add.u32 [%rd1+1], 1;", 1, misaligned);
}

#[test]
fn uninitialized_memory() {
    let missing = |wanted: Space| move |kind: &FaultKind| matches!(kind, FaultKind::UninitializedMemory { space, .. } if *space == wanted);
    fails("ld.shared.u32 %r4, [%r3];", 1, missing(Space::Shared));
    fails("red.shared.add.u32 [%r3], 1;", 1, missing(Space::Shared));
    fails("st.shared.u8 [%r3], %r1; ld.shared.u16 %r4, [%r3];", 1, missing(Space::Shared));
    fails("ld.local.u32 %r4, [own];", 1, missing(Space::Local));
    // What another block left in shared memory is not there.
    crate::fails_blocks(
        "mov.u32 %r4, %ctaid.x; setp.eq.u32 %p1, %r4, 1; @%p1 st.shared.u32 [s], %r4; ld.shared.u32 %r5, [s];",
        2,
        1,
        missing(Space::Shared),
    );
    let module = Module::parse(&source("ld.global.u32 %r4, [%rd1]; st.global.u32 [%rd1], %r4;")).unwrap();
    let mut memory = Memory::new();
    let out = memory.allocate(64);
    let go = |memory: &mut Memory| {
        let shape = LaunchShape::new([1; 3], [1; 3]);
        launch(&module, "k", shape, &[Argument::from(out)], memory, Options::default()).map(|_| ())
    };
    let fault = go(&mut memory).unwrap_err();
    assert_eq!(fault.kind, FaultKind::UninitializedMemory { space: Space::Global, address: out });
    memory.write(out, &[0; 4]).unwrap();
    go(&mut memory).unwrap();
    memory.free(out).unwrap();
    let fault = go(&mut memory).unwrap_err();
    assert_eq!(fault.kind, FaultKind::UseAfterFree { address: out, bytes: 4 });
}

#[test]
fn uninitialized_registers() {
    let missing = |wanted: &'static str| move |kind: &FaultKind| matches!(kind, FaultKind::UninitializedRegister { name } if name == wanted);
    fails("add.u32 %r4, %r5, 1;", 1, missing("%r5"));
    fails("@%p1 mov.u32 %r4, 1;", 1, missing("%p1"));
    fails("and.pred %p1, %p2, %p3;", 1, missing("%p2"));
    fails("st.global.u32 [%rd7], %r1;", 1, missing("%rd7"));
    fails("st.global.u32 [%rd2], %r7;", 1, missing("%r7"));
    // Written by some lanes only.
    let partly = "setp.lt.u32 %p1, %r1, 5; @%p1 mov.u32 %r4, 1;";
    fails(&format!("{partly} st.global.u32 [%rd2], %r4;"), 8, missing("%r4"));
    // A selection needs only what it selects.
    leaves(&format!("{partly} selp.u32 %r5, %r4, %r1, %p1; st.global.u32 [%rd2], %r5;"), 8, |t| {
        if t < 5 { 1 } else { t }
    });
    fails(&format!("{partly} selp.u32 %r5, %r1, %r4, %p1;"), 8, missing("%r4"));
    // Registers do not survive from block to block.
    crate::fails_blocks(
        "mov.u32 %r4, %ctaid.x; setp.eq.u32 %p1, %r4, 0; @%p1 mov.u32 %r5, 1; add.u32 %r5, %r5, 1;",
        2,
        1,
        missing("%r5"),
    );
}

#[test]
fn divergent_barriers() {
    let divergent = |kind: &FaultKind| matches!(kind, FaultKind::DivergentBarrier(_));
    fails("setp.lt.u32 %p1, %r1, 16; @%p1 bra A; bar.sync 0; bra B; A: bar.sync 0; B:", 64, divergent);
    fails("setp.lt.u32 %p1, %r1, 16; @%p1 bar.sync 0; bar.sync 1;", 64, divergent);
    fails("setp.lt.u32 %p1, %r1, 32; @%p1 bra A; bar.sync 0; bra B; A: bar.sync 1; B:", 64, divergent);
    fails("bar.sync 16;", 1, divergent);
}

#[test]
fn endless_loops_and_traps() {
    fails("L: bra L;", 32, |kind| matches!(kind, FaultKind::StepLimit(100_000)));
    fails("trap;", 1, |kind| *kind == FaultKind::Trap);
    let module = Module::parse(&format!("{HEAD} mov.u32 %r4, 1; }}")).unwrap();
    let mut memory = Memory::new();
    let out = memory.upload(&[0; 64]);
    let shape = LaunchShape::new([1; 3], [1; 3]);
    let fault =
        launch(&module, "k", shape, &[Argument::from(out)], &mut memory, Options::default()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
}

#[test]
fn launches_that_do_not_fit() {
    let text = ".version 7.0 .target sm_80 .address_size 64 .entry k(.param .u64 p, .param .f32 x) .maxntid 64, 2, 1 { .shared .b8 s[1024]; ret; }";
    let module = Module::parse(text).unwrap();
    let mut memory = Memory::new();
    let good = [Argument::from(0u64), Argument::from(0f32)];
    let mut go =
        |entry: &str, grid: [u32; 3], block: [u32; 3], dynamic_shared: u32, arguments: &[Argument]| {
            let shape = LaunchShape { grid, block, dynamic_shared };
            launch(&module, entry, shape, arguments, &mut memory, Options::default())
                .map(|_| ())
                .map_err(|f| f.kind)
        };
    go("k", [1; 3], [64, 2, 1], 0, &good).unwrap();
    assert_eq!(go("k", [1; 3], [129, 1, 1], 0, &good), Err(FaultKind::BlockSize { threads: 129, most: 128 }));
    assert_eq!(go("k", [1; 3], [0, 1, 1], 0, &good), Err(FaultKind::BlockSize { threads: 0, most: 128 }));
    assert_eq!(go("k", [1, 0, 1], [1; 3], 0, &good), Err(FaultKind::EmptyGrid));
    assert!(matches!(
        go("k", [1; 3], [1; 3], 200_000, &good),
        Err(FaultKind::SharedMemory { bytes: 201_024, .. })
    ));
    assert!(matches!(go("k", [1; 3], [1; 3], 0, &good[..1]), Err(FaultKind::Arguments(_))));
    let long = [Argument::from(0u64), Argument::from(0f64)];
    assert!(matches!(go("k", [1; 3], [1; 3], 0, &long), Err(FaultKind::Arguments(_))));
    assert_eq!(go("other", [1; 3], [1; 3], 0, &good), Err(FaultKind::NoEntry));
}

#[test]
fn a_fault_names_line_block_and_thread() {
    let module =
        Module::parse(&source("\nsetp.eq.u32 %p1, %r1, 5;\n@%p1 ld.global.u32 %r4, [%rd1+8192];")).unwrap();
    let mut memory = Memory::new();
    let out = memory.upload(&[0; 4096]);
    let shape = LaunchShape::new([1; 3], [4, 2, 1]);
    let again = Module::parse(&source(
        "mov.u32 %r1, %tid.y; setp.eq.u32 %p1, %r1, 1;\n@%p1 st.local.u32 [own+20], %r1;",
    ))
    .unwrap();
    launch(&module, "k", shape, &[Argument::from(out)], &mut memory, Options::default()).unwrap();
    let fault =
        launch(&again, "k", shape, &[Argument::from(out)], &mut memory, Options::default()).unwrap_err();
    let line = HEAD.lines().count() as u32 + 2;
    assert_eq!((fault.line, fault.block, fault.thread), (line, [0; 3], [0, 1, 0]));
    let message = fault.to_string();
    for part in ["kernel k", "`@%p1 st.local.u32 [own+20], %r1;`", "thread (0, 1, 0)", "out of bounds"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn host_accesses_are_checked() {
    let mut memory = Memory::new();
    let a = memory.upload(&[1, 2, 3, 4, 5]);
    let b = memory.allocate(8);
    assert_eq!((memory.live_bytes(), memory.live_allocations()), (13, 2));
    let mut out = [0; 3];
    memory.read(a + 2, &mut out).unwrap();
    assert_eq!(out, [3, 4, 5]);
    assert!(matches!(memory.read(a + 3, &mut out), Err(MemoryError::OutOfBounds { .. })));
    assert!(matches!(memory.write(a - 1, &[0]), Err(MemoryError::OutOfBounds { .. })));
    assert_eq!(memory.is_initialized(b, 8), Ok(false));
    memory.copy(a, b, 5).unwrap();
    assert_eq!((memory.is_initialized(b, 5), memory.is_initialized(b, 6)), (Ok(true), Ok(false)));
    // Copies carry what is missing.
    memory.copy(b + 4, a, 2).unwrap();
    assert_eq!((memory.is_initialized(a, 1), memory.is_initialized(a, 2)), (Ok(true), Ok(false)));
    memory.free(a).unwrap();
    assert_eq!(memory.free(a), Err(MemoryError::BadFree { address: a }));
    assert_eq!(memory.free(b + 1), Err(MemoryError::BadFree { address: b + 1 }));
    assert!(matches!(memory.read(a, &mut out), Err(MemoryError::UseAfterFree { .. })));
    assert_ne!(memory.allocate(5), a);
}
