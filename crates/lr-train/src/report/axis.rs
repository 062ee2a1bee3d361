//! Axes of a plot: range, linear or logarithmic scale, round ticks and their labels.

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    /// Base ten; values at or below zero have no place.
    Log,
}

/// An axis with its range in data units.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
}

impl Axis {
    /// An axis from `low` to `high`, widened when it would be empty.
    pub fn new(label: impl Into<String>, scale: Scale, low: f64, high: f64) -> Self {
        let (low, high) = match scale {
            _ if high > low => (low, high),
            Scale::Linear => (low - 0.5, low + 0.5),
            Scale::Log => (low / 10.0, low * 10.0),
        };
        Self { label: label.into(), scale, low, high }
    }

    /// The position of a value on the scale: itself or its decimal logarithm.
    pub fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    /// The range in the units of [`Axis::place`].
    pub fn placed_range(&self) -> std::ops::Range<f64> {
        self.place(self.low)..self.place(self.high)
    }

    /// Round values inside the range, each with its label.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => linear_ticks(self.low, self.high),
            Scale::Log => log_ticks(self.low, self.high),
        }
    }
}

fn linear_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 6.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * decade);
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last)
        .map(|index| {
            let value = index as f64 * step;
            (value, format!("{value:.decimals$}").replace('-', "\u{2212}"))
        })
        .collect()
}

fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let stride = ((last - first) / 7).max(1);
    let mantissas: &[f64] = if high <= 100.0 * low { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut ticks = Vec::new();
    for exponent in (first..=last).filter(|exponent| exponent.rem_euclid(stride) == 0) {
        for mantissa in mantissas {
            let value = mantissa * 10f64.powi(exponent);
            if (low..=high * (1.0 + 1e-9)).contains(&value) {
                ticks.push((value, log_label(*mantissa, exponent)));
            }
        }
    }
    ticks
}

fn log_label(mantissa: f64, exponent: i32) -> String {
    if (0..=4).contains(&exponent) {
        return format!("{}", mantissa * 10f64.powi(exponent));
    }
    let power = superscript(exponent);
    if mantissa == 1.0 { format!("10{power}") } else { format!("{mantissa}\u{b7}10{power}") }
}

/// An integer in superscript characters.
pub fn superscript(number: i32) -> String {
    let raised = |character: char| match character {
        '-' => '\u{207b}',
        '1' => '\u{b9}',
        '2' => '\u{b2}',
        '3' => '\u{b3}',
        digit => digit.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or(digit),
    };
    number.to_string().chars().map(raised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, low: f64, high: f64) -> Vec<String> {
        Axis::new("", scale, low, high).ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_inside() {
        assert_eq!(labels(Scale::Linear, 0.0, 1000.0), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(
            labels(Scale::Linear, -0.12, 0.11),
            ["\u{2212}0.10", "\u{2212}0.05", "0.00", "0.05", "0.10"]
        );
    }

    #[test]
    fn log_ticks_are_decades() {
        assert_eq!(labels(Scale::Log, 1.0, 1000.0), ["1", "10", "100", "1000"]);
        assert_eq!(
            labels(Scale::Log, 3e-7, 2e-5),
            [
                "5\u{b7}10\u{207b}\u{2077}",
                "10\u{207b}\u{2076}",
                "2\u{b7}10\u{207b}\u{2076}",
                "5\u{b7}10\u{207b}\u{2076}",
                "10\u{207b}\u{2075}",
                "2\u{b7}10\u{207b}\u{2075}"
            ]
        );
        assert!(labels(Scale::Log, 1e-16, 1.0).len() <= 9);
    }

    #[test]
    fn an_empty_range_is_widened() {
        assert!(!labels(Scale::Linear, 3.0, 3.0).is_empty());
        assert!(!labels(Scale::Log, 3.0, 3.0).is_empty());
    }
}
