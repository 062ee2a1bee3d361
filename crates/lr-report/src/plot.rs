//! Draws panels of curves as one SVG: no script, no font file, no external resource.
//!
//! The canvas is finer than the page by `FINENESS`, because the drawing library rounds to whole pixels. It knows
//! no dashes either: curves are drawn in stand-in colours, one for each look, and `finish` puts the look's
//! colour and dashes in their place.

mod panel;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::axis::Axis;
use crate::look::{self as palette, Look, hex};
use panel::draw_panel;

/// Canvas units a pixel of the page.
const FINENESS: u32 = 8;
const PANEL_WIDTH: u32 = 520;
const PANEL_HEIGHT: u32 = 320;
const LEGEND_ROW: u32 = 24;
const LEFT: u32 = 66;
const RIGHT: u32 = 14;
const TOP: u32 = 30;
const BOTTOM: u32 = 46;
/// Nominal size: the drawing library writes it divided by 1.24.
const FONT: f64 = 16.0;
/// Panels side by side.
const COLUMNS: usize = 2;

/// A point of a curve: a mean and the range around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Where it stands on the horizontal axis: a step, a learning rate.
    pub x: f64,
    /// Where the curve passes.
    pub mean: f64,
    /// Lower end of the range.
    pub low: f64,
    /// Upper end of the range.
    pub high: f64,
}

impl Point {
    /// A point without a range.
    pub fn exact(x: f64, y: f64) -> Self {
        Self { x, mean: y, low: y, high: y }
    }
}

/// How a curve shows its points and the range that they span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markers {
    /// A line with a band only: the points lie densely.
    None,
    /// A dot at every point, with a band: the values between were not measured.
    Dots,
    /// A dot and an upright bar at every point: the points are few and their ranges would overlap.
    Bars,
}

/// One curve.
#[derive(Debug, Clone)]
pub struct Line {
    /// Colour, dashes, name.
    pub look: Look,
    /// From left to right.
    pub points: Vec<Point>,
    /// How they are marked.
    pub markers: Markers,
    /// The run met a loss that is not finite: the curve's end is marked by a cross.
    pub diverged: bool,
    /// Single events on the curve, marked by triangles.
    pub events: Vec<(f64, f64)>,
}

impl Line {
    /// A curve without anything to mark.
    pub fn new(look: Look, points: Vec<Point>, markers: Markers) -> Self {
        Self { look, points, markers, diverged: false, events: Vec::new() }
    }
}

/// One pair of axes with its curves.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Above the axes.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// A horizontal line for what the others are compared with.
    pub baseline: Option<(f64, Look)>,
    /// The curves.
    pub lines: Vec<Line>,
}

/// What stands behind the plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The page's own background, for an SVG inside a page that styles it.
    Page,
    /// A white plate, for a file that is shown anywhere.
    White,
}

type DrawError = DrawingAreaErrorKind<std::io::Error>;
type Area<'b> = DrawingArea<SVGBackend<'b>, plotters::coord::Shift>;

/// Draws `panels`, two side by side, under one legend that names every look in them.
///
/// # Errors
/// The drawing library's message.
pub fn figure(panels: &[Panel], description: &str, ground: Ground) -> Result<String, String> {
    draw(panels, description, ground).map_err(|error| error.to_string())
}

fn draw(panels: &[Panel], description: &str, ground: Ground) -> Result<String, DrawError> {
    let looks = legend_entries(panels);
    let columns = panels.len().min(COLUMNS);
    let rows = panels.len().div_ceil(columns);
    let width = PANEL_WIDTH * columns as u32;
    let legend_rows = legend_rows(&looks, width);
    let legend_height = legend_rows.len() as u32 * LEGEND_ROW + 6;
    let height = PANEL_HEIGHT * rows as u32 + legend_height;
    let mut svg = String::new();
    {
        let root =
            SVGBackend::with_string(&mut svg, (width * FINENESS, height * FINENESS)).into_drawing_area();
        if ground == Ground::White {
            root.fill(&WHITE)?;
        }
        let (legend, body) = root.split_vertically(legend_height * FINENESS);
        draw_legend(&legend, &legend_rows)?;
        for (area, panel) in body.split_evenly((rows, columns)).iter().zip(panels) {
            draw_panel(area, panel, &looks)?;
        }
        root.present()?;
    }
    Ok(finish(&svg, &looks, description, (width, height)))
}

/// The looks in order of appearance.
fn legend_entries(panels: &[Panel]) -> Vec<Look> {
    let mut looks: Vec<Look> = Vec::new();
    for panel in panels {
        let baseline = panel.baseline.iter().map(|(_, look)| look);
        for look in baseline.chain(panel.lines.iter().map(|line| &line.look)) {
            if !looks.contains(look) {
                looks.push(look.clone());
            }
        }
    }
    looks
}

