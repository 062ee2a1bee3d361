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
    /// If the device has no memory for what an earlier scope was seen to need.
    pub fn scope<R>(&mut self, work: impl FnOnce(&Scope<'_, B>) -> R) -> R {
        if self.first.next.get().is_some() {
            let capacity = self.capacity();
            self.first = Chunk::new(&self.backend, capacity).unwrap_or_else(|e| panic!("scratch: {e}"));
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
    /// If the device is out of memory, or while an inner scope is open: the two would overlap.
    #[track_caller]
    pub fn take(&self, dims: Dims) -> MatsMut<'_, B> {
        assert!(!self.nested.get(), "take from the inner scope while one is open");
        let len = dims.len().next_multiple_of(ALIGNMENT);
        while self.top.get() + len > self.chunk.get().capacity {
            let current = self.chunk.get();
            let next = current.next.get_or_init(|| {
                let capacity = len.max(2 * current.capacity);
                Box::new(Chunk::new(self.backend, capacity).unwrap_or_else(|e| panic!("scratch: {e}")))
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
