//! Whether a GPU computes what the CPU computes, up to the rounding of f32.

use lr_linalg::Linalg;

use super::super::bank::Steps;
use super::super::operations::Calls;
use super::super::race::Contender;

/// Largest difference of an operation's results, relative to the largest entry. A sum of 4,096 products has an
/// error of at most 2.4e-4 times the sum of magnitudes; factorizations of well-conditioned matrices stay below.
const OPERATION: f64 = 2.5e-4;

/// Largest difference of the ways that `W` went, relative to the way. Rounding `W` itself moves it by 1e-5 of a step
/// of length 1/256; a wrong factor anywhere by more than a hundredth.
const STEP: f64 = 1e-2;

/// Steps that are compared.
const STEPS: usize = 3;

/// The error of one call on the GPU, and what is allowed.
///
/// # Errors
/// What a device says.
pub fn of_calls<A: Linalg, B: Linalg>(gpu: &mut Calls<A>, cpu: &mut Calls<B>) -> Result<(f64, f64), String> {
    let explain = |error: lr_linalg::DeviceError| error.to_string();
    gpu.call().map_err(explain)?;
    cpu.call().map_err(explain)?;
    let (ours, theirs) = (gpu.outcome().map_err(explain)?, cpu.outcome().map_err(explain)?);
    Ok((difference(&ours, &theirs), OPERATION))
}

/// The error of a few steps on the GPU, and what is allowed.
///
/// # Errors
/// What a device says.
pub fn of_steps<A: Linalg, B: Linalg>(
    gpu: &mut Steps<'_, A>,
    cpu: &mut Steps<'_, B>,
) -> Result<(f64, f64), String> {
    let way = |before: Vec<f64>, after: Vec<f64>| -> Vec<f64> {
        before.into_iter().zip(after).map(|(before, after)| after - before).collect()
    };
    let (start, other_start) = (gpu.first_product()?, cpu.first_product()?);
    gpu.turn(0, STEPS)?;
    cpu.turn(0, STEPS)?;
    let (ours, theirs) = (way(start, gpu.first_product()?), way(other_start, cpu.first_product()?));
    Ok((difference(&ours, &theirs), STEP))
}

/// Largest difference relative to the largest entry of `expected`; NaN where anything is not finite.
fn difference(got: &[f64], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |most: f64, x| most.max(x.abs()));
    if got.len() != expected.len() || got.iter().chain(expected).any(|x| !x.is_finite()) {
        return f64::NAN;
    }
    got.iter().zip(expected).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs() / largest))
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_difference_is_relative_and_nothing_hides_in_it() {
        assert_eq!(difference(&[1.0, 4.0], &[1.0, 5.0]), 0.2);
        assert!(difference(&[f64::NAN], &[1.0]).is_nan());
        assert!(difference(&[1.0], &[f64::INFINITY]).is_nan());
        assert!(difference(&[1.0], &[1.0, 2.0]).is_nan());
    }
}
