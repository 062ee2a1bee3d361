//! What the parser refuses, with its line, and the declarations that it understands.

use crate::{HEAD, source};
use lr_ptx::{Argument, LaunchShape, Memory, Module, Options, launch};

/// The message of a body whose second line is wrong.
fn refused(line: &str) -> String {
    let error = Module::parse(&source(&format!("mov.u32 %r4, 1;\n{line}"))).unwrap_err();
    assert_eq!(error.line as usize, HEAD.lines().count() + 2, "{error}");
    error.message
}

#[test]
fn unsupported_instructions_are_errors() {
    for line in [
        "wmma.load %r4;",
        "add.cc.u32 %r4, %r4, 1;",
        "ex2.approx.f64 %d1, %d2;",
        "ex2.f32 %f1, %f2;",
        "div.f32 %f1, %f2, %f3;",
        "add.rz.f32 %f1, %f2, %f3;",
        "mul.u32 %r4, %r4, 2;",
        "bar.arrive 0, 64;",
        "ld.const.u32 %r4, [%rd1];",
        "cvt.f32.u32 %f1, %r4;",
        "cvt.rn.f64.f32 %d1, %f1;",
        "shfl.down.b32 %r4, %r4, 1, 31;",
        "red.global.cas.b32 [%rd1], %r4, %r4;",
        "st.param.u32 [p_out], %r4;",
        "min.NaN.u32 %r4, %r4, 1;",
    ] {
        let message = refused(line);
        assert!(message.contains("unsupported") || message.contains("needs one of"), "{line}: {message}");
    }
}

#[test]
fn wrong_operands_are_errors() {
    for (line, part) in [
        ("add.u32 %r4, %rd1, 1;", "64 bits"),
        ("add.u32 %r4, %r99, 1;", "unknown operand"),
        ("add.u32 %p1, %r4, 1;", "not a register"),
        ("add.u32 %r4, %p1, 1;", "not a number"),
        ("selp.u32 %r4, 1, 2, %r4;", "not a predicate"),
        ("ld.global.u32 %r4, [%r4];", "no global address"),
        ("ld.global.v2.u32 {%r4}, [%rd1];", "moves 2"),
        ("ld.param.u64 %rd4, [p_out+4];", "outside of parameter"),
        ("ld.param.u64 %rd4, [p_other];", "no parameter"),
        ("bra NOWHERE;", "no label"),
        ("bar.sync 0, 64;", "part of the block"),
        ("add.u32 %r4, %r4, 1", "expected"),
        ("mov.b64 %rd4, {%r4, %r4, %r4};", "no such packing"),
        (".maxnreg 4;", "unsupported directive"),
    ] {
        let text = source(&format!("mov.u32 %r4, 1;\n{line}"));
        let error = Module::parse(&text).unwrap_err();
        assert!(error.message.contains(part), "{line}: {error}");
    }
}

#[test]
fn texts_that_end_too_early_are_errors() {
    let text = source("L: mov.u32 %r4, %tid.x;");
    for end in 0..text.len() - 3 {
        // Every prefix is refused or is a module without the entry; none panics.
        if let Ok(module) = Module::parse(&text[..end]) {
            assert!(module.entry("k").is_none());
        }
    }
}

#[test]
fn parameters_lie_at_their_alignment() {
    let text = "
        .version 7.0 .target sm_80, debug .address_size 64
        .visible .entry k(.param .u32 n, .param .u64 .ptr .global .align 16 p, .param .align 8 .b8 pair[16])
        .maxntid 32, 1, 1
        .minnctapersm 1
        {
            .reg .b32 %a, %b; .reg .b64 %q; .reg .f64 %x, %y;
            ld.param.u32 %a, [n]; ld.param.u64 %q, [p]; ld.param.v2.f64 {%x, %y}, [pair];
            { .reg .f64 %x; mov.f64 %x, 2.0; fma.rn.f64 %y, %y, %x, 1.0; }
            add.f64 %x, %x, %y; st.global.f64 [%q], %x; st.global.u32 [%q+8], %a;
            ret;
        }";
    let module = Module::parse(text).unwrap();
    let entry = module.entry("k").unwrap();
    let sizes: Vec<usize> = entry.parameters().iter().map(|parameter| parameter.size).collect();
    assert_eq!((sizes, entry.most_threads()), (vec![4, 8, 16], 32));
    let mut memory = Memory::new();
    let out = memory.upload(&[0; 16]);
    let pair = [3f64, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let arguments = [Argument::from(7u32), Argument::from(out), Argument(pair)];
    launch(&module, "k", LaunchShape::new([1; 3], [1; 3]), &arguments, &mut memory, Options::default())
        .unwrap();
    let mut bytes = [0; 16];
    memory.read(out, &mut bytes).unwrap();
    assert_eq!(f64::from_le_bytes(bytes[..8].try_into().unwrap()), 14.0);
    assert_eq!(bytes[8], 7);
}

#[test]
fn static_shared_memory_is_counted_without_redzones() {
    let text = ".entry k() { .shared .align 16 .b8 a[20]; .shared .f32 b[2][4]; ret; }";
    assert_eq!(Module::parse(text).unwrap().entry("k").unwrap().static_shared(), 52);
}
