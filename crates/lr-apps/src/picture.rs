//! Pictures of results: points in the plane with colours, and line segments, as a small SVG.

use lr_report::{look::COLOURS, look::hex, page::escape};
use std::fmt::Write;

/// Side of the square canvas, pixels.
const SIDE: f64 = 420.0;
/// Empty border, pixels.
const MARGIN: f64 = 16.0;

/// A point with the number of its colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    /// Coordinates, in any unit.
    pub at: [f64; 2],
    /// Place in the palette.
    pub colour: usize,
}

/// A segment with the number of its colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Ends.
    pub ends: [[f64; 2]; 2],
    /// Place in the palette.
    pub colour: usize,
}

/// Draws strokes and dots on one scale for both axes, with a legend of colours.
pub fn draw(description: &str, strokes: &[Stroke], dots: &[Dot], legend: &[&str]) -> String {
    let all = || {
        let ends = strokes.iter().flat_map(|stroke| stroke.ends);
        ends.chain(dots.iter().map(|dot| dot.at)).filter(|p| p.iter().all(|x| x.is_finite()))
    };
    let low = all().fold([f64::INFINITY; 2], |low, p| [low[0].min(p[0]), low[1].min(p[1])]);
    let high = all().fold([f64::NEG_INFINITY; 2], |high, p| [high[0].max(p[0]), high[1].max(p[1])]);
    let extent = (high[0] - low[0]).max(high[1] - low[1]).max(f64::MIN_POSITIVE);
    let scale = (SIDE - 2.0 * MARGIN) / extent;
    // The vertical axis points up.
    let place = |p: [f64; 2]| [MARGIN + (p[0] - low[0]) * scale, SIDE - MARGIN - (p[1] - low[1]) * scale];
    let colour = |number: usize| hex(COLOURS[number % COLOURS.len()]);
    let height = SIDE + 22.0 * legend.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{SIDE}\" height=\"{height}\" \
         viewBox=\"0 0 {SIDE} {height}\"><title>{}</title>",
        escape(description)
    );
    let finite = |p: &[f64; 2]| p.iter().all(|x| x.is_finite());
    for stroke in strokes.iter().filter(|stroke| stroke.ends.iter().all(finite)) {
        let [[x1, y1], [x2, y2]] = stroke.ends.map(place);
        let _ = write!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{}\" \
             stroke-width=\"1.2\"/>",
            colour(stroke.colour)
        );
    }
    for dot in dots.iter().filter(|dot| finite(&dot.at)) {
        let [x, y] = place(dot.at);
        let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{}\"/>", colour(dot.colour));
    }
    for (number, name) in legend.iter().enumerate() {
        let y = SIDE + 22.0 * number as f64 + 8.0;
        let _ = write!(
            svg,
            "<circle cx=\"{MARGIN}\" cy=\"{y}\" r=\"5\" fill=\"{}\"/><text x=\"{}\" y=\"{}\" \
             font-size=\"13\" \
             font-family=\"sans-serif\">{}</text>",
            colour(number),
            MARGIN + 12.0,
            y + 4.5,
            escape(name)
        );
    }
    svg.push_str("</svg>");
    svg
}
