//! The token and its fingerprint.

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::claims::Claims;
use super::cookies::Cookies;
use super::product::Product;

/// The longest token that is accepted, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The longest cookies that are accepted as a product, in bytes of their JSON.
pub const MAX_COOKIES_BYTES: usize = 64 * 1024;

/// The scheme that may stand before a token.
const SCHEME: &str = "bearer";

/// What an API accepts: a bare bearer token, without `Bearer ` (visible ASCII without quotes and ``$ % , ; \``), or, where
/// the cookies are a site's product, these as the JSON text that their key holds.
///
/// Prints as its [`Fingerprint`]; the secret itself leaves only through [`Token::expose`].
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    fingerprint: Fingerprint,
    claims: Claims,
    product: Product,
}

/// Why a value is not a token. Never contains the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing is left without `Bearer ` and blanks.
    #[error("the value is empty")]
    Empty,
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the value is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// A blank, a quote, or another character beyond those of a [`Token`].
    #[error("the value has a character that a bearer token cannot have")]
    Malformed,
    /// Longer than [`MAX_COOKIES_BYTES`].
    #[error("the cookies are longer than {MAX_COOKIES_BYTES} bytes")]
    CookiesTooLong,
    /// No JSON object from names to values, or an empty one.
    #[error("the value is no JSON object of cookies")]
    NoCookies,
}

impl Token {
    /// Reads a value with or without `Bearer ` in front.
    ///
    /// # Errors
    /// [`TokenError`] where what is left is not a token of at most [`MAX_TOKEN_BYTES`].
    pub fn parse(value: &str) -> Result<Self, TokenError> {
        let bare = without_scheme(value.trim());
        // `Bearer Bearer` is refused: parsed again, it would be empty.
        if bare.is_empty() || bare.eq_ignore_ascii_case(SCHEME) {
            return Err(TokenError::Empty);
        }
        if bare.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        if !bare.bytes().all(|b| b.is_ascii_graphic() && !b"\"'`$%,;\\".contains(&b)) {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            secret: SecretString::from(bare),
            fingerprint: Fingerprint::of(bare),
            claims: Claims::of(bare),
            product: Product::Token,
        })
    }

    /// Reads cookies that are a site's product. The text stays as it is, so that the fingerprint is that of the very bytes
    /// that parsers read.
    ///
    /// # Errors
    /// [`TokenError`] where it is no JSON object of cookies of at most [`MAX_COOKIES_BYTES`].
    pub fn of_cookies(json: &str) -> Result<Self, TokenError> {
        if json.len() > MAX_COOKIES_BYTES {
            return Err(TokenError::CookiesTooLong);
        }
        if Cookies::from_json(json).is_empty() {
            return Err(TokenError::NoCookies);
        }
        Ok(Self {
            secret: SecretString::from(json),
            fingerprint: Fingerprint::of(json),
            claims: Claims::default(),
            product: Product::Cookies,
        })
    }

    /// The same with an end that the text does not state, as cookies do not.
    #[must_use]
    pub fn ending(mut self, expires_at: Option<Timestamp>) -> Self {
        self.claims.expires_at = expires_at;
        self
    }

    /// What it is.
    #[must_use]
    pub const fn product(&self) -> Product {
        self.product
    }

    /// Whether it is a `b64token` of RFC 6750, section 2.1, as most tokens are.
    #[must_use]
    pub fn is_b64token(&self) -> bool {
        let body = self.expose().trim_end_matches('=');
        !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
    }

    /// The bare token, or the cookies as JSON, for the places that must have it: Redis, the `.env` and the API.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The bare token for the header `Authorization`; `None` for cookies.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        (self.product == Product::Token).then(|| self.expose())
    }

    /// The first 16 hex digits of its SHA-256.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its `exp` and `iat`; of cookies, the end where it is known.
    #[must_use]
    pub const fn claims(&self) -> Claims {
        self.claims
    }
}

fn without_scheme(value: &str) -> &str {
    match value.get(..SCHEME.len()) {
        Some(head) if head.eq_ignore_ascii_case(SCHEME) => {
            let rest = &value[SCHEME.len()..];
            if rest.is_empty() || rest.starts_with(char::is_whitespace) { rest.trim_start() } else { value }
        }
        _ => value,
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.fingerprint)
    }
}

