//! The state of one site.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use token_sidecar_client::wire::{Product, SiteId, Trigger, rounded_down};

use crate::domain::lifetime::{between, later};
use crate::domain::schedule::Schedule;
use crate::domain::snapshot::{Current, Failing, Snapshot};
use crate::refresh::observation::Step;

/// The state of a site. Instants are the store's clock, written in whole seconds, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    pub site: String,
    pub state: TokenState,
    pub token: Option<TokenStatus>,
    /// When the next refresh begins by itself: at the next tick or ahead of the token's end, whichever comes first.
    #[serde(serialize_with = "rounded_down")]
    pub refresh_at: Option<Timestamp>,
    #[serde(serialize_with = "rounded_down")]
    pub next_tick: Option<Timestamp>,
    pub refresh: Option<RefreshStatus>,
    pub failing: Option<Failing>,
    /// Whether the token still works, and its renewal is due and has failed or is late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expiring: bool,
    /// When failures were last seen to have ended with a token, as far as this process knows.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "rounded_down")]
    pub recovered_at: Option<Timestamp>,
    /// When an attempt last began or ended, as far as this process knows; as precise as the history.
    pub last_attempt_at: Option<Timestamp>,
    /// When a token was last stored, by any process.
    #[serde(serialize_with = "rounded_down")]
    pub last_success_at: Option<Timestamp>,
    /// `None` until the state is read for the first time.
    #[serde(serialize_with = "rounded_down")]
    pub read_at: Option<Timestamp>,
}

/// Whether there is a token that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    Unknown,
    Missing,
    Expired,
    /// It has not ended, but the API or a parser has refused it, and no refresh has replaced it yet.
    Refused,
    Fresh,
}

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// Whether it is a token, or the cookies.
    #[serde(default)]
    pub product: Product,
    /// The first 16 hex digits of its SHA-256.
    pub fingerprint: String,
    /// 0 if another program wrote the token.
    pub version: u64,
    #[serde(serialize_with = "rounded_down")]
    pub refreshed_at: Option<Timestamp>,
    #[serde(serialize_with = "rounded_down")]
    pub expires_at: Option<Timestamp>,
    #[serde(serialize_with = "rounded_down")]
    pub key_ends_at: Option<Timestamp>,
    pub trigger: Option<Trigger>,
    pub source: Option<String>,
}

/// A running refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshStatus {
    /// `None` if another replica does it.
    pub stage: Option<Step>,
    #[serde(serialize_with = "rounded_down")]
    pub since: Option<Timestamp>,
}

/// An attempt in the history, as it is written in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it ended, by the store's clock.
    pub at: Timestamp,
    /// `refreshed`, `failed`, `superseded`, …
    pub outcome: String,
    pub trigger: Option<String>,
    /// The source, or the sources that were tried.
    pub source: Option<String>,
    pub stage: Option<String>,
    /// Contains no secret.
    pub error: Option<String>,
    pub version: Option<u64>,
    pub solve_ms: Option<u64>,
    pub extract_ms: Option<u64>,
    pub verify_ms: Option<u64>,
    /// As in the report, as is the reporter.
    pub reason: Option<String>,
    pub reporter: Option<String>,
    pub instance: Option<String>,
}

/// How late a renewal may begin until it is said to be late; half of what is left of the token, where that is less.
pub(super) const LATE: Duration = Duration::from_secs(60);

/// What is known of a site. The [`SiteStatus`] at any instant of the monotonic clock is computed from it.
#[derive(Debug, Default)]
pub struct SiteRecord {
    reading: Option<Reading>,
    /// The step that a refresh of this process is at, and since when by the monotonic clock.
    step: Option<(Step, Duration)>,
    last_attempt_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    recovered_at: Option<Timestamp>,
}

/// The last reading.
#[derive(Debug)]
struct Reading {
    /// By the store's clock.
    at: Timestamp,
    /// By the monotonic clock.
    read_at: Duration,
    token: Option<TokenStatus>,
    /// When the token is renewed ahead of its end.
    renew_at: Option<Timestamp>,
    locked_until: Option<Timestamp>,
    failing: Option<Failing>,
}

