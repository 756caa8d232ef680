//! The `exp` and `iat` of a token that is a JWT.
//!
//! The signature is not checked and no algorithm is assumed: only the API decides whether a token works. A token that is
//! no JWT has no times.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

/// The times inside a token, where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claims {
    /// `exp`: the token does not work from then on.
    pub expires_at: Option<Timestamp>,
    /// `iat`: when it was issued.
    pub issued_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    exp: serde_json::Value,
    #[serde(default)]
    iat: serde_json::Value,
}

impl Claims {
    /// Reads the payload of a JWT; anything that is none gives no times.
    #[must_use]
    pub(super) fn of(bare: &str) -> Self {
        let mut parts = bare.split('.');
        let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Self::default();
        };
        let payload = payload.trim_end_matches('=');
        let Ok(json) = URL_SAFE_NO_PAD.decode(payload) else { return Self::default() };
        // serde would also accept a list of the fields in their order.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Self::default();
        }
        let Ok(payload) = serde_json::from_slice::<Payload>(&json) else { return Self::default() };
        Self { expires_at: numeric_date(&payload.exp), issued_at: numeric_date(&payload.iat) }
    }
}

/// A `NumericDate` of RFC 7519: seconds since the epoch, a fraction allowed.
fn numeric_date(value: &serde_json::Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|s| s.is_finite())?.floor();
    #[expect(clippy::cast_possible_truncation, reason = "a float-to-int cast saturates, and the range is checked next")]
    let whole = seconds as i64;
    Timestamp::from_second(whole).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::token::Token;
    use super::*;

    fn claims(payload: &str) -> Claims {
        let body = URL_SAFE_NO_PAD.encode(payload);
        Token::parse(&format!("eyJhbGciOiJIUzI1NiJ9.{body}.c2ln")).unwrap().claims()
    }

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    #[test]
    fn times_are_read_from_the_payload() {
        let both = claims(r#"{"exp":1795500000,"iat":1795332000,"iss":"/api/v1/auth/anonymous","type":10}"#);
        assert_eq!(both, Claims { expires_at: at(1_795_500_000), issued_at: at(1_795_332_000) });
        assert_eq!(claims(r#"{"exp":1795500000.9}"#).expires_at, at(1_795_500_000));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for payload in
            ["{}", "[]", "[1795500000]", "7", "not json", r#"{"exp":"soon"}"#, r#"{"exp":1e300}"#, r#"{"exp":null}"#]
        {
            assert_eq!(claims(payload), Claims::default(), "{payload}");
        }
        for bare in ["opaque", "a.b", "a.b.c.d", "a.!.c", "..."] {
            assert_eq!(Claims::of(bare), Claims::default(), "{bare}");
        }
    }
}
