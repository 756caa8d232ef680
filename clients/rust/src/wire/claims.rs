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
    /// Whether there is an `exp` that cannot be a time; it counts as absent.
    pub has_odd_end: bool,
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
        let (exp, iat) = (number(&payload.exp), number(&payload.iat));
        let expires_at = exp.and_then(time);
        // Some issuers write 0 or -1 for "never".
        let is_never = payload.exp.is_null() || exp.is_some_and(|exp| exp <= 0.0);
        Self { expires_at, issued_at: iat.and_then(time), has_odd_end: expires_at.is_none() && !is_never }
    }
}

fn number(value: &serde_json::Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A `NumericDate` of RFC 7519: seconds since the epoch, a fraction allowed. Some issuers count in milliseconds,
/// microseconds or nanoseconds: no such number is a time of this millennium in seconds.
fn time(number: f64) -> Option<Timestamp> {
    let (_, unit) = [(1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9)].into_iter().find(|(end, _)| number < *end)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is at most 1e11")]
    let seconds = (number / unit).floor() as i64;
    Timestamp::from_second(seconds).ok().filter(|_| number > 0.0)
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
        assert_eq!(both, Claims { expires_at: at(1_795_500_000), issued_at: at(1_795_332_000), has_odd_end: false });
        assert_eq!(claims(r#"{"exp":1795500000.9}"#).expires_at, at(1_795_500_000));
    }

    #[test]
    fn an_end_in_milliseconds_or_less_is_recognised_by_its_size() {
        for exp in [
            "1795500000",
            "\"1795500000\"",
            "1795500000123",
            "1795500000123456",
            "1795500000123456789",
            "1.795500000e12",
        ] {
            let claims = claims(&format!(r#"{{"exp":{exp},"iat":{exp}}}"#));
            assert_eq!((claims.expires_at, claims.issued_at), (at(1_795_500_000), at(1_795_500_000)), "{exp}");
        }
    }

    #[test]
    fn an_end_of_0_or_below_is_none() {
        for exp in ["0", "-1", "-1795500000", "-1e300", "\"0\"", "null"] {
            assert_eq!(claims(&format!(r#"{{"exp":{exp}}}"#)), Claims::default(), "{exp}");
        }
    }

    #[test]
    fn an_end_that_is_no_time_is_absent_and_known_as_such() {
        for exp in ["\"soon\"", "1e300", "true", "{}", "\"NaN\"", "[1795500000]"] {
            let read = claims(&format!(r#"{{"exp":{exp}}}"#));
            assert_eq!(read, Claims { has_odd_end: true, ..Claims::default() }, "{exp}");
        }
    }

    #[test]
    fn what_cannot_be_read_gives_no_time() {
        for payload in ["{}", "[]", "[1795500000]", "7", "not json"] {
            assert_eq!(claims(payload), Claims::default(), "{payload}");
        }
        for bare in ["opaque", "a.b", "a.b.c.d", "a.!.c", "..."] {
            assert_eq!(Claims::of(bare), Claims::default(), "{bare}");
        }
    }
}
