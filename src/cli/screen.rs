//! What commands show: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write as _};

use console::Term;
use jiff::Timestamp;

use crate::app;

/// A line on stdout.
///
/// # Errors
/// Where stdout is closed.
pub(super) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// A line on stderr; one that cannot be written is lost.
pub(super) fn complain(text: &str) {
    let _lost_where_stderr_is_closed = writeln!(io::stderr().lock(), "token-sidecar: {}", plain(text));
}

/// Text from outside, without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Progress on stderr: on a terminal one line that counts the seconds, plain lines elsewhere.
pub(super) struct Progress {
    terminal: Option<Term>,
    since: Timestamp,
    stage: String,
}

impl Progress {
    pub(super) fn start(stage: &str) -> Self {
        let terminal = io::stderr().is_terminal().then(Term::stderr);
        let mut progress = Self { terminal, since: app::wall_clock(), stage: String::new() };
        progress.stage(stage);
        progress
    }

    /// Shows a stage; the same one again is not repeated.
    pub(super) fn stage(&mut self, stage: &str) {
        if self.stage != stage {
            self.stage = plain(stage);
            match &self.terminal {
                Some(_) => self.tick(),
                None => complain(stage),
            }
        }
    }

    /// Shows how long it has been.
    pub(super) fn tick(&self) {
        if let Some(terminal) = &self.terminal {
            let seconds = app::wall_clock().duration_since(self.since).as_secs();
            let _lost_where_stderr_is_closed = terminal.clear_line();
            let _lost_where_stderr_is_closed = terminal.write_str(&format!("{} {seconds}s", self.stage));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(terminal) = &self.terminal {
            let _lost_where_stderr_is_closed = terminal.clear_line();
        }
    }
}

/// Text in green, where stdout is a terminal and NO_COLOR is not set.
pub(super) fn good(text: &str) -> console::StyledObject<&str> {
    console::style(text).green()
}

/// As [`good`], in red, for what needs attention.
pub(super) fn bad(text: &str) -> console::StyledObject<&str> {
    console::style(text).red().bold()
}

/// As [`good`], dimmed, for what matters less.
pub(super) fn faint(text: &str) -> console::StyledObject<&str> {
    console::style(text).dim()
}
