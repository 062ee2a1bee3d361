//! What every kernel of `lr-kernels` must compute: cases that launch it with all checks on and compare it with
//! plain loops in f64, at tolerances that its rounding explains.

mod attention;
mod bench;
mod elementwise;
mod factors;
mod neural;
mod orthogonal;
mod reductions;

use lr_kernels::ptx::{Kernel, Precision, expand};

pub use bench::Progress;

use crate::{Module, Options};
use bench::{Bench, Check};

/// The cases of one kernel file.
#[derive(Clone, Copy)]
pub struct Suite {
    /// The file's name without its ending.
    pub kernel: &'static str,
    cases: fn(&mut Bench) -> Check,
}

macro_rules! suites {
    ($($kernel:literal: $cases:path;)*) => {
        /// Every suite.
        pub const ALL: &[Suite] = &[$(Suite { kernel: $kernel, cases: $cases }),*];
    };
}

suites! {
    "adamw": elementwise::adamw;
    "add_diagonal": elementwise::add_diagonal;
    "axpby": elementwise::axpby;
    "causal_attention": attention::forward;
    "causal_attention_backward": attention::backward;
    "cholesky": factors::cholesky;
    "copy": elementwise::copy;
    "copy_where": elementwise::copy_where;
    "cross_entropy": neural::cross_entropy;
    "dot": reductions::dot;
    "eigh": factors::eigh;
    "embed": neural::embed;
    "embed_backward": neural::embed_backward;
    "fill": elementwise::fill;
    "flag_above": reductions::flag_above;
    "invert": factors::invert;
    "jacobi_svd": orthogonal::jacobi_svd;
    "map": elementwise::map;
    "max_abs": reductions::max_abs;
    "multiply": elementwise::multiply;
    "pointers": elementwise::pointers;
    "qr": orthogonal::qr;
    "rms_norm": neural::rms_norm;
    "rms_norm_backward": neural::rms_norm_backward;
    "rotate": neural::rotate;
    "squared_relu": neural::squared_relu;
    "squared_relu_backward": neural::squared_relu_backward;
    "take_part": elementwise::take_part;
}

/// The suite of a kernel.
pub fn of(kernel: &Kernel) -> Option<&'static Suite> {
    ALL.iter().find(|suite| suite.kernel == kernel.name)
}

/// Precisions that a kernel file is written for: both, unless its entries name one.
pub fn precisions(source: &str) -> &'static [Precision] {
    if source.contains("_real(") { &[Precision::Single, Precision::Double] } else { &[Precision::Single] }
}

impl Suite {
    /// Runs all cases on a text, which is the kernel's file or that file with a fault planted in it.
    ///
    /// # Errors
    /// The first thing that is wrong: a line that does not parse, a fault, or a wrong result.
    pub fn run(
        &self,
        source: &str,
        precision: Precision,
        options: Options,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let module = Module::parse(&expand(source, precision)).map_err(|e| e.to_string())?;
        let mut bench = Bench::new(&module, precision, options, progress);
        (self.cases)(&mut bench)?;
        bench.inputs_unchanged()
    }
}
