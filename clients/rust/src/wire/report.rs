//! The message on `S:token:invalid`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::token::Fingerprint;
use crate::excerpt::is_hidden;

/// The longest payload that is parsed, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// The longest `reason` and `source` that are kept, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// A report that the token does not work. Without a fingerprint it requests a new token whichever is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// The token that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// For logs and history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Solve even inside the debounce window and while backing off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Who reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How much of a payload could be used; counted in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Payload {
    /// A JSON object.
    Details,
    /// Anything else: empty, `now`, garbage.
    Bare,
    /// More than [`MAX_PAYLOAD_BYTES`]: not parsed.
    Oversized,
}

impl Report {
    /// Reads a payload. Any payload is a report: what cannot be parsed has no details.
    #[must_use]
    pub fn parse(payload: &[u8]) -> (Self, Payload) {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return (Self::default(), Payload::Oversized);
        }
        // Most payloads without details are recognised by their first byte, without the parser.
        if !payload.trim_ascii_start().starts_with(b"{") {
            return (Self::default(), Payload::Bare);
        }
        // Each field is read by itself: an odd one must not cost the others.
        let payload = String::from_utf8_lossy(payload);
        let Ok(fields) = serde_json::from_str::<BTreeMap<Cow<str>, &RawValue>>(&payload) else {
            return (Self::default(), Payload::Bare);
        };
        let text = |name: &str| value::<String>(fields.get(name));
        let report = Self {
            fingerprint: text("fingerprint").as_deref().and_then(Fingerprint::parse),
            reason: text("reason").as_deref().and_then(tidy),
            force: value(fields.get("force")).unwrap_or(false),
            source: text("source").as_deref().and_then(tidy),
        };
        (report, Payload::Details)
    }

    /// The message as it is published.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a field holds; `None` where it is missing or of another type.
fn value<T: DeserializeOwned>(field: Option<&&RawValue>) -> Option<T> {
    serde_json::from_str(field?.get()).ok()
}

/// Drops control and bidirectional characters and cuts the rest; nothing left is none.
#[must_use]
pub fn tidy(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|c| !is_hidden(*c)).take(MAX_TEXT_CHARS).collect();
    (!kept.trim().is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn any_payload_is_a_report() {
        for payload in [&b""[..], b"now", b"{", b"[1]", b"\xff\xfe", b"null", b"{\"force\":", b"\"force\""] {
            assert_eq!(Report::parse(payload), (Report::default(), Payload::Bare), "{payload:?}");
        }
    }

    #[test]
    fn details_are_read_and_what_is_wrong_among_them_counts_as_absent() {
        let (report, payload) = Report::parse(
            br#" {"fingerprint":"9F86D081884C7D65","reason":"401\u0007 again","source":"p1","force":true,"x":[1]}"#,
        );
        assert_eq!(report.fingerprint, Some(Fingerprint::of("test")));
        assert_eq!(report.reason.as_deref(), Some("401 again"));
        assert_eq!(report.source.as_deref(), Some("p1"));
        assert!(report.force && payload == Payload::Details);
        for payload in
            [r#"{"fingerprint":7}"#, r#"{"fingerprint":"short"}"#, r#"{"force":"true"}"#, r#"{"reason":"\n"}"#]
        {
            assert_eq!(Report::parse(payload.as_bytes()), (Report::default(), Payload::Details), "{payload}");
        }
    }

    #[test]
    fn an_odd_field_does_not_cost_the_others() {
        let nested = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        for odd in [&br#""x":1e999"#[..], br#""reason":"\ud83d""#, b"\"reason\":\"\xff\"", br#""force":7"#]
            .into_iter()
            .chain([format!("\"x\":{nested}").as_bytes()])
        {
            let payload = [b"{\"fingerprint\":\"9F86D081884C7D65\",", odd, b"}"].concat();
            let (report, payload) = Report::parse(&payload);
            assert_eq!((report.fingerprint, payload), (Some(Fingerprint::of("test")), Payload::Details), "{odd:?}");
        }
        assert!(Report::parse(br#"{"force":false,"force":true}"#).0.force);
    }

    #[test]
    fn a_payload_over_64_kib_is_one_without_details() {
        let mut payload = br#"{"force":true,"reason":""#.to_vec();
        payload.resize(MAX_PAYLOAD_BYTES - 2, b'x');
        payload.extend(b"\"}");
        assert!(Report::parse(&payload).0.force);
        payload.push(b' ');
        assert_eq!(Report::parse(&payload), (Report::default(), Payload::Oversized));
    }

    #[test]
    fn texts_are_cut_at_200_characters() {
        assert_eq!(tidy(&"ж".repeat(300)).map(|t| t.chars().count()), Some(200));
    }

    #[test]
    fn a_report_is_written_without_empty_fields_and_reads_as_it_was() {
        assert_eq!(Report::default().to_json(), "{}");
        let report = Report {
            fingerprint: Some(Fingerprint::of("test")),
            reason: Some("401".to_owned()),
            force: true,
            source: Some("parser".to_owned()),
        };
        assert_eq!(
            report.to_json(),
            r#"{"fingerprint":"9f86d081884c7d65","reason":"401","force":true,"source":"parser"}"#
        );
        assert_eq!(Report::parse(report.to_json().as_bytes()), (report, Payload::Details));
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Report::parse(&payload);
        }
    }
}
