//! A global allocator that counts, for the tests that warm code allocates nothing. Each such test is a
//! binary of its own, with one test in it: the counter sees the whole process.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Asserts that `work` allocates nothing once warm: of a hundred windows of ten calls, one sees no
/// allocation. A thread that meets its first piece of work late may still grow its scratch in the windows
/// before; work that allocates by itself leaves none free of it.
pub fn assert_settles(what: &str, mut work: impl FnMut()) {
    let quiet = (0..100).any(|_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..10).for_each(|_| work());
        ALLOCATIONS.load(Ordering::Relaxed) == before
    });
    assert!(quiet, "{what}: allocations in every window of ten calls");
}
