//! What is shown of a site as JSON: by `/api/status`, `/api/history` and the commands alike.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use token_sidecar_client::wire::{SiteId, Trigger, whole_second_down, whole_second_up};

use super::model::{SiteStatus, TokenState, TokenStatus};
use crate::domain::schedule::Schedule;
use crate::domain::snapshot::Failing;

/// A site as `/api/status` shows it. Instants are whole seconds, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteReport {
    /// The site's id.
    pub site: String,
    /// Whether there is a token that works as far as is known.
    pub state: TokenState,
    /// The token, without the token.
    pub token: Option<TokenReport>,
    /// When a new token is fetched by itself: the schedule, or ahead of the end, whichever comes first.
    pub refresh_at: Option<Timestamp>,
    /// The next tick of the schedule.
    pub next_tick: Option<Timestamp>,
    /// A refresh under way.
    pub refresh: Option<RefreshReport>,
    /// Failures in a row.
    pub failing: Option<FailingReport>,
    /// When an attempt last began here, or succeeded anywhere.
    pub last_attempt_at: Option<Timestamp>,
    /// When a token was last stored.
    pub last_success_at: Option<Timestamp>,
    /// When all this was read, by the store's clock; `None` for not yet.
    pub read_at: Option<Timestamp>,
}

/// A token as `/api/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    /// The first 16 hex digits of its SHA-256.
    pub fingerprint: String,
    /// Its version; 0 where somebody else wrote it.
    pub version: u64,
    /// When it was stored.
    pub refreshed_at: Option<Timestamp>,
    /// The end of the token itself.
    pub expires_at: Option<Timestamp>,
    /// The end of its key.
    pub key_ends_at: Option<Timestamp>,
    /// What brought its refresh about.
    pub trigger: Option<Trigger>,
    /// Which source it came from.
    pub source: Option<String>,
}

/// A refresh under way as `/api/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshReport {
    /// The step, where this process does it; `None` for another replica.
    pub stage: Option<String>,
    /// Since when the step lasts.
    pub since: Option<Timestamp>,
}

/// Failures in a row as `/api/status` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingReport {
    /// How many.
    pub attempts: u32,
    /// When the next attempt is due.
    pub retry_at: Timestamp,
    /// The stage that failed last.
    pub stage: String,
    /// The last error.
    pub error: String,
    /// What brought the failed refresh about.
    pub trigger: Trigger,
}

/// An attempt as the history has it, newest first. Its words are as they stand in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it ended, by the store's clock.
    pub at: Timestamp,
    /// `refreshed`, `failed`, `superseded`, …
    pub outcome: String,
    /// What brought it about.
    pub trigger: Option<String>,
    /// The source, or the sources that were tried.
    pub source: Option<String>,
    /// The stage that failed.
    pub stage: Option<String>,
    /// The error, without any secret.
    pub error: Option<String>,
    /// The version that was stored.
    pub version: Option<u64>,
    /// How long the source took, in ms.
    pub solve_ms: Option<u64>,
    /// How long finding the token took, in ms.
    pub extract_ms: Option<u64>,
    /// How long the API took, in ms.
    pub verify_ms: Option<u64>,
    /// What a reporter said.
    pub reason: Option<String>,
    /// Who reported, by its own word.
    pub reporter: Option<String>,
    /// Which process did it.
    pub instance: Option<String>,
}

impl SiteReport {
    /// The site at an instant of the monotonic clock.
    #[must_use]
    pub fn of(site: &SiteId, status: &SiteStatus, schedule: &Schedule, seen: Duration) -> Self {
        let reading = status.reading.as_ref();
        Self {
            site: site.to_string(),
            state: status.state(seen),
            token: reading.and_then(|r| r.token.as_deref()).map(TokenReport::of),
            refresh_at: down(status.refresh_at(schedule, seen)),
            next_tick: down(status.now(seen).and_then(|now| schedule.next_after(now))),
            refresh: RefreshReport::of(status, seen),
            failing: reading.and_then(|r| r.failing.as_deref()).map(FailingReport::of),
            last_attempt_at: down(status.last_attempt_at),
            last_success_at: down(status.last_success_at),
            read_at: down(reading.map(|r| r.at)),
        }
    }
}

impl TokenReport {
    fn of(token: &TokenStatus) -> Self {
        Self {
            fingerprint: token.fingerprint.clone(),
            version: token.version,
            refreshed_at: down(token.refreshed_at),
            expires_at: down(token.expires_at),
            key_ends_at: down(token.key_ends_at),
            trigger: token.trigger,
            source: token.source.clone(),
        }
    }
}

impl RefreshReport {
    fn of(status: &SiteStatus, seen: Duration) -> Option<Self> {
        let reading = status.reading.as_ref();
        if let Some(here) = status.under_way {
            return Some(Self {
                stage: Some(here.stage.to_owned()),
                since: down(reading.map(|r| r.time_of(here.since))),
            });
        }
        let locked = reading.is_some_and(|r| r.locked_until.is_some_and(|end| r.time_of(seen) < end));
        locked.then_some(Self { stage: None, since: None })
    }
}

