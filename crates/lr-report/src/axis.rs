//! Axes of a plot: range, linear or logarithmic scale, round ticks and their labels.

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// Base ten; values at or below zero have no place.
    Log,
    /// Base two, for learning rates; values at or below zero have no place.
    PowersOfTwo,
}

/// An axis with its range in data units.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Name and unit.
    pub label: String,
    /// Scale.
    pub scale: Scale,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Names at 0, 1, 2 and so on, for an axis of choices; empty for an axis of numbers.
    names: Vec<String>,
}

impl Axis {
    /// An axis from `low` to `high`, widened when it would be empty.
    pub fn new(label: impl Into<String>, scale: Scale, low: f64, high: f64) -> Self {
        let (low, high) = match scale {
            _ if high > low => (low, high),
            Scale::Linear => (low - 0.5, low + 0.5),
            Scale::Log => (low / 10.0, low * 10.0),
            Scale::PowersOfTwo => (low / 2.0, low * 2.0),
        };
        Self { label: label.into(), scale, low, high, names: Vec::new() }
    }

    /// An axis of choices, the first of them at 0, the next at 1, with half a step of margin.
    pub fn choices(label: impl Into<String>, names: Vec<String>) -> Self {
        Self { low: -0.5, high: names.len() as f64 - 0.5, label: label.into(), scale: Scale::Linear, names }
    }

    /// The position of a value on the scale: itself or its decimal logarithm.
    pub fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::PowersOfTwo => value.max(f64::MIN_POSITIVE).log2(),
        }
    }

    /// The range in the units of [`Axis::place`].
    pub fn placed_range(&self) -> std::ops::Range<f64> {
        self.place(self.low)..self.place(self.high)
    }

    /// Round values inside the range, each with its label.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if !self.names.is_empty() {
            return self.names.iter().enumerate().map(|(place, name)| (place as f64, name.clone())).collect();
        }
        match self.scale {
            Scale::Linear => linear_ticks(self.low, self.high),
            Scale::Log => log_ticks(self.low, self.high),
            Scale::PowersOfTwo => power_ticks(self.low, self.high),
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

fn power_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let (first, last) = (low.log2().ceil() as i32, high.log2().floor() as i32);
    let stride = ((last - first) / 8 + 1) as usize;
    (first..=last).step_by(stride).map(|exponent| (2f64.powi(exponent), power_of_two(exponent))).collect()
}

/// `2` with its exponent raised.
pub fn power_of_two(exponent: i32) -> String {
    format!("2{}", superscript(exponent))
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
    fn learning_rates_have_powers_of_two_and_choices_their_names() {
        assert_eq!(
            labels(Scale::PowersOfTwo, 0.1, 1.1),
            ["2\u{207b}\u{b3}", "2\u{207b}\u{b2}", "2\u{207b}\u{b9}", "2\u{2070}"]
        );
        assert!(labels(Scale::PowersOfTwo, 1e-6, 1e3).len() <= 9);
        let axis = Axis::choices("", vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(axis.ticks(), [(0.0, "a".to_owned()), (1.0, "b".to_owned())]);
        assert_eq!((axis.low, axis.high), (-0.5, 1.5));
    }

    #[test]
    fn an_empty_range_is_widened() {
        assert!(!labels(Scale::Linear, 3.0, 3.0).is_empty());
        assert!(!labels(Scale::Log, 3.0, 3.0).is_empty());
        assert!(!labels(Scale::PowersOfTwo, 3.0, 3.0).is_empty());
    }
}
