//! What a bench leaves: lines on standard output, `<name>.json` with every time, `<name>.svg`.

use lr_train::train::output::{create_folder, write_atomically};
use serde::Serialize;

use super::conditions::Conditions;
use super::options::{Common, Format};
use super::statistics::{Rounds, Spread};

/// Prints a case: its JSON line or its row of the table.
///
/// # Errors
/// The encoder's message.
pub fn show(format: Format, line: &impl Serialize, row: impl FnOnce() -> String) -> Result<(), String> {
    match format {
        Format::Json => println!("{}", serde_json::to_string(line).map_err(|error| error.to_string())?),
        Format::Table => println!("{}", row()),
    }
    Ok(())
}

/// Everything that was measured, as it is written.
#[derive(Serialize)]
struct Document<'a, T> {
    bench: &'a str,
    conditions: &'a Conditions,
    rounds: usize,
    steps_per_round: usize,
    cases: &'a [T],
}

/// Writes `<name>.json` and `<name>.svg`, and ends the table with the conditions and the files' names.
///
/// # Errors
/// A file that cannot be written, and why.
pub fn finish<T: Serialize>(
    common: &Common,
    name: &str,
    conditions: &Conditions,
    cases: &[T],
    plot: &str,
) -> Result<(), String> {
    let turns = common.turns;
    let document =
        Document { bench: name, conditions, rounds: turns.rounds, steps_per_round: turns.steps, cases };
    let json = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    create_folder(&common.out).map_err(|error| error.to_string())?;
    let files = [("json", json.as_str()), ("svg", plot)].map(|(ending, text)| {
        let path = common.out.join(format!("{name}.{ending}"));
        write_atomically(&path, text.as_bytes()).map_err(|error| error.to_string()).map(|()| path)
    });
    let [data, picture] = files;
    let (data, picture) = (data?, picture?);
    if common.format == Format::Table {
        println!("{}", conditions.line());
        println!("every time: {}; plot: {}", data.display(), picture.display());
    }
    Ok(())
}

/// `median (min..max)` with three digits.
pub fn spread(spread: Spread) -> String {
    format!("{} ({}..{})", digits(spread.median), digits(spread.min), digits(spread.max))
}

/// The columns of a table about the peer: its milliseconds, the ratio of its time to ours, and the ratio of both
/// contenders' quietest rounds; dashes where there is no peer.
pub fn peer_columns(ms: &Rounds, peer_ms: Option<&Rounds>) -> String {
    let columns = peer_ms.map_or(["-".to_owned(), "-".to_owned(), "-".to_owned()], |peer_ms| {
        let quietest = digits(peer_ms.quietest() / ms.quietest());
        [spread(peer_ms.spread()), spread(peer_ms.over(ms)), quietest]
    });
    let [peer, ratio, quietest] = columns;
    format!("{peer:<21}  {ratio:<20}  {quietest:>8}")
}

/// The head of [`peer_columns`].
pub fn peer_head() -> String {
    format!("{:<21}  {:<20}  {:>8}", "torch ms (min..max)", "torch / ours", "quietest")
}

/// About three significant digits, without an exponent.
pub fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// The value, or its error on standard error: what is missing is said, and the bench goes on without.
pub fn or_say<T>(found: Result<T, String>) -> Option<T> {
    found.map_err(|message| eprintln!("warning: {message}")).ok()
}

/// A pool of `threads` worker threads.
///
/// # Errors
/// Why they cannot be started.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, String> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    builder.build().map_err(|error| format!("cannot start {threads} threads: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown = [123.4, 12.34, 1.234, 0.1234].map(digits);
        assert_eq!(shown, ["123", "12.3", "1.23", "0.1234"]);
        assert_eq!(spread(Spread { median: 2.0, min: 1.0, max: 30.0 }), "2.00 (1.00..30.0)");
    }
}
