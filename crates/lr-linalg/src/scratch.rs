//! [`Scratch`]: an arena of device memory that grows during the first step and stays fixed afterwards.

use crate::{Backend, DeviceError, Dims, Layout, MatsMut};
use std::cell::{Cell, OnceCell};

/// One piece of the arena, and the next one if this was too small.
#[derive(Debug)]
struct Chunk<B: Backend> {
    buffer: B::Buffer,
    capacity: usize,
    next: OnceCell<Box<Chunk<B>>>,
}

impl<B: Backend> Chunk<B> {
    fn new(backend: &B, capacity: usize) -> Result<Self, DeviceError> {
        Ok(Self { buffer: backend.alloc(capacity)?, capacity, next: OnceCell::new() })
    }

    fn within_step(backend: &B, capacity: usize) -> Self {
        Self { buffer: backend.alloc_within_step(capacity), capacity, next: OnceCell::new() }
    }
}

/// Every matrix of the arena starts on a multiple of this many elements (a cache line of `f32`).
const ALIGNMENT: usize = 16;

/// Scratch memory of one worker.
#[derive(Debug)]
pub struct Scratch<B: Backend> {
    backend: B,
    first: Chunk<B>,
}

impl<B: Backend> Scratch<B> {
    /// An empty arena; the first scope makes it grow.
    ///
    /// # Errors
    /// [`DeviceError`] when even an empty allocation fails.
    pub fn new(backend: &B) -> Result<Self, DeviceError> {
        Ok(Self { backend: backend.clone(), first: Chunk::new(backend, 0)? })
    }

    /// Elements held.
    pub fn capacity(&self) -> usize {
        let mut total = 0;
        let mut chunk = Some(&self.first);
        while let Some(c) = chunk {
            total += c.capacity;
            chunk = c.next.get().map(|b| &**b);
        }
        total
    }

    /// Runs `work` with a fresh scope. Everything taken from the scope is released at its end.
    ///
    /// # Panics
    /// If the device has no memory for what an earlier scope was seen to need; see
    /// [`Backend::alloc_within_step`] for the devices on which that is an error instead.
    pub fn scope<R>(&mut self, work: impl FnOnce(&Scope<'_, B>) -> R) -> R {
        if self.first.next.get().is_some() {
            let capacity = self.capacity();
            self.first = Chunk::within_step(&self.backend, capacity);
        }
        work(&Scope {
            backend: &self.backend,
            chunk: Cell::new(&self.first),
            top: Cell::new(0),
            nested: Cell::new(false),
        })
    }
}

/// A stack-like allocator over a [`Scratch`].
#[derive(Debug)]
pub struct Scope<'s, B: Backend> {
    backend: &'s B,
    chunk: Cell<&'s Chunk<B>>,
    top: Cell<usize>,
    nested: Cell<bool>,
}