/// Rows of legend entries: the offset of each in pixels of the page, its place among the looks, its label.
fn legend_rows(looks: &[Look], width: u32) -> Vec<Vec<(u32, usize, &str)>> {
    let mut rows = vec![Vec::new()];
    let mut offset = LEFT;
    for (place, look) in looks.iter().enumerate() {
        // A generous estimate of the text's width: no font is at hand to measure it.
        let needed = 50 + (look.label.chars().count() as f64 * FONT * 0.45) as u32;
        if offset + needed > width && offset > LEFT {
            rows.push(Vec::new());
            offset = LEFT;
        }
        if let Some(row) = rows.last_mut() {
            row.push((offset, place, look.label.as_str()));
        }
        offset += needed;
    }
    rows
}

/// The stand-in for the colour of a look's curves, which may be dashed.
fn dashed(place: usize) -> RGBColor {
    RGBColor(0xfe, 0xd0, place as u8)
}

/// The stand-in for the colour of a look's dots, bars and crosses.
fn solid(place: usize) -> RGBColor {
    RGBColor(0xfe, 0xd1, place as u8)
}

fn draw_legend(area: &Area<'_>, rows: &[Vec<(u32, usize, &str)>]) -> Result<(), DrawError> {
    for (row, entries) in rows.iter().enumerate() {
        let y = units(row as u32 * LEGEND_ROW + LEGEND_ROW / 2 + 4);
        for &(offset, place, label) in entries {
            let sample = vec![(units(offset), y), (units(offset + 26), y)];
            area.draw(&PathElement::new(sample, dashed(place).stroke_width(2 * FINENESS)))?;
            let style = text(FONT).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(label, (units(offset + 32), y), style))?;
        }
    }
    Ok(())
}

fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", size * f64::from(FINENESS)).into_font().color(&palette::INK)
}

/// Pixels of the page in canvas units.
fn units(pixels: u32) -> i32 {
    (pixels * FINENESS) as i32
}

/// Adds what the drawing library cannot say: the looks' colours and dashes, a description for readers that do not
/// see, and a size in pixels of the page instead of canvas units.
fn finish(svg: &str, looks: &[Look], description: &str, size: (u32, u32)) -> String {
    let mut svg = svg.to_owned();
    for (place, look) in looks.iter().enumerate() {
        let lengths: Vec<String> = look.dashes.iter().map(|length| (length * FINENESS).to_string()).collect();
        let colour = hex(look.colour);
        if !lengths.is_empty() {
            let stroke = format!("stroke=\"{}\"", hex(dashed(place)));
            svg = svg
                .replace(&stroke, &format!("stroke=\"{colour}\" stroke-dasharray=\"{}\"", lengths.join(" ")));
        }
        svg = svg.replace(&hex(dashed(place)), &colour).replace(&hex(solid(place)), &colour);
    }
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let (width, height) = size;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\"><title>{}</title>{body}",
        width * FINENESS,
        height * FINENESS,
        crate::page::escape(description),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::Scale;

    #[test]
    fn a_long_legend_wraps() {
        let looks: Vec<Look> = (0..13).map(|place| Look::nth("an optimizer", place)).collect();
        let rows = legend_rows(&looks, 520);
        assert!(rows.len() > 1);
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), looks.len());
    }

    #[test]
    fn every_curve_gets_its_own_colour_and_dashes_once() {
        let point = |x: f64| Point { x, mean: x, low: x - 0.5, high: x + 0.5 };
        let look = |dashes| Look { dashes, ..Look::nth(format!("{dashes:?}"), 0) };
        let panel = |dashes| Panel {
            title: String::new(),
            x: Axis::new("", Scale::Linear, 0.0, 3.0),
            y: Axis::new("", Scale::Linear, 0.0, 3.0),
            baseline: None,
            lines: vec![Line::new(look(dashes), vec![point(1.0), point(2.0)], Markers::Bars)],
        };
        // One colour, two dash patterns.
        const PATTERNS: [&[u32]; 2] = [&[7, 3], &[3, 3]];
        let svg = figure(&PATTERNS.map(panel), "", Ground::Page).unwrap();
        assert!(!svg.contains("#FED"), "a stand-in is left");
        for element in svg.split('<') {
            assert!(element.matches("stroke-dasharray").count() < 2, "{element}");
        }
        for pattern in PATTERNS {
            let dashes: Vec<String> = pattern.iter().map(|length| (length * FINENESS).to_string()).collect();
            let attribute = format!("stroke-dasharray=\"{}\"", dashes.join(" "));
            assert_eq!(svg.matches(&attribute).count(), 2, "a curve and its legend: {attribute}");
        }
    }
}
