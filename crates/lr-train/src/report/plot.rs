//! Draws panels of curves as one SVG: no script, no font file, no external resource.
//!
//! The canvas is finer than the page by [`FINENESS`], because the drawing library rounds to whole pixels.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::palette::{self, colour, hex};
use super::series::Point;
use crate::config::OptimizerName;

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
/// Points closer together than this part of the axis are thinned out.
const RESOLUTION: f64 = 1.0 / 400.0;

/// Whether a curve marks its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markers {
    /// A line only: the points lie densely.
    None,
    /// A dot at every point: the values between were not measured.
    Dots,
}

/// One optimizer's curve.
#[derive(Debug, Clone)]
pub struct Line {
    pub optimizer: OptimizerName,
    pub points: Vec<Point>,
    pub markers: Markers,
    /// The run met a loss that is not finite: the curve's end is marked by a cross.
    pub diverged: bool,
}

/// One pair of axes with its curves.
#[derive(Debug, Clone)]
pub struct Panel {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// A horizontal line for the optimizer that the others are compared with.
    pub baseline: Option<(f64, OptimizerName)>,
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
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws `panels` side by side under one legend that names every optimizer in them.
///
/// # Errors
/// The drawing library's message.
pub fn figure(panels: &[Panel], description: &str, ground: Ground) -> Result<String, String> {
    draw(panels, description, ground).map_err(|error| error.to_string())
}

fn draw(panels: &[Panel], description: &str, ground: Ground) -> Result<String, DrawError> {
    let named = legend_entries(panels);
    let width = PANEL_WIDTH * panels.len() as u32;
    let rows = legend_rows(&named, width);
    let legend_height = rows.len() as u32 * LEGEND_ROW + 6;
    let height = PANEL_HEIGHT + legend_height;
    let mut svg = String::new();
    {
        let root =
            SVGBackend::with_string(&mut svg, (width * FINENESS, height * FINENESS)).into_drawing_area();
        if ground == Ground::White {
            root.fill(&WHITE)?;
        }
        let (legend, body) = root.split_vertically(legend_height * FINENESS);
        draw_legend(&legend, &rows)?;
        for (area, panel) in body.split_evenly((1, panels.len())).iter().zip(panels) {
            draw_panel(area, panel)?;
        }
        root.present()?;
    }
    Ok(finish(&svg, &named, description, (width, height)))
}

fn legend_entries(panels: &[Panel]) -> Vec<OptimizerName> {
    let shown = |panel: &Panel, name: OptimizerName| {
        panel.lines.iter().any(|line| line.optimizer == name)
            || panel.baseline.is_some_and(|(_, baseline)| baseline == name)
    };
    let all = OptimizerName::ALL.iter().copied();
    all.filter(|name| panels.iter().any(|panel| shown(panel, *name))).collect()
}

/// Rows of legend entries with the offset of each, in pixels of the page.
fn legend_rows(names: &[OptimizerName], width: u32) -> Vec<Vec<(u32, OptimizerName)>> {
    let mut rows = vec![Vec::new()];
    let mut offset = LEFT;
    for &name in names {
        // A generous estimate of the text's width: no font is at hand to measure it.
        let needed = 50 + (name.as_str().len() as f64 * FONT * 0.45) as u32;
        if offset + needed > width && offset > LEFT {
            rows.push(Vec::new());
            offset = LEFT;
        }
        if let Some(row) = rows.last_mut() {
            row.push((offset, name));
        }
        offset += needed;
    }
    rows
}

type Area<'b> = DrawingArea<SVGBackend<'b>, plotters::coord::Shift>;

fn draw_legend(area: &Area<'_>, rows: &[Vec<(u32, OptimizerName)>]) -> Result<(), DrawError> {
    for (row, entries) in rows.iter().enumerate() {
        let y = units(row as u32 * LEGEND_ROW + LEGEND_ROW / 2 + 4);
        for &(offset, name) in entries {
            let sample = vec![(units(offset), y), (units(offset + 26), y)];
            area.draw(&PathElement::new(sample, colour(name).stroke_width(2 * FINENESS)))?;
            let style = text(FONT).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name.as_str(), (units(offset + 32), y), style))?;
        }
    }
    Ok(())
}

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Result<(), DrawError> {
    let mut chart: Chart<'_, '_> = ChartBuilder::on(area)
        .margin_left(LEFT * FINENESS)
        .margin_right(RIGHT * FINENESS)
        .margin_top(TOP * FINENESS)
        .margin_bottom(BOTTOM * FINENESS)
        .build_cartesian_2d(panel.x.placed_range(), panel.y.placed_range())?;
    draw_axes(area, &mut chart, panel)?;
    if let Some((value, optimizer)) = panel.baseline {
        let (x, y) = (panel.x.placed_range(), panel.y.place(value));
        let style = colour(optimizer).stroke_width(FINENESS * 7 / 4);
        chart.draw_series([PathElement::new(vec![(x.start, y), (x.end, y)], style)])?;
    }
    for line in &panel.lines {
        draw_band(&mut chart, panel, line)?;
    }
    for line in &panel.lines {
        draw_line(&mut chart, panel, line)?;
    }
    Ok(())
}

