//! Plots and pages of experiments, shared by `lr-train` and `lr-apps`: curves as one SVG, self-contained
//! pages without scripts or external resources, and files that are either old or whole.

#![deny(missing_docs)]

pub mod axis;
pub mod files;
pub mod look;
pub mod machine;
pub mod page;
pub mod plot;
