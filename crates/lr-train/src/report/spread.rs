//! Mean and sample standard deviation over seeds, and how they are printed.

/// Mean and sample standard deviation of what several seeds gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub mean: f64,
    /// Absent with a single seed.
    pub deviation: Option<f64>,
}

impl Spread {
    /// `None` when there is nothing to average.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self { mean, deviation: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()) })
    }
}

/// A number with some decimals, or the words `not finite`.
pub(crate) fn finite(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "not finite".to_owned() }
}

/// A mean with its deviation, as HTML.
pub(crate) fn number(spread: Option<Spread>, decimals: usize) -> String {
    let Some(spread) = spread else { return "\u{2013}".to_owned() };
    let mean = finite(spread.mean, decimals);
    match spread.deviation.filter(|deviation| deviation.is_finite()) {
        Some(deviation) => format!("{mean} <small>\u{b1}\u{202f}{deviation:.decimals$}</small>"),
        None => mean,
    }
}

/// [`number`] with its sign, also when it is positive.
pub(crate) fn signed(spread: Option<Spread>, decimals: usize) -> String {
    let sign = match spread {
        Some(Spread { mean, .. }) if mean >= 0.0 => "+",
        _ => "",
    };
    format!("{sign}{}", number(spread, decimals).replacen('-', "\u{2212}", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[2.0]), Some(Spread { mean: 2.0, deviation: None }));
        assert_eq!(Spread::of(&[1.0, 2.0, 3.0]), Some(Spread { mean: 2.0, deviation: Some(1.0) }));
    }

    #[test]
    fn numbers_carry_their_sign_and_spread() {
        assert_eq!(signed(Spread::of(&[-0.25]), 3), "\u{2212}0.250");
        assert_eq!(signed(Spread::of(&[0.25]), 3), "+0.250");
        assert_eq!(signed(None, 3), "\u{2013}");
        assert_eq!(number(Spread::of(&[f64::NAN]), 3), "not finite");
        assert_eq!(number(Spread::of(&[1.0, 3.0]), 1), "2.0 <small>\u{b1}\u{202f}1.4</small>");
    }
}
