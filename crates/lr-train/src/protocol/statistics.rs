//! The protocol's statistics: the score of a run, and spikes of its training loss.

use serde::{Deserialize, Serialize};

/// Steps that a spike is judged by.
pub const SPIKE_WINDOW: usize = 50;
/// Robust standard deviations above the median of the window that make a spike.
pub const SPIKE_DEVIATIONS: f64 = 6.0;
/// A normal distribution's standard deviation over its median absolute deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// A window without any spread is taken to have this one, relative to its median.
const LEAST_SPREAD: f64 = 1e-3;

/// The score of a run: the mean of its last five validation losses, of all where there are fewer. Infinite when
/// one of them is not finite or there is none, as it is for a run that diverged.
pub fn last_five(validation: &[(usize, f64)]) -> f64 {
    let last = &validation[validation.len().saturating_sub(5)..];
    let mean = last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len() as f64;
    if mean.is_finite() { mean } else { f64::INFINITY }
}

/// A stretch of steps in which the training loss was far above what it had been.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spike {
    /// Its first step.
    pub start: usize,
    /// The first step after it; the step after the last one if the loss never returned.
    pub end: usize,
    /// The step of the highest loss.
    pub peak: usize,
    /// The highest loss, nats a token.
    pub loss: f64,
}

/// Finds the spikes of a training loss, a value a step.
///
/// A step begins a spike when its loss exceeds the median of the 50 steps before it by more than
/// 6 robust standard deviations (1.4826 times the window's median absolute deviation). The
/// spike lasts until the loss is back at or below that threshold; its steps do not enter later windows, so that
/// it counts once and does not hide the next. The first window of a run has none. A loss that is not finite ends
/// the search: that is a divergence.
pub fn spikes(training: &[(usize, f64)]) -> Vec<Spike> {
    let mut found: Vec<Spike> = Vec::new();
    let mut calm: Vec<f64> = Vec::new();
    let mut open: Option<(Spike, f64)> = None;
    for &(step, loss) in training.iter().take_while(|(_, loss)| loss.is_finite()) {
        if let Some((spike, threshold)) = &mut open {
            spike.end = step + 1;
            if loss > *threshold {
                if loss > spike.loss {
                    (spike.peak, spike.loss) = (step, loss);
                }
                continue;
            }
            spike.end = step;
            found.push(*spike);
            open = None;
        } else if calm.len() >= SPIKE_WINDOW {
            let threshold = threshold(&calm[calm.len() - SPIKE_WINDOW..]);
            if loss > threshold {
                open = Some((Spike { start: step, end: step + 1, peak: step, loss }, threshold));
                continue;
            }
        }
        calm.push(loss);
    }
    found.extend(open.map(|(spike, _)| spike));
    found
}

fn threshold(window: &[f64]) -> f64 {
    let center = median(window.to_vec());
    let spread = median(window.iter().map(|value| (value - center).abs()).collect());
    center + SPIKE_DEVIATIONS * (MAD_TO_SIGMA * spread).max(LEAST_SPREAD * center.abs())
}

/// Median of a non-empty list: the mean of the two middle values where there are two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { 0.5 * (values[middle - 1] + values[middle]) } else { values[middle] }
}

/// At most `most` points of a curve: means over stretches of equal length, each at its last step.
pub fn thinned(curve: &[(usize, f64)], most: usize) -> Vec<(usize, f64)> {
    let stretch = curve.len().div_ceil(most).max(1);
    let mean = |piece: &[(usize, f64)]| {
        let sum: f64 = piece.iter().map(|(_, value)| value).sum();
        (piece[piece.len() - 1].0, sum / piece.len() as f64)
    };
    curve.chunks(stretch).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 300 steps that fall slowly under noise of amplitude 0.1.
    fn falling() -> Vec<(usize, f64)> {
        let noise = |step: usize| 0.1 * ((step * 7919) as f64).sin();
        (1..=300).map(|step| (step, 5.0 - 0.004 * step as f64 + noise(step))).collect()
    }

    fn with(heights: &[(usize, f64)]) -> Vec<(usize, f64)> {
        let mut curve = falling();
        for &(step, height) in heights {
            curve[step - 1].1 += height;
        }
        curve
    }

    #[test]
    fn the_score_is_the_mean_of_the_last_five() {
        let curve: Vec<(usize, f64)> = [9.0, 5.0, 1.0, 2.0, 3.0, 4.0, 10.0].into_iter().enumerate().collect();
        assert_eq!(last_five(&curve), 4.0);
        assert_eq!(last_five(&curve[..2]), 7.0);
        assert_eq!(last_five(&[]), f64::INFINITY);
        let mut broken = curve.clone();
        broken[2].1 = f64::NAN;
        assert_eq!(last_five(&broken), f64::INFINITY);
        broken[2].1 = 1.0;
        broken[0].1 = f64::NAN;
        assert_eq!(last_five(&broken), 4.0, "what came before the last five does not count");
    }

    #[test]
    fn noise_and_descent_are_no_spikes() {
        assert_eq!(spikes(&falling()), []);
        let cliff: Vec<(usize, f64)> = (1..=200).map(|step| (step, 9.0 / step as f64)).collect();
        assert_eq!(spikes(&cliff), []);
    }

    #[test]
    fn a_stretch_counts_once_with_its_bounds_and_peak() {
        let curve = with(&[(120, 2.0), (121, 3.0), (122, 2.5), (200, 1.5)]);
        let found = spikes(&curve);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].start, found[0].peak, found[0].end), (120, 121, 123));
        assert_eq!(found[0].loss, curve[120].1);
        assert_eq!((found[1].start, found[1].end), (200, 201));
    }

    #[test]
    fn a_long_spike_does_not_become_the_new_normal() {
        let plateau: Vec<(usize, f64)> = (100..200).map(|step| (step, 3.0)).collect();
        let found = spikes(&with(&plateau));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].start, found[0].end), (100, 200));
        let never_back: Vec<(usize, f64)> = (250..=300).map(|step| (step, 3.0)).collect();
        assert_eq!(spikes(&with(&never_back)).last().map(|s| (s.start, s.end)), Some((250, 301)));
    }

    #[test]
    fn the_threshold_is_six_robust_deviations() {
        // Alternating 1 +- 0.1: median 1, median absolute deviation 0.1.
        let mut curve: Vec<(usize, f64)> =
            (1..=60).map(|step| (step, if step % 2 == 0 { 1.1 } else { 0.9 })).collect();
        let limit = 1.0 + 6.0 * 1.4826 * 0.1;
        curve.push((61, limit - 1e-9));
        assert_eq!(spikes(&curve), []);
        curve[60].1 = limit + 1e-6;
        assert_eq!(spikes(&curve).len(), 1);
    }

    #[test]
    fn the_first_window_and_what_is_not_finite_have_no_spikes() {
        assert_eq!(spikes(&with(&[(SPIKE_WINDOW, 9.0)])), []);
        assert_eq!(spikes(&with(&[(SPIKE_WINDOW + 1, 9.0)])).len(), 1);
        let mut diverged = with(&[(100, f64::NAN), (200, 9.0)]);
        assert_eq!(spikes(&diverged), []);
        diverged[99].1 = 9.0;
        assert_eq!(spikes(&diverged).len(), 2);
    }

    #[test]
    fn thinning_keeps_means_and_the_last_step() {
        let curve: Vec<(usize, f64)> = (1..=7).map(|step| (step, step as f64)).collect();
        assert_eq!(thinned(&curve, 3), [(3, 2.0), (6, 5.0), (7, 7.0)]);
        assert_eq!(thinned(&curve, 10), curve);
    }
}
