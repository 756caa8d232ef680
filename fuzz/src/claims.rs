//! The payload of a JWT.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use token_sidecar_client::wire::Token;

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
    // No end, or one of this millennium.
    assert!(claims.expires_at.is_none_or(|end| (0..100_000_000_000).contains(&end.as_second())), "{claims:?}");
    assert!(!(claims.has_odd_end && claims.expires_at.is_some()));
}
