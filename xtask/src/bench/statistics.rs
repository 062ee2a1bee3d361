//! What is said of several measurements of the same thing: median, extremes, ratios round by round, and the
//! exponent of a power law.

use serde::Serialize;

/// Median and extremes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; NaN throughout where there are none.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        match (sorted.first(), sorted.last()) {
            (Some(&min), Some(&max)) => {
                let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
                Self { median: (low + high) / 2.0, min, max }
            }
            _ => Self { median: f64::NAN, min: f64::NAN, max: f64::NAN },
        }
    }
}

/// Milliseconds of one contender's steps, round after round.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Rounds(pub Vec<Vec<f64>>);

impl Rounds {
    /// The spread of all steps.
    pub fn spread(&self) -> Spread {
        Spread::of(&self.0.concat())
    }

    /// The least median of a round: what the machine does when it is left alone, if it ever was.
    pub fn quietest(&self) -> f64 {
        let medians: Vec<f64> = self.0.iter().map(|round| Spread::of(round).median).collect();
        Spread::of(&medians).min
    }

    /// How many times longer these steps take than `other`'s: the ratio of the two medians of every round. What
    /// disturbs a machine lasts longer than a round, so that it touches both sides of a ratio.
    pub fn over(&self, other: &Self) -> Spread {
        let ratios: Vec<f64> = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(own, other)| Spread::of(own).median / Spread::of(other).median)
            .collect();
        Spread::of(&ratios)
    }
}

/// The exponent `p` of `y = c x^p` by least squares on the logarithms; `None` where `x` takes fewer than two
/// values.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| logs.iter().map(part).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let slope = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>() / spread;
    slope.is_finite().then_some(slope)
}

/// `value` to four significant digits, as figures are reported.
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 10.0]), Spread { median: 3.0, min: 1.0, max: 10.0 });
        assert_eq!(Spread::of(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let own = Rounds(vec![vec![2.0, 2.0, 9.0], vec![20.0], vec![6.0]]);
        let other = Rounds(vec![vec![1.0], vec![10.0, 10.0], vec![2.0]]);
        assert_eq!(own.over(&other), Spread { median: 2.0, min: 2.0, max: 3.0 });
        assert_eq!(own.spread(), Spread { median: 6.0, min: 2.0, max: 20.0 });
        assert_eq!(own.quietest() / other.quietest(), 2.0);
    }

    #[test]
    fn the_exponent_of_a_power_law_is_found() {
        let law: Vec<(f64, f64)> = [16.0, 32.0, 64.0, 256.0].map(|x: f64| (x, 3.0 * x.powf(1.5))).into();
        assert!((exponent(&law).unwrap() - 1.5).abs() < 1e-12);
        let inverse = [(1.0, 8.0), (2.0, 4.0), (4.0, 2.0)];
        assert!((exponent(&inverse).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(exponent(&[(2.0, 5.0), (2.0, 6.0)]), None);
        assert_eq!(exponent(&[]), None);
    }

    #[test]
    fn four_digits_are_kept() {
        assert_eq!(rounded(12.34567), 12.35);
        assert_eq!(rounded(0.000_123_456), 0.000_123_5);
        assert_eq!(rounded(123_456.0), 123_500.0);
        assert_eq!(rounded(0.0), 0.0);
    }
}
