//! Diagnostics on standard error: warnings by default, `LOWRANK_LOG=trace` for the time of every phase of
//! a step.

use tracing_subscriber::{filter::LevelFilter, fmt::format::FmtSpan};

/// Variable with the level: off, error, warn, info, debug or trace.
const VARIABLE: &str = "LOWRANK_LOG";

/// Starts the diagnostics.
///
/// # Errors
/// A message, when the variable holds no level.
pub fn start() -> Result<(), String> {
    let level = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().map_err(|_| {
            format!("{VARIABLE}={text} is no level; use off, error, warn, info, debug or trace")
        })?,
        Err(_) => LevelFilter::WARN,
    };
    let spans = if level == LevelFilter::TRACE { FmtSpan::CLOSE } else { FmtSpan::NONE };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_span_events(spans)
        .with_target(false)
        .init();
    Ok(())
}
