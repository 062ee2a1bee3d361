//! [`Real`]: the scalars of the vectorized kernels, with an exponential that vectorizes.

use lr_linalg::Scalar;

/// An element type with the transcendental functions of softmax.
pub trait Real: Scalar {
    /// `e^self`; for `f32` within 2 units in the last place on `[-87, 88]` and clamped to that range.
    fn exponential(self) -> Self;
    /// Natural logarithm.
    fn logarithm(self) -> Self;
}

impl Real for f64 {
    #[inline(always)]
    fn exponential(self) -> f64 {
        self.exp()
    }

    #[inline(always)]
    fn logarithm(self) -> f64 {
        self.ln()
    }
}

impl Real for f32 {
    /// `e^x = 2^n e^r` with `n = round(x / ln 2)`, `|r| <= ln(2)/2` by Cody and Waite's two-part `ln 2`, and
    /// the degree-7 polynomial of the Cephes library (Moshier). Branch-free; a NaN stays a NaN.
    #[inline(always)]
    fn exponential(self) -> f32 {
        // 1.5 * 2^23: adding it rounds to an integer that then stands in the low bits.
        const SHIFT: f32 = 12_582_912.0;
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        const COEFFICIENTS: [f32; 6] =
            [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
        let x = self.clamp(-87.0, 88.0);
        let shifted = f32::mul_add(x, std::f32::consts::LOG2_E, SHIFT);
        let n = shifted - SHIFT;
        let r = f32::mul_add(n, -LN2_LOW, f32::mul_add(n, -LN2_HIGH, x));
        let [first, rest @ ..] = COEFFICIENTS;
        let mut p = first;
        for c in rest {
            p = f32::mul_add(p, r, c);
        }
        let mantissa = f32::mul_add(p, r * r, r) + 1.0;
        mantissa * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
    }

    #[inline(always)]
    fn logarithm(self) -> f32 {
        self.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::EPSILON) * 2f64.powi(exact.log2().floor() as i32);
            let error = (f64::from(x.exponential()) - exact).abs() / ulp;
            assert!(error <= 2.0, "exp({x}): {error} units in the last place");
        }
        assert_eq!(0f32.exponential(), 1.0);
    }

    #[test]
    fn the_exponential_clamps_and_keeps_nan() {
        assert_eq!(f32::NEG_INFINITY.exponential(), (-87f32).exponential());
        assert_eq!(1e9f32.exponential(), 88f32.exponential());
        assert!(f32::NAN.exponential().is_nan());
    }
}
