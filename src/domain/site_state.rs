//! What a process knows of a site, and when the next timed trigger is due.

use std::time::Duration;

use jiff::Timestamp;

use super::inbox::{Arrived, Inbox};
use super::lifetime::later;
use super::pending::{Arrival, Fingerprints, Pending};
use super::schedule::Schedule;
use super::site::Policy;
use super::snapshot::{Failing, Snapshot};

/// Redis' clock, estimated between two readings by the process' own monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct StoreClock {
    pub at: Timestamp,
    /// The reading of the monotonic clock at that moment.
    pub read_at: Duration,
}

impl StoreClock {
    /// The estimate at this reading of the monotonic clock.
    pub fn now(self, clock: Duration) -> Timestamp {
        later(self.at, clock.saturating_sub(self.read_at))
    }
}

/// A snapshot, and when it was read.
#[derive(Debug, Clone)]
pub struct Reading {
    pub snapshot: Snapshot,
    /// By the monotonic clock.
    pub read_at: Duration,
}

/// What the last reading may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It was read after everything that has arrived.
    Fresh,
    /// A trigger has arrived since. The reading is good for a decision that Redis checks (a claim, an announcement),
    /// but not for one that announces nothing.
    Unchecked,
    /// The state has changed, or may have.
    Stale,
}

/// A retry is rounded up to whole seconds, by a clock that is estimated.
const RETRY_SLACK: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct SiteState {
    snapshot: Snapshot,
    clock: StoreClock,
    freshness: Freshness,
    tick: Option<Timestamp>,
    /// The greatest version this process has seen. The next one is above it, even after Redis has lost its data.
    minimum_version: u64,
    /// The tokens that were reported as refused since the last refresh: they are not stored again.
    rejected: Fingerprints,
    /// A failure that could not be recorded in Redis.
    unrecorded: Option<Box<Failing>>,
}

impl SiteState {
    /// The state after the first reading.
    pub fn new(reading: Reading, policy: &Policy) -> Self {
        let Reading { snapshot, read_at } = reading;
        let mut state = Self {
            clock: StoreClock { at: snapshot.at, read_at },
            freshness: Freshness::Fresh,
            tick: policy.schedule.next_after(snapshot.at),
            minimum_version: snapshot.version,
            rejected: Fingerprints::default(),
            unrecorded: None,
            snapshot,
        };
        state.bound_retry(policy);
        state
    }

    /// Takes in a newer reading. Returns whether the token's key has vanished since the one before.
    pub fn learn(&mut self, snapshot: Snapshot, read_at: Duration, policy: &Policy) -> bool {
        if snapshot.version > self.minimum_version {
            // A token was stored: reports against the one before it are void.
            self.minimum_version = snapshot.version;
            self.rejected = Fingerprints::default();
            self.unrecorded = None;
        }
        let has_vanished = self.snapshot.current.is_some() && snapshot.current.is_none();
        // After Redis' clock was set back, no tick is left in the far future.
        self.tick = self.tick.min(policy.schedule.next_after(snapshot.at));
        self.clock = StoreClock { at: snapshot.at, read_at };
        self.freshness = Freshness::Fresh;
        self.snapshot = snapshot;
        self.bound_retry(policy);
        self.overlay();
        has_vanished
    }

    /// A retry further away than the longest back-off was not set by this clock, or not by a sidecar: it is due.
    fn bound_retry(&mut self, policy: &Policy) {
        let at = self.snapshot.at;
        let latest = later(at, policy.backoff_max + RETRY_SLACK);
        self.unrecorded.take_if(|failing| failing.retry_at > latest);
        if let Some(failing) = &mut self.snapshot.failing
            && failing.retry_at > latest
        {
            failing.retry_at = at;
        }
    }

    /// Confirms the state as unchanged, at this later reading of both clocks.
    pub const fn confirm(&mut self, clock: StoreClock) {
        self.snapshot.at = clock.at;
        self.clock = clock;
        self.freshness = Freshness::Fresh;
    }

    /// Moves what has arrived into the inbox, and notes whether the state may have changed.
    pub fn take_in(&mut self, arrived: Arrived, inbox: &mut Inbox) {
        if inbox.take_in(arrived) && self.freshness == Freshness::Fresh {
            self.freshness = Freshness::Unchecked;
        }
        if inbox.take_change(self.snapshot.version) {
            self.freshness = Freshness::Stale;
        }
    }

    pub const fn expire(&mut self) {
        self.freshness = Freshness::Stale;
    }

    /// Remembers the current token as rejected where a report names it.
    pub fn note_reports(&mut self, pending: &Pending) {
        if let Some(current) = self.snapshot.fingerprint()
            && pending.reported.contains(current)
        {
            self.rejected.insert(current);
        }
    }

