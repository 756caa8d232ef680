//! What is known of a site: its keys as one atomic step read them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use token_sidecar_client::wire::{Cookies, Fingerprint, Stage, Token, Trigger, whole_second_up};

use super::lifetime::{later, renew_at, renew_at_latest};

/// A site's state in the store at one instant of the store's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was read, by the store's clock.
    pub at: Timestamp,
    /// Names the state that decisions rest on; a claim succeeds only while it is unchanged.
    pub etag: String,
    /// The version that the store remembers; 0 where it remembers none.
    pub version: u64,
    /// The token that parsers read now, if there is one that can be used.
    pub current: Option<Current>,
    /// How long the lock still lasts, where somebody holds it.
    pub lock: Option<Duration>,
    /// Failures in a row, and what follows from them; in a box, since thousands of sites may have none.
    pub failing: Option<Box<Failing>>,
}

/// The token that parsers read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The token itself.
    pub token: Token,
    /// What the key of the cookies holds beside it.
    pub cookies: Cookies,
    /// When its key ends; a key that somebody else wrote may have no end.
    pub key_ends_at: Option<Timestamp>,
    /// Who stored it.
    pub provenance: Provenance,
}

/// Who stored a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// A sidecar.
    Sidecar(Refresh),
    /// Somebody else, for instance the older design's `save…`: it counts as stored long ago.
    Foreign,
}

/// The refresh that stored a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// When it was stored, by the store's clock.
    pub at: Timestamp,
    /// What brought the refresh about.
    pub trigger: Trigger,
    /// Which source the token came from.
    pub source: String,
    /// The user agent that the token was fetched with.
    pub user_agent: Option<String>,
}

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// How many, 1 at least.
    pub attempts: u32,
    /// No attempt before this, unless forced. Written in whole seconds, rounded up.
    #[serde(serialize_with = "up")]
    pub retry_at: Timestamp,
    /// The stage that failed.
    pub stage: Stage,
    /// The error of the last attempt, without any secret.
    pub error: String,
    /// What started the failed refresh; the retry keeps it.
    pub trigger: Trigger,
}

impl Snapshot {
    /// The fingerprint of the current token.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.current.as_ref().map(|c| c.token.fingerprint())
    }

    /// When a sidecar stored the current token; `None` where none did.
    #[must_use]
    pub fn refreshed_at(&self) -> Option<Timestamp> {
        self.current.as_ref().and_then(Current::refresh).map(|r| r.at)
    }

    /// Whether a refresh has completed at `due` or later. A time of storing that lies ahead says nothing.
    #[must_use]
    pub fn is_refreshed_since(&self, due: Timestamp, now: Timestamp) -> bool {
        self.refreshed_at().is_some_and(|at| due <= at && at <= later(now, CLOCK_TOLERANCE))
    }

    /// Whether failures forbid another attempt for now.
    #[must_use]
    pub fn backs_off(&self, now: Timestamp) -> bool {
        self.failing.as_ref().is_some_and(|f| now < f.retry_at)
    }

    /// The failures in a row.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.failing.as_ref().map_or(0, |f| f.attempts)
    }
}

impl Current {
    /// The refresh that stored it, where a sidecar did.
    #[must_use]
    pub const fn refresh(&self) -> Option<&Refresh> {
        match &self.provenance {
            Provenance::Sidecar(refresh) => Some(refresh),
            Provenance::Foreign => None,
        }
    }

    /// When it stops working: the end of the token or of its key, whichever comes first.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        let expires_at = self.token.claims().expires_at;
        match (expires_at, self.key_ends_at) {
            (Some(token), Some(key)) => Some(token.min(key)),
            (one, other) => one.or(other),
        }
    }

    /// Whether it has stopped working by itself.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_at().is_some_and(|end| end <= now)
    }

    /// When it is to be renewed ahead of its end: at the last moment where nobody knows since when it is there.
    #[must_use]
    pub fn renew_at(&self) -> Option<Timestamp> {
        let ends_at = self.ends_at()?;
        Some(self.refresh().map_or_else(|| renew_at_latest(ends_at), |r| renew_at(r.at, ends_at)))
    }

    /// Whether it was stored less than `window` before `now`. A time of storing that lies ahead, as after
    /// a step of the clock, counts as long ago.
    #[must_use]
    pub fn is_younger_than(&self, window: Duration, now: Timestamp) -> bool {
        self.refresh().is_some_and(|r| r.at <= later(now, CLOCK_TOLERANCE) && now < later(r.at, window))
    }
}

/// How far ahead of an estimate of the store's clock a time of storing may lie without being odd.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

fn up<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    whole_second_up(*at).serialize(serializer)
}
