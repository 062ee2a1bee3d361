//! [`Cpu`]: the backend for host memory. Two engines compute behind one interface: [`Faer`], pure Rust,
//! and `OpenBlas` (feature `openblas`), the system's BLAS and LAPACK.
//!
//! A batch is spread over the current rayon pool, one thread a problem; a large single product is cut
//! into blocks. Within `for_each_slice` everything runs on the worker's thread. Results do not depend on
//! the number of threads.

mod bf16_engine;
mod blas;
mod elementwise;
mod engine;
mod factor;
mod faer_engine;
mod householder;
pub(crate) mod kernel;
#[cfg(feature = "openblas")]
mod openblas_engine;
mod threads;
mod workspace;

use crate::{
    Backend, DeviceError, HostBuffer, Linalg, MatsMut, MatsRef, Scalar, Slicing,
    host::{download, largest, upload},
};
use rayon::prelude::*;
use std::{
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

pub use bf16_engine::Bf16;
pub use engine::{Engine, NotConverged, Source};
pub use faer_engine::Faer;
#[cfg(feature = "openblas")]
pub use openblas_engine::OpenBlas;
pub use threads::Threads;

/// The CPU backend for elements `T` on engine `E`.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<T, E = Faer> {
    threads: Threads,
    kind: PhantomData<fn() -> (T, E)>,
}

impl<T: Scalar, E: Engine<T>> Cpu<T, E> {
    /// A handle that spreads work over the rayon pool it is used in (the global one by default).
    pub const fn new() -> Self {
        Self::with_threads(Threads::Pool)
    }

    /// A handle that works on the calling thread only, or not.
    pub const fn with_threads(threads: Threads) -> Self {
        Self { threads, kind: PhantomData }
    }

    /// Where this handle's operations run.
    pub const fn threads(&self) -> Threads {
        self.threads
    }
}

impl<T: Scalar, E: Engine<T>> Default for Cpu<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Scalar, E: Engine<T>> Backend for Cpu<T, E> {
    type Elem = T;
    type Buffer = HostBuffer<T>;
    const NAME: &'static str = E::NAME;

    fn alloc(&self, len: usize) -> Result<Self::Buffer, DeviceError> {
        HostBuffer::zeros(len, Self::NAME)
    }

    #[track_caller]
    fn upload(&self, source: &[T], target: MatsMut<'_, Self>) {
        upload(source, target);
    }

    fn download(&self, source: MatsRef<'_, Self>) -> Result<Vec<T>, DeviceError> {
        Ok(download(source))
    }

    fn sync(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn slicing(&self, problems: usize) -> Slicing {
        let threads = match self.threads {
            Threads::Pool => rayon::current_num_threads(),
            Threads::Serial => 1,
        };
        Slicing { problems_per_slice: 1, workers: threads.min(problems).max(1) }
    }

    fn for_each_slice<I, W>(&self, slices: I, workers: &mut [W], work: impl Fn(&Self, I::Item, &mut W) + Sync)
    where
        I: Iterator + Send,
        I::Item: Send,
        W: Send,
    {
        let serial = Self::with_threads(Threads::Serial);
        if self.threads == Threads::Serial || workers.len() == 1 {
            let worker = workers.first_mut().expect("for_each_slice needs at least one worker");
            slices.for_each(|slice| work(&serial, slice, worker));
            return;
        }
        assert!(!workers.is_empty(), "for_each_slice needs at least one worker");
        // Dealt one by one, so that a slow problem does not hold up those behind it.
        let queue = Mutex::new(slices);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        workers.par_iter_mut().with_max_len(1).for_each(|worker| {
            while let Some(slice) = next() {
                work(&serial, slice, worker);
            }
        });
    }

    fn when_any(&self, status: MatsRef<'_, Self>, repair: impl FnOnce()) {
        if (0..status.dims().batch).any(|p| status.panel(p).row(0)[0] != T::ZERO) {
            repair();
        }
    }

    fn glance(&self, x: MatsRef<'_, Self>) -> Option<f64> {
        Some(largest(x))
    }
}

impl<T: Scalar, E: Engine<T>> Linalg for Cpu<T, E> {}
