//! `report.html` of an application: a table of its runs, convergence by iteration and by time, and its own
//! pictures.

use crate::{
    error::AppError,
    session::{Curve, Moment, RunSummary, Session},
};
use lr_report::{
    axis::{Axis, Scale},
    files::write_atomically,
    look::Look,
    machine::Machine,
    page::{Figure, definitions, document, escape, figure_element},
    plot::{Ground, Line, Markers, Panel, Point, figure},
};

/// Name of the page in the output folder.
pub const REPORT_FILE: &str = "report.html";

/// Looks that the drawing can tell apart in one figure.
const MOST_CURVES: usize = 40;

/// A part of the page.
#[derive(Debug)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// Paragraphs.
    pub text: Vec<String>,
    /// Pictures.
    pub figures: Vec<Figure>,
}

/// Writes the page: `brief` says what was run, `command` how to run it again.
///
/// # Errors
/// [`AppError`] naming the file, or the drawing library's message.
pub fn write(
    session: &Session<'_>,
    title: &str,
    brief: &str,
    command: &str,
    sections: &[Section],
) -> Result<(), AppError> {
    let mut body = format!("<h1>{}</h1>\n<p class=\"brief\">{}</p>\n", escape(title), escape(brief));
    body.push_str("<h2>Runs</h2>\n");
    body.push_str(&table(session.runs()));
    body.push_str(
        "<p class=\"note\">Time per iteration is per inner iteration for trust regions. Errors are \
         relative norms; the \
         cone measure is that of the original problem, the gradient norm that of the solver's geometry.</p>\n",
    );
    let mut groups: Vec<&str> = Vec::new();
    for curve in session.curves() {
        if !groups.contains(&curve.group.as_str()) {
            groups.push(&curve.group);
        }
    }
    for group in groups {
        let curves: Vec<&Curve> = session.curves().iter().filter(|curve| curve.group == group).collect();
        if let Some(drawn) = convergence(&curves)? {
            body.push_str(&format!("<h2>{}</h2>\n{}", escape(group), figure_element(&drawn)));
        }
    }
    for section in sections {
        body.push_str(&format!("<h2>{}</h2>\n", escape(&section.title)));
        for paragraph in &section.text {
            body.push_str(&format!("<p>{}</p>\n", escape(paragraph)));
        }
        section.figures.iter().for_each(|figure| body.push_str(&figure_element(figure)));
    }
    let machine = Machine::detect(rayon::current_num_threads());
    let rows = [
        ("folder", session.folder().display().to_string()),
        ("version", format!("lowrank {}", env!("CARGO_PKG_VERSION"))),
        ("processor", machine.cpu.unwrap_or_else(|| "unknown".to_owned())),
        ("cores, threads", format!("{}, {}", machine.cores, machine.threads)),
    ];
    body.push_str("<h2>What was run</h2>\n");
    body.push_str(&definitions(&rows));
    body.push_str(&format!("<p>To run it again:</p>\n<pre>{}</pre>\n", escape(command)));
    let page = document(title, &body);
    Ok(write_atomically(&session.folder().join(REPORT_FILE), page.as_bytes())?)
}

/// The runs, one a row.
pub fn table(runs: &[RunSummary]) -> String {
    let head = [
        "solver",
        "rank",
        "omega",
        "iterations",
        "inner",
        "ms/iteration",
        "seconds",
        "cost",
        "gradient",
        "cone measure",
        "train error",
        "test error",
    ];
    let head: String = head.iter().map(|name| format!("<th>{name}</th>")).collect();
    let number = |x: Option<f64>| x.map_or_else(|| "\u{2013}".to_owned(), |x| format!("{x:.2e}"));
    let rows: String = runs
        .iter()
        .map(|run| {
            let cells = [
                run.rank.to_string(),
                run.omega.map_or_else(|| "\u{2013}".to_owned(), |omega| omega.to_string()),
                run.iterations.to_string(),
                run.inner_iterations.map_or_else(|| "\u{2013}".to_owned(), |n| n.to_string()),
                format!("{:.2}", run.milliseconds_per_iteration()),
                format!("{:.2}", run.seconds),
                format!("{:.6e}", run.cost),
                number(run.gradient_norm),
                number(run.cone_measure),
                number(run.train_error),
                number(run.test_error),
            ];
            let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
            format!("<tr><th>{}</th>{cells}</tr>\n", escape(&run.solver))
        })
        .collect();
    format!(
        "<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// Gradient norms by iteration and by time, and test errors by time where they were watched.
fn convergence(curves: &[&Curve]) -> Result<Option<Figure>, AppError> {
    let curves = &curves[..curves.len().min(MOST_CURVES)];
    let gradient = |moment: &Moment| Some(moment.gradient_norm);
    let panels: Vec<Panel> = [
        panel(curves, "Gradient norm by iteration", "iteration", |m| m.iteration as f64, gradient),
        panel(curves, "Gradient norm by time", "seconds", |m| m.seconds, gradient),
        panel(curves, "Test error by time", "seconds", |m| m.seconds, |m| m.test_error),
    ]
    .into_iter()
    .flatten()
    .collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let svg = figure(&panels, "Convergence of every solver", Ground::Page).map_err(AppError::Draw)?;
    let caption =
        "Every curve is one run; both axes of the errors are measured at accepted points.".to_owned();
    Ok(Some(Figure { svg, caption }))
}

fn panel(
    curves: &[&Curve],
    title: &str,
    x: &str,
    at: impl Fn(&Moment) -> f64,
    value: impl Fn(&Moment) -> Option<f64>,
) -> Option<Panel> {
    let positive = |moment: &Moment| value(moment).filter(|y| *y > 0.0).map(|y| Point::exact(at(moment), y));
    let lines: Vec<Line> = curves
        .iter()
        .enumerate()
        .map(|(place, curve)| {
            let points = curve.moments.iter().filter_map(positive).collect();
            Line::new(Look::nth(curve.label.clone(), place), points, Markers::None)
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let all = || lines.iter().flat_map(|line| &line.points);
    let last = all().map(|point| point.x).reduce(f64::max)?;
    let (low, high) = (all().map(|p| p.mean).reduce(f64::min)?, all().map(|p| p.mean).reduce(f64::max)?);
    Some(Panel {
        title: title.to_owned(),
        x: Axis::new(x, Scale::Linear, 0.0, last),
        y: Axis::new("log scale", Scale::Log, low / 2.0, high * 2.0),
        baseline: None,
        lines,
    })
}
