//! Element types: `f32` and `f64`, and the few constants algorithms ask of them.

use std::fmt::{Debug, Display};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A real element type of a backend: `f32` or `f64`.
///
/// Algorithms are written over backends, not over scalars; this trait is what host-side code (tests,
/// observers, the CPU backends) needs in order to move numbers in and out.
pub trait Scalar:
    sealed::Sealed
    + crate::cpu::kernel::Vectors
    + faer::traits::RealField
    + Copy
    + Debug
    + Display
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
{
    /// Distance from 1 to the next larger number.
    const EPSILON: f64;
    /// Smallest positive number with all its digits.
    const MIN_POSITIVE: f64;
    /// Name as used in reports and checkpoints: `"f32"` or `"f64"`.
    const NAME: &'static str;
    /// Additive identity.
    const ZERO: Self;
    /// Multiplicative identity.
    const ONE: Self;
    /// Nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// Exact widening.
    fn to_f64(self) -> f64;
    /// `self * a + b`, fused where the target has the instruction.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

macro_rules! scalar {
    ($t:ty, $name:literal) => {
        impl Scalar for $t {
            const EPSILON: f64 = <$t>::EPSILON as f64;
            const MIN_POSITIVE: f64 = <$t>::MIN_POSITIVE as f64;
            const NAME: &'static str = $name;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                <$t>::mul_add(self, a, b)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                <$t>::is_finite(self)
            }
        }
    };
}
scalar!(f32, "f32");
scalar!(f64, "f64");
