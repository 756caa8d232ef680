//! What is to be seen of a process from outside: each site's state as it was last read, and how Redis is heard.
//!
//! Nothing here is a secret: a token stands as its fingerprint.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use token_sidecar_client::wire::{Event, Payload, SiteId, Trigger};

use crate::domain::lifetime::later;
use crate::domain::schedule::Schedule;
use crate::domain::snapshot::{Current, Failing, Snapshot};

/// What is known of one site. Spans are monotonic (the port `Clock`), instants are the store's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteStatus {
    /// The state in the store; `None` until it was read once.
    pub reading: Option<Reading>,
    /// The step of a refresh that this process is at.
    pub under_way: Option<UnderWay>,
    /// When an attempt last began here, or succeeded anywhere.
    pub last_attempt_at: Option<Timestamp>,
    /// When a token was last stored, here or anywhere.
    pub last_success_at: Option<Timestamp>,
}

/// A site's state as it was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// When, by the store's clock.
    pub at: Timestamp,
    /// When, by the monotonic clock.
    pub seen: Duration,
    /// The token that parsers read, in a box: of thousands of sites many may have none.
    pub token: Option<Box<TokenStatus>>,
    /// Until when somebody's lock lasts.
    pub locked_until: Option<Timestamp>,
    /// Failures in a row, in a box for the same reason.
    pub failing: Option<Box<Failing>>,
}

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStatus {
    /// Names it.
    pub fingerprint: String,
    /// Its version; 0 where somebody else wrote it.
    pub version: u64,
    /// When a sidecar stored it.
    pub refreshed_at: Option<Timestamp>,
    /// The end of the token itself, where it says.
    pub expires_at: Option<Timestamp>,
    /// The end of its key.
    pub key_ends_at: Option<Timestamp>,
    /// Whichever of the two comes first.
    pub ends_at: Option<Timestamp>,
    /// When it is renewed ahead of its end.
    pub renew_at: Option<Timestamp>,
    /// What brought its refresh about.
    pub trigger: Option<Trigger>,
    /// Which source it came from.
    pub source: Option<String>,
}

/// The step of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// `claimed`, `solve`, `extract`, `verify` or `commit`.
    pub stage: &'static str,
    /// Since when, by the monotonic clock.
    pub since: Duration,
}

/// How Redis is heard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkStatus {
    /// The subscription.
    pub subscription: Subscription,
    /// The last canary that came back.
    pub canary: Option<Canary>,
    /// How often the subscription was made, the first time included.
    pub connects: u64,
}

/// The state of the subscription. Spans are monotonic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Subscription {
    /// Not there yet since the process started.
    #[default]
    Connecting,
    /// There.
    Up {
        /// Since when.
        since: Duration,
    },
    /// Lost, or refused from the start.
    Down {
        /// Since when.
        since: Duration,
        /// Why, without any secret.
        reason: String,
    },
}

/// A canary that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// When, by the monotonic clock.
    pub at: Duration,
    /// How long it was on its way.
    pub round_trip: Duration,
}

/// What is to be seen of the subscription: whoever holds it tells this. Nothing is decided by it.
pub trait LinkObserver: Send + Sync {
    /// The subscription is there.
    fn connected(&self);

    /// It is lost, or could not be had. The reason must hold no secret.
    fn disconnected(&self, reason: &str);

    /// A canary came back.
    fn canary(&self, round_trip: Duration);

    /// A message on a site's `token:invalid` came in.
    fn message(&self, site: &SiteId, payload: Payload);

    /// An event of one of the sites was heard on its channel.
    fn event(&self, event: &Event);
}

/// Whether there is a token that works as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// The state was not read yet.
    Unknown,
    /// There is none.
    Missing,
    /// Its end has passed.
    Expired,
    /// There is one.
    Fresh,
}

impl SiteStatus {
    /// The state was read at `seen` by the monotonic clock.
    pub fn look(&mut self, snapshot: &Snapshot, seen: Duration) {
        // A time of storing that lies ahead is odd: it must not hide the true ones that follow.
        let stored_at = snapshot.refreshed_at().map(|at| at.min(snapshot.at));
        self.last_success_at = self.last_success_at.max(stored_at);
        self.last_attempt_at = self.last_attempt_at.max(stored_at);
        self.reading = Some(Reading::of(snapshot, seen));
    }

    /// A refresh entered a stage.
    pub fn enter(&mut self, stage: &'static str, seen: Duration) {
        if self.under_way.is_none() {
            self.last_attempt_at = self.last_attempt_at.max(self.now(seen));
        }
        self.under_way = Some(UnderWay { stage, since: seen });
    }

    /// A refresh has ended.
    pub fn finish(&mut self) {
        self.under_way = None;
    }

    /// An estimate of the store's clock; `None` before the first reading.
    #[must_use]
    pub fn now(&self, seen: Duration) -> Option<Timestamp> {
        self.reading.as_ref().map(|r| r.time_of(seen))
    }

    /// Whether there is a token that works as far as is known.
    #[must_use]
    pub fn state(&self, seen: Duration) -> TokenState {
        let Some(reading) = &self.reading else { return TokenState::Unknown };
        match &reading.token {
            None => TokenState::Missing,
            Some(token) if token.ends_at.is_some_and(|end| end <= reading.time_of(seen)) => TokenState::Expired,
            Some(_) => TokenState::Fresh,
        }
    }

    /// When a new token is fetched by itself; `None` where it is not known or never.
    #[must_use]
    pub fn refresh_at(&self, schedule: &Schedule, seen: Duration) -> Option<Timestamp> {
        let reading = self.reading.as_ref()?;
        let renewal = reading.token.as_ref().and_then(|t| t.renew_at);
        let tick = schedule.next_after(reading.time_of(seen));
        renewal.into_iter().chain(tick).min()
    }
}

impl LinkStatus {
    /// How often the subscription came back after it was lost.
    #[must_use]
    pub const fn reconnects(&self) -> u64 {
        self.connects.saturating_sub(1)
    }
}

impl Reading {
    fn of(snapshot: &Snapshot, seen: Duration) -> Self {
        Self {
            at: snapshot.at,
            seen,
            token: snapshot.current.as_ref().map(|current| Box::new(TokenStatus::of(current, snapshot))),
            locked_until: snapshot.lock.map(|rest| later(snapshot.at, rest)),
            failing: snapshot.failing.clone(),
        }
    }

    /// The store's clock at an instant of the monotonic one, before or after the reading.
    #[must_use]
    pub fn time_of(&self, seen: Duration) -> Timestamp {
        let ahead = later(self.at, seen.saturating_sub(self.seen));
        ahead.checked_sub(self.seen.saturating_sub(seen)).unwrap_or(Timestamp::MIN)
    }
}

impl TokenStatus {
    fn of(current: &Current, snapshot: &Snapshot) -> Self {
        let refresh = current.refresh();
        Self {
            fingerprint: current.token.fingerprint().to_string(),
            version: refresh.map_or(0, |_| snapshot.version),
            refreshed_at: refresh.map(|r| r.at),
            expires_at: current.token.claims().expires_at,
            key_ends_at: current.key_ends_at,
            ends_at: current.ends_at(),
            renew_at: current.renew_at(),
            trigger: refresh.map(|r| r.trigger),
            source: refresh.map(|r| r.source.clone()),
        }
    }
}
