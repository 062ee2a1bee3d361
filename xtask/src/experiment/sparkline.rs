//! A curve in one line of text.

const BARS: [char; 8] =
    ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];

/// The values as bars between their lowest and highest, averaged into at most `width` of them; what is not finite
/// is left out.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let stretch = finite.len().div_ceil(width.max(1)).max(1);
    let means: Vec<f64> =
        finite.chunks(stretch).map(|piece| piece.iter().sum::<f64>() / piece.len() as f64).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let top = (BARS.len() - 1) as f64;
    let bar = |mean: &f64| {
        if high > low { BARS[(top * (mean - low) / (high - low)).round() as usize] } else { BARS[0] }
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_follow_the_values() {
        assert_eq!(sparkline(&[7.0, 0.0, 3.0], 10), "\u{2588}\u{2581}\u{2584}");
        assert_eq!(sparkline(&[4.0, f64::NAN, 4.0], 10), "\u{2581}\u{2581}");
        assert_eq!(sparkline(&[], 10), "");
        assert_eq!(sparkline(&[1.0, 3.0, 10.0, 20.0], 2), "\u{2581}\u{2588}", "neighbours are averaged");
        assert_eq!(sparkline(&vec![1.0; 1000], 16).chars().count(), 16);
    }
}
