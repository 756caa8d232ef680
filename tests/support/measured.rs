//! Figures for `docs/reliability.md`, which `-- --nocapture` shows.

use std::fmt::Display;

/// Says a figure that the test has measured.
#[expect(clippy::print_stderr, reason = "the figure is for whoever repeats the test")]
pub(crate) fn measured(what: &str, figure: impl Display) {
    eprintln!("measured: {what}: {figure}");
}
