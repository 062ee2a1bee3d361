//! The applications of bounded-rank optimization, each from its data to its report.
//!
//! | module | problem | set |
//! |---|---|---|
//! | [`sphere_fit`] | fit sampled entries of a matrix with rows of norm 1; plain completion beside it | oblique, none |
//! | [`graph_similarity`] | the node similarities of two graphs | Frobenius sphere |
//! | [`synchronization`] | rotations of cameras from relative measurements, certified | stacked Stiefel |
//! | [`markov`] | a transition matrix of low nonnegative rank, `P = X o X` | oblique |
//!
//! An experiment is a `Config` with `run(&config, &mut session)`: it makes or reads its data, runs its
//! solvers through a [`session::Session`], and leaves `summary.json`, `metrics.jsonl` and `report.html` in
//! the output folder.

#![deny(missing_docs)]

pub mod cone;
pub mod dense;
pub mod error;
pub mod graph_similarity;
pub mod markov;
pub mod masked;
pub mod page;
pub mod picture;
pub mod session;
pub mod slopes;
pub mod sphere_fit;
pub mod synchronization;

/// Runs the code of the documentation's page.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/own-problem.md")]
pub struct OwnProblem;
