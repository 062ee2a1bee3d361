//! What the cross-crate tests share: the registry of geometries, the golden cases, the conformance suite.

pub mod conformance;
pub mod dense;
pub mod golden;
pub mod registry;
