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
//!
//! # Backends
//!
//! [`Cpu`] computes on host memory, in `f32` or `f64`, on one of two engines: [`Faer`], pure Rust, or
//! `OpenBlas`, the system's BLAS and LAPACK (feature `openblas`; needs `libopenblas`). [`Reference`] is
//! the naive specification that backends are compared with. `Cuda` (feature `cuda`) computes on NVIDIA GPUs, with
//! libraries that it loads at run time. The features `nalgebra` and `ndarray` add
//! conversions of [`Mats`].
//!
//! # Example
//!
//! Eight random-looking 6 x 3 matrices, their nearest matrices with orthonormal columns, and a check:
//!
//! ```
//! use lr_linalg::{Blas, Cpu, DeviceError, Dims, Epilogue, Linalg, Mats, PolarMethod, Scratch};
//!
//! let b = Cpu::<f64>::new();
//! let dims = Dims::new(8, 6, 3);
//! let values: Vec<f64> = (0..dims.len()).map(|k| (k as f64 * 1.7).sin()).collect();
//! let mut z = Mats::from_slice(&b, dims, &values)?;
//! let mut status = Mats::zeros(&b, Dims::scalars(8))?;
//! Scratch::new(&b)?.scope(|s| b.polar(PolarMethod::Svd, z.as_mut(), status.as_mut(), s));
//!
//! let mut gram = Mats::zeros(&b, Dims::square(8, 3))?;
//! b.gemm(1.0, z.as_ref().t(), z.as_ref().n(), Epilogue::Overwrite, gram.as_mut());
//! b.add_diagonal(-1.0, gram.as_mut());
//! assert!(gram.to_vec(&b)?.iter().all(|defect| defect.abs() < 1e-14));
//! assert_eq!(status.to_vec(&b)?, [0.0; 8]);
//! # Ok::<(), DeviceError>(())
//! ```

#![deny(missing_docs)]

mod backend;
mod blas;
mod check;
mod composite;
#[cfg(any(feature = "nalgebra", feature = "ndarray"))]
mod convert;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod factor;
mod host;
mod layout;
mod mats;
mod reference;
mod scalar;
mod scratch;
pub mod sparse;
#[cfg(feature = "wgpu")]
pub mod wgpu;

pub use backend::{Backend, DeviceError, Slicing};
pub use blas::{AdamWCoefficients, Blas, Coef, Epilogue, Map, Part, Side, Triangle};
pub use composite::{
    Linalg, PolarMethod, cholesky_qr, gram_inverse_sqrt, polar, polar_into, spectral_norm, sylvester,
    truncated_svd,
};
#[cfg(feature = "openblas")]
pub use cpu::OpenBlas;
pub use cpu::{Bf16, Cpu, Engine, Faer, NotConverged, Source, Threads};
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaReal};
pub use factor::{Factor, PivotGuard};
pub use host::{HostBuffer, Panel, PanelMut};
pub use layout::{Dims, Layout};
pub use mats::{Mats, MatsMut, MatsRef, Op, Operand};
pub use reference::Reference;
pub use scalar::Scalar;
pub use scratch::{Scope, Scratch};
#[cfg(feature = "wgpu")]
pub use wgpu::Wgpu;