/// Identifies a token without revealing it: the first 16 hex digits of the SHA-256 of the bare token, or of the JSON text of
/// cookies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a bare value, whether or not it is a well-formed token.
    #[must_use]
    pub fn of(bare: &str) -> Self {
        Self(Sha256::digest(bare)[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Reads 16 hex digits in either case; anything else is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The parser of numbers takes a sign too.
        let is_hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Self)
    }

    /// The fingerprint as a number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_read_with_and_without_its_scheme() {
        for value in ["abc.DEF-123", "Bearer abc.DEF-123", "bearer  abc.DEF-123", " abc.DEF-123\n"] {
            assert_eq!(Token::parse(value).map(|t| t.expose().to_owned()), Ok("abc.DEF-123".to_owned()));
        }
        assert_eq!(Token::parse("bearerish").map(|t| t.expose().to_owned()), Ok("bearerish".to_owned()));
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_reason() {
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        for (value, error) in [
            ("", TokenError::Empty),
            ("Bearer ", TokenError::Empty),
            ("Bearer Bearer", TokenError::Empty),
            ("a b", TokenError::Malformed),
            ("a,b", TokenError::Malformed),
            ("\"a\"", TokenError::Malformed),
            ("a%20b", TokenError::Malformed),
            ("tökén", TokenError::Malformed),
            ("a\nSET x y", TokenError::Malformed),
            (&long, TokenError::TooLong),
        ] {
            assert_eq!(Token::parse(value), Err(error), "{value:?}");
        }
    }

    #[test]
    fn some_tokens_are_no_b64token() {
        for (value, is_b64token) in [("a.b-c_d~e+f/g==", true), ("12|abc", false), ("a=b", false), ("==", false)] {
            assert_eq!(Token::parse(value).map(|token| token.is_b64token()), Ok(is_b64token), "{value}");
        }
    }

    #[test]
    fn a_fingerprint_is_the_head_of_the_sha256() {
        // SHA-256("test") = 9f86d081884c7d65…, the sample of the contract.
        assert_eq!(Fingerprint::of("test").to_string(), "9f86d081884c7d65");
        assert_eq!(Fingerprint::parse("9F86D081884C7D65"), Some(Fingerprint::of("test")));
        for text in ["", "9f86d081884c7d6", "9f86d081884c7d650", "9f86d081884c7d6g", "+f86d081884c7d65"] {
            assert_eq!(Fingerprint::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn cookies_stay_as_they_are_written() {
        for json in [r#"{"a":"1"}"#, r#" {"a": "1"}"#, "{\"a\": \"1\"}\n"] {
            let token = Token::of_cookies(json);
            assert_eq!(token.as_ref().map(Token::expose), Ok(json));
            assert_eq!(token.as_ref().map(Token::fingerprint), Ok(Fingerprint::of(json)));
            assert_eq!(token.map(|token| (token.bearer().is_none(), token.product())), Ok((true, Product::Cookies)));
        }
    }

    #[test]
    fn what_is_no_jar_of_cookies_is_refused_with_its_reason() {
        let long = format!(r#"{{"a":"{}"}}"#, "b".repeat(MAX_COOKIES_BYTES));
        for (json, error) in [
            ("", TokenError::NoCookies),
            ("{}", TokenError::NoCookies),
            ("[]", TokenError::NoCookies),
            (r#"{"a":1}"#, TokenError::NoCookies),
            ("a=1", TokenError::NoCookies),
            (&long, TokenError::CookiesTooLong),
        ] {
            assert_eq!(Token::of_cookies(json), Err(error));
        }
    }

    #[test]
    fn debug_shows_the_fingerprint_and_not_the_token() {
        let token = Token::parse("test").map(|t| format!("{t:?}"));
        assert_eq!(token, Ok("Token(9f86d081884c7d65)".to_owned()));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_what_it_accepts(value in "\\PC{0,64}") {
            if let Ok(token) = Token::parse(&value) {
                prop_assert!(value.contains(token.expose()));
                prop_assert_eq!(Token::parse(token.expose()).map(|t| t == token), Ok(true));
            }
        }
    }
}
