//! What the driver knows of the store, what is due by the clock, and how it waits.

use std::time::Duration;

use jiff::Timestamp;

use super::{Driver, Stop};
use crate::domain::inbox::{Arrival, Fingerprints};
use crate::domain::lifetime::between;
use crate::domain::snapshot::Snapshot;
use crate::refresh::beat::BEAT;
use crate::refresh::observation::{Observation, Observer};
use crate::refresh::ports::{Chance, Clock, Sink, Store, StoreError};
use crate::refresh::site::{Site, World};
use crate::refresh::store_time::StoreTime;

/// The latest state, and when it was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The state.
    pub snapshot: Snapshot,
    /// When, by the port `Clock`.
    pub read_at: Duration,
}

impl Seen {
    /// The store's clock at that reading.
    pub(super) const fn time(&self) -> StoreTime {
        StoreTime { at: self.snapshot.at, read_at: self.read_at }
    }
}

/// Why a wait ended.
pub(super) enum Woken {
    Stopped,
    Changed,
    Due,
}

impl<W: World> Driver<W> {
    /// Takes in a newer state.
    pub(super) async fn learn(&mut self, snapshot: Snapshot) {
        if snapshot.version > self.floor {
            // Somebody has stored a token: what was held against the one before is void.
            self.floor = snapshot.version;
            self.refused = Fingerprints::default();
            self.unrecorded = None;
        }
        // Whichever look finds it out: the heartbeat, one after an outcome, one at a due time.
        if self.seen.snapshot.current.is_some() && snapshot.current.is_none() {
            tracing::warn!(site = %self.site.id, "the token's key is gone");
            self.site.mailbox.post(Arrival::Vanished);
        }
        // A clock that was set back leaves no tick in the far future.
        self.tick = self.tick.min(self.site.policy.schedule.next_after(snapshot.at));
        self.seen = Seen { snapshot, read_at: self.clock_now() };
        self.heartbeat = self.site.beat.after(self.seen.read_at);
        self.overlay();
        self.site.observer.observe(Observation::Looked(&self.seen.snapshot));
        let ours = self.seen.snapshot.current.as_ref().filter(|c| c.refresh().is_some());
        if let Some(current) = ours
            && self.sunk != Some(current.token.fingerprint())
        {
            for sink in &self.site.sinks {
                sink.put(&current.token).await;
            }
            self.sunk = Some(current.token.fingerprint());
        }
    }

