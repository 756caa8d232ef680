//! Payloads on `S:token:invalid`.

use serde_json::Value;
use token_sidecar_client::wire::{MAX_PAYLOAD_BYTES, Payload, Report, tidy};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = crate::seeds::contract("invalid");
    seeds.extend(crate::seeds::texts(&[
        "",
        "now",
        r#" {"fingerprint":"9F86D081884C7D65","reason":"401\u0007 again","source":"p1","force":true,"x":[1]}"#,
        r#"{"reason":null,"source":["a"],"force":"true","fingerprint":7}"#,
        r#"{"reason":"cut \ud83d","x":1e999,"force":true,"fingerprint":"9F86D081884C7D65"}"#,
    ]));
    seeds
}

pub(crate) fn check(payload: &[u8]) {
    let (report, kind) = Report::parse(payload);
    for text in [&report.reason, &report.source].into_iter().flatten() {
        assert!(text.chars().count() <= 200, "too long: {text:?}");
        assert!(!text.contains(char::is_control) && !text.trim().is_empty(), "{text:?}");
        assert_eq!(tidy(text).as_ref(), Some(text), "tidying is not stable");
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        assert_eq!((report, kind), (Report::default(), Payload::Oversized));
        return;
    }
    if kind == Payload::Details {
        let again = Report::parse(report.to_json().as_bytes());
        assert_eq!(again, (report.clone(), Payload::Details), "a report does not survive being written and parsed");
    } else {
        assert_eq!((&report, kind), (&Report::default(), Payload::Bare), "a payload without details has some");
    }
    let whole = serde_json::from_slice::<Value>(payload);
    let Some(object) = whole.as_ref().ok().filter(|value| value.is_object()) else {
        // Of an object with an odd field the others are read.
        let may_have_details = whole.is_err() && payload.trim_ascii_start().starts_with(b"{");
        assert!(kind == Payload::Bare || may_have_details, "a payload that is not an object has details");
        return;
    };
    let named = object["fingerprint"].as_str().filter(|t| t.len() == 16 && t.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(kind, Payload::Details);
    assert_eq!(report.force, object["force"] == true);
    assert_eq!(report.fingerprint.map(|f| f.to_string()), named.map(str::to_ascii_lowercase));
    assert_eq!(report.reason, object["reason"].as_str().and_then(tidy));
    assert_eq!(report.source, object["source"].as_str().and_then(tidy));
}
