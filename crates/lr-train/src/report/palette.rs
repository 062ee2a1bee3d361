//! One colour and dash pattern an optimizer, the same in every figure and table.
//!
//! The colours are Okabe and Ito's, distinguishable with every common colour blindness: fixed rank in blues,
//! partial isometries in warm tones, AdamW in the ink's colour, its rivals in green and grey. Dashes tell them
//! apart in grey print, and a grid from the single pairs of the same geometry.

use plotters::style::RGBColor;

use lr_report::look::DASHES;

use crate::config::OptimizerName;

pub use lr_report::look::{INK, Look, hex};

/// The looks of optimizers.
pub trait OptimizerLook: Sized {
    /// The look of an optimizer.
    fn of(optimizer: OptimizerName) -> Self;
    /// The look of an optimizer in one of several experiments side by side: dashes tell the experiments apart.
    fn beside(optimizer: OptimizerName, experiment: usize, folder: &str) -> Self;
}

impl OptimizerLook for Look {
    fn of(optimizer: OptimizerName) -> Self {
        Self { label: optimizer.to_string(), colour: colour(optimizer), dashes: dashes(optimizer) }
    }

    fn beside(optimizer: OptimizerName, experiment: usize, folder: &str) -> Self {
        Self {
            label: format!("{optimizer} ({folder})"),
            colour: colour(optimizer),
            dashes: DASHES[experiment % DASHES.len()],
        }
    }
}

/// The colour of an optimizer; a geometry has the same for single pairs and for grids.
pub fn colour(optimizer: OptimizerName) -> RGBColor {
    use OptimizerName as Name;
    match optimizer {
        Name::Adamw => INK,
        Name::FixedEmbedded | Name::GridFixedEmbedded => RGBColor(0x00, 0x72, 0xb2),
        Name::FixedQuotient | Name::GridFixedQuotient => RGBColor(0x56, 0xb4, 0xe9),
        Name::PartialEmbedded | Name::GridPartialEmbedded => RGBColor(0xd5, 0x5e, 0x00),
        Name::PartialQuotient | Name::GridPartialQuotient => RGBColor(0xe6, 0x9f, 0x00),
        Name::PartialCanonical | Name::GridPartialCanonical => RGBColor(0xcc, 0x79, 0xa7),
        Name::Muon => RGBColor(0x00, 0x9e, 0x73),
        Name::PreconditionedAdamw => RGBColor(0x77, 0x77, 0x77),
    }
}

/// The dash pattern of an optimizer, as lengths in pixels of the page; empty for a solid line.
pub fn dashes(optimizer: OptimizerName) -> &'static [u32] {
    use OptimizerName as Name;
    match optimizer {
        Name::Adamw | Name::FixedEmbedded | Name::PartialEmbedded | Name::Muon => &[],
        Name::FixedQuotient | Name::PartialQuotient | Name::PreconditionedAdamw => &[7, 3],
        Name::PartialCanonical => &[7, 2, 2, 2],
        Name::GridFixedEmbedded | Name::GridPartialEmbedded => &[12, 3],
        Name::GridFixedQuotient | Name::GridPartialQuotient => &[3, 3],
        Name::GridPartialCanonical => &[12, 2, 2, 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_optimizers_share_colour_and_dashes() {
        let distinct = |names: &[OptimizerName], look: fn(OptimizerName) -> String| {
            names.iter().map(|&name| look(name)).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(distinct(OptimizerName::MHA, |name| hex(colour(name))), OptimizerName::MHA.len());
        assert_eq!(distinct(OptimizerName::GQA, |name| hex(colour(name))), OptimizerName::GQA.len());
        let look = |name| format!("{} {:?}", hex(colour(name)), dashes(name));
        assert_eq!(distinct(OptimizerName::ALL, look), OptimizerName::ALL.len());
    }
}
