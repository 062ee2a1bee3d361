//! Scratch memory of a thread: a stack that grows to what was once needed and is then reused.

use faer::dyn_stack::{DynArray, MemBuffer, MemStack, StackReq};
use std::cell::Cell;

/// Alignment of every array: the widest vector register.
const ALIGNMENT: usize = 64;

thread_local! {
    static BUFFER: Cell<Option<MemBuffer>> = const { Cell::new(None) };
}

/// Runs `work` with at least `needed` of the thread's stack. Calls do not nest.
pub(super) fn with_stack<R>(needed: StackReq, work: impl FnOnce(&mut MemStack) -> R) -> R {
    let bytes = needed.unaligned_bytes_required();
    let held = BUFFER.take().filter(|held| held.len() >= bytes);
    let mut buffer = held.unwrap_or_else(|| MemBuffer::new(StackReq::new::<u8>(bytes)));
    let result = work(MemStack::new(&mut buffer));
    BUFFER.set(Some(buffer));
    result
}

/// What [`carve`] takes for `len` elements, to the end of the last cache line.
pub(super) fn array_of<T>(len: usize) -> StackReq {
    StackReq::new_aligned::<u8>((len * size_of::<T>()).next_multiple_of(ALIGNMENT), ALIGNMENT)
}

/// `len` zeros from the stack, and the rest of it.
pub(super) fn carve<T: Copy + Default>(len: usize, stack: &mut MemStack) -> (DynArray<'_, T>, &mut MemStack) {
    stack.make_aligned_with(len, ALIGNMENT, |_| T::default())
}
