//! [`Reference`]: naive loops over plain memory, the executable specification that every backend is
//! compared with. It never takes a shortcut ([`Backend::glance`] sees nothing). Sums are accumulated in `f64`, factorizations are computed in `f64` throughout. It is
//! slow and allocates temporaries; nothing but tests should run on it.

mod blas;
mod dense;
mod factor;

use crate::{
    Backend, DeviceError, HostBuffer, Linalg, MatsMut, MatsRef, Scalar, Slicing,
    host::{download, upload},
};
use std::marker::PhantomData;

/// The naive backend: one worker, one problem at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reference<T> {
    element: PhantomData<fn() -> T>,
}

impl<T: Scalar> Reference<T> {
    /// A handle.
    pub const fn new() -> Self {
        Self { element: PhantomData }
    }
}

impl<T: Scalar> Backend for Reference<T> {
    type Elem = T;
    type Buffer = HostBuffer<T>;
    const NAME: &'static str = "reference";

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

    fn slicing(&self, _problems: usize) -> Slicing {
        Slicing { problems_per_slice: 1, workers: 1 }
    }

    fn for_each_slice<I, W>(&self, slices: I, workers: &mut [W], work: impl Fn(&Self, I::Item, &mut W) + Sync)
    where
        I: Iterator + Send,
        I::Item: Send,
        W: Send,
    {
        let worker = workers.first_mut().expect("for_each_slice needs at least one worker");
        slices.for_each(|slice| work(self, slice, worker));
    }

    fn when_any(&self, status: MatsRef<'_, Self>, repair: impl FnOnce()) {
        if (0..status.dims().batch).any(|p| status.panel(p).row(0)[0] != T::ZERO) {
            repair();
        }
    }

    fn glance(&self, _x: MatsRef<'_, Self>) -> Option<f64> {
        // The oracle takes the exact paths.
        None
    }
}

impl<T: Scalar> Linalg for Reference<T> {}
