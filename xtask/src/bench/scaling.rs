//! `bench optim --scaling`: the cost of a step against one size, the exponent of the power law through the
//! points, and the exponent that the operation counts give.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::bank::{Bank, Case};
use super::optim::{Outcome, Stable, head, row};
use super::options::{Format, OptimPlan};
use super::output;
use super::plot::{Curve, curve_plot};
use super::statistics::exponent;

/// The size that varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    /// Columns of the factors, 16 to 256 (fewer where m or n is smaller)
    Rank,
    /// Rows of both factors, 64 to 8192 (more than the rank)
    Rows,
    /// Problems of the bank, a quarter to eight times as many as given
    Problems,
    /// Threads, from one to all cores
    Threads,
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rank => "rank",
            Self::Rows => "rows",
            Self::Problems => "problems",
            Self::Threads => "threads",
        })
    }
}

/// What the operation counts say of an axis.
struct Law {
    exponent: f64,
    why: &'static str,
}

impl Axis {
    fn law(self) -> Law {
        match self {
            Self::Rank => Law {
                exponent: 2.0,
                why: "products of m x r with r x r matrices cost m r^2; r^3 terms lift the end, memory the start",
            },
            Self::Rows => Law {
                exponent: 1.0,
                why: "tall matrices cost m r^2; the r^3 terms flatten the start, leaving the caches steepens the end",
            },
            Self::Problems => Law { exponent: 1.0, why: "problems are independent" },
            Self::Threads => Law {
                exponent: -1.0,
                why: "problems are independent; shared caches and memory flatten the end",
            },
        }
    }

    /// The values that the axis takes, for a bank of which one size varies.
    fn values(self, bank: &Bank, threads: usize) -> Vec<usize> {
        let powers = |from: u32, to: u32| (from..=to).map(|k| 1usize << k);
        match self {
            Self::Rank => powers(4, 8).filter(|r| *r <= bank.m.min(bank.n)).collect(),
            Self::Rows => powers(6, 13).filter(|rows| *rows >= bank.rank).collect(),
            Self::Problems => powers(0, 5).map(|k| (bank.problems * k).div_ceil(4)).collect(),
            Self::Threads => {
                let mut values: Vec<_> = powers(0, 30).take_while(|n| *n < threads).collect();
                values.push(threads);
                values
            }
        }
    }

    /// The case, and the threads to run it on, where the axis has the value.
    fn at(self, value: usize, case: &Case, threads: usize) -> (Case, usize) {
        let bank = match self {
            Self::Rank => Bank { rank: value, ..case.bank },
            Self::Rows => Bank { m: value, n: value, ..case.bank },
            Self::Problems => Bank { problems: value, ..case.bank },
            Self::Threads => return (*case, value),
        };
        (Case { bank, ..*case }, threads)
    }
}

/// An optimizer's measured exponent beside the law's.
#[derive(Debug, Serialize)]
struct Series {
    optimizer: &'static str,
    nu: f64,
    /// Least squares over the quietest rounds of all points; absent where there are fewer than two.
    exponent: Option<f64>,
    law: f64,
    /// Values at which the step takes at most [`NEAR`] times as long as its tensors alone need through memory.
    memory_bound: Vec<usize>,
    points: Vec<Outcome>,
}

/// A step counts as bound by memory when it takes at most this many times as long as its traffic.
const NEAR: f64 = 2.0;

/// Milliseconds that a step's tensors need through memory at the rate of AdamW, which does nothing but stream
/// seven: a step reads parameters and gradient and writes parameters, with momentum two tensors more.
fn traffic(nu: f64, outcome: &Outcome) -> f64 {
    let tensors = if nu == 0.0 { 3.0 } else { 5.0 };
    tensors / 7.0 * outcome.adamw_ms.quietest()
}

/// Where the crossover to memory bound lies, in words.
fn crossover(axis: Axis, memory_bound: &[usize], points: usize) -> String {
    match memory_bound {
        [] => format!("nowhere bound by memory: arithmetic decides at every {axis}"),
        all if all.len() == points => format!("bound by memory at every {axis}"),
        some => {
            let listed: Vec<_> = some.iter().map(usize::to_string).collect();
            format!("bound by memory at {axis} {}", listed.join(", "))
        }
    }
}

