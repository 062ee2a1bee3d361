//! Sources of the GPU kernels and what each may use: `ptx/` for the `cuda` backend, `wgsl/` for `wgpu`.
//!
//! The same operation has the same file name in both folders. A PTX file holds one operation for both
//! precisions: [`ptx::expand`] replaces the words that stand for the element type.

#![deny(missing_docs)]

pub mod ptx;
pub mod wgsl;
