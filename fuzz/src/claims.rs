//! The payload of a JWT.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;
use token_sidecar_client::wire::{Claims, Token};

use crate::cookies;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::seeds::texts(&[
        r#"{"exp":1795331911,"iat":1795159111,"sub":"7"}"#,
        r#"{"exp":1795331911.5}"#,
        r#"{"exp":-1e300,"iat":"now"}"#,
        r#"{"exp":null}"#,
        "[]",
        "",
    ])
}

pub(crate) fn check(payload: &[u8]) {
    let Ok(token) = Token::parse(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))) else { return };
    let claims = token.claims();
    cookies::check_life(&token, "2026-11-22T07:13:05Z".parse().unwrap());
    // The check needs text; the sidecar ignores invalid UTF-8 in other claims.
    let Ok(text) = std::str::from_utf8(payload) else { return };
    let json = serde_json::from_str::<Value>(text).unwrap_or_default();
    let date = |name| Timestamp::from_second(json.get(name).and_then(Value::as_f64)?.floor() as i64).ok();
    for (read, said) in [(claims.expires_at, date("exp")), (claims.issued_at, date("iat"))] {
        // A payload with a repeated claim may be ignored.
        assert!(read == said || claims == Claims::default(), "{read:?}, {said:?}");
    }
}
