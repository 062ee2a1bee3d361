//! [`Workspace`]: device memory that operations share, one after the other on the stream. It grows during the
//! first step and stays as it is afterwards.

use super::{device::Device, solver::Solver};
use crate::DeviceError;

/// What a piece of the workspace is for; an operation may use one of each at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Addresses of matrices, for the batched routines of the libraries.
    Pointers,
    /// Results of parts of a reduction.
    Partials,
    /// Packed eigenproblems, their answers and what the library works in.
    Eigenproblems,
}

/// Number of [`Piece`]s.
const PIECES: usize = 3;

/// Memory and handles that are used under one lock.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// Address and bytes of each piece.
    pieces: [(u64, usize); PIECES],
    /// Smaller pieces of earlier times, which recorded steps may refer to; each is half the next one at most.
    outgrown: Vec<u64>,
    /// cuSOLVER, once it is used.
    pub(super) solver: Option<Solver>,
}

impl Workspace {
    /// Address of at least `bytes` bytes, contents unspecified. Memory that runs out is a failure that sticks.
    pub(super) fn reserve(
        &mut self,
        device: &Device,
        piece: Piece,
        bytes: usize,
    ) -> Result<u64, DeviceError> {
        let (address, held) = &mut self.pieces[piece as usize];
        if bytes > *held {
            let bytes = bytes.next_power_of_two();
            let larger = device.allocate(bytes).map_err(|e| match e {
                DeviceError::OutOfMemory { .. } => device.stick(e),
                _ => e,
            })?;
            if *address != 0 {
                self.outgrown.push(*address);
            }
            (*address, *held) = (larger, bytes);
        }
        Ok(*address)
    }

    /// Gives every piece to `free`.
    pub(super) fn release(self, free: impl Fn(u64)) {
        self.outgrown.into_iter().for_each(&free);
        self.pieces.into_iter().filter(|&(address, _)| address != 0).for_each(|(address, _)| free(address));
    }
}
