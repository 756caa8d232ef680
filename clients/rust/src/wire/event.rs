//! The messages that the sidecar publishes, as the contract writes them.

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
    pub site: String,
    pub cause: UpdatedCause,
    /// Grows with every token, also over a restart or a flush of Redis.
    pub version: u64,
    pub fingerprint: String,
    /// The key to read it from.
    pub key: String,
    /// How many seconds the key still lasts; `None` where it has no end.
    pub ttl: Option<u64>,
    #[serde(serialize_with = "rounded_down")]
    pub expires_at: Option<Timestamp>,
    /// When the sidecar will renew it by itself.
    #[serde(serialize_with = "rounded_down")]
    pub refresh_at: Option<Timestamp>,
    #[serde(serialize_with = "rounded_down")]
    pub refreshed_at: Option<Timestamp>,
    pub trigger: Trigger,
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
    pub site: String,
    #[serde(default = "repeated")]
    pub cause: FailedCause,
    pub stage: Stage,
    /// Without any secret.
    pub error: String,
    /// Failures in a row so far.
    pub attempt: u32,
    /// When the sidecar tries again by itself; written in whole seconds, rounded up.
    #[serde(serialize_with = "rounded_up")]
    pub retry_at: Timestamp,
    /// When the stored token ends, where that is known.
    #[serde(serialize_with = "rounded_down")]
    pub valid_until: Option<Timestamp>,
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
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
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

impl From<String> for Stage {
    /// An unknown label counts as `solve`.
    fn from(label: String) -> Self {
        label.parse().unwrap_or(Self::Solve)
    }
}

impl Event {
    /// `None` where the message is no event.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The version of the token that this message is about.
    pub const fn version(&self) -> Option<u64> {
        match self {
            Self::Updated(updated) => Some(updated.version),
            Self::Failed(_) => None,
        }
    }

    pub fn site(&self) -> &str {
        match self {
            Self::Updated(updated) => &updated.site,
            Self::Failed(failed) => &failed.site,
        }
    }
}

/// Serializes an instant in whole seconds, rounded down.
pub fn rounded_down<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(whole_second_down).serialize(serializer)
}

/// Serializes an instant in whole seconds, rounded up.
pub fn rounded_up<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    whole_second_up(*at).serialize(serializer)
}

/// The whole second at or after `at`.
pub fn whole_second_up(at: Timestamp) -> Timestamp {
    let whole = whole_second_down(at);
    if whole < at { whole.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX) } else { whole }
}

/// The whole second at or before `at`.
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
