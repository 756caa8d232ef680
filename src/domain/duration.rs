//! Time spans as people write them: `10s`, `1m30s`, `24h`, `250ms`.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as 250ms, 10s, 1m30s or 24h")]
pub struct DurationError(String);

/// Parses numbers with a unit (`ms`, `s`, `m`, `h`, `d`), or a number of seconds without one. Negative spans are
/// refused.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError(text.chars().take(40).collect());
    let trimmed = text.trim();
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return trimmed.parse().map(Duration::from_secs).map_err(|_| refused());
    }
    let span: jiff::SignedDuration = trimmed
        .replace('d', "d ")
        .parse::<jiff::Span>()
        .ok()
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
        .ok_or_else(refused)?;
    Duration::try_from(span).map_err(|_| refused())
}

/// Formats a span, its largest units first.
pub fn text(span: Duration) -> String {
    if span.as_millis() == 0 {
        return "0s".to_owned();
    }
    let seconds = span.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let mut text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if span.subsec_millis() > 0 {
        text.push_str(&format!("{}ms", span.subsec_millis()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text_in, ms, text_out) in [
            ("10s", 10_000, "10s"),
            ("250ms", 250, "250ms"),
            ("1m30s", 90_000, "1m30s"),
            ("24h", 86_400_000, "1d"),
            ("1d", 86_400_000, "1d"),
            ("1d2h", 93_600_000, "1d2h"),
            ("0s", 0, "0s"),
            ("60", 60_000, "1m"),
        ] {
            let span = Duration::from_millis(ms);
            assert_eq!(parse(text_in), Ok(span), "{text_in}");
            assert_eq!(text(span), text_out);
        }
        assert_eq!(text(Duration::from_micros(1)), "0s");
    }

    #[test]
    fn malformed_spans_are_refused() {
        for text in ["", "-5s", "soon", "10 parsecs", "1e9", "s", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
