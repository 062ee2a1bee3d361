//! Conversions from and to other crates' matrices, at the edges of a program: each copies.

#[cfg(feature = "nalgebra")]
mod nalgebra;
#[cfg(feature = "ndarray")]
mod ndarray;
