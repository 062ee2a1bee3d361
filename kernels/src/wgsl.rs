//! WGSL kernels: one operation a file.

/// One file of `wgsl/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// File name without its ending.
    pub name: &'static str,
    /// The file.
    pub source: &'static str,
}

/// Every kernel of `wgsl/`.
pub const ALL: &[Kernel] = &[];