impl FailingReport {
    fn of(failing: &Failing) -> Self {
        Self {
            attempts: failing.attempts,
            retry_at: whole_second_up(failing.retry_at),
            stage: failing.stage.clone(),
            error: failing.error.clone(),
            trigger: failing.trigger,
        }
    }
}

fn down(at: Option<Timestamp>) -> Option<Timestamp> {
    at.map(whole_second_down)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::domain::snapshot::{Current, Provenance, Refresh, Snapshot};
    use token_sidecar_client::wire::Token;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn snapshot() -> Snapshot {
        let refresh = Refresh {
            at: at("2026-11-22T07:13:05.623Z"),
            trigger: Trigger::Invalid,
            source: "flaresolverr".into(),
            user_agent: None,
        };
        Snapshot {
            at: at("2026-11-22T07:20:00Z"),
            etag: String::new(),
            version: 7,
            current: Some(Current {
                token: Token::parse("secret-token").unwrap(),
                key_ends_at: Some(at("2026-11-23T07:13:05.623Z")),
                provenance: Provenance::Sidecar(refresh),
            }),
            lock: None,
            failing: None,
        }
    }

    fn report(status: &SiteStatus, seconds: u32) -> SiteReport {
        let schedule = Schedule::parse("0 */3 * * *", "UTC").unwrap();
        SiteReport::of(&SiteId::parse("shop").unwrap(), status, &schedule, SECOND * seconds)
    }

    #[test]
    fn a_fresh_token_is_shown_without_the_token() {
        let mut status = SiteStatus::default();
        status.look(&snapshot(), SECOND);
        let json = serde_json::to_value(report(&status, 1)).unwrap();
        let fingerprint = Token::parse("secret-token").unwrap().fingerprint().to_string();
        let expected = serde_json::json!({
            "site": "shop", "state": "fresh",
            "token": {
                "fingerprint": fingerprint, "version": 7, "refreshed_at": "2026-11-22T07:13:05Z",
                "expires_at": null, "key_ends_at": "2026-11-23T07:13:05Z", "trigger": "invalid",
                "source": "flaresolverr",
            },
            "refresh_at": "2026-11-22T09:00:00Z", "next_tick": "2026-11-22T09:00:00Z", "refresh": null,
            "failing": null, "last_attempt_at": "2026-11-22T07:13:05Z",
            "last_success_at": "2026-11-22T07:13:05Z", "read_at": "2026-11-22T07:20:00Z",
        });
        assert_eq!(json, expected);
        assert!(!json.to_string().contains("secret-token"));
    }

    #[test]
    fn the_state_follows_the_readings_and_the_clock() {
        let mut status = SiteStatus::default();
        assert_eq!(report(&status, 0).state, TokenState::Unknown);
        status.look(&Snapshot { current: None, ..snapshot() }, SECOND);
        assert_eq!(report(&status, 1).state, TokenState::Missing);
        status.look(&snapshot(), SECOND);
        assert_eq!(report(&status, 85_986).state, TokenState::Fresh);
        assert_eq!(report(&status, 85_987).state, TokenState::Expired);
    }

    #[test]
    fn a_refresh_under_way_is_shown_with_its_step_here_and_without_one_elsewhere() {
        let mut status = SiteStatus::default();
        let locked = Snapshot { lock: Some(SECOND * 15), ..snapshot() };
        status.look(&locked, SECOND * 10);
        assert_eq!(report(&status, 24).refresh, Some(RefreshReport { stage: None, since: None }));
        assert_eq!(report(&status, 25).refresh, None, "the lock has ended since");
        status.enter("claimed", SECOND * 12);
        status.enter("solve", SECOND * 13);
        let here = RefreshReport { stage: Some("solve".into()), since: Some(at("2026-11-22T07:20:03Z")) };
        assert_eq!(report(&status, 30).refresh, Some(here));
        assert_eq!(status.last_attempt_at, Some(at("2026-11-22T07:20:02Z")));
        status.finish();
        assert_eq!(report(&status, 30).refresh, None);
    }

    #[test]
    fn failures_are_shown_with_the_retry_rounded_up() {
        let failing = Failing {
            attempts: 3,
            retry_at: at("2026-11-22T07:20:04.001Z"),
            trigger: Trigger::Expiry,
            stage: "verify".into(),
            error: "401".into(),
        };
        let mut status = SiteStatus::default();
        status.look(&Snapshot { failing: Some(Box::new(failing)), ..snapshot() }, SECOND);
        let shown = report(&status, 1).failing.unwrap();
        assert_eq!((shown.attempts, shown.retry_at), (3, at("2026-11-22T07:20:05Z")));
    }

    #[test]
    fn a_time_of_storing_that_lies_ahead_is_held_at_the_time_of_reading() {
        let mut odd = snapshot();
        odd.at = at("2020-01-01T00:00:00Z");
        let mut status = SiteStatus::default();
        status.look(&odd, SECOND);
        assert_eq!(status.last_success_at, Some(odd.at));
    }
}
