//! The log of a story.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines of what happened, if they are to be kept.
#[derive(Debug, Clone, Default)]
pub(crate) enum Chronicle {
    #[default]
    Silent,
    Kept(Arc<Mutex<Vec<String>>>),
}

impl Chronicle {
    pub(crate) fn kept() -> Self {
        Self::Kept(Arc::default())
    }

    pub(crate) fn note(&self, at: Duration, line: impl FnOnce() -> String) {
        if let Self::Kept(lines) = self {
            lines.lock().unwrap().push(format!("{:>9.3} {}", at.as_secs_f64(), line()));
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Silent => Vec::new(),
            Self::Kept(lines) => lines.lock().unwrap().clone(),
        }
    }

    /// Adds the sidecars' logs to the lines while the guard lives.
    pub(crate) fn with_logs(&self) -> tracing::subscriber::DefaultGuard {
        let log = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        tracing::subscriber::set_default(log.with_max_level(tracing::Level::DEBUG).with_writer(self.clone()).finish())
    }
}

impl MakeWriter<'_> for Chronicle {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl io::Write for Chronicle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Self::Kept(lines) = self {
            lines.lock().unwrap().push(format!("          {}", String::from_utf8_lossy(bytes).trim_end()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