fn draw_axes(area: &Area<'_>, chart: &mut Chart<'_, '_>, panel: &Panel) -> Result<(), DrawError> {
    let (x_range, y_range) = (panel.x.placed_range(), panel.y.placed_range());
    let (area_left, area_top) = area.get_base_pixel();
    let (left, right) = (units(LEFT), units(PANEL_WIDTH - RIGHT));
    let (top, bottom) = (units(TOP), units(PANEL_HEIGHT - BOTTOM));
    for (value, label) in panel.x.ticks() {
        let x = panel.x.place(value);
        let grid = vec![(x, y_range.start), (x, y_range.end)];
        chart.draw_series([PathElement::new(grid, palette::GRID.stroke_width(FINENESS))])?;
        let position = (chart.backend_coord(&(x, y_range.start)).0 - area_left, bottom + units(6));
        let style = text(FONT - 1.0).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(label, position, style))?;
    }
    for (value, label) in panel.y.ticks() {
        let y = panel.y.place(value);
        let grid = vec![(x_range.start, y), (x_range.end, y)];
        chart.draw_series([PathElement::new(grid, palette::GRID.stroke_width(FINENESS))])?;
        let position = (left - units(6), chart.backend_coord(&(x_range.start, y)).1 - area_top);
        let style = text(FONT - 1.0).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(label, position, style))?;
    }
    let frame = vec![(left, top), (left, bottom), (right, bottom)];
    area.draw(&PathElement::new(frame, palette::AXIS.stroke_width(FINENESS)))?;
    let centred = Pos::new(HPos::Center, VPos::Center);
    let title = text(FONT + 2.0).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(panel.title.as_str(), (left, units(TOP / 2)), title))?;
    let x_label = text(FONT).pos(centred);
    area.draw(&Text::new(panel.x.label.as_str(), ((left + right) / 2, bottom + units(33)), x_label))?;
    let y_font = ("sans-serif", FONT * f64::from(FINENESS)).into_font().transform(FontTransform::Rotate270);
    let y_label = TextStyle::from(y_font).color(&palette::INK).pos(centred);
    area.draw(&Text::new(panel.y.label.as_str(), (units(13), (top + bottom) / 2), y_label))
}

fn draw_band(chart: &mut Chart<'_, '_>, panel: &Panel, line: &Line) -> Result<(), DrawError> {
    if line.points.iter().all(|point| point.low == point.high) {
        return Ok(());
    }
    let range = panel.y.placed_range();
    let points = thinned(panel, &line.points);
    let place = |point: &Point, value: f64| {
        (panel.x.place(point.step), panel.y.place(value).clamp(range.start, range.end))
    };
    let mut outline: Vec<_> = points.iter().map(|point| place(point, point.high)).collect();
    outline.extend(points.iter().rev().map(|point| place(point, point.low)));
    chart.draw_series([Polygon::new(outline, colour(line.optimizer).mix(0.15))])?;
    Ok(())
}

