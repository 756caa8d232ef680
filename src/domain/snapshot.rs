//! The state of a site: its keys, read in one atomic step.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use token_sidecar_client::wire::{Cookies, Fingerprint, Stage, Token, Trigger, rounded_up};

use super::lifetime::{later, renew_at, renew_at_latest};

/// The state of a site in the store at one instant of the store's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// By the store's clock.
    pub at: Timestamp,
    /// Identifies the state that decisions are based on; a claim succeeds only while it is unchanged.
    pub etag: String,
    /// The version in the store; 0 where there is none.
    pub version: u64,
    /// The token that parsers read now; `None` where there is none or it is malformed.
    pub current: Option<Current>,
    /// How much longer the lock is held, if at all.
    pub lock: Option<Duration>,
    /// Failures in a row. Boxed, since most of thousands of sites have none.
    pub failing: Option<Box<Failing>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    pub token: Token,
    /// The contents of the cookies key.
    pub cookies: Cookies,
    /// When its key expires; a key that another program wrote may have no TTL.
    pub key_ends_at: Option<Timestamp>,
    pub provenance: Provenance,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    Sidecar(Refresh),
    /// Another program, for instance the older design's `save…`. The token counts as stored long ago.
    Foreign,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// When the token was stored, by the store's clock.
    pub at: Timestamp,
    /// What started the refresh.
    pub trigger: Trigger,
    pub source: String,
    pub user_agent: Option<String>,
}

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// At least 1.
    pub attempts: u32,
    /// No attempt before this, unless forced. Serialized in whole seconds, rounded up.
    #[serde(serialize_with = "rounded_up")]
    pub retry_at: Timestamp,
    pub stage: Stage,
    /// The error of the last attempt, without secrets.
    pub error: String,
    /// What started the failed refresh; the retry keeps it.
    pub trigger: Trigger,
}

impl Snapshot {
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.current.as_ref().map(|c| c.token.fingerprint())
    }

    /// When a sidecar stored the current token; `None` where another program did.
    pub fn refreshed_at(&self) -> Option<Timestamp> {
        self.current.as_ref().and_then(Current::refresh).map(|r| r.at)
    }

    /// Whether a refresh has completed at `due` or later. A time of storing in the future does not count.
    pub fn is_refreshed_since(&self, due: Timestamp, now: Timestamp) -> bool {
        self.refreshed_at().is_some_and(|at| due <= at && at <= later(now, CLOCK_TOLERANCE))
    }

    /// Whether failures forbid another attempt for now.
    pub fn backs_off(&self, now: Timestamp) -> bool {
        self.failing.as_ref().is_some_and(|f| now < f.retry_at)
    }

    pub fn attempts(&self) -> u32 {
        self.failing.as_ref().map_or(0, |f| f.attempts)
    }
}

impl Current {
    /// The refresh that stored it; `None` where another program did.
    pub const fn refresh(&self) -> Option<&Refresh> {
        match &self.provenance {
            Provenance::Sidecar(refresh) => Some(refresh),
            Provenance::Foreign => None,
        }
    }

    /// When it stops working: the end of the token or of its key, whichever comes first.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let expires_at = self.token.claims().expires_at;
        match (expires_at, self.key_ends_at) {
            (Some(token), Some(key)) => Some(token.min(key)),
            (one, other) => one.or(other),
        }
    }

    /// Whether the token or its key has expired.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_at().is_some_and(|end| end <= now)
    }

    /// When to renew it: at the last moment where the time of storing is not known, or cannot be true.
    pub fn renew_at(&self) -> Option<Timestamp> {
        let ends_at = self.ends_at()?;
        let refresh = self.refresh().filter(|refresh| refresh.at < ends_at);
        Some(refresh.map_or_else(|| renew_at_latest(ends_at), |refresh| renew_at(refresh.at, ends_at)))
    }

    /// Whether it was stored less than `window` before `now`. A time of storing in the future, as after the clock was
    /// set back, counts as long ago.
    pub fn is_younger_than(&self, window: Duration, now: Timestamp) -> bool {
        self.refresh().is_some_and(|r| r.at <= later(now, CLOCK_TOLERANCE) && now < later(r.at, window))
    }
}

/// How far a time of storing may lie ahead of the estimate of the store's clock and still count as now.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_storing_that_cannot_be_true_delays_no_renewal() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (trigger, source) = (Trigger::Invalid, "solver".to_owned());
        for (stored_at, renew_at) in [(0, 900), (1000, 940), (1 << 37, 940)] {
            let refresh = Refresh { at: at(stored_at), trigger, source: source.clone(), user_agent: None };
            let current = Current {
                token: Token::parse("abc").unwrap(),
                cookies: Cookies::default(),
                key_ends_at: Some(at(1000)),
                provenance: Provenance::Sidecar(refresh),
            };
            assert_eq!(current.renew_at(), Some(at(renew_at)), "{stored_at}");
        }
    }
}
