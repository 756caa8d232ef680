//! The task of a site: a loop that takes in what has arrived, decides and acts.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::commit::{Claim, RefreshOutcome};
use super::observation::{DecisionKind, Observation, Observer};
use super::ports::{Checked, ClaimId, Clock, Heartbeat, Jitter, Store, StoreError};
use super::site::{Ports, SiteContext};
use crate::domain::decide::{Decision, decide};
use crate::domain::inbox::Inbox;
use crate::domain::lifetime::{between, earlier, later};
use crate::domain::pending::Arrival;
use crate::domain::site_state::{Freshness, Reading, SiteState, StoreClock};
use crate::domain::snapshot::Snapshot;
use crate::domain::stored::StoredToken;
use token_sidecar_client::wire::Trigger;

/// How often a site checks that its key still exists: Redis sends no message for a key that is deleted or evicted.
pub const HEARTBEAT: Duration = Duration::from_secs(12);
/// The least time between two readings of the state that messages cause.
const LOOK_PACE: Duration = Duration::from_millis(50);
/// Added to the end of another replica's lock, so that the lock has expired when the state is read.
const LOCK_SLACK: Duration = Duration::from_millis(20);
/// How far the estimate of Redis' clock may be off.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// How often a claim is sent while no answer arrives.
const CLAIM_TRIES: u32 = 3;

pub struct Driver<P: Ports> {
    pub(super) site: Box<SiteContext<P>>,
    pub(super) state: SiteState,
    pub(super) inbox: Inbox,
    /// No announcement before this reading of the clock.
    pub(super) announce_after: Duration,
    /// No reading of the state because of a message before this reading of the clock.
    look_after: Duration,
    /// When the next heartbeat is due, by the clock.
    heartbeat_at: Duration,
    /// A claim that was given up without an answer: it may hold the lock.
    lost_claim: Option<ClaimId>,
    /// How many turns in a row have failed because of Redis.
    pub(super) errors: u32,
}

/// When to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Start nothing new.
    pub graceful: CancellationToken,
    /// Abandon what is under way.
    pub now: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    Stopped,
    Arrived,
    Due,
}

impl<P: Ports> Driver<P> {
    pub(super) fn new(site: Box<SiteContext<P>>, reading: Reading) -> Self {
        // A random start: sites that start together do not send their heartbeats together.
        let heartbeat_at = site.clock.now() + site.jitter.random_span(HEARTBEAT);
        Self {
            state: SiteState::new(reading, &site.policy),
            site,
            inbox: Inbox::default(),
            announce_after: Duration::ZERO,
            look_after: Duration::ZERO,
            heartbeat_at,
            lost_claim: None,
            errors: 0,
        }
    }

    /// Runs a site until it is stopped, from a reading of its state, if there is one. Returns what is left unanswered.
    pub async fn run(site: impl Into<Box<SiteContext<P>>>, reading: Option<Reading>, stop: Stop) -> Inbox {
        let site = site.into();
        site.mailbox.post(Arrival::Startup);
        let Some(reading) = first_reading(&site, reading, &stop).await else { return unanswered(&site) };
        let mut driver = Self::new(site, reading);
        driver.publish();
        while !stop.graceful.is_cancelled() {
            driver.step(&stop).await;
        }
        driver.take_in();
        driver.inbox
    }

    /// One turn. After an error the pause grows until a turn succeeds: Redis may answer some commands and fail others.
    pub(super) async fn step(&mut self, stop: &Stop) {
        match self.turn(stop).await {
            Ok(()) => self.errors = 0,
            Err(error) => {
                self.errors = self.errors.saturating_add(1);
                Box::pin(self.recover(error, stop)).await;
            }
        }
    }

