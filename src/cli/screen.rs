//! What commands show: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line on stdout.
///
/// # Errors
/// Where nobody reads it any more.
pub(super) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// A line on stderr; one that cannot be written is lost.
pub(super) fn complain(text: &str) {
    let _lost_where_nobody_reads = writeln!(io::stderr().lock(), "token-sidecar: {}", plain(text));
}

/// What somebody else wrote, without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Progress on stderr: a spinner on a terminal, plain lines elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    stage: String,
}

impl Progress {
    pub(super) fn start(stage: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let mut progress = Self { bar, stage: String::new() };
        progress.stage(stage);
        progress
    }

    /// Enters a stage; the same one twice says nothing new.
    pub(super) fn stage(&mut self, stage: &str) {
        if self.stage == stage {
            return;
        }
        stage.clone_into(&mut self.stage);
        match &self.bar {
            Some(bar) => bar.set_message(stage.to_owned()),
            None => complain(stage),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Words in colour, where stdout is a terminal and NO_COLOR is not set.
pub(super) fn good(text: &str) -> console::StyledObject<&str> {
    console::style(text).green()
}

/// As [`good`], for what somebody should look at.
pub(super) fn bad(text: &str) -> console::StyledObject<&str> {
    console::style(text).red().bold()
}

/// As [`good`], for what matters less.
pub(super) fn faint(text: &str) -> console::StyledObject<&str> {
    console::style(text).dim()
}
