//! The rules that a site is kept by.

use std::time::Duration;

use super::schedule::Schedule;

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