    /// One decision and its consequence.
    async fn turn(&mut self, stop: &Stop) -> Result<(), StoreError> {
        self.take_in();
        if self.state.freshness() == Freshness::Stale {
            return self.look_at_pace(stop).await;
        }
        if self.clock() >= self.heartbeat_at {
            self.heartbeat().await?;
        }
        if self.next_due().is_some_and(|due| due <= self.now()) {
            self.look().await?;
            for arrival in self.state.take_due(self.now(), &self.site.policy.schedule) {
                tracing::debug!(site = %self.site.id, ?arrival, "due");
                self.inbox.pending.fold(arrival);
            }
        }
        let answered = self.inbox.take_answered();
        if answered > 0 {
            self.site.observer.observe(Observation::Decided { decision: DecisionKind::Join, folded: answered });
        }

        let decision = decide(self.state.snapshot(), &self.inbox.pending, &self.site.policy, self.now());
        let leads_to_silence = matches!(decision, Decision::Nothing | Decision::Defer(_) | Decision::Follow);
        if leads_to_silence && !self.inbox.pending.is_empty() && self.state.freshness() != Freshness::Fresh {
            return self.look_at_pace(stop).await;
        }
        self.state.note_reports(&self.inbox.pending);
        // Rare actions are boxed: each of thousands of idle sites would reserve memory for them.
        match decision {
            Decision::Nothing => {
                self.decided(DecisionKind::Nothing);
                self.inbox.answer();
                self.wait(None, stop).await;
                Ok(())
            }
            Decision::Defer(due) => {
                self.wait(Some(due), stop).await;
                Ok(())
            }
            Decision::Follow => {
                self.follow().await;
                Ok(())
            }
            Decision::Backoff => Box::pin(self.announce(self.failed_again(), DecisionKind::Backoff, stop)).await,
            Decision::Repeat => Box::pin(self.announce(self.updated_again(), DecisionKind::Repeat, stop)).await,
            Decision::Verify(trigger) => Box::pin(self.verify(trigger, stop)).await,
            Decision::Solve(trigger) => Box::pin(self.solve(trigger, stop)).await,
        }
    }

    pub(super) fn take_in(&mut self) {
        self.state.take_in(self.site.mailbox.take(), &mut self.inbox);
        self.show_pending();
    }

    /// Claims and runs a refresh, unless the state has changed meanwhile.
    pub(super) async fn solve(&mut self, trigger: Trigger, stop: &Stop) -> Result<(), StoreError> {
        let Some(id) = Box::pin(self.claim(trigger)).await? else { return Ok(()) };
        let folded = self.decided(DecisionKind::Solve);
        let pending = &self.inbox.pending;
        if (pending.unnamed || pending.forced().is_some()) && pending.reported.is_empty() {
            self.state.clear_rejected();
        }
        let offers_bootstrap = pending.forced().is_none() && self.state.snapshot().current.is_none();
        tracing::info!(
            site = %self.site.id, %trigger, folded,
            reason = pending.note.reason, source = pending.note.source, "refresh begins",
        );
        let note = pending.note.clone();
        let claim = Claim { id, trigger, note, state: &self.state, offers_bootstrap, is_lost: AtomicBool::new(false) };
        let outcome = Box::pin(self.site.refresh(&claim, None, &mut self.inbox, &stop.now)).await;
        let id = claim.id;
        if offers_bootstrap {
            self.site.bootstrap = None;
        }
        // Boxed: each of thousands of sites that wait for a solver would reserve memory for it.
        Box::pin(self.conclude(&id, outcome)).await
    }

    /// Takes the lock; `None` where the state has changed or Redis refuses.
    pub(super) async fn claim(&mut self, trigger: Trigger) -> Result<Option<ClaimId>, StoreError> {
        let id = self.site.jitter.claim_id();
        let mut tries = 1;
        let claimed = loop {
            match self.site.store.claim(&self.state.snapshot().etag, &id).await {
                // The lock may have been taken without an answer: repeated for the same claim, the call succeeds.
                Err(StoreError::Away(error)) if tries < CLAIM_TRIES => {
                    tracing::debug!(site = %self.site.id, %error, tries, "failed to claim: trying again");
                    self.site.clock.sleep(self.site.jitter.pause(tries)).await;
                    tries += 1;
                }
                claimed => break claimed,
            }
        };
        match claimed {
            Ok(Checked::Done(at)) => {
                self.state.confirm(StoreClock { at, read_at: self.clock() });
                Ok(Some(id))
            }
            Ok(Checked::Changed(snapshot)) => {
                self.learn(snapshot);
                Ok(None)
            }
            Err(StoreError::Refused(error)) => {
                // No token can be stored now: parsers receive a failure, and the back-off sets the pace.
                tracing::warn!(site = %self.site.id, %trigger, %error, "Redis refuses us");
                self.fail_unrecorded(trigger, &error).await?;
                Ok(None)
            }
            Err(error @ StoreError::Away(_)) => {
                self.lost_claim = Some(id);
                Err(error)
            }
        }
    }

