//! [`Table`]: rows of optimizers, printed as HTML for the page and as Markdown for a document.

use crate::{
    config::OptimizerName,
    report::{
        Spread,
        html::escape,
        palette::{colour, hex},
    },
};

/// Stands where nothing was measured.
const NOTHING: &str = "\u{2013}";

/// Whether an entry is the best of those that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Printed as it is.
    Plain,
    /// Printed bold.
    Best,
}

/// One entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub text: String,
    pub weight: Weight,
}

impl Entry {
    /// An entry that is compared with nothing.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), weight: Weight::Plain }
    }

    /// Nothing was measured.
    pub fn nothing() -> Self {
        Self::plain(NOTHING)
    }

    /// Mean and sigma of a score; an infinite mean is a divergence.
    pub fn score(score: Option<Spread>, weight: Weight) -> Self {
        let Some(score) = score else { return Self::nothing() };
        if !score.mean.is_finite() {
            return Self::plain("diverged");
        }
        let text = match score.deviation {
            Some(deviation) => format!("{:.3} \u{b1} {deviation:.3}", score.mean),
            None => format!("{:.3}", score.mean),
        };
        Self { text, weight }
    }

    /// A difference with its sign, and the same in units of its sigma.
    pub fn difference(difference: Option<Spread>) -> [Self; 2] {
        let Some(Spread { mean, deviation }) = difference else { return [Self::nothing(), Self::nothing()] };
        let signed = |number: f64, decimals: usize| format!("{number:+.decimals$}").replace('-', "\u{2212}");
        match deviation.filter(|deviation| *deviation > 0.0) {
            Some(deviation) => [
                Self::plain(format!("{} \u{b1} {deviation:.3}", signed(mean, 3))),
                Self::plain(signed(mean / deviation, 1)),
            ],
            None => [Self::plain(signed(mean, 3)), Self::nothing()],
        }
    }
}

/// A table with a row for each optimizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Heading above it.
    pub title: String,
    /// Headings of the columns, the optimizers' own left out.
    pub columns: Vec<String>,
    /// The name that a row goes by, with as many entries as there are columns.
    pub rows: Vec<(OptimizerName, Vec<Entry>)>,
    /// What a reader must know to read it.
    pub note: String,
}

impl Table {
    pub fn html(&self) -> String {
        let head: String = self.columns.iter().map(|column| format!("<th>{}</th>", escape(column))).collect();
        let mut html = format!(
            "<h3>{}</h3>\n<div class=\"wide\"><table><thead><tr><th>optimizer</th>{head}</tr></thead><tbody>\n",
            escape(&self.title)
        );
        for (optimizer, entries) in &self.rows {
            let cells: String = entries
                .iter()
                .map(|entry| match entry.weight {
                    Weight::Plain => format!("<td>{}</td>", escape(&entry.text)),
                    Weight::Best => format!("<td><strong>{}</strong></td>", escape(&entry.text)),
                })
                .collect();
            html.push_str(&format!(
                "<tr><th scope=\"row\"><span class=\"swatch\" style=\"--c:{}\"></span>{}</th>{cells}</tr>\n",
                hex(colour(*optimizer)).replace("#000000", "var(--ink)"),
                escape(optimizer.as_str()),
            ));
        }
        html.push_str(&format!("</tbody></table></div>\n<p class=\"note\">{}</p>\n", escape(&self.note)));
        html
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n| optimizer | {} |\n", self.title, self.columns.join(" | "));
        text.push_str(&format!("|---|{}\n", "---:|".repeat(self.columns.len())));
        for (optimizer, entries) in &self.rows {
            let cells: Vec<String> = entries
                .iter()
                .map(|entry| match entry.weight {
                    Weight::Plain => entry.text.clone(),
                    Weight::Best => format!("**{}**", entry.text),
                })
                .collect();
            text.push_str(&format!("| {optimizer} | {} |\n", cells.join(" | ")));
        }
        text.push_str(&format!("\n{}\n\n", self.note));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_what_was_measured() {
        let spread = |values: &[f64]| Spread::of(values);
        assert_eq!(Entry::score(spread(&[1.0, 2.0, 3.0]), Weight::Plain).text, "2.000 \u{b1} 1.000");
        assert_eq!(Entry::score(spread(&[1.0, f64::INFINITY]), Weight::Best), Entry::plain("diverged"));
        assert_eq!(Entry::score(None, Weight::Best), Entry::nothing());
        let texts = |values: &[f64]| Entry::difference(Spread::of(values)).map(|entry| entry.text);
        assert_eq!(texts(&[-0.01, -0.03]), ["\u{2212}0.020 \u{b1} 0.014", "\u{2212}1.4"]);
        assert_eq!(texts(&[0.5]), ["+0.500", "\u{2013}"]);
        assert_eq!(texts(&[]), ["\u{2013}", "\u{2013}"]);
    }

    #[test]
    fn both_forms_hold_the_same_entries() {
        let best = Entry { text: "3.1 \u{b1} 0.1".to_owned(), weight: Weight::Best };
        let table = Table {
            title: "A < B".to_owned(),
            columns: vec!["rate".to_owned(), "loss".to_owned()],
            rows: vec![(OptimizerName::Adamw, vec![Entry::plain("2\u{207b}\u{2078}"), best])],
            note: "Note.".to_owned(),
        };
        assert_eq!(
            table.markdown(),
            "### A < B\n\n| optimizer | rate | loss |\n|---|---:|---:|\n\
             | adamw | 2\u{207b}\u{2078} | **3.1 \u{b1} 0.1** |\n\nNote.\n\n"
        );
        let html = table.html();
        assert!(html.contains("A &lt; B") && html.contains("<strong>3.1 \u{b1} 0.1</strong>"), "{html}");
    }
}
