//! [`Look`]: what tells a curve from the others, and the colours of everything else.
//!
//! The colours are Okabe and Ito's, distinguishable with every common colour blindness; dashes tell curves
//! apart in grey print.

use plotters::style::RGBColor;

/// Text, and the curve that others are compared with.
pub const INK: RGBColor = RGBColor(0x00, 0x00, 0x00);
/// Frames and ticks.
pub const AXIS: RGBColor = RGBColor(0x8c, 0x95, 0x9f);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xe4, 0xe8, 0xec);

/// Blue, vermilion, green, orange, sky blue, reddish purple, grey, ink.
pub const COLOURS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x77, 0x77, 0x77),
    INK,
];

/// Dash patterns, lengths in pixels of the page; the first is a solid line.
pub const DASHES: [&[u32]; 5] = [&[], &[7, 3], &[2, 2], &[12, 3, 2, 3], &[12, 3]];

/// What tells a curve from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Its name in the legend.
    pub label: String,
    /// Its colour.
    pub colour: RGBColor,
    /// Lengths in pixels of the page; empty for a solid line.
    pub dashes: &'static [u32],
}

impl Look {
    /// The look of the `place`-th of many curves.
    pub fn nth(label: impl Into<String>, place: usize) -> Self {
        let colour = COLOURS[place % COLOURS.len()];
        Self { label: label.into(), colour, dashes: DASHES[place / COLOURS.len() % DASHES.len()] }
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
    fn forty_curves_look_different() {
        let looks: std::collections::BTreeSet<String> = (0..40)
            .map(|place| Look::nth("", place))
            .map(|l| format!("{} {:?}", hex(l.colour), l.dashes))
            .collect();
        assert_eq!(looks.len(), 40);
    }
}
