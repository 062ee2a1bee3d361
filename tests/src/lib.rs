//! What the cross-crate tests share: the registry of geometries, the golden cases, the conformance suite, dense
//! problems for solvers.

pub mod conformance;
pub mod dense;
pub mod golden;
pub mod problems;
pub mod registry;
