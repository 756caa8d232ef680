//! Output of commands: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write as _};

use clap::ColorChoice;
use console::Term;
use jiff::Timestamp;
use token_sidecar_client::excerpt::is_hidden;

use super::{Exit, Stopped};
use crate::app;

/// Writes a line to stdout.
pub(super) fn line(text: impl std::fmt::Display) -> Result<(), Stopped> {
    whole(&format!("{text}\n"))
}

/// Writes a text to stdout as it is.
pub(super) fn whole(text: &str) -> Result<(), Stopped> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Ends the command where stdout cannot be written. A reader that has gone, as `head` does, is no failure.
pub(super) fn written(done: io::Result<()>) -> Result<(), Stopped> {
    done.map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::NotWritten };
        Stopped::because(exit, format!("standard output: {error}"))
    })
}

/// Writes a line to stdout, of which a terminal shows as much as fits into its width.
pub(super) fn fitting_line(text: &str) -> Result<(), Stopped> {
    let terminal = io::stdout().is_terminal().then(Term::stdout);
    match terminal.and_then(|terminal| terminal.size_checked()) {
        Some((_, columns)) => line(console::truncate_str(text, usize::from(columns), "…")),
        None => line(text),
    }
}

/// The cells of a table, each as wide as the widest of its column.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<[String; N]> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let pad = |row: &[String; N]| std::array::from_fn(|column| format!("{:1$}", row[column], widths[column]));
    rows.iter().map(pad).collect()
}

/// Writes a line to stderr; errors are ignored.
pub(super) fn error_line(text: &str) {
    let _lost_where_stderr_is_closed = writeln!(io::stderr().lock(), "token-sidecar: {}", plain(text));
}

/// Text from outside, without control and bidirectional characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

/// Text from outside on one line of at most `limit` characters, with control and bidirectional characters escaped.
pub(super) fn escaped(text: &str, limit: usize) -> String {
    let escape = |c: char| if is_hidden(c) { c.escape_unicode().to_string() } else { c.to_string() };
    let shown: String = text.chars().take(limit + 1).map(escape).collect();
    if shown.chars().count() <= limit {
        return shown;
    }
    shown.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
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

    /// Shows a stage, unless it is shown already.
    pub(super) fn stage(&mut self, stage: &str) {
        if self.stage != stage {
            self.stage = plain(stage);
            match &self.terminal {
                Some(_) => self.tick(),
                None => error_line(stage),
            }
        }
    }

    /// Updates the elapsed time.
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

/// Colours the output of the commands from here on. `Auto` looks for a terminal and NO_COLOR.
pub(super) fn colour(choice: ColorChoice) {
    if choice != ColorChoice::Auto {
        console::set_colors_enabled(choice == ColorChoice::Always);
        console::set_colors_enabled_stderr(choice == ColorChoice::Always);
    }
}

/// Blocks on stdout that follow each other: at a terminal each takes the place of the one before.
pub(super) struct Place {
    terminal: Option<Term>,
    drawn: usize,
}

impl Place {
    pub(super) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal().then(Term::stdout), drawn: 0 }
    }

    /// Whether a block takes the place of the one before.
    pub(super) const fn is_redrawn(&self) -> bool {
        self.terminal.is_some()
    }

    pub(super) fn show(&mut self, lines: &[String]) -> Result<(), Stopped> {
        let Some(terminal) = &self.terminal else {
            let gap = if self.drawn == 0 { "" } else { "\n" };
            self.drawn = lines.len();
            return line(format!("{gap}{}", lines.join("\n")));
        };
        let rows = usize::from(terminal.size().0).saturating_sub(1).max(1);
        let (shown, rest) = if lines.len() > rows { lines.split_at(rows - 1) } else { (lines, &[][..]) };
        let mut block = if self.drawn == 0 { String::new() } else { format!("\x1b[{}A", self.drawn) };
        // A line that does not fit is cut off by the terminal: wrapping is off meanwhile.
        block.push_str("\x1b[?7l");
        for text in shown {
            block.push_str(&format!("\r\x1b[2K{text}\n"));
        }
        if !rest.is_empty() {
            block.push_str(&format!("\r\x1b[2K… {} more lines\n", rest.len()));
        }
        block.push_str("\x1b[?7h\x1b[J");
        self.drawn = shown.len() + usize::from(!rest.is_empty());
        written(terminal.write_str(&block))
    }
}

/// Text in green, where the output is coloured.
pub(super) fn good(text: &str) -> console::StyledObject<&str> {
    console::style(text).green()
}

/// Like [`good`], but red, for what needs attention.
pub(super) fn bad(text: &str) -> console::StyledObject<&str> {
    console::style(text).red().bold()
}

/// Like [`good`], but dimmed.
pub(super) fn faint(text: &str) -> console::StyledObject<&str> {
    console::style(text).dim()
}
