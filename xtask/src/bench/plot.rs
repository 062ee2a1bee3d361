//! Two plots as SVG without fonts or scripts: times of cases side by side, and curves on logarithmic axes.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::output::digits;
use super::statistics::Spread;

/// One row of a dot plot.
#[derive(Debug, Clone)]
pub struct Mark {
    /// What was measured.
    pub label: String,
    /// Who took how long.
    pub values: Vec<(&'static str, Spread)>,
}

/// A curve through measured points, which ascend in x.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its name.
    pub label: String,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
}

/// Okabe and Ito's colours, distinguishable with every common colour blindness.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];
const GRID: RGBColor = RGBColor(0xe4, 0xe8, 0xec);
const LAW: RGBColor = RGBColor(0x8c, 0x95, 0x9f);

const WIDTH: i32 = 900;
const LEFT: i32 = 230;
const RIGHT: i32 = 30;
const TOP: i32 = 64;
const BOTTOM: i32 = 44;
const ROW: i32 = 22;

type DrawError = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Logarithmic axis from pixel `from` to pixel `to`.
struct Axis {
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl Axis {
    /// An axis that holds `values` with a little room; from 1 to 10 where there are none that it can hold.
    fn around(values: impl Iterator<Item = f64>, from: i32, to: i32) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low / 1.2, high * 1.2) } else { (1.0, 10.0) };
        Self { low, high, from, to }
    }

    fn place(&self, value: f64) -> i32 {
        let part = (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln();
        self.from + (f64::from(self.to - self.from) * part.clamp(0.0, 1.0)).round() as i32
    }

    /// 1, 2 and 5 of every decade inside; of long axes the decades only.
    fn ticks(&self) -> Vec<f64> {
        let mantissas: &[f64] = if self.high > 300.0 * self.low { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let all = decades.flat_map(|exponent| mantissas.iter().map(move |m| m * 10f64.powi(exponent)));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// Draws each mark as a row: a dot at every median and a line from the least to the largest, on a logarithmic
/// axis.
///
/// # Errors
/// The drawing library's message.
pub fn dot_plot(title: &str, marks: &[Mark]) -> Result<String, String> {
    let height = TOP + BOTTOM + ROW * marks.len() as i32;
    let names = marks.iter().flat_map(|mark| mark.values.iter().map(|(name, _)| *name)).fold(
        Vec::new(),
        |mut names: Vec<&str>, name| {
            if !names.contains(&name) {
                names.push(name);
            }
            names
        },
    );
    let spreads = || marks.iter().flat_map(|mark| mark.values.iter().map(|(_, spread)| spread));
    let axis = Axis::around(spreads().flat_map(|s| [s.min, s.max]), LEFT, WIDTH - RIGHT);
    svg(height, |area| {
        heading(area, title, &names)?;
        for tick in axis.ticks() {
            let x = axis.place(tick);
            area.draw(&PathElement::new([(x, TOP), (x, height - BOTTOM)], GRID.stroke_width(1)))?;
            write(area, &label(tick), (x, height - BOTTOM + 6), HPos::Center, VPos::Top)?;
        }
        for (row, mark) in marks.iter().enumerate() {
            let y = TOP + ROW * row as i32 + ROW / 2;
            write(area, &mark.label, (LEFT - 10, y), HPos::Right, VPos::Center)?;
            for (name, spread) in &mark.values {
                let colour = colour(names.iter().position(|other| other == name).unwrap_or(0));
                let ends = [(axis.place(spread.min), y), (axis.place(spread.max), y)];
                area.draw(&PathElement::new(ends, colour.mix(0.5).stroke_width(3)))?;
                area.draw(&Circle::new((axis.place(spread.median), y), 5, colour.filled()))?;
            }
        }
        Ok(())
    })
}

/// Draws curves with a dot at every point on logarithmic axes, and a grey line of slope `exponent` through the
/// first point of each.
///
/// # Errors
/// The drawing library's message.
pub fn curve_plot(title: &str, x_label: &str, exponent: f64, curves: &[Curve]) -> Result<String, String> {
    const HEIGHT: i32 = 480;
    const SIDE: i32 = 80;
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let x = Axis::around(points().map(|point| point.0), SIDE, WIDTH - RIGHT);
    let y = Axis::around(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let names: Vec<&str> = curves.iter().map(|curve| curve.label.as_str()).collect();
    svg(HEIGHT, |area| {
        heading(area, title, &names)?;
        for tick in y.ticks() {
            let at = y.place(tick);
            area.draw(&PathElement::new([(SIDE, at), (WIDTH - RIGHT, at)], GRID.stroke_width(1)))?;
            write(area, &label(tick), (SIDE - 6, at), HPos::Right, VPos::Center)?;
        }
        let mut measured: Vec<f64> = points().map(|point| point.0).collect();
        measured.sort_by(f64::total_cmp);
        measured.dedup();
        for value in measured {
            let at = x.place(value);
            area.draw(&PathElement::new([(at, TOP), (at, HEIGHT - BOTTOM)], GRID.stroke_width(1)))?;
            write(area, &label(value), (at, HEIGHT - BOTTOM + 6), HPos::Center, VPos::Top)?;
        }
        write(area, x_label, (WIDTH / 2, HEIGHT - 6), HPos::Center, VPos::Bottom)?;
        for (index, curve) in curves.iter().enumerate() {
            if let (Some(&(x0, y0)), Some(&(x1, _))) = (curve.points.first(), curve.points.last()) {
                let end = y0 * (x1 / x0).powf(exponent);
                // Cut where it would leave the plot.
                let inside = end.clamp(y.low, y.high);
                let reach = if exponent == 0.0 { x1 } else { x0 * (inside / y0).powf(1.0 / exponent) };
                let law = [(x.place(x0), y.place(y0)), (x.place(reach), y.place(inside))];
                area.draw(&PathElement::new(law, LAW.stroke_width(1)))?;
            }
            let placed: Vec<_> = curve.points.iter().map(|p| (x.place(p.0), y.place(p.1))).collect();
            for &point in &placed {
                area.draw(&Circle::new(point, 4, colour(index).filled()))?;
            }
            area.draw(&PathElement::new(placed, colour(index).stroke_width(2)))?;
        }
        Ok(())
    })
}

fn svg(height: i32, draw: impl FnOnce(&Area<'_>) -> Result<(), DrawError>) -> Result<String, String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE)
            .and_then(|()| draw(&area))
            .and_then(|()| area.present())
            .map_err(|error| format!("cannot draw the plot: {error}"))?;
    }
    Ok(text)
}

/// The title, and below it the names in their colours.
fn heading(area: &Area<'_>, title: &str, names: &[&str]) -> Result<(), DrawError> {
    write(area, title, (16, 10), HPos::Left, VPos::Top)?;
    let mut left = 16;
    for (index, name) in names.iter().enumerate() {
        area.draw(&Circle::new((left + 5, 44), 5, colour(index).filled()))?;
        write(area, name, (left + 16, 44), HPos::Left, VPos::Center)?;
        // A generous estimate of the text's width: no font is at hand to measure it.
        left += 40 + 8 * name.len() as i32;
    }
    Ok(())
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), h: HPos, v: VPos) -> Result<(), DrawError> {
    let style = ("sans-serif", 16).into_font().color(&BLACK).pos(Pos::new(h, v));
    area.draw(&Text::new(text.to_owned(), at, style))
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A tick's label: whole numbers as they are.
fn label(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { digits(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_places_its_ends_and_takes_what_cannot_be_placed() {
        let axis = Axis::around([1.2, 120.0, 0.0, f64::NAN].into_iter(), 100, 300);
        assert_eq!((axis.place(1.0), axis.place(12.0), axis.place(144.0)), (100, 200, 300));
        assert_eq!((axis.place(0.0), axis.place(f64::INFINITY)), (100, 300));
        assert_eq!(axis.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(Axis::around(std::iter::empty(), 0, 9).ticks(), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn plots_name_what_they_show() {
        let spread = Spread { median: 2.0, min: 1.0, max: 3.0 };
        let mark = Mark { label: "fixed-embedded, nu 0".to_owned(), values: vec![("ours", spread)] };
        let dots = dot_plot("Milliseconds", &[mark]).unwrap();
        for part in ["<svg", "Milliseconds", "fixed-embedded, nu 0", "ours", "</svg>"] {
            assert!(dots.contains(part), "{part}");
        }
        let curve = Curve { label: "rank".to_owned(), points: vec![(16.0, 1.0), (64.0, 9.0)] };
        assert!(curve_plot("Cost", "r", 2.0, &[curve]).unwrap().contains(">\n64\n<"));
    }
}
