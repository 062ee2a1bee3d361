//! Helpers of this crate's integration tests: pseudo-random batches on any backend, and comparisons.
#![allow(dead_code, reason = "each test file uses its own part")]

#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub mod devices;

use lr_linalg::{Dims, Linalg, Mats, MatsRef, Scalar};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// `len` values in `[-1, 1)`, representable in `f32` so that all backends start from the same numbers.
pub fn values(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len).map(|_| f64::from(rng.random::<f32>() * 2.0 - 1.0)).collect()
}

/// `values` on a backend, rounded to its elements.
pub fn upload<B: Linalg>(b: &B, dims: Dims, values: &[f64]) -> Mats<B> {
    let rounded: Vec<B::Elem> = values.iter().map(|&x| B::Elem::from_f64(x)).collect();
    Mats::from_slice(b, dims, &rounded).unwrap()
}

/// Pseudo-random values on a backend.
pub fn random<B: Linalg>(b: &B, seed: u64, dims: Dims) -> Mats<B> {
    upload(b, dims, &values(seed, dims.len()))
}

/// All values of a view, in `f64`.
pub fn download<B: Linalg>(b: &B, view: MatsRef<'_, B>) -> Vec<f64> {
    b.download(view).unwrap().into_iter().map(Scalar::to_f64).collect()
}

/// Largest difference, relative to the largest expected entry (or one, if all are smaller).
pub fn error(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    got.iter().zip(expected).fold(0.0, |worst, (g, e)| {
        let difference = if g == e { 0.0 } else { (g - e).abs() / scale };
        if difference > worst || difference.is_nan() { difference } else { worst }
    })
}

/// Fails unless [`error`] is at most `bound`; NaN fails.
#[track_caller]
pub fn close(what: &str, got: &[f64], expected: &[f64], bound: f64) {
    let error = error(got, expected);
    assert!(error <= bound, "{what}: relative error {error:.2e} exceeds {bound:.2e}");
}

/// Rounding of a backend's elements.
pub fn eps<B: Linalg>() -> f64 {
    B::Elem::EPSILON
}

/// One test a backend for every listed function generic over it.
#[macro_export]
macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => {
        on_every_backend!(@ reference_f64, lr_linalg::Reference<f64>, $($test),+);
        on_every_backend!(@ reference_f32, lr_linalg::Reference<f32>, $($test),+);
        on_every_backend!(@ cpu_f64, lr_linalg::Cpu<f64>, $($test),+);
        on_every_backend!(@ cpu_f32, lr_linalg::Cpu<f32>, $($test),+);
        #[cfg(feature = "openblas")]
        on_every_backend!(@ openblas_f64, lr_linalg::Cpu<f64, lr_linalg::OpenBlas>, $($test),+);
        #[cfg(feature = "openblas")]
        on_every_backend!(@ openblas_f32, lr_linalg::Cpu<f32, lr_linalg::OpenBlas>, $($test),+);
        #[cfg(feature = "cuda")]
        on_every_backend!(@ cuda_f64, devices::cuda::<f64>, $($test),+);
        #[cfg(feature = "cuda")]
        on_every_backend!(@ cuda_f32, devices::cuda::<f32>, $($test),+);
        #[cfg(feature = "wgpu")]
        mod wgpu_f32 {
            $(
                #[test]
                fn $test() {
                    if let Some(b) = super::common::devices::wgpu() {
                        super::$test(b);
                    }
                }
            )+
        }
    };
    (@ $module:ident, devices::$device:ident::<$elem:ty>, $($test:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    if let Some(b) = super::common::devices::$device::<$elem>() {
                        super::$test(&b);
                    }
                }
            )+
        }
    };
    (@ $module:ident, $backend:ty, $($test:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(&<$backend>::default());
                }
            )+
        }
    };
}