fn draw_line(chart: &mut Chart<'_, '_>, panel: &Panel, line: &Line) -> Result<(), DrawError> {
    let colour = colour(line.optimizer);
    let placed: Vec<(f64, f64)> = thinned(panel, &line.points)
        .iter()
        .map(|point| (panel.x.place(point.step), panel.y.place(point.mean)))
        .collect();
    let range = panel.y.placed_range();
    for piece in clipped(&placed, &range) {
        chart.draw_series([PathElement::new(piece, colour.stroke_width(FINENESS * 7 / 4))])?;
    }
    let inside = |point: &&(f64, f64)| range.contains(&point.1) || point.1 == range.end;
    if line.markers == Markers::Dots {
        let dots =
            placed.iter().filter(inside).map(|&point| Circle::new(point, FINENESS * 5 / 2, colour.filled()));
        chart.draw_series(dots)?;
    }
    if let Some(&(x, y)) = placed.last().filter(|_| line.diverged) {
        let end = (x, y.clamp(range.start, range.end));
        chart.draw_series([Cross::new(end, FINENESS * 6, colour.stroke_width(2 * FINENESS))])?;
    }
    Ok(())
}

/// Drops points that the plot could not tell apart, but never the last one.
fn thinned(panel: &Panel, points: &[Point]) -> Vec<Point> {
    let range = panel.x.placed_range();
    let spacing = (range.end - range.start) * RESOLUTION;
    let mut kept: Vec<Point> = Vec::new();
    let mut next = f64::NEG_INFINITY;
    for (index, point) in points.iter().enumerate() {
        let x = panel.x.place(point.step);
        if x >= next || index + 1 == points.len() {
            kept.push(*point);
            next = x + spacing;
        }
    }
    kept
}

/// The parts of a polyline inside a vertical range, cut exactly at its bounds.
fn clipped(points: &[(f64, f64)], range: &std::ops::Range<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        // The part of the segment, as fractions of its length, that lies inside.
        let at = |bound: f64| (bound - y0) / (y1 - y0);
        let (from, to) = if y0 == y1 {
            if range.start <= y0 && y0 <= range.end { (0.0, 1.0) } else { (1.0, 0.0) }
        } else {
            let (a, b) = (at(range.start), at(range.end));
            (a.min(b).max(0.0), a.max(b).min(1.0))
        };
        if from >= to {
            continue;
        }
        let along = |fraction: f64| {
            (x0 + fraction * (x1 - x0), (y0 + fraction * (y1 - y0)).clamp(range.start, range.end))
        };
        match pieces.last_mut() {
            Some(piece) if from == 0.0 && piece.last() == Some(&along(0.0)) => piece.push(along(to)),
            _ => pieces.push(vec![along(from), along(to)]),
        }
    }
    pieces
}

fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", size * f64::from(FINENESS)).into_font().color(&palette::INK)
}

/// Pixels of the page in canvas units.
fn units(pixels: u32) -> i32 {
    (pixels * FINENESS) as i32
}

/// Adds what the drawing library cannot say: dashes, a description for readers that do not see, and a size in
/// pixels of the page instead of canvas units.
fn finish(svg: &str, names: &[OptimizerName], description: &str, size: (u32, u32)) -> String {
    let mut svg = svg.to_owned();
    for &name in names {
        let dashes: Vec<String> =
            palette::dashes(name).iter().map(|length| (length * FINENESS).to_string()).collect();
        if !dashes.is_empty() {
            let stroke = format!("stroke=\"{}\"", hex(colour(name)));
            svg = svg.replace(&stroke, &format!("{stroke} stroke-dasharray=\"{}\"", dashes.join(" ")));
        }
    }
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let (width, height) = size;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\"><title>{}</title>{body}",
        width * FINENESS,
        height * FINENESS,
        super::html::escape(description),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_cuts_at_the_bounds() {
        let zigzag = [(0.0, -1.0), (1.0, 1.0), (2.0, 3.0), (3.0, 1.0)];
        assert_eq!(
            clipped(&zigzag, &(0.0..2.0)),
            [vec![(0.5, 0.0), (1.0, 1.0), (1.5, 2.0)], vec![(2.5, 2.0), (3.0, 1.0)]]
        );
        assert!(clipped(&[(0.0, 5.0), (1.0, 6.0)], &(0.0..2.0)).is_empty());
        assert_eq!(clipped(&[(0.0, 1.0), (1.0, 1.0)], &(0.0..2.0)).len(), 1);
    }

    #[test]
    fn a_long_legend_wraps() {
        let rows = legend_rows(OptimizerName::ALL, 520);
        assert!(rows.len() > 1);
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), OptimizerName::ALL.len());
    }
}
