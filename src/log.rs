//! Logs go to stderr: stdout has only the output of commands.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogFormat;

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("logs were set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

pub fn init(format: LogFormat, filter: Targets) -> Result<(), TelemetryError> {
    let colours = if io::stderr().is_terminal() { Colours::UnlessRefused } else { Colours::Never };
    Ok(set_global_default(subscriber(format, filter, colours, io::stderr))?)
}

/// Whether text logs are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    /// Unless `NO_COLOR` is set.
    UnlessRefused,
    Never,
}

fn subscriber<W>(
    format: LogFormat,
    filter: Targets,
    colours: Colours,
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
            if colours == Colours::Never { lines.with_ansi(false).boxed() } else { lines.boxed() }
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
        let subscriber = subscriber(format, filter.parse().unwrap(), Colours::Never, move || writer.clone());
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
