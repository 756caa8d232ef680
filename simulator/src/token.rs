//! Tokens like those of the shop's anonymous visitors, with random bytes for a signature.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// A new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Minted {
    /// The bare token.
    pub token: String,
    /// Its [`fingerprint`].
    pub fingerprint: String,
    /// Its `exp`: seconds since the epoch.
    pub expires_at: i64,
}

/// Names a token without revealing it: the first 16 hex digits of the SHA-256 of the bare token.
#[must_use]
pub fn fingerprint(token: &str) -> String {
    hex(&Sha256::digest(token)[..8])
}

/// Makes tokens and random ids, in a sequence that its seed determines.
pub(crate) struct TokenSource {
    seed: u64,
    serial: u64,
}

impl TokenSource {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        Self { seed, serial: 0 }
    }

    /// The next 32 bytes of the sequence.
    fn next_bytes(&mut self) -> [u8; 32] {
        self.serial += 1;
        Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(self.serial.to_be_bytes()).finalize().into()
    }

    /// The next 64 hex digits of the sequence.
    pub(crate) fn random_hex(&mut self) -> String {
        hex(&self.next_bytes())
    }

    /// An anonymous visitor's JWT (HS256, `type` 10), issued at `at` for `life`.
    pub(crate) fn jwt(&mut self, at: Timestamp, life: Duration) -> Minted {
        let issued_at = at.as_second();
        let expires_at = issued_at.saturating_add_unsigned(life.as_secs());
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let claims = json!({
            "exp": expires_at,
            "iat": issued_at,
            "iss": "/api/v1/auth/anonymous",
            "sub": self.random_hex(),
            "type": 10,
        });
        let parts = [header.to_string().into_bytes(), claims.to_string().into_bytes(), self.next_bytes().to_vec()];
        minted(parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."), expires_at)
    }

    /// A token of `length` characters that is no JWT.
    pub(crate) fn opaque(&mut self, length: usize, at: Timestamp, life: Duration) -> Minted {
        let mut token = String::new();
        while token.len() < length {
            token += &self.random_hex();
        }
        token.truncate(length);
        minted(token, at.as_second().saturating_add_unsigned(life.as_secs()))
    }
}

fn minted(token: String, expires_at: i64) -> Minted {
    Minted { fingerprint: fingerprint(&token), token, expires_at }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_token_looks_like_the_shops() {
        let at = Timestamp::from_second(1_795_331_585).unwrap();
        let minted = TokenSource::new(Some(7)).jwt(at, Duration::from_secs(168_000));
        let payload = minted.token.split('.').nth(1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(claims["exp"], 1_795_331_585 + 168_000);
        assert_eq!(claims["iss"], "/api/v1/auth/anonymous");
        assert_eq!(claims["sub"].as_str().unwrap().len(), 64);
        assert_eq!(claims["type"], 10);
        assert!(minted.token.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."));
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens_and_no_token_twice() {
        let at = Timestamp::UNIX_EPOCH;
        let life = Duration::from_secs(60);
        let (mut one, mut two) = (TokenSource::new(Some(1)), TokenSource::new(Some(1)));
        assert_eq!(one.jwt(at, life), two.jwt(at, life));
        assert_ne!(one.jwt(at, life), one.jwt(at, life));
        assert_ne!(TokenSource::new(None).random_hex(), TokenSource::new(None).random_hex());
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_sha_256() {
        assert_eq!(fingerprint("test"), "9f86d081884c7d65");
    }
}
