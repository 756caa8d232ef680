//! Why a refresh is wanted, and what a message on `S:token:invalid` says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::token::Fingerprint;

/// The longest payload whose details are read, in bytes; a longer one counts as bare.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// The longest `reason` and `source` that are kept, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// What brought a refresh about, in the contract's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A message on `S:token:invalid`.
    Invalid,
    /// The command `refresh` or the web page; always forced.
    Manual,
    /// A tick of the schedule.
    Schedule,
    /// The token or its key ends soon.
    Expiry,
    /// The process has just started.
    Startup,
    /// The subscription was away for a while: messages may have been missed.
    Reconnect,
    /// The key is gone.
    Vanished,
    /// A token was found and adopted.
    Bootstrap,
}

impl Trigger {
    /// Every trigger, for tables and metrics.
    pub const ALL: [Self; 8] = [
        Self::Invalid,
        Self::Manual,
        Self::Schedule,
        Self::Expiry,
        Self::Startup,
        Self::Reconnect,
        Self::Vanished,
        Self::Bootstrap,
    ];

    /// The word that stands in messages, keys, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Expiry => "expiry",
            Self::Startup => "startup",
            Self::Reconnect => "reconnect",
            Self::Vanished => "vanished",
            Self::Bootstrap => "bootstrap",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == word)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a message on `S:token:invalid` says. Any payload is one: what cannot be read says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The token that was refused.
    pub fingerprint: Option<Fingerprint>,
    /// Solve even inside the debounce window and while backing off.
    pub force: bool,
    /// Free text for logs and history.
    pub reason: Option<String>,
    /// Who reports.
    pub source: Option<String>,
    /// How much of the payload could be used.
    pub payload: Payload,
}

/// How much of a payload could be used; counted in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Payload {
    /// A JSON object with details.
    Details,
    /// Anything else: empty, `now`, garbage.
    #[default]
    Bare,
    /// More than [`MAX_PAYLOAD_BYTES`]: not looked into.
    Oversized,
}

impl Payload {
    /// Every kind, for the metrics.
    pub const ALL: [Self; 3] = [Self::Details, Self::Bare, Self::Oversized];

    /// The label in the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Details => "details",
            Self::Bare => "bare",
            Self::Oversized => "oversized",
        }
    }
}

impl Report {
    /// Reads a payload. Never fails and keeps a bounded amount of it.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Self { payload: Payload::Oversized, ..Self::default() };
        }
        // Most bare payloads are told apart by their first byte, without the parser.
        if !payload.trim_ascii_start().starts_with(b"{") {
            return Self::default();
        }
        let Ok(details) = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(payload) else {
            return Self::default();
        };
        let text = |name: &str| details.get(name).and_then(|v| v.as_str());
        Self {
            fingerprint: text("fingerprint").and_then(Fingerprint::parse),
            force: details.get("force").and_then(serde_json::Value::as_bool).unwrap_or(false),
            reason: text("reason").and_then(tidy),
            source: text("source").and_then(tidy),
            payload: Payload::Details,
        }
    }
}

/// Drops control characters and cuts the rest; nothing left is none.
#[must_use]
pub fn tidy(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
    (!kept.trim().is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn any_payload_is_a_report() {
        for payload in [&b""[..], b"now", b"{", b"[1]", b"\xff\xfe", b"null", b"{\"force\":", b"\"force\""] {
            assert_eq!(Report::parse(payload), Report::default(), "{payload:?}");
        }
    }

    #[test]
    fn details_are_read_and_what_is_wrong_among_them_counts_as_absent() {
        let report = Report::parse(
            br#" {"fingerprint":"9F86D081884C7D65","reason":"401\u0007 again","source":"p1","force":true,"x":[1]}"#,
        );
        assert_eq!(report.fingerprint, Some(Fingerprint::of("test")));
        assert_eq!(report.reason.as_deref(), Some("401 again"));
        assert_eq!(report.source.as_deref(), Some("p1"));
        assert!(report.force);
        for payload in
            [r#"{"fingerprint":7}"#, r#"{"fingerprint":"short"}"#, r#"{"force":"true"}"#, r#"{"reason":"\n"}"#]
        {
            let report = Report::parse(payload.as_bytes());
            assert_eq!(report, Report { payload: Payload::Details, ..Report::default() }, "{payload}");
        }
    }

    #[test]
    fn a_payload_over_64_kib_is_one_without_details() {
        let mut payload = br#"{"force":true,"reason":""#.to_vec();
        payload.resize(MAX_PAYLOAD_BYTES - 2, b'x');
        payload.extend(b"\"}");
        assert!(Report::parse(&payload).force);
        payload.push(b' ');
        assert_eq!(Report::parse(&payload), Report { payload: Payload::Oversized, ..Report::default() });
    }

    #[test]
    fn texts_are_cut_at_200_characters() {
        assert_eq!(tidy(&"ж".repeat(300)).map(|t| t.chars().count()), Some(200));
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Report::parse(&payload);
        }
    }
}
