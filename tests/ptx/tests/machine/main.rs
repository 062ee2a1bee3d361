//! The interpreter by itself: what instructions compute, what each check sees, and what the parser refuses.

mod collectives;
mod faults;
mod floats;
mod integers;
mod parsing;
mod races;

use lr_ptx::{Argument, FaultKind, LaunchShape, Memory, Module, Options, Report, Schedule, launch};

/// Registers and addresses that the bodies of these tests use: `%rd1` is the output, `%rd2` the place of the
/// thread's own word in it, `%r1` the thread, `%r2` four times the thread, `%r3` its word in the shared array `s`.
const HEAD: &str = "
.version 7.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.visible .entry k(.param .u64 .ptr .global .align 4 p_out)
{
    .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<32>; .reg .b64 %rd<16>; .reg .f32 %f<16>; .reg .f64 %d<16>;
    .shared .align 16 .b8 s[1024];
    .shared .align 4 .b8 after[4];
    .local .align 8 .b8 own[16];
    ld.param.u64 %rd1, [p_out];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd2, %rd1, %rd2;
    shl.b32 %r2, %r1, 2;
    mov.u32 %r3, s;
    add.u32 %r3, %r3, %r2;
";

/// The schedules that every test runs under.
const SCHEDULES: [Schedule; 3] = [Schedule::InOrder, Schedule::Random(1), Schedule::Random(77)];

fn source(body: &str) -> String {
    format!("{HEAD}{body}\nret;\n}}\n")
}

fn run_blocks(
    body: &str,
    blocks: u32,
    threads: u32,
    schedule: Schedule,
) -> Result<(Vec<u32>, Report), FaultKind> {
    let module = Module::parse(&source(body)).unwrap();
    let mut memory = Memory::new();
    let out = memory.upload(&[0; 4096]);
    let mut shape = LaunchShape::new([blocks, 1, 1], [threads, 1, 1]);
    shape.dynamic_shared = 512;
    let options = Options { schedule, step_limit: 100_000 };
    let report =
        launch(&module, "k", shape, &[Argument::from(out)], &mut memory, options).map_err(|f| f.kind)?;
    let mut bytes = [0; 4096];
    memory.read(out, &mut bytes).unwrap();
    let words = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    Ok((words, report))
}

/// Words that one block of some threads leaves behind.
fn run(body: &str, threads: u32, schedule: Schedule) -> Result<Vec<u32>, FaultKind> {
    run_blocks(body, 1, threads, schedule).map(|(words, _)| words)
}

/// Asserts what each thread leaves in its own word.
fn leaves(body: &str, threads: u32, expected: impl Fn(u32) -> u32) {
    for schedule in SCHEDULES {
        let words = run(body, threads, schedule).unwrap();
        for thread in 0..threads {
            let (found, expected) = (words[thread as usize], expected(thread));
            assert_eq!(found, expected, "thread {thread}, {schedule:?}: {found:#x} is not {expected:#x}");
        }
    }
}

/// Asserts the result of code that leaves it in `%r4`.
fn computes(code: &str, expected: u32) {
    leaves(&format!("{code}\nst.global.u32 [%rd2], %r4;"), 1, |_| expected);
}

/// Asserts the result of code that leaves it in `%rd4`.
fn computes_wide(code: &str, expected: u64) {
    let words = run(&format!("{code}\nst.global.u64 [%rd1], %rd4;"), 1, Schedule::InOrder).unwrap();
    let found = u64::from(words[0]) | u64::from(words[1]) << 32;
    assert_eq!(found, expected, "{code}: {found:#x} is not {expected:#x}");
}

/// Asserts that a body fails under every schedule, by a fault that `is` accepts.
fn fails(body: &str, threads: u32, is: impl Fn(&FaultKind) -> bool) {
    fails_blocks(body, 1, threads, is);
}

fn fails_blocks(body: &str, blocks: u32, threads: u32, is: impl Fn(&FaultKind) -> bool) {
    for schedule in SCHEDULES {
        match run_blocks(body, blocks, threads, schedule) {
            Ok(_) => panic!("no fault under {schedule:?}: {body}"),
            Err(kind) => assert!(is(&kind), "{schedule:?}: {kind}"),
        }
    }
}
