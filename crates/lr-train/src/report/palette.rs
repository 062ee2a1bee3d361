//! One colour and dash pattern an optimizer, the same in every figure and table.
//!
//! The colours are Okabe and Ito's, distinguishable with every common colour blindness: fixed rank in blues,
//! partial isometries in warm tones, AdamW in the ink's colour. Dashes tell them apart in grey print.

use plotters::style::RGBColor;

use crate::config::OptimizerName;

/// Text and the AdamW curve.
pub const INK: RGBColor = RGBColor(0x00, 0x00, 0x00);
/// Frames and ticks.
pub const AXIS: RGBColor = RGBColor(0x8c, 0x95, 0x9f);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xe4, 0xe8, 0xec);

/// The colour of an optimizer.
pub fn colour(optimizer: OptimizerName) -> RGBColor {
    match optimizer {
        OptimizerName::Adamw => INK,
        OptimizerName::FixedEmbedded => RGBColor(0x00, 0x72, 0xb2),
        OptimizerName::FixedQuotient => RGBColor(0x56, 0xb4, 0xe9),
        OptimizerName::PartialEmbedded => RGBColor(0xd5, 0x5e, 0x00),
        OptimizerName::PartialQuotient => RGBColor(0xe6, 0x9f, 0x00),
        OptimizerName::PartialCanonical => RGBColor(0xcc, 0x79, 0xa7),
    }
}

/// The dash pattern of an optimizer, as lengths in pixels of the page; empty for a solid line.
pub fn dashes(optimizer: OptimizerName) -> &'static [u32] {
    match optimizer {
        OptimizerName::Adamw | OptimizerName::FixedEmbedded | OptimizerName::PartialEmbedded => &[],
        OptimizerName::FixedQuotient | OptimizerName::PartialQuotient => &[7, 3],
        OptimizerName::PartialCanonical => &[7, 2, 2, 2],
    }
}

/// A colour as it stands in SVG and CSS.
pub fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_optimizers_share_a_colour() {
        let colours: std::collections::BTreeSet<_> =
            OptimizerName::ALL.iter().map(|&optimizer| hex(colour(optimizer))).collect();
        assert_eq!(colours.len(), OptimizerName::ALL.len());
    }
}