/// Measures the plan's cases along `axis`, prints them and writes `optim-scaling-<axis>.json` and `.svg`.
///
/// # Errors
/// A point that cannot be measured, or a file that cannot be written.
pub fn run(plan: &OptimPlan, axis: Axis) -> Result<(), String> {
    let mut stable = Stable::new(plan);
    let conditions = stable.conditions();
    let format = plan.common.format;
    let law = axis.law();
    if format == Format::Table {
        println!("Law for {axis}: exponent {} ({})\n{}", law.exponent, law.why, head());
    }
    let mut all = Vec::new();
    let mut curves = Vec::new();
    let mut memory = Vec::new();
    for case in &plan.cases {
        let mut series = Series {
            optimizer: case.optimizer.as_str(),
            nu: case.nu,
            exponent: None,
            law: law.exponent,
            memory_bound: Vec::new(),
            points: Vec::new(),
        };
        let mut points = Vec::new();
        let mut floor = Vec::new();
        for value in axis.values(&case.bank, plan.common.threads) {
            let (case, threads) = axis.at(value, case, plan.common.threads);
            let outcome = stable.measure(&case, threads)?;
            let label = || format!("{}  {axis} {value}", row(&outcome));
            output::show(format, &outcome.line, label)?;
            // Of a quiet round, so that a disturbance of one point does not pass for a law.
            points.push((value as f64, outcome.ms.quietest()));
            floor.push((value as f64, traffic(case.nu, &outcome)));
            if points.last().map(|point| point.1) <= floor.last().map(|point| NEAR * point.1) {
                series.memory_bound.push(value);
            }
            series.points.push(outcome);
        }
        series.exponent = exponent(&points);
        if let (Format::Table, Some(p)) = (format, series.exponent) {
            let bound = crossover(axis, &series.memory_bound, points.len());
            println!(
                "{} nu {}: cost ~ {axis}^{p:.2}, law {axis}^{}; {bound}",
                case.optimizer, case.nu, law.exponent
            );
        }
        curves.push(Curve { label: case.optimizer.to_string(), points });
        memory = floor;
        all.push(series);
    }
    // Of the last case: the tensors of all have the same shapes.
    curves.push(Curve { label: "memory traffic alone".to_owned(), points: memory });
    let title = format!("Milliseconds of one optimizer step; grey: slope {}", law.exponent);
    let plot = curve_plot(&title, &axis.to_string(), law.exponent, &curves)?;
    output::finish(&plan.common, &format!("optim-scaling-{axis}"), &conditions.end(), &all, &plot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lr_train::config::OptimizerName;

    const BANK: Bank = Bank { problems: 16, m: 128, n: 512, rank: 64, blocks: 1 };

    #[test]
    fn values_are_powers_of_two_that_the_other_sizes_admit() {
        assert_eq!(Axis::Rank.values(&BANK, 2), [16, 32, 64, 128]);
        assert_eq!(Axis::Rows.values(&BANK, 2), [64, 128, 256, 512, 1024, 2048, 4096, 8192]);
        assert_eq!(Axis::Problems.values(&BANK, 2), [4, 8, 16, 32, 64, 128]);
        assert_eq!(Axis::Threads.values(&BANK, 6), [1, 2, 4, 6]);
        assert_eq!(Axis::Threads.values(&BANK, 1), [1]);
    }

    #[test]
    fn the_crossover_is_named() {
        assert!(crossover(Axis::Rank, &[], 5).starts_with("nowhere bound by memory"));
        assert_eq!(crossover(Axis::Rank, &[16, 32], 5), "bound by memory at rank 16, 32");
        assert_eq!(crossover(Axis::Rows, &[64, 128], 2), "bound by memory at every rows");
    }

    #[test]
    fn one_size_varies() {
        let case = Case { optimizer: OptimizerName::FixedQuotient, nu: 0.5, bank: BANK };
        let bank = |axis: Axis, value| axis.at(value, &case, 2).0.bank;
        assert_eq!(bank(Axis::Rank, 32), Bank { rank: 32, ..BANK });
        assert_eq!(bank(Axis::Rows, 256), Bank { m: 256, n: 256, ..BANK });
        assert_eq!(bank(Axis::Problems, 3), Bank { problems: 3, ..BANK });
        assert_eq!(Axis::Threads.at(1, &case, 2), (case, 1));
    }
}
