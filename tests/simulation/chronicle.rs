//! The story as it can be read afterwards.

use std::time::Duration;

/// What has happened, line by line, where somebody wants to know.
#[derive(Debug)]
pub(crate) enum Chronicle {
    Silent,
    Kept(Vec<String>),
}

impl Chronicle {
    pub(crate) fn tell(&mut self, at: Duration, line: impl FnOnce() -> String) {
        if let Self::Kept(lines) = self {
            lines.push(format!("{:>9.3} {}", at.as_secs_f64(), line()));
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        match self {
            Self::Silent => &[],
            Self::Kept(lines) => lines,
        }
    }
}