impl SiteRecord {
    pub fn look(&mut self, snapshot: &Snapshot, now: Duration) {
        // A storing time in the future would hide the true ones that follow.
        let stored_at = snapshot.refreshed_at().map(|at| at.min(snapshot.at));
        self.last_success_at = self.last_success_at.max(stored_at);
        let failing = snapshot.failing.as_deref().cloned();
        let token = snapshot.current.as_ref().map(|current| TokenStatus::of(current, snapshot.version));
        let is_new =
            |last: &Reading| failing.is_some() && last.failing != failing || token.is_some() && last.token != token;
        let was_failing = self.reading.as_ref().is_some_and(|last| last.failing.is_some());
        if was_failing && failing.is_none() && token.is_some() {
            self.recovered_at = Some(snapshot.at);
        }
        let ended_at = self.reading.as_ref().filter(|last| is_new(last)).map(|_| snapshot.at);
        self.last_attempt_at = self.last_attempt_at.max(stored_at).max(ended_at);
        self.reading = Some(Reading {
            at: snapshot.at,
            read_at: now,
            token,
            renew_at: snapshot.current.as_ref().and_then(Current::renew_at),
            locked_until: snapshot.lock.map(|rest| later(snapshot.at, rest)),
            failing,
        });
    }

    /// Records that a refresh entered a step at `now`.
    pub fn enter(&mut self, step: Step, now: Duration) {
        if self.step.is_none() {
            self.last_attempt_at = self.last_attempt_at.max(self.time_at(now));
        }
        self.step = Some((step, now));
    }

    /// Records that a refresh ended at `now`.
    pub fn finish(&mut self, now: Duration) {
        self.step = None;
        self.last_attempt_at = self.last_attempt_at.max(self.time_at(now));
    }

    /// By the monotonic clock.
    pub(super) fn read_at(&self) -> Option<Duration> {
        self.reading.as_ref().map(|reading| reading.read_at)
    }

    /// An estimate of the store's clock; `None` before the first reading.
    pub(super) fn time_at(&self, now: Duration) -> Option<Timestamp> {
        let Reading { at, read_at, .. } = self.reading.as_ref()?;
        let ahead = later(*at, now.saturating_sub(*read_at));
        Some(ahead.checked_sub(read_at.saturating_sub(now)).unwrap_or(Timestamp::MIN))
    }

    pub fn status(&self, site: &SiteId, schedule: &Schedule, now: Duration) -> SiteStatus {
        let reading = self.reading.as_ref();
        let time = self.time_at(now);
        let token = reading.and_then(|reading| reading.token.clone());
        let next_tick = time.and_then(|time| schedule.next_after(time));
        let renew_at = reading.and_then(|reading| reading.renew_at);
        let failing = reading.and_then(|reading| reading.failing.clone());
        let refresh = self.refresh(time);
        let ends_at = token.as_ref().and_then(TokenStatus::ends_at);
        let needs_renewal = |time: Timestamp| {
            let (due, end) = renew_at.zip(ends_at)?;
            let late = later(due, LATE.min(between(due, end) / 2));
            Some(if failing.is_some() { due <= time } else { refresh.is_none() && late <= time })
        };
        let state = match (time, &token) {
            (None, _) => TokenState::Unknown,
            (_, None) => TokenState::Missing,
            (Some(time), Some(token)) if token.ends_at().is_some_and(|end| end <= time) => TokenState::Expired,
            _ if failing.as_ref().is_some_and(is_for_a_refused_token) => TokenState::Refused,
            _ => TokenState::Fresh,
        };
        SiteStatus {
            site: site.to_string(),
            state,
            expiring: state == TokenState::Fresh && time.and_then(needs_renewal).unwrap_or_default(),
            recovered_at: self.recovered_at,
            token,
            refresh_at: [renew_at, next_tick].into_iter().flatten().min(),
            next_tick,
            refresh,
            failing,
            last_attempt_at: self.last_attempt_at,
            last_success_at: self.last_success_at,
            read_at: reading.map(|reading| reading.at),
        }
    }