    /// A failure that the store could not note counts as if it had, until it notes a later one of somebody's.
    pub(super) fn overlay(&mut self) {
        let noted = self.seen.snapshot.failing.as_ref().map(|failing| failing.retry_at);
        self.unrecorded.take_if(|failing| noted > Some(failing.retry_at));
        if let Some(failing) = &self.unrecorded {
            self.seen.snapshot.failing = Some(failing.clone());
        }
    }

    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        let snapshot = self.site.store.look().await?;
        self.learn(snapshot).await;
        Ok(())
    }

    /// The heartbeat: a cheap question, and a look where the key has come or gone.
    pub(super) async fn beat(&mut self) -> Result<(), StoreError> {
        self.heartbeat = self.site.beat.after(self.clock_now());
        if self.site.store.has_token().await? == self.seen.snapshot.current.is_some() {
            return Ok(());
        }
        Box::pin(self.look()).await
    }

    /// Whether something seems due by itself.
    pub(super) fn is_due(&self) -> bool {
        self.next_due().is_some_and(|due| due <= self.now())
    }

    /// Posts the triggers of the clock that are due, by a fresh reading of the store's clock.
    pub(super) async fn post_what_is_due(&mut self) -> Result<(), StoreError> {
        self.look().await?;
        let now = self.now();
        if let Some(due) = self.tick.filter(|due| *due <= now) {
            self.tick = self.site.policy.schedule.next_after(now);
            tracing::debug!(site = %self.site.id, %due, "tick");
            self.site.mailbox.post(Arrival::Tick(due));
        }
        if self.renewal().is_some_and(|due| due <= now) {
            self.site.mailbox.post(Arrival::Expiry);
        }
        if self.seen.snapshot.failing.as_ref().is_some_and(|f| f.retry_at <= now) {
            self.site.mailbox.post(Arrival::Retry);
        }
        Ok(())
    }

    /// The next instant of the store's clock at which something is due by itself.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let retry = self.seen.snapshot.failing.as_ref().map(|f| f.retry_at);
        [self.tick, self.renewal(), retry].into_iter().flatten().min()
    }

    /// When the current token is to be renewed; while failing, the retry sees to it.
    pub(super) fn renewal(&self) -> Option<Timestamp> {
        let snapshot = &self.seen.snapshot;
        if snapshot.failing.is_some() {
            return None;
        }
        snapshot.current.as_ref()?.renew_at()
    }

    /// Waits until something arrives or is due.
    pub(super) async fn wait(&self, stop: &Stop, deferred: Option<Timestamp>) {
        let due = [self.next_due(), deferred].into_iter().flatten().min();
        let until_due = due.map_or(BEAT, |due| between(self.now(), due) + Duration::from_millis(1));
        let until_heartbeat = self.heartbeat.saturating_sub(self.clock_now());
        self.sleep(stop, until_due.min(until_heartbeat)).await;
    }

    pub(super) async fn sleep(&self, stop: &Stop, span: Duration) -> Woken {
        tokio::select! {
            biased;
            () = stop.graceful.cancelled() => Woken::Stopped,
            () = self.site.mailbox.changed() => Woken::Changed,
            () = self.site.clock.sleep(span) => Woken::Due,
        }
    }

    /// While the store is away: looks again at a growing pace until it answers.
    pub(super) async fn recover(&mut self, stop: &Stop) {
        if rest(&self.site, stop, self.errors).await.is_none() {
            return;
        }
        match patient_look(&self.site, stop).await {
            Some(Ok(seen)) => self.learn(seen.snapshot).await,
            Some(Err(refusal)) => Box::pin(self.refused(&refusal, stop)).await,
            None => {}
        }
    }

    pub(super) fn clock_now(&self) -> Duration {
        self.site.clock.now()
    }

    /// An estimate of the store's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.seen.time().now(self.clock_now())
    }
}

/// What was seen already; or looks at a growing pace until the store tells the state or the site is stopped.
pub(super) async fn first_look<W: World>(site: &Site<W>, seen: Option<Box<Seen>>, stop: &Stop) -> Option<Box<Seen>> {
    if seen.is_some() {
        return seen;
    }
    let mut refusals = 0;
    loop {
        match patient_look(site, stop).await? {
            Ok(seen) => return Some(Box::new(seen)),
            Err(error) => {
                refusals += 1;
                tracing::warn!(site = %site.id, %error, refusals, "Redis refuses us: trying again");
                rest(site, stop, refusals).await?;
            }
        }
    }
}

/// Looks at a growing pace while the store is away; gives the words with which it refuses.
async fn patient_look<W: World>(site: &Site<W>, stop: &Stop) -> Option<Result<Seen, String>> {
    let mut absences = 0;
    loop {
        match site.store.look().await {
            Ok(snapshot) => return Some(Ok(Seen { snapshot, read_at: site.clock.now() })),
            Err(StoreError::Refused(error)) => return Some(Err(error)),
            Err(StoreError::Away(error)) => {
                absences += 1;
                tracing::debug!(site = %site.id, %error, absences, "failed to read the state");
                rest(site, stop, absences).await?;
            }
        }
    }
}

/// `None` where the site is stopped meanwhile.
pub(super) async fn rest<W: World>(site: &Site<W>, stop: &Stop, repetition: u32) -> Option<()> {
    tokio::select! {
        biased;
        () = stop.graceful.cancelled() => None,
        () = site.clock.sleep(site.chance.pause(repetition)) => Some(()),
    }
}
