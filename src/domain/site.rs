//! A site's name and the rules it is kept by.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::schedule::Schedule;

/// A site's id: it stands at the head of its channels and in its metrics. Its clones share one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(Arc<str>);

impl SiteId {
    /// Takes a name of 1 to 64 lower-case letters, digits, `_` and `-` that begins with a letter or digit.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let first = name.bytes().next()?;
        (name.len() <= 64 && first.is_ascii_alphanumeric() && name.bytes().all(allowed)).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SiteId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When an unverified candidate may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Only a token that the API has accepted is stored.
    Strict,
    /// One of which the API says nothing is stored where no working token is.
    Tolerant,
    /// The API is not asked.
    Off,
}

/// The rules of one site, as configured.
#[derive(Debug, Clone)]
pub struct Policy {
    /// A bare message within this time of a refresh is answered by it; a report on a token younger than
    /// this waits until the window ends.
    pub debounce: Duration,
    /// How long a claim lasts unless renewed; it is renewed every third of this.
    pub lock_ttl: Duration,
    /// The longest TTL of the token's key.
    pub token_ttl: Duration,
    /// When an unverified candidate may be stored.
    pub verify: Verify,
    /// When a new token is fetched whatever the state.
    pub schedule: Schedule,
}
