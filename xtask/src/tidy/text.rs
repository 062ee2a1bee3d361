//! Rules about a file's text: it opens with a module doc, stays short, and leaves nothing undone.

use std::path::Path;

use super::Violation;

const MOST_LINES: usize = 500;

/// What must not stand in any line, spelled so that this file does not break its own rule.
const FORBIDDEN: [(&str, &str); 5] = [
    (concat!("to", "do!"), "write the code or leave it out"),
    (concat!("unimple", "mented!"), "write the code or leave it out"),
    (concat!("#[ig", "nore"), "a test that does not run proves nothing: mend it or remove it"),
    (concat!("FIX", "ME"), "mend it now"),
    (concat!("XX", "X"), "mend it now"),
];

/// Checks one file.
pub fn check(path: &Path, source: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !source.lines().next().is_some_and(opens_module_doc) {
        violations.push(Violation::at(
            path,
            1,
            "the file must open with a `//!` module doc that says what lives there",
        ));
    }
    let lines = source.lines().count();
    if lines > MOST_LINES {
        violations.push(Violation::whole(
            path,
            format!("{lines} lines, more than {MOST_LINES}; split it by responsibility and aim for 300"),
        ));
    }
    for (index, line) in source.lines().enumerate() {
        for (word, remedy) in FORBIDDEN {
            if holds_word(line, word) {
                violations.push(Violation::at(path, index + 1, format!("`{word}` is not allowed; {remedy}")));
            }
        }
    }
    violations
}

fn opens_module_doc(line: &str) -> bool {
    line.strip_prefix("//!").is_some_and(|text| !text.trim().is_empty())
}

/// Whether `word` stands in `line` and is no part of a longer identifier.
fn holds_word(line: &str, word: &str) -> bool {
    let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back().is_some_and(part_of_name);
        let after = line[start + word.len()..].chars().next().is_some_and(part_of_name);
        let ends_in_name = word.chars().next_back().is_some_and(part_of_name);
        !(before || after && ends_in_name)
    })
}
