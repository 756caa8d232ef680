//! The policy of a site.

use std::time::Duration;

use super::schedule::Schedule;

/// When an unverified candidate may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Only a token that the API has accepted is stored.
    Strict,
    /// A token on which the API gave no verdict is stored where there is no working token.
    Tolerant,
    /// The API is not asked.
    Off,
}

#[derive(Debug, Clone)]
pub struct Policy {
    /// A message without a fingerprint within this time of a refresh is answered by that refresh; a report on a token
    /// younger than this waits until the window ends.
    pub debounce: Duration,
    /// How long a claim lasts unless renewed; it is renewed every third of this.
    pub lock_ttl: Duration,
    /// No retry is further away.
    pub backoff_max: Duration,
    /// The longest TTL of the token's key.
    pub token_ttl: Duration,
    pub verify: Verify,
    /// When a new token is fetched in any state.
    pub schedule: Schedule,
}
