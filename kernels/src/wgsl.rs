//! WGSL kernels: one operation a file, each behind what all of them share (`wgsl/common`).

/// One file of `wgsl/` with its entry points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// File name without its ending.
    pub name: &'static str,
    /// The module: the shared parts, then the file.
    pub source: &'static str,
    /// Entry points.
    pub entries: &'static [&'static str],
}

macro_rules! kernels {
    ($($constant:ident = $name:literal $([$common:literal])? { $($entry:literal),+ })+) => {
        $(
            #[doc = concat!("`wgsl/", $name, ".wgsl`; what it computes stands at its top.")]
            pub const $constant: Kernel = Kernel {
                name: $name,
                source: concat!(
                    include_str!("../wgsl/common/view.wgsl"),
                    "\n",
                    $(include_str!(concat!("../wgsl/common/", $common, ".wgsl")), "\n",)?
                    include_str!(concat!("../wgsl/", $name, ".wgsl")),
                ),
                entries: &[$($entry),+],
            };
        )+

        /// Every kernel of `wgsl/`.
        pub const ALL: &[Kernel] = &[$($constant),+];
    };
}

kernels! {
    COPY = "copy" { "main" }
    COPY_WHERE = "copy_where" { "main" }
    FILL = "fill" { "main" }
    ADD_DIAGONAL = "add_diagonal" { "main" }
    AXPBY = "axpby" { "main" }
    TAKE_PART = "take_part" { "main" }
    SCALE_COLUMNS = "scale_columns" { "main" }
    MULTIPLY = "multiply" { "main" }
    MAP = "map" { "main" }
    DOT = "dot" ["reduce"] { "whole", "partial", "finish" }
    MAX_ABS = "max_abs" ["reduce"] { "whole", "partial", "finish" }
    FLAG_ABOVE = "flag_above" { "main" }
    GEMM = "gemm" { "wide", "narrow" }
    TRSM = "trsm" { "main" }
    ADAMW = "adamw" { "main" }
    CHOLESKY = "cholesky" { "small", "large" }
    QR = "qr" ["reduce"] { "main" }
    JACOBI_SVD = "jacobi_svd" ["reduce"] { "main" }
    EIGH = "eigh" ["reduce"] { "main" }
    INVERT = "invert" ["reduce"] { "main" }
    EMBED = "embed" { "main" }
    EMBED_BACKWARD = "embed_backward" { "main" }
    RMS_NORM = "rms_norm" ["reduce"] { "main" }
    RMS_NORM_BACKWARD = "rms_norm_backward" ["reduce"] { "main" }
    SQUARED_RELU = "squared_relu" { "main" }
    SQUARED_RELU_BACKWARD = "squared_relu_backward" { "main" }
    ROTATE = "rotate" { "main" }
    CAUSAL_ATTENTION = "causal_attention" { "main" }
    CAUSAL_ATTENTION_BACKWARD = "causal_attention_backward" { "queries", "keys" }
    CROSS_ENTROPY = "cross_entropy" ["reduce"] { "main" }
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward" ["reduce"] { "main" }
}