impl<'s, B: Backend> Scope<'s, B> {
    /// Matrices with unspecified contents.
    ///
    /// # Panics
    /// While an inner scope is open: the two would overlap. If memory runs out, but see
    /// [`Backend::alloc_within_step`].
    #[track_caller]
    pub fn take(&self, dims: Dims) -> MatsMut<'_, B> {
        assert!(!self.nested.get(), "take from the inner scope while one is open");
        let len = dims.len().next_multiple_of(ALIGNMENT);
        while self.top.get() + len > self.chunk.get().capacity {
            let current = self.chunk.get();
            let next = current.next.get_or_init(|| {
                let capacity = len.max(2 * current.capacity);
                Box::new(Chunk::within_step(self.backend, capacity))
            });
            self.chunk.set(next);
            self.top.set(0);
        }
        let offset = self.top.get();
        self.top.set(offset + len);
        MatsMut::from_raw(&self.chunk.get().buffer, Layout::packed(offset, dims))
    }

    /// One zero for each problem, as a numerical status starts out.
    ///
    /// # Panics
    /// If the device is out of memory.
    #[track_caller]
    pub fn status(&self, problems: usize) -> MatsMut<'_, B>
    where
        B: crate::Blas,
    {
        let mut status = self.take(Dims::scalars(problems));
        self.backend.fill(0.0, status.as_mut());
        status
    }

    /// Runs `work` with an inner scope: what it takes is released when it returns.
    pub fn nest<R>(&self, work: impl FnOnce(&Scope<'_, B>) -> R) -> R {
        self.nested.set(true);
        let result = work(&Scope {
            backend: self.backend,
            chunk: self.chunk.clone(),
            top: self.top.clone(),
            nested: Cell::new(false),
        });
        self.nested.set(false);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blas, Cpu, Mats};

    type B = Cpu<f32>;

    /// Takes pieces on two levels, fills each with its own number and checks all of them afterwards.
    fn fill_and_check(b: &B, scope: &Scope<'_, B>, scale: usize) {
        let mut outer: Vec<_> = (1..6).map(|k| scope.take(Dims::new(k, scale, 3))).collect();
        outer.iter_mut().zip(1..).for_each(|(x, k)| b.fill(f64::from(k), x.as_mut()));
        scope.nest(|scope| {
            let mut inner: Vec<_> = (1..6).map(|k| scope.take(Dims::new(k, scale, 7))).collect();
            inner.iter_mut().for_each(|x| b.fill(-1.0, x.as_mut()));
            assert!(inner.iter().all(|x| b.download(x.as_ref()).unwrap().iter().all(|&x| x == -1.0)));
        });
        for (x, k) in outer.iter().zip(1u8..) {
            assert!(b.download(x.as_ref()).unwrap().iter().all(|&x| x == f32::from(k)));
        }
    }

    #[test]
    fn pieces_do_not_overlap_while_the_arena_grows_and_after() {
        let b = B::new();
        let mut scratch = Scratch::new(&b).unwrap();
        for scale in [1, 20, 20, 5] {
            scratch.scope(|scope| fill_and_check(&b, scope, scale));
        }
    }

    #[test]
    fn the_arena_is_frozen_once_it_has_seen_the_step() {
        let b = B::new();
        let mut scratch = Scratch::new(&b).unwrap();
        assert_eq!(scratch.capacity(), 0);
        scratch.scope(|scope| fill_and_check(&b, scope, 20));
        scratch.scope(|scope| fill_and_check(&b, scope, 20));
        let capacity = scratch.capacity();
        assert!(capacity > 0);
        for scale in [20, 3, 20] {
            scratch.scope(|scope| fill_and_check(&b, scope, scale));
            assert_eq!(scratch.capacity(), capacity);
        }
        assert!(scratch.first.next.get().is_none(), "a frozen arena is one piece");
    }

    #[test]
    fn an_inner_scope_releases_what_it_took() {
        let b = B::new();
        let mut scratch = Scratch::new(&b).unwrap();
        for _ in 0..3 {
            scratch.scope(|scope| {
                (0..100).for_each(|_| scope.nest(|s| b.fill(1.0, s.take(Dims::new(1, 10, 10)))))
            });
        }
        assert!(scratch.capacity() < 300, "{}", scratch.capacity());
    }

    #[test]
    fn statuses_start_at_zero() {
        let b = B::new();
        let mut scratch = Scratch::new(&b).unwrap();
        scratch.scope(|scope| b.fill(7.0, scope.take(Dims::scalars(64))));
        scratch.scope(|scope| assert_eq!(b.download(scope.status(5).as_ref()).unwrap(), [0.0; 5]));
        assert_eq!(Mats::zeros(&b, Dims::scalars(2)).unwrap().to_vec(&b).unwrap(), [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "take from the inner scope while one is open")]
    fn taking_from_the_outer_scope_while_an_inner_one_is_open_is_refused() {
        let b = B::new();
        let mut scratch = Scratch::new(&b).unwrap();
        scratch.scope(|outer| outer.nest(|_| outer.take(Dims::scalars(1)).dims()));
    }
}
