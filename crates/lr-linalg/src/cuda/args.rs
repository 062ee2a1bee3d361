//! [`Args`] and [`Grid`]: what a kernel is launched with.

use super::{Cuda, CudaReal};
use crate::MatsRef;
use lr_kernels::ptx::Kernel;
use std::ffi::c_void;

/// Most parameters of a kernel.
const MOST: usize = 32;

/// Most blocks that are worth launching: kernels go on with a stride of the whole grid.
const MOST_BLOCKS: usize = 4096;

/// Blocks of a launch; the kernel's table entry has the threads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Number of blocks (`%nctaid.x`), at most `2^31 - 1`.
    pub blocks: usize,
    /// Bytes of dynamic shared memory a block, beside the static.
    pub shared: usize,
}

impl Grid {
    /// `blocks` blocks, at most 4096: the kernel loops over what is left, by `%nctaid.x`.
    pub fn blocks(blocks: usize) -> Self {
        Self { blocks: blocks.min(MOST_BLOCKS), shared: 0 }
    }

    /// A thread for each of `elements`, folded in the same way.
    pub fn threads(kernel: &Kernel, elements: usize) -> Self {
        Self::blocks(elements.div_ceil(kernel.block as usize))
    }

    /// With dynamic shared memory.
    pub fn shared(self, bytes: usize) -> Self {
        Self { shared: bytes, ..self }
    }
}

/// Arguments of a kernel, in the order of its parameters.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// One a parameter; narrower ones in the low bytes, where a little-endian machine looks for them.
    slots: [u64; MOST],
    len: usize,
}

impl Args {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A parameter `.u64`, such as an address.
    ///
    /// # Panics
    /// Beyond 32 parameters, as all of these do.
    #[track_caller]
    pub fn word(mut self, bits: u64) -> Self {
        assert!(self.len < MOST, "a kernel takes at most {MOST} parameters");
        self.slots[self.len] = bits;
        self.len += 1;
        self
    }

    /// A parameter `.u32`: an extent, a stride or a choice. Sizes fit, since no buffer has more elements.
    ///
    /// # Panics
    /// If it does not fit into 32 bits.
    #[track_caller]
    pub fn size(self, size: usize) -> Self {
        let Ok(size) = u32::try_from(size) else { panic!("a size of {size} does not fit into 32 bits") };
        self.word(size.into())
    }

    /// A parameter `.f32` or `.f64`, as the elements are.
    #[track_caller]
    pub fn real<T: CudaReal>(self, value: f64) -> Self {
        self.word(T::bits(T::from_f64(value)))
    }

    /// A matrix operand as large as the output: address of its first element, `.u32` elements from matrix to
    /// matrix and from row to row.
    #[track_caller]
    pub fn matrix<T: CudaReal>(self, view: MatsRef<'_, Cuda<T>>) -> Self {
        let l = view.layout();
        self.word(view.buffer().address(l.offset)).size(l.batch_stride).size(l.row_stride)
    }

    /// A matrix operand that may be broadcast over an output of `batch` problems: as [`Args::matrix`], then
    /// `.u32` how many problems of the output share one of its matrices.
    #[track_caller]
    pub fn input<T: CudaReal>(self, view: MatsRef<'_, Cuda<T>>, batch: usize) -> Self {
        let group = batch.checked_div(view.dims().batch).unwrap_or(1).max(1);
        self.matrix(view).size(group)
    }

    /// A row `[batch, 1, cols]` of an input that every row of the output reads: as [`Args::input`], with no
    /// elements from row to row.
    #[track_caller]
    pub(super) fn row<T: CudaReal>(self, view: MatsRef<'_, Cuda<T>>, batch: usize) -> Self {
        let l = view.layout();
        let group = batch.checked_div(l.dims.batch).unwrap_or(1).max(1);
        self.word(view.buffer().address(l.offset)).size(l.batch_stride).size(0).size(group)
    }

    /// Scalars `[batch, 1, 1]`: address of the first, `.u32` elements from one to the next.
    #[track_caller]
    pub fn scalar<T: CudaReal>(self, view: MatsRef<'_, Cuda<T>>) -> Self {
        let l = view.layout();
        self.word(view.buffer().address(l.offset)).size(l.batch_stride)
    }

    /// The same where each may serve several of an output's `batch` problems: then `.u32` how many.
    #[track_caller]
    pub fn scalars<T: CudaReal>(self, view: MatsRef<'_, Cuda<T>>, batch: usize) -> Self {
        let group = batch.checked_div(view.dims().batch).unwrap_or(1).max(1);
        self.scalar(view).size(group)
    }

    /// These, then `others`.
    #[track_caller]
    pub(super) fn then(self, others: &Self) -> Self {
        others.slots[..others.len].iter().fold(self, |args, &slot| args.word(slot))
    }

    /// Addresses of the arguments, as a launch takes them; writes through them are not allowed.
    pub(super) fn pointers(&self) -> ([*mut c_void; MOST], usize) {
        (std::array::from_fn(|k| (&raw const self.slots[k]).cast_mut().cast()), self.len)
    }
}