    /// Remembers the current token as rejected: the API has refused it.
    pub fn reject_current(&mut self) {
        if let Some(current) = self.snapshot.fingerprint() {
            self.rejected.insert(current);
        }
    }

    /// A report without a fingerprint clears the rejected tokens: any token will do.
    pub fn clear_rejected(&mut self) {
        self.rejected = Fingerprints::default();
    }

    /// Keeps a failure that could not be recorded in Redis. A retry time that Redis has recorded before stays in force.
    pub fn keep_unrecorded(&mut self, mut failing: Box<Failing>) {
        if let Some(noted) = &self.snapshot.failing {
            failing.retry_at = failing.retry_at.max(noted.retry_at);
        }
        self.unrecorded = Some(failing);
        self.overlay();
    }

    /// Forgets that failure: Redis records failures again.
    pub fn drop_unrecorded(&mut self) {
        self.unrecorded = None;
    }

    /// Shows the unrecorded failure in the snapshot, until Redis records a later one.
    fn overlay(&mut self) {
        let noted = self.snapshot.failing.as_ref().map(|failing| failing.retry_at);
        self.unrecorded.take_if(|failing| noted > Some(failing.retry_at));
        if let Some(failing) = &self.unrecorded {
            self.snapshot.failing = Some(failing.clone());
        }
    }

    /// When the next timed trigger is due, by Redis' clock.
    pub fn next_due(&self) -> Option<Timestamp> {
        let retry = self.snapshot.failing.as_ref().map(|f| f.retry_at);
        [self.tick, self.renewal(), retry].into_iter().flatten().min()
    }

    /// The timed triggers that are due now. Advances the schedule to its next tick.
    pub fn take_due(&mut self, now: Timestamp, schedule: &Schedule) -> impl Iterator<Item = Arrival> + use<> {
        let tick = self.tick.take_if(|due| *due <= now).map(Arrival::Tick);
        if tick.is_some() {
            self.tick = schedule.next_after(now);
        }
        let expiry = self.renewal().is_some_and(|due| due <= now).then_some(Arrival::Expiry);
        let retry = self.snapshot.failing.as_ref().is_some_and(|f| f.retry_at <= now).then_some(Arrival::Retry);
        [tick, expiry, retry].into_iter().flatten()
    }

    /// When the current token is renewed; `None` while failures are recorded: the retry does it.
    fn renewal(&self) -> Option<Timestamp> {
        match self.snapshot.failing {
            Some(_) => None,
            None => self.snapshot.current.as_ref()?.renew_at(),
        }
    }

    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub const fn clock(&self) -> StoreClock {
        self.clock
    }

    pub const fn freshness(&self) -> Freshness {
        self.freshness
    }

    pub const fn minimum_version(&self) -> u64 {
        self.minimum_version
    }

    pub const fn rejected(&self) -> &Fingerprints {
        &self.rejected
    }

    /// The failure that Redis could not note.
    pub fn unrecorded(&self) -> Option<&Failing> {
        self.unrecorded.as_deref()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::domain::site::Verify;
    use token_sidecar_client::wire::{Stage, Trigger};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn failing(retry_at: i64) -> Option<Box<Failing>> {
        let (trigger, stage) = (Trigger::Invalid, Stage::Solve);
        Some(Box::new(Failing { attempts: 1, retry_at: at(retry_at), trigger, stage, error: "down".into() }))
    }

    #[test]
    fn a_retry_beyond_the_longest_back_off_is_due_and_hides_no_other() {
        let policy = Policy {
            debounce: Duration::ZERO,
            lock_ttl: Duration::from_secs(15),
            backoff_max: Duration::from_secs(600),
            token_ttl: Duration::from_secs(86_400),
            verify: Verify::Strict,
            schedule: Schedule::parse("off", "UTC").unwrap(),
        };
        for (recorded, unrecorded, due) in [
            (failing(1_600), None, Some(1_600)),
            (failing(1_603), None, Some(1_000)),
            (failing(1_075), failing(1_500), Some(1_500)),
            (failing(1_075), failing(1_603), Some(1_075)),
            (None, failing(1_603), None),
        ] {
            let snapshot = Snapshot {
                at: at(1_000),
                etag: String::new(),
                version: 0,
                current: None,
                lock: None,
                failing: recorded.clone(),
            };
            let reading = Reading { snapshot: snapshot.clone(), read_at: Duration::ZERO };
            let mut state = SiteState::new(reading, &policy);
            if let Some(failing) = unrecorded.clone() {
                state.keep_unrecorded(failing);
            }
            state.learn(snapshot, Duration::ZERO, &policy);
            assert_eq!(state.next_due(), due.map(at), "{recorded:?}, {unrecorded:?}");
        }
    }
}
