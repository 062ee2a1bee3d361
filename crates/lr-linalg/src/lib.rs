//! Batched dense linear algebra behind one hardware-abstraction layer.
//!
//! Everything is a batch of row-major matrices, [`Mats`], seen through borrowed views, [`MatsRef`] and
//! [`MatsMut`]. Algorithms are generic over one backend parameter `B: Linalg`:
//!
//! | trait | what it adds |
//! |---|---|
//! | [`Backend`] | memory, and how a bank of problems is sliced over the machine |
//! | [`Blas`] | element-wise operations, reductions, products, triangular solves |
//! | [`Factor`] | Cholesky, QR, SVD, symmetric eigendecomposition, each with a status for every problem |
//! | [`Linalg`] | polar factor, Cholesky-QR, truncated SVD, spectral norm, written once for all |
//!
//! Failures come in three kinds. A wrong shape is a broken contract and panics at the caller's line. A
//! failing machine is a [`DeviceError`]. A numerical breakdown is data: a status for every problem.

#![deny(missing_docs)]

mod backend;
mod blas;
mod check;
mod composite;
mod cpu;
mod factor;
mod host;
mod layout;
mod mats;
mod reference;
mod scalar;
mod scratch;

pub use backend::{Backend, DeviceError, Slicing};
pub use blas::{AdamWCoefficients, Blas, Coef, Epilogue, Map, Part, Side, Triangle};
pub use composite::{Linalg, PolarMethod, cholesky_qr, polar, spectral_norm, truncated_svd};
#[cfg(feature = "openblas")]
pub use cpu::OpenBlas;
pub use cpu::{Cpu, Engine, Faer, NotConverged, Source, Threads};
pub use factor::{Factor, PivotGuard};
pub use host::{HostBuffer, Panel, PanelMut};
pub use layout::{Dims, Layout};
pub use mats::{Mats, MatsMut, MatsRef, Op, Operand};
pub use reference::Reference;
pub use scalar::Scalar;
pub use scratch::{Scope, Scratch};
