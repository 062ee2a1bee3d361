//! An interpreter of the PTX that our kernels use.
