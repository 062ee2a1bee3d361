//! The plot of what `check_gradient`, `check_hessian` and `check_retraction` measured: errors of the models over
//! step lengths, both logarithmic, beside lines of the slopes that are expected.

use crate::error::AppError;
use lr_optim::solve::Slope;
use lr_report::{
    axis::{Axis, Scale},
    look::Look,
    page::Figure,
    plot::{Ground, Line, Markers, Panel, Point, figure},
};

/// Draws every named slope in axes of its own, with its verdict above them; errors of zero are left out.
///
/// # Errors
/// [`AppError::Data`] when no slope has a positive error, [`AppError::Draw`] with the drawing library's message.
pub fn draw(slopes: &[(&str, &Slope)]) -> Result<Figure, AppError> {
    let panels: Vec<Panel> = slopes.iter().filter_map(|(name, slope)| panel(name, slope)).collect();
    if panels.is_empty() {
        return Err(AppError::Data("no slope has an error above zero to draw".to_owned()));
    }
    let svg = figure(&panels, "Errors of models over step lengths", Ground::Page).map_err(AppError::Draw)?;
    let caption =
        "A right derivative stays on its line until rounding takes over at short steps; a wrong one \
                   leaves it for a line that is less steep."
            .to_owned();
    Ok(Figure { svg, caption })
}

fn panel(name: &str, slope: &Slope) -> Option<Panel> {
    let measured: Vec<Point> = slope
        .errors
        .iter()
        .rev()
        .filter(|(t, error)| *t > 0.0 && *error > 0.0)
        .map(|(t, e)| Point::exact(*t, *e))
        .collect();
    let (first, last) = (measured.first()?, measured.last()?);
    let low = measured.iter().map(|point| point.mean).fold(f64::INFINITY, f64::min);
    let high = measured.iter().map(|point| point.mean).fold(0.0, f64::max);
    // Through the error of the longest step, down to the least error.
    let order = slope.expected.ceil();
    let end = (last.x * (low / last.mean).powf(1.0 / order)).clamp(first.x, last.x);
    let line = [end, last.x].map(|t| Point::exact(t, last.mean * (t / last.x).powf(order)));
    let verdict = if slope.is_right() { "right" } else { "wrong" };
    Some(Panel {
        title: format!("{name}: slope {:.2}, {verdict}", slope.exponent),
        x: Axis::new("step length, log scale", Scale::Log, first.x, last.x),
        y: Axis::new("log scale", Scale::Log, low / 2.0, high * 2.0),
        baseline: None,
        lines: vec![
            Line::new(Look::nth("error of the model", 0), measured, Markers::Dots),
            Line::new(Look::nth(format!("slope {order}"), order as usize), line.to_vec(), Markers::None),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope(power: i32) -> Slope {
        let errors = (1..8).map(|k| 0.5f64.powi(k)).map(|t| (t, 3.0 * t.powi(power))).collect();
        Slope { exponent: f64::from(power), expected: 1.8, errors }
    }

    #[test]
    fn every_slope_is_drawn_with_its_verdict() {
        let drawn = draw(&[("gradient", &slope(2)), ("another", &slope(1))]).unwrap();
        assert!(drawn.svg.contains("gradient: slope 2.00, right"), "{}", drawn.svg);
        assert!(drawn.svg.contains("another: slope 1.00, wrong"));
        assert!(drawn.svg.contains("slope 2"));
        let exact = Slope { errors: vec![(0.5, 0.0)], ..slope(2) };
        assert!(matches!(draw(&[("exact", &exact)]), Err(AppError::Data(_))));
    }
}