    /// Updates the state after a claimed refresh has ended.
    pub(super) async fn conclude(&mut self, claim: &ClaimId, outcome: RefreshOutcome) -> Result<(), StoreError> {
        match outcome {
            RefreshOutcome::Refreshed(snapshot) => {
                self.learn(*snapshot);
                let snapshot = self.state.snapshot();
                tracing::info!(
                    site = %self.site.id, version = snapshot.version,
                    fingerprint = snapshot.fingerprint().map(tracing::field::display),
                    "token updated",
                );
            }
            RefreshOutcome::Superseded(snapshot) => {
                tracing::info!(site = %self.site.id, "another replica was faster: its outcome counts");
                self.state.drop_unrecorded();
                self.learn(*snapshot);
            }
            RefreshOutcome::Failed(snapshot) => {
                self.state.drop_unrecorded();
                self.learn(*snapshot);
            }
            RefreshOutcome::Unrecorded(failing) => {
                let announced = self.announce_unrecorded(failing).await;
                // Redis could not record the outcome, so the lock is still held.
                self.site.vacate(claim).await;
                return announced;
            }
            RefreshOutcome::Abandoned => {}
        }
        Ok(())
    }

    /// Joins the refresh of another replica: its outcome is the answer.
    async fn follow(&mut self) {
        if let Some(claim) = self.lost_claim.take() {
            // The lock may be held by a lost claim of this process, which does no work.
            self.site.vacate(&claim).await;
            self.state.expire();
            return;
        }
        self.decided(DecisionKind::Follow);
        tracing::debug!(site = %self.site.id, "another replica refreshes: its outcome is the answer");
        self.inbox.join(self.state.snapshot());
    }

    pub(super) fn learn(&mut self, snapshot: Snapshot) {
        let read_at = self.clock();
        if self.state.learn(snapshot, read_at, &self.site.policy) {
            tracing::warn!(site = %self.site.id, "the token's key is gone");
            self.inbox.pending.fold(Arrival::Vanished);
        }
        self.inbox.compare(self.state.snapshot());
        self.heartbeat_at = read_at + self.site.jitter.interval(HEARTBEAT);
        self.publish();
    }

    fn show_pending(&self) {
        self.site.observer.observe(Observation::Pending(!self.inbox.is_empty()));
    }

