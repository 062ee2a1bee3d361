//! PTX kernels: sources, launch shapes, resource ceilings, and the element type filled in.
//!
//! | word | `f32` | `f64` |
//! |---|---|---|
//! | `.real` (type of an instruction or register) | `.f32` | `.f64` |
//! | `.bits` (untyped, as wide) | `.b32` | `.b64` |
//! | `_real` (end of an entry's name) | `_f32` | `_f64` |
//! | `REAL_SIZE`, `REAL_SHIFT` (bytes, and their logarithm) | `4`, `2` | `8`, `3` |
//! | `real(1.5)` (a constant) | `0f3FC00000` | `0d3FF8000000000000` |

/// Element type of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `f32`.
    Single,
    /// `f64`.
    Double,
}

/// What `ptxas` may count at most, for one precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Registers a thread, on every architecture that is checked.
    pub registers: u32,
    /// Bytes of static shared memory a block.
    pub shared: u32,
}

/// One file of `ptx/`: an operation, its launch shape and its resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// File name without its ending; entries begin with it.
    pub name: &'static str,
    /// The file.
    pub source: &'static str,
    /// Threads of a block.
    pub block: u32,
    /// Resources of the `f32` and of the `f64` entries.
    pub ceilings: [Ceiling; 2],
}

/// The file with its element type filled in: what an assembler takes.
pub fn expand(source: &str, precision: Precision) -> String {
    let (ty, bits, size, shift) = match precision {
        Precision::Single => ("f32", "b32", "4", "2"),
        Precision::Double => ("f64", "b64", "8", "3"),
    };
    let text = source
        .replace(".real", &format!(".{ty}"))
        .replace(".bits", &format!(".{bits}"))
        .replace("_real", &format!("_{ty}"))
        .replace("REAL_SIZE", size)
        .replace("REAL_SHIFT", shift);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("real(") {
        let (literal, tail) = after.split_once(')').unwrap_or((after, ""));
        out.push_str(before);
        match (literal.parse::<f64>(), precision) {
            (Ok(x), Precision::Single) => out.push_str(&format!("0f{:08X}", (x as f32).to_bits())),
            (Ok(x), Precision::Double) => out.push_str(&format!("0d{:016X}", x.to_bits())),
            // Left as it stands: the assembler names the line.
            (Err(_), _) => out.push_str(&format!("real({literal})")),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Declares kernels and [`ALL`], the table of them: the constant's name, the file's, the block size, and the
/// registers and shared bytes of either precision.
macro_rules! kernels {
    ($($constant:ident = $name:literal, $block:literal, [$single:literal, $double:literal], $shared:literal;)+) => {
        $(
            #[doc = concat!("`ptx/", $name, ".ptx`.")]
            pub const $constant: Kernel = Kernel {
                name: $name,
                source: include_str!(concat!("../ptx/", $name, ".ptx")),
                block: $block,
                ceilings: [
                    Ceiling { registers: $single, shared: $shared },
                    Ceiling { registers: $double, shared: $shared },
                ],
            };
        )+

        /// Every kernel of `ptx/`.
        pub const ALL: &[Kernel] = &[$($constant),+];
    };
}

kernels! {
    ADAMW = "adamw", 256, [24, 40], 0;
    ADD_DIAGONAL = "add_diagonal", 256, [16, 16], 0;
    AXPBY = "axpby", 256, [24, 24], 0;
    CAUSAL_ATTENTION = "causal_attention", 256, [80, 80], 21248;
    CAUSAL_ATTENTION_BACKWARD = "causal_attention_backward", 256, [64, 64], 16896;
    CHOLESKY = "cholesky", 256, [44, 44], 2048;
    COPY = "copy", 256, [32, 32], 8448;
    COPY_WHERE = "copy_where", 256, [24, 24], 0;
    CROSS_ENTROPY = "cross_entropy", 256, [32, 32], 32;
    DOT = "dot", 256, [24, 24], 2048;
    EIGH = "eigh", 256, [32, 40], 2048;
    EMBED = "embed", 256, [24, 24], 0;
    EMBED_BACKWARD = "embed_backward", 256, [32, 32], 0;
    FILL = "fill", 256, [16, 24], 0;
    FLAG_ABOVE = "flag_above", 256, [24, 24], 1024;
    INVERT = "invert", 256, [44, 44], 2048;
    JACOBI_SVD = "jacobi_svd", 256, [44, 58], 6152;
    MAP = "map", 256, [24, 32], 0;
    MAX_ABS = "max_abs", 256, [24, 24], 2048;
    MULTIPLY = "multiply", 256, [24, 24], 0;
    POINTERS = "pointers", 256, [40, 40], 0;
    QR = "qr", 256, [44, 52], 2048;
    RMS_NORM = "rms_norm", 256, [24, 24], 0;
    RMS_NORM_BACKWARD = "rms_norm_backward", 256, [32, 32], 0;
    ROTATE = "rotate", 256, [32, 32], 0;
    SQUARED_RELU = "squared_relu", 256, [16, 16], 0;
    SQUARED_RELU_BACKWARD = "squared_relu_backward", 256, [24, 24], 0;
    TAKE_PART = "take_part", 256, [24, 24], 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_element_type_are_filled_in() {
        let source = ".entry f_real mov.real %x, real(1.5); shl %r, REAL_SHIFT; mov.bits %y, REAL_SIZE;";
        assert_eq!(
            expand(source, Precision::Single),
            ".entry f_f32 mov.f32 %x, 0f3FC00000; shl %r, 2; mov.b32 %y, 4;"
        );
        assert_eq!(
            expand(source, Precision::Double),
            ".entry f_f64 mov.f64 %x, 0d3FF8000000000000; shl %r, 3; mov.b64 %y, 8;"
        );
    }
}
