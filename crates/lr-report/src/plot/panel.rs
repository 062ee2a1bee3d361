//! One panel of a figure: axes with ticks, bands or bars, curves clipped to the vertical range, and their marks.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    Area, BOTTOM, DrawError, FINENESS, FONT, LEFT, Line, Markers, PANEL_HEIGHT, PANEL_WIDTH, Panel, Point,
    RIGHT, TOP, dashed, solid, text, units,
};
use crate::look::{self as palette, Look};

/// Points closer together than this part of the axis are thinned out.
const RESOLUTION: f64 = 1.0 / 400.0;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws a panel: axes, bands, curves with their marks. `looks` are those of the whole figure.
pub(super) fn draw_panel(area: &Area<'_>, panel: &Panel, looks: &[Look]) -> Result<(), DrawError> {
    let place = |look: &Look| looks.iter().position(|known| known == look).unwrap_or_default();
    let mut chart: Chart<'_, '_> = ChartBuilder::on(area)
        .margin_left(LEFT * FINENESS)
        .margin_right(RIGHT * FINENESS)
        .margin_top(TOP * FINENESS)
        .margin_bottom(BOTTOM * FINENESS)
        .build_cartesian_2d(panel.x.placed_range(), panel.y.placed_range())?;
    draw_axes(area, &mut chart, panel)?;
    if let Some((value, look)) = &panel.baseline {
        let (x, y) = (panel.x.placed_range(), panel.y.place(*value));
        let style = dashed(place(look)).stroke_width(FINENESS * 7 / 4);
        chart.draw_series([PathElement::new(vec![(x.start, y), (x.end, y)], style)])?;
    }
    for line in &panel.lines {
        draw_band(&mut chart, panel, line, place(&line.look))?;
    }
    for line in &panel.lines {
        draw_line(&mut chart, panel, line, place(&line.look))?;
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

/// The range of the points: a band, or a bar at every point.
fn draw_band(chart: &mut Chart<'_, '_>, panel: &Panel, line: &Line, look: usize) -> Result<(), DrawError> {
    let spread = |point: &&Point| point.low < point.high;
    if !line.points.iter().any(|point| spread(&point)) {
        return Ok(());
    }
    let range = panel.y.placed_range();
    let place = |point: &Point, value: f64| {
        (panel.x.place(point.x), panel.y.place(value).clamp(range.start, range.end))
    };
    if line.markers == Markers::Bars {
        let bars = line.points.iter().filter(spread).map(|point| {
            let ends = vec![place(point, point.low), place(point, point.high)];
            PathElement::new(ends, solid(look).stroke_width(FINENESS * 5 / 4))
        });
        chart.draw_series(bars)?;
        return Ok(());
    }
    let points = thinned(panel, &line.points);
    let mut outline: Vec<_> = points.iter().map(|point| place(point, point.high)).collect();
    outline.extend(points.iter().rev().map(|point| place(point, point.low)));
    chart.draw_series([Polygon::new(outline, solid(look).mix(0.15))])?;
    Ok(())
}

fn draw_line(chart: &mut Chart<'_, '_>, panel: &Panel, line: &Line, look: usize) -> Result<(), DrawError> {
    let (stroke, solid) = (dashed(look), solid(look));
    let placed: Vec<(f64, f64)> = thinned(panel, &line.points)
        .iter()
        .map(|point| (panel.x.place(point.x), panel.y.place(point.mean)))
        .collect();
    let range = panel.y.placed_range();
    for piece in clipped(&placed, &range) {
        chart.draw_series([PathElement::new(piece, stroke.stroke_width(FINENESS * 7 / 4))])?;
    }
    let inside = |point: &&(f64, f64)| range.contains(&point.1) || point.1 == range.end;
    if line.markers != Markers::None {
        let dots =
            placed.iter().filter(inside).map(|&point| Circle::new(point, FINENESS * 5 / 2, solid.filled()));
        chart.draw_series(dots)?;
    }
    let events = line.events.iter().map(|&(x, y)| {
        let point = (panel.x.place(x), panel.y.place(y).clamp(range.start, range.end));
        TriangleMarker::new(point, FINENESS * 5, solid.filled())
    });
    chart.draw_series(events)?;
    if let Some(&(x, y)) = placed.last().filter(|_| line.diverged) {
        let end = (x, y.clamp(range.start, range.end));
        chart.draw_series([Cross::new(end, FINENESS * 6, solid.stroke_width(2 * FINENESS))])?;
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
        let x = panel.x.place(point.x);
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
}
