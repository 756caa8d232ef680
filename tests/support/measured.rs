//! Figures for `docs/reliability.md`, which `-- --nocapture` shows.

use std::fmt::Display;
use std::time::Duration;

/// Prints a figure that the test has measured.
#[expect(clippy::print_stderr, reason = "the figure is for comparing runs")]
pub(crate) fn measured(what: &str, figure: impl Display) {
    eprintln!("measured: {what}: {figure}");
}

/// A span as it stands in the documentation.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}