    /// Publishes the state to observers, and a new token to the mailbox and the outputs.
    fn publish(&self) {
        let snapshot = self.state.snapshot();
        self.site.observer.observe(Observation::Looked(snapshot));
        if let Some(current) = snapshot.current.as_ref().filter(|current| current.refresh().is_some()) {
            self.site.mailbox.stored(snapshot.version, current.token.fingerprint());
        }
        if let Some(stored) = StoredToken::of(self.state.snapshot()) {
            self.site.stored.send_if_modified(|last| {
                let is_new = last.as_ref().is_none_or(|last| !last.is_same(&stored));
                if is_new {
                    *last = Some(Arc::new(stored));
                }
                is_new
            });
        }
    }

    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        let snapshot = self.site.store.look().await?;
        self.learn(snapshot);
        Ok(())
    }

    /// Reads the state because of a message, rate limited.
    async fn look_at_pace(&mut self, stop: &Stop) -> Result<(), StoreError> {
        if self.pause_until(self.look_after, stop).await == Woken::Stopped {
            return Ok(());
        }
        self.take_in();
        self.look_after = self.clock() + LOOK_PACE;
        self.look().await
    }

    /// Checks cheaply whether the key exists, and reads the state where that has changed, or where Redis' clock is not
    /// what is expected: it was set, or this machine was suspended.
    async fn heartbeat(&mut self) -> Result<(), StoreError> {
        self.heartbeat_at = self.clock() + self.site.jitter.interval(HEARTBEAT);
        let sent = self.now();
        let Heartbeat { has_token, at } = self.site.store.heartbeat().await?;
        let is_expected = at >= earlier(sent, CLOCK_TOLERANCE) && at <= later(self.now(), CLOCK_TOLERANCE);
        if is_expected && has_token == self.state.snapshot().current.is_some() {
            return Ok(());
        }
        self.look().await
    }

    /// When the next timed trigger is due; `None` while a refresh of another replica runs.
    fn next_due(&self) -> Option<Timestamp> {
        if self.inbox.has_joined() { None } else { self.state.next_due() }
    }

    /// Waits until something arrives or is due; after joining a refresh, until its lock may have expired.
    async fn wait(&mut self, deferred: Option<Timestamp>, stop: &Stop) {
        self.show_pending();
        let due = [self.next_due(), deferred].into_iter().flatten().min();
        let due = due.map(|due| self.clock() + between(self.now(), due) + Duration::from_millis(1));
        let lock = self.state.snapshot().lock.filter(|_| self.inbox.has_joined());
        let lock_end = lock.map(|left| self.state.clock().read_at + left + LOCK_SLACK);
        let until = [due, lock_end].into_iter().flatten().fold(self.heartbeat_at, Duration::min);
        if self.sleep(until.saturating_sub(self.clock()), stop).await == Woken::Due && self.inbox.has_joined() {
            self.state.expire();
        }
    }

    pub(super) async fn sleep(&self, span: Duration, stop: &Stop) -> Woken {
        tokio::select! {
            biased;
            () = stop.graceful.cancelled() => Woken::Stopped,
            () = self.site.mailbox.changed() => Woken::Arrived,
            () = self.site.clock.sleep(span) => Woken::Due,
        }
    }

    /// Waits for this reading of the clock, even if triggers arrive.
    pub(super) async fn pause_until(&self, until: Duration, stop: &Stop) -> Woken {
        let span = until.saturating_sub(self.clock());
        if span.is_zero() { Woken::Due } else { self.pause(span, stop).await }
    }

    pub(super) async fn pause(&self, span: Duration, stop: &Stop) -> Woken {
        pause(&self.site, span, stop).await
    }

    /// Counts the triggers that a decision answers, and returns how many.
    pub(super) fn decided(&mut self, decision: DecisionKind) -> u64 {
        let folded = self.inbox.count();
        if folded > 0 {
            self.site.observer.observe(Observation::Decided { decision, folded });
        }
        folded
    }

    pub(super) fn clock(&self) -> Duration {
        self.site.clock.now()
    }

    /// An estimate of Redis' clock.
    pub(super) fn now(&self) -> Timestamp {
        self.state.clock().now(self.clock())
    }
}

/// The reading that is given, or else reads the state until Redis answers, with growing pauses. `None` when stopped.
pub(super) async fn first_reading<P: Ports>(
    site: &SiteContext<P>,
    known: Option<Reading>,
    stop: &Stop,
) -> Option<Reading> {
    if known.is_some() {
        return known;
    }
    let mut errors = 0;
    loop {
        match site.store.look().await {
            Ok(snapshot) => return Some(Reading { snapshot, read_at: site.clock.now() }),
            Err(StoreError::Away(error)) => {
                errors += 1;
                tracing::debug!(site = %site.id, %error, errors, "failed to read the state");
            }
            Err(StoreError::Refused(error)) => {
                errors += 1;
                tracing::warn!(site = %site.id, %error, errors, "Redis refuses us: trying again");
            }
        }
        if pause(site, site.jitter.pause(errors), stop).await == Woken::Stopped {
            return None;
        }
    }
}

pub(super) fn unanswered<P: Ports>(site: &SiteContext<P>) -> Inbox {
    let mut inbox = Inbox::default();
    inbox.take_in(site.mailbox.take());
    inbox
}

async fn pause<P: Ports>(site: &SiteContext<P>, span: Duration, stop: &Stop) -> Woken {
    tokio::select! {
        biased;
        () = stop.graceful.cancelled() => Woken::Stopped,
        () = site.clock.sleep(span) => Woken::Due,
    }
}