    fn refresh(&self, time: Option<Timestamp>) -> Option<RefreshStatus> {
        if let Some((step, since)) = self.step {
            return Some(RefreshStatus { stage: Some(step), since: self.time_at(since) });
        }
        let locked_until = self.reading.as_ref()?.locked_until;
        time.zip(locked_until)
            .is_some_and(|(time, end)| time < end)
            .then_some(RefreshStatus { stage: None, since: None })
    }
}

/// Whether the refresh that fails was started because the token does not work, and not ahead of its end or by hand.
const fn is_for_a_refused_token(failing: &Failing) -> bool {
    matches!(failing.trigger, Trigger::Invalid | Trigger::Startup | Trigger::Reconnect | Trigger::Vanished)
}

impl TokenStatus {
    fn of(current: &Current, version: u64) -> Self {
        let refresh = current.refresh();
        Self {
            product: current.token.product(),
            fingerprint: current.token.fingerprint().to_string(),
            version: refresh.map_or(0, |_| version),
            refreshed_at: refresh.map(|r| r.at),
            expires_at: current.token.claims().expires_at,
            key_ends_at: current.key_ends_at,
            trigger: refresh.map(|r| r.trigger),
            source: refresh.map(|r| r.source.clone()),
        }
    }

    /// The end of the token or of its key, whichever comes first.
    pub fn ends_at(&self) -> Option<Timestamp> {
        [self.expires_at, self.key_ends_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::domain::snapshot::{Current, Provenance, Refresh, Snapshot};
    use token_sidecar_client::wire::{Cookies, Stage, Token};

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
                cookies: Cookies::default(),
                key_ends_at: Some(at("2026-11-23T07:13:05.623Z")),
                provenance: Provenance::Sidecar(refresh),
            }),
            lock: None,
            failing: None,
        }
    }

    fn failing() -> Failing {
        Failing {
            attempts: 3,
            retry_at: at("2026-11-22T07:20:04.001Z"),
            trigger: Trigger::Expiry,
            stage: Stage::Verify,
            error: "401".into(),
        }
    }

    fn status(record: &SiteRecord, seconds: u32) -> SiteStatus {
        let schedule = Schedule::parse("0 */3 * * *", "UTC").unwrap();
        record.status(&SiteId::parse("shop").unwrap(), &schedule, SECOND * seconds)
    }

    #[test]
    fn a_fresh_token_is_shown_without_the_token() {
        let mut record = SiteRecord::default();
        record.look(&snapshot(), SECOND);
        let json = serde_json::to_value(status(&record, 1)).unwrap();
        let fingerprint = Token::parse("secret-token").unwrap().fingerprint().to_string();
        let expected = serde_json::json!({
            "site": "shop", "state": "fresh",
            "token": {
                "product": "token", "fingerprint": fingerprint, "version": 7, "refreshed_at": "2026-11-22T07:13:05Z",
                "expires_at": null, "key_ends_at": "2026-11-23T07:13:05Z", "trigger": "invalid",
                "source": "flaresolverr",
            },
            "refresh_at": "2026-11-22T09:00:00Z", "next_tick": "2026-11-22T09:00:00Z", "refresh": null,
            "failing": null, "last_attempt_at": "2026-11-22T07:13:05.623Z",
            "last_success_at": "2026-11-22T07:13:05Z", "read_at": "2026-11-22T07:20:00Z",
        });
        assert_eq!(json, expected);
        assert!(!json.to_string().contains("secret-token"));
    }

    #[test]
    fn the_state_follows_the_readings_and_the_clock() {
        let mut record = SiteRecord::default();
        assert_eq!(status(&record, 0).state, TokenState::Unknown);
        record.look(&Snapshot { current: None, ..snapshot() }, SECOND);
        assert_eq!(status(&record, 1).state, TokenState::Missing);
        record.look(&snapshot(), SECOND);
        assert_eq!(status(&record, 85_986).state, TokenState::Fresh);
        assert_eq!(status(&record, 85_987).state, TokenState::Expired);
    }

    #[test]
    fn a_refresh_under_way_is_shown_with_its_step_here_and_without_one_elsewhere() {
        let mut record = SiteRecord::default();
        let locked = Snapshot { lock: Some(SECOND * 15), ..snapshot() };
        record.look(&locked, SECOND * 10);
        assert_eq!(status(&record, 24).refresh, Some(RefreshStatus { stage: None, since: None }));
        assert_eq!(status(&record, 25).refresh, None, "the lock has ended since");
        record.enter(Step::Claimed, SECOND * 12);
        record.enter(Step::Solve, SECOND * 13);
        let here = RefreshStatus { stage: Some(Step::Solve), since: Some(at("2026-11-22T07:20:03Z")) };
        assert_eq!(status(&record, 30).refresh, Some(here));
        assert_eq!(record.last_attempt_at, Some(at("2026-11-22T07:20:02Z")));
        record.finish(SECOND * 30);
        assert_eq!(status(&record, 30).refresh, None);
        assert_eq!(record.last_attempt_at, Some(at("2026-11-22T07:20:20Z")), "an attempt that has ended is no older");
    }

    #[test]
    fn failures_are_shown_with_the_retry_rounded_up() {
        let mut record = SiteRecord::default();
        record.look(&Snapshot { failing: Some(Box::new(failing())), ..snapshot() }, SECOND);
        let shown = serde_json::to_value(status(&record, 1)).unwrap();
        assert_eq!(
            (&shown["failing"]["attempts"], &shown["failing"]["retry_at"]),
            (&3.into(), &"2026-11-22T07:20:05Z".into())
        );
    }

    #[test]
    fn a_token_is_refused_while_the_refresh_that_was_to_replace_it_fails() {
        for (trigger, state) in [
            (Trigger::Invalid, TokenState::Refused),
            (Trigger::Startup, TokenState::Refused),
            (Trigger::Schedule, TokenState::Fresh),
            (Trigger::Expiry, TokenState::Fresh),
            (Trigger::Manual, TokenState::Fresh),
        ] {
            let failing = Failing { trigger, ..failing() };
            let mut record = SiteRecord::default();
            record.look(&snapshot(), SECOND);
            record.look(&Snapshot { failing: Some(Box::new(failing)), ..snapshot() }, SECOND);
            assert_eq!(status(&record, 1).state, state, "{trigger}");
            assert_eq!(record.last_attempt_at, Some(snapshot().at), "another replica's attempt has failed");
        }
    }

    #[test]
    fn a_token_that_ends_without_a_renewal_is_expiring_and_a_new_one_after_failures_has_recovered() {
        let scheduled = || Box::new(Failing { trigger: Trigger::Expiry, ..failing() });
        let is_expiring = |record: &SiteRecord, second| status(record, second).expiring;
        let mut record = SiteRecord::default();
        record.look(&snapshot(), SECOND);
        let renew_at = snapshot().current.as_ref().and_then(Current::renew_at).unwrap();
        let due = 1 + u32::try_from(between(snapshot().at, renew_at).as_secs()).unwrap();
        assert!(!is_expiring(&record, due + 58) && is_expiring(&record, due + 61), "a renewal takes a while");
        assert!(!is_expiring(&record, 85_987), "it has expired");
        record.look(&Snapshot { failing: Some(scheduled()), ..snapshot() }, SECOND);
        assert!(!is_expiring(&record, due - 2) && is_expiring(&record, due + 1), "a renewal that fails is known");
        assert_eq!(status(&record, 1).recovered_at, None);
        let mut running = SiteRecord::default();
        running.look(&snapshot(), SECOND);
        running.enter(Step::Solve, SECOND);
        assert!(!is_expiring(&running, due + 61), "it is under way");
        record.look(&snapshot(), SECOND);
        assert_eq!(status(&record, 1).recovered_at, Some(snapshot().at));
    }

    #[test]
    fn a_time_of_storing_that_lies_ahead_is_held_at_the_time_of_reading() {
        let mut odd = snapshot();
        odd.at = at("2020-01-01T00:00:00Z");
        let mut record = SiteRecord::default();
        record.look(&odd, SECOND);
        assert_eq!(record.last_success_at, Some(odd.at));
    }
}
