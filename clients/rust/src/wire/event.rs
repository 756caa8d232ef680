//! The messages that the sidecar publishes, as the contract writes them.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use super::trigger::Trigger;

/// A message on `token:updated` or `token:failed`, of all sites or of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// A token is ready to be read.
    #[serde(rename = "token:updated")]
    Updated(Updated),
    /// An attempt ended without a new token.
    #[serde(rename = "token:failed")]
    Failed(Failed),
}

/// A token is ready to be read. Instants are written in whole seconds, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// The site's id.
    pub site: String,
    /// Whether the token is new.
    pub cause: UpdatedCause,
    /// Grows with every token, also over a restart or a flush of Redis.
    pub version: u64,
    /// Names the token: the first 16 hex digits of its SHA-256.
    pub fingerprint: String,
    /// The key to read it from.
    pub key: String,
    /// How many seconds the key still lasts; `None` where it has no end.
    pub ttl: Option<u64>,
    /// When the token itself ends, where it has an `exp`.
    #[serde(serialize_with = "down")]
    pub expires_at: Option<Timestamp>,
    /// When the sidecar will renew it by itself.
    #[serde(serialize_with = "down")]
    pub refresh_at: Option<Timestamp>,
    /// When it was stored, where that is known.
    #[serde(serialize_with = "down")]
    pub refreshed_at: Option<Timestamp>,
    /// Why the refresh was started.
    pub trigger: Trigger,
    /// Which source the token came from.
    pub source: String,
}

/// Why `token:updated` was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdatedCause {
    /// A new token was stored.
    Refreshed,
    /// The current token is announced again, for a parser that reported an older one.
    Repeated,
}

/// An attempt ended without a new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The site's id.
    pub site: String,
    /// Whether the failure is new.
    #[serde(default = "repeated")]
    pub cause: FailedCause,
    /// The stage that failed.
    pub stage: Stage,
    /// What happened, without any secret.
    pub error: String,
    /// Failures in a row so far.
    pub attempt: u32,
    /// When the sidecar tries again by itself; whole seconds, rounded up.
    #[serde(serialize_with = "up")]
    pub retry_at: Timestamp,
    /// Until when the stored token is good, as far as is known.
    #[serde(serialize_with = "down")]
    pub valid_until: Option<Timestamp>,
    /// Why the refresh was started.
    pub trigger: Trigger,
}

/// Why `token:failed` was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailedCause {
    /// An attempt failed just now.
    Attempt,
    /// The back-off that is in force is announced again.
    Repeated,
}

const fn repeated() -> FailedCause {
    FailedCause::Repeated
}

/// A step of a refresh that can fail, as it stands in `token:failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", from = "String")]
pub enum Stage {
    /// A source gave no answer that can be used.
    Solve,
    /// The answer had no candidate, a malformed or an expired one.
    Extract,
    /// The API refused the candidate, blocked the request or gave no clear answer.
    Verify,
    /// The token could not be stored.
    Store,
}

impl Stage {
    /// Every stage, in their order.
    pub const ALL: [Self; 4] = [Self::Solve, Self::Extract, Self::Verify, Self::Store];

    /// Its name in messages, keys, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Solve => "solve",
            Self::Extract => "extract",
            Self::Verify => "verify",
            Self::Store => "store",
        }
    }

    /// Reads the label back; an unknown one counts as `solve`.
    #[must_use]
    pub fn parse(label: &str) -> Self {
        Self::ALL.into_iter().find(|stage| stage.as_str() == label).unwrap_or(Self::Solve)
    }
}

impl From<String> for Stage {
    fn from(label: String) -> Self {
        Self::parse(&label)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Event {
    /// Parses a message; `None` where it is no event.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The message as it is published.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The version of the token that this message is about.
    #[must_use]
    pub const fn version(&self) -> Option<u64> {
        match self {
            Self::Updated(updated) => Some(updated.version),
            Self::Failed(_) => None,
        }
    }

    /// The site's id.
    #[must_use]
    pub fn site(&self) -> &str {
        match self {
            Self::Updated(updated) => &updated.site,
            Self::Failed(failed) => &failed.site,
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
pub(crate) fn down<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(whole_second_down).serialize(serializer)
}

pub(crate) fn up<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    whole_second_up(*at).serialize(serializer)
}

/// The whole second at or after `at`.
#[must_use]
pub fn whole_second_up(at: Timestamp) -> Timestamp {
    let whole = whole_second_down(at);
    if whole < at { whole.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX) } else { whole }
}

/// The whole second at or before `at`.
#[must_use]
pub fn whole_second_down(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_millisecond().div_euclid(1000)).unwrap_or(at)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn updated_reads_as_the_contract_has_it() {
        let event = Event::Updated(Updated {
            site: "chitai_gorod".into(),
            cause: UpdatedCause::Refreshed,
            version: 1_795_331_585_623,
            fingerprint: "9f86d081884c7d65".into(),
            key: "chitai_gorod_token".into(),
            ttl: Some(86400),
            expires_at: Some(at("2026-11-24T05:53:05Z")),
            refresh_at: Some(at("2026-11-22T09:00:00Z")),
            refreshed_at: Some(at("2026-11-22T07:13:05.623Z")),
            trigger: Trigger::Invalid,
            source: "flaresolverr".into(),
        });
        let json = concat!(
            r#"{"event":"token:updated","site":"chitai_gorod","cause":"refreshed","version":1795331585623,"#,
            r#""fingerprint":"9f86d081884c7d65","key":"chitai_gorod_token","ttl":86400,"#,
            r#""expires_at":"2026-11-24T05:53:05Z","refresh_at":"2026-11-22T09:00:00Z","#,
            r#""refreshed_at":"2026-11-22T07:13:05Z","trigger":"invalid","source":"flaresolverr"}"#
        );
        assert_eq!(event.to_json(), json);
    }

    #[test]
    fn failed_reads_as_the_contract_has_it_and_rounds_its_retry_up() {
        let event = Event::Failed(Failed {
            site: "chitai_gorod".into(),
            cause: FailedCause::Attempt,
            stage: Stage::Solve,
            error: "FlareSolverr: timeout after 60 s".into(),
            attempt: 3,
            retry_at: at("2026-11-22T07:14:04.001Z"),
            valid_until: None,
            trigger: Trigger::Invalid,
        });
        let json: serde_json::Value = serde_json::from_str(&event.to_json()).unwrap();
        assert_eq!(json["retry_at"], "2026-11-22T07:14:05Z");
        assert_eq!(json["valid_until"], serde_json::Value::Null);
        // The contract's sample, which has no cause, is no attempt that ended just now.
        let sample = br#"{"event":"token:failed","site":"chitai_gorod","stage":"solve","error":"x","attempt":3,
            "retry_at":"2026-11-22T07:14:05Z","valid_until":null,"trigger":"invalid"}"#;
        assert!(matches!(Event::parse(sample), Some(Event::Failed(Failed { cause: FailedCause::Repeated, .. }))));
        assert_eq!(Event::parse(b"now"), None);
    }

    #[test]
    fn whole_seconds_round_up_and_down() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let odd = Timestamp::from_millisecond(1_500).unwrap();
        assert_eq!((whole_second_down(odd), whole_second_up(odd)), (at(1), at(2)));
        assert_eq!((whole_second_down(at(3)), whole_second_up(at(3))), (at(3), at(3)));
    }
}
