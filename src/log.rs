//! Logs go to stderr: stdout has only the output of commands.
//!
//! A thread writes them. A reader that does not drain stderr must stop nothing else: once the queue is full, further lines
//! are dropped and counted. (`tracing-appender` does the same, but may hang at the end: it reports on stdout that its queue
//! is full.)

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ColorChoice;
use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogFormat;

/// How many lines wait at most.
const LINES: usize = 4096;

/// How long the end of the process waits for the last lines.
const FLUSH: Duration = Duration::from_secs(1);

static QUEUE: Queue = Queue { lines: Mutex::new(VecDeque::new()), changed: Condvar::new(), dropped: AtomicU64::new(0) };

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("logs were set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
    #[error("failed to start the thread that writes the log")]
    Thread(#[from] io::Error),
}

/// `Auto` colours lines for people at a terminal, unless `NO_COLOR` is set.
pub fn init(format: LogFormat, filter: Targets, color: ColorChoice) -> Result<(), TelemetryError> {
    let is_plain = color == ColorChoice::Auto && !io::stderr().is_terminal();
    let color = if is_plain { ColorChoice::Never } else { color };
    set_global_default(subscriber(format, filter, color, || &QUEUE))?;
    std::thread::Builder::new().name("log".to_owned()).spawn(|| QUEUE.drain())?;
    Ok(())
}

/// Waits for the lines that are not written yet; `false` where that takes too long.
pub fn flush() -> bool {
    let queue = QUEUE.changed.wait_timeout_while(QUEUE.lines(), FLUSH, |lines| !lines.is_empty());
    queue.unwrap_or_else(PoisonError::into_inner).0.is_empty()
}

/// How many lines were dropped.
pub fn dropped() -> u64 {
    QUEUE.dropped.load(Relaxed)
}

#[derive(Debug)]
struct Queue {
    /// The first one is being written.
    lines: Mutex<VecDeque<Vec<u8>>>,
    changed: Condvar,
    dropped: AtomicU64,
}

impl Queue {
    fn drain(&self) {
        loop {
            let line = self.changed.wait_while(self.lines(), |lines| lines.is_empty());
            let line = line.unwrap_or_else(PoisonError::into_inner).front().cloned();
            let _lost_where_stderr_is_closed = io::stderr().write_all(&line.unwrap_or_default());
            self.lines().pop_front();
            self.changed.notify_all();
        }
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines();
        if lines.len() < LINES {
            lines.push_back(line.to_vec());
            self.changed.notify_all();
        } else {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn subscriber<W>(
    format: LogFormat,
    filter: Targets,
    color: ColorChoice,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A log line that cannot be written must not end the process, as reporting it on a broken stderr would.
    let lines = fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => {
            let lines = lines.with_target(false);
            match color {
                ColorChoice::Auto => lines.boxed(),
                ColorChoice::Always | ColorChoice::Never => lines.with_ansi(color == ColorChoice::Always).boxed(),
            }
        }
    };
    Registry::default().with(lines.with_filter(filter))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(format, filter.parse().unwrap(), ColorChoice::Never, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _refresh = tracing::info_span!("refresh", site = "shop").entered();
            tracing::info!(solve.duration_ms = 17, "solved");
            tracing::debug!("a detail");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_one_line_with_the_message_and_its_fields() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.ends_with(" INFO refresh{site=\"shop\"}: solved solve.duration_ms=17\n"), "{text}");
        assert_eq!(text.lines().count(), 1, "debug is off unless asked for");
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_at_its_top() {
        let text = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "solved");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["solve.duration_ms"], 17);
        assert_eq!(line["span"]["site"], "shop");
    }

    #[test]
    fn the_filter_is_obeyed() {
        assert_eq!(logged(LogFormat::Text, "debug").lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "warn"), "");
        assert_eq!(logged(LogFormat::Text, "warn,token_sidecar=debug").lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "debug,token_sidecar::log=off"), "");
    }
}
