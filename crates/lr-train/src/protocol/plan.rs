//! Which cells a part has, and which of them a [`Shard`] takes.

use super::{Attention, Cell, Part, ProtocolError, Results, Settings};
use crate::config::{Normalize, OptimizerName};
use serde::{Deserialize, Serialize};
use std::{path::Path, str::FromStr};

/// Momentum coefficients of the paper's comparison.
const MOMENTA: [f64; 3] = [0.0, 1.0 / 8.0, 7.0 / 8.0];
/// Multiples of the best rate that momentum is combined with.
const MOMENTUM_FACTORS: [f64; 3] = [0.5, 1.0, 2.0];
/// Multiples of the best rate for steps divided by the spectral norm, which is the smaller of the two norms.
const SPECTRAL_FACTORS: [f64; 3] = [0.25, 0.5, 1.0];
/// Multiples of the best rate for steps divided by nothing, as powers of two: an attention pair's gradient norm
/// is about 2^-4, give or take orders of magnitude.
const UNNORMALIZED_EXPONENTS: [i32; 7] = [-2, 0, 2, 4, 6, 8, 10];

/// Where a rate comes from that a part builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The best of the baseline in the same folder.
    Baseline,
    /// The middle of the baseline's rates: there is no complete baseline for this optimizer.
    Default,
}

/// The rate that a part builds on for one optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Kind of attention.
    pub attention: Attention,
    /// The optimizer.
    pub optimizer: OptimizerName,
    /// Its rate.
    pub lr_qkvo: f64,
    /// Where it comes from.
    pub origin: Origin,
}

/// A part's cells, and the rates that they were built on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// All cells, in the order in which shards deal them: seed by seed, so that a part that is not finished can
    /// be compared.
    pub cells: Vec<Cell>,
    /// One for each optimizer; empty for the baseline, which looks for them.
    pub rates: Vec<Rate>,
}

/// Name of the file in a part's folder that holds its last [`Plan`].
pub const PLAN_FILE: &str = "plan.json";

/// The cells of a part. Rates come from `baseline` where it is complete for the optimizer in question.
pub fn plan(settings: &Settings, baseline: Option<&Results>) -> Plan {
    let mut plan = Plan::default();
    let mut once = Vec::new();
    for &attention in &settings.attention {
        for &optimizer in settings.optimizers.iter().filter(|name| attention.has(**name)) {
            let cell = |normalize, momentum, lr_qkvo| Cell {
                attention,
                optimizer,
                normalize,
                momentum,
                lr_qkvo,
                seed: 0,
            };
            if settings.part == Part::Baseline {
                let rates = settings.rates(optimizer);
                once.extend(rates.into_iter().map(|rate| cell(Normalize::Metric, 0.0, rate)));
                continue;
            }
            let best = baseline.and_then(|baseline| baseline.tuned_rate(attention, optimizer));
            let (rate, origin) = best
                .map_or((settings.middle_rate(optimizer), Origin::Default), |rate| (rate, Origin::Baseline));
            plan.rates.push(Rate { attention, optimizer, lr_qkvo: rate, origin });
            match settings.part {
                Part::Normalization => once.extend(
                    normalizations(optimizer, rate).into_iter().map(|(by, rate)| cell(by, 0.0, rate)),
                ),
                Part::Momentum => {
                    // AdamW has its own momentum; it is there as what the others are compared with.
                    let momenta = if optimizer.is_geometry() { &MOMENTA[..] } else { &MOMENTA[..1] };
                    for &momentum in momenta {
                        let rates = MOMENTUM_FACTORS.map(|factor| factor * rate);
                        once.extend(rates.map(|rate| cell(Normalize::Metric, momentum, rate)));
                    }
                }
                Part::Baseline | Part::Scaling => once.push(cell(Normalize::Metric, 0.0, rate)),
            }
        }
    }
    for &seed in &settings.base.seeds {
        plan.cells.extend(once.iter().map(|cell| Cell { seed, ..*cell }));
    }
    plan
}

fn normalizations(optimizer: OptimizerName, rate: f64) -> Vec<(Normalize, f64)> {
    let mut all = vec![(Normalize::Metric, rate)];
    if !optimizer.is_geometry() {
        return all;
    }
    all.extend(UNNORMALIZED_EXPONENTS.map(|exponent| (Normalize::None, rate * 2f64.powi(exponent))));
    if optimizer.supports_spectral_norm() {
        all.extend(SPECTRAL_FACTORS.map(|factor| (Normalize::Spectral, rate * factor)));
    }
    all
}

/// Part `index` of `count`: every `count`-th cell, beginning with the `index`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// All cells.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// What this shard takes of `cells`.
    pub fn of<T: Copy>(self, cells: &[T]) -> Vec<T> {
        cells.iter().skip(self.index - 1).step_by(self.count).copied().collect()
    }
}

impl FromStr for Shard {
    type Err = ProtocolError;

    /// Reads `i/n` with `1 <= i <= n`.
    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let invalid = || ProtocolError::Shard(text.to_owned());
        let (index, count) = text.split_once('/').ok_or_else(invalid)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| invalid());
        let (index, count) = (number(index)?, number(count)?);
        if (1..=count).contains(&index) { Ok(Self { index, count }) } else { Err(invalid()) }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Plan {
    /// Reads the last plan of a part's folder; an empty one where there is none.
    ///
    /// # Errors
    /// [`ProtocolError::BadFile`] naming the file.
    pub fn read(folder: &Path) -> Result<Self, ProtocolError> {
        let path = folder.join(PLAN_FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        super::result::read_json(&path)
    }
}
