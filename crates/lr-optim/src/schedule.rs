//! Learning-rate schedules: linear warm-up, then constant, cosine or linear decay; and [`Group`], an
//! optimizer with its rate and schedule.

use std::f64::consts::PI;

/// What the rate does after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Decay {
    /// Stays.
    #[default]
    Constant,
    /// Half a cosine down to zero at the last step.
    Cosine,
    /// A straight line down to zero at the last step.
    Linear,
}

/// A factor in `[0, 1]` for each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Steps of linear warm-up; step `k` (from 0) of them runs at `(k + 1)/warm_up`.
    pub warm_up: u64,
    /// What comes after.
    pub decay: Decay,
    /// Length of the run in steps; matters to the decays.
    pub total: u64,
}

impl Schedule {
    /// Factor of the learning rate at step `step`, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return (step + 1) as f64 / self.warm_up as f64;
        }
        let length = self.total.saturating_sub(self.warm_up).max(1);
        let progress = ((step - self.warm_up) as f64 / length as f64).min(1.0);
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => 0.5 * (1.0 + (PI * progress).cos()),
            Decay::Linear => 1.0 - progress,
        }
    }
}

/// A parameter group: an optimizer, its learning rate, its schedule.
#[derive(Clone, Debug)]
pub struct Group<O> {
    /// Name in checkpoints and reports.
    pub name: String,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Who steps.
    pub optimizer: O,
}

impl<O> Group<O> {
    /// Learning rate at step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        self.learning_rate * self.schedule.factor(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(decay: Decay, step: u64) -> f64 {
        Schedule { warm_up: 10, decay, total: 110 }.factor(step)
    }

    #[test]
    fn warm_up_is_linear_and_ends_at_one() {
        assert_eq!([0, 4, 9, 10].map(|s| at(Decay::Constant, s)), [0.1, 0.5, 1.0, 1.0]);
        assert_eq!(Schedule { warm_up: 0, decay: Decay::Constant, total: 5 }.factor(0), 1.0);
    }

    #[test]
    fn decays_meet_at_the_middle_and_end_at_zero() {
        assert_eq!(at(Decay::Linear, 60), 0.5);
        assert!((at(Decay::Cosine, 60) - 0.5).abs() < 1e-15);
        assert!((at(Decay::Cosine, 35) - 0.5 * (1.0 + (PI / 4.0).cos())).abs() < 1e-15);
        for decay in [Decay::Linear, Decay::Cosine] {
            assert_eq!((at(decay, 10), at(decay, 110), at(decay, 500)), (1.0, 0.0, 0.0));
        }
    }
}
