//! [`Bf16`]: the engine [`Faer`] with large `f32` products by dot products of bfloat16, for training.

use super::{
    engine::{Engine, NotConverged, Source},
    faer_engine::Faer,
    kernel as own,
};
use crate::{PanelMut, Side, Triangle};

/// [`Faer`], but large products round their operands to bf16 and sum in `f32`, where the processor has the
/// instruction ([`Bf16::is_available`]); elsewhere it is [`Faer`]. Small products, triangular solves and
/// factorizations, that is all that an optimizer does, are those of [`Faer`] everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bf16;

/// Least rows, columns and terms of a product that pays for rounding its operands.
#[cfg(target_arch = "x86_64")]
const LARGE: usize = 64;

impl Bf16 {
    /// Whether this processor has dot products of bf16 (`avx512bf16`).
    pub fn is_available() -> bool {
        own::has_bf16()
    }
}

impl Engine<f32> for Bf16 {
    const NAME: &'static str = "cpu-bf16";

    fn gemm(alpha: f32, a: Source<'_, f32>, b: Source<'_, f32>, beta: f32, c: PanelMut<'_, f32>) {
        #[cfg(target_arch = "x86_64")]
        if c.rows().min(c.cols()).min(a.cols()) >= LARGE && Self::is_available() {
            return own::gemm_bf16(alpha, a, b, beta, c);
        }
        Faer::gemm(alpha, a, b, beta, c);
    }

    fn trsm(side: Side, triangle: Triangle, t: Source<'_, f32>, x: PanelMut<'_, f32>) {
        Faer::trsm(side, triangle, t, x);
    }

    fn cholesky(shift: f32, a: PanelMut<'_, f32>) -> Result<(), usize> {
        Faer::cholesky(shift, a)
    }

    fn qr(a: PanelMut<'_, f32>, r: PanelMut<'_, f32>) {
        Faer::qr(a, r);
    }

    fn svd(a: PanelMut<'_, f32>, s: &mut [f32], v: PanelMut<'_, f32>) -> Result<(), NotConverged> {
        Faer::svd(a, s, v)
    }

    fn eigh(a: PanelMut<'_, f32>, w: &mut [f32]) -> Result<(), NotConverged> {
        Faer::eigh(a, w)
    }
}
