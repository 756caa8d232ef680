//! A refresh from its claim to its outcome: attempt → commit, under a lease that is renewed meanwhile.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::{Stage, whole_second_up};
use tokio_util::sync::CancellationToken;

use super::attempt::{Found, Missed, Start};
use super::observation::{CommitResult, Observation, Observer, OutcomeKind, Step};
use super::ports::{Chance, ClaimId, Clock, Commit, Committed, FailedAttempt, KeyTtl, Recorded, Store, StoreError};
use super::site::{Site, World};
use super::store_time::StoreTime;
use crate::domain::inbox::{Note, Outcome};
use crate::domain::lifetime::{later, renew_at};
use crate::domain::snapshot::{Failing, Snapshot};
use crate::domain::verdict::{Failure, Pace};

/// How often a store that says no is asked again before the attempt counts as failed.
const REFUSALS: u32 = 3;

/// A claim that was taken.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) id: ClaimId,
    pub(super) start: Start<'a>,
    /// The greatest version that this process has ever seen.
    pub(super) floor: u64,
    pub(super) note: Note,
}

/// What is done under a claim.
#[derive(Debug)]
pub(super) enum Work {
    /// Try the sources.
    Attempt,
    /// Make a token ours that the key holds already; it keeps the TTL it has.
    Adopt(Box<Found>),
}

/// How a refresh ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// A new token is stored and announced.
    Refreshed(Box<Snapshot>),
    /// Somebody else's newer token stands, or somebody else's outcome counts.
    Superseded(Box<Snapshot>),
    /// The attempt failed; noted and announced.
    Failed(Box<Snapshot>),
    /// The attempt failed, and the store cannot even note it.
    Unrecorded(Box<Failing>),
    /// Given up at shutdown: the lock is free.
    Abandoned,
}

impl<W: World> Site<W> {
    /// Runs a claimed refresh to its end, or until `abandon`.
    pub(super) async fn refresh(&self, claim: &Claim<'_>, work: Work, abandon: &CancellationToken) -> Ended {
        let trigger = claim.start.trigger;
        self.observer.observe(Observation::Entered(Step::Claimed));
        // Given up, the work is gone before the lock is freed: it may hold the way to Redis.
        let ended = {
            let work = pin!(async {
                match work {
                    Work::Adopt(found) => {
                        let ttl = KeyTtl::Kept(found.ttl);
                        Box::pin(self.commit(claim, found, ttl)).await
                    }
                    Work::Attempt => match self.attempt(&claim.start).await {
                        Ok(found) => {
                            let ttl = KeyTtl::New(found.ttl);
                            Box::pin(self.commit(claim, found, ttl)).await
                        }
                        Err(missed) => Box::pin(self.fail(claim, missed)).await,
                    },
                }
            });
            self.under_lease(claim, work, abandon).await
        };
        let (outcome, stage) = match &ended {
            Some(Ended::Refreshed(_)) => (OutcomeKind::Refreshed, None),
            Some(Ended::Superseded(_)) => (OutcomeKind::Superseded, None),
            Some(Ended::Failed(snapshot)) => (OutcomeKind::Failed, snapshot.failing.as_ref().map(|f| f.stage)),
            Some(Ended::Unrecorded(failing)) => (OutcomeKind::Failed, Some(failing.stage)),
            Some(Ended::Abandoned) | None => (OutcomeKind::Abandoned, None),
        };
        self.observer.observe(Observation::Finished { trigger, outcome, stage });
        let Some(ended) = ended else {
            self.vacate(&claim.id).await;
            return Ended::Abandoned;
        };
        ended
    }

    /// Stores what was found, as often as it takes while the store is away.
    async fn commit(&self, claim: &Claim<'_>, found: Box<Found>, ttl: KeyTtl) -> Ended {
        self.observer.observe(Observation::Entered(Step::Commit));
        let began = self.clock.now();
        let mut time = claim.start.time;
        let last_moment = found.expires_at.unwrap_or_else(|| later(time.now(began), found.ttl));
        let mut commit = Commit {
            claim: claim.id.clone(),
            seen: claim.start.snapshot.version,
            floor: claim.floor,
            candidate: found.candidate,
            ttl,
            expires_at: found.expires_at,
            refresh_at: None,
            trigger: found.trigger,
            source: found.source,
            timings: found.timings,
            now: time.at,
            note: claim.note.clone(),
        };
        let (mut refusals, mut absences) = (0, 0);
        // What arrived up to here is answered by the announcement that belongs to the commit. What arrives
        // later is so only if that announcement is heard after it: a repetition publishes nothing.
        let mut answered = self.mailbox.take();
        let heard = self.mailbox.outcomes();
        let failure = loop {
            let asked = self.clock.now();
            commit.now = time.now(asked);
            if commit.now >= last_moment {
                break "the store was away until the token expired".to_owned();
            }
            commit.refresh_at = self.refresh_at(commit.now, found.ttl, found.expires_at);
            match self.store.commit(&commit).await {
                Ok(Committed::Stored(snapshot)) => {
                    self.mailbox.join(&answered);
                    answered.settle(Outcome::Refreshed(commit.candidate.token.fingerprint()));
                    self.mailbox.restore(answered);
                    self.observer.observe(Observation::Commit(CommitResult::Stored));
                    self.observer.observe(Observation::Timed(Step::Commit, self.clock.now().saturating_sub(began)));
                    self.hear_own_outcome(heard).await;
                    return Ended::Refreshed(Box::new(snapshot));
                }
                Ok(Committed::Superseded(snapshot)) => {
                    self.observer.observe(Observation::Commit(CommitResult::Superseded));
                    self.mailbox.restore(answered);
                    return Ended::Superseded(Box::new(snapshot));
                }
                Ok(Committed::Clock(snapshot)) => time = StoreTime { at: snapshot.at, read_at: asked },
                Err(StoreError::Refused(error)) => {
                    self.observer.observe(Observation::Commit(CommitResult::Error));
                    refusals += 1;
                    if refusals >= REFUSALS {
                        break format!("Redis refused to store the token: {error}");
                    }
                    self.clock.sleep(self.chance.pause(refusals)).await;
                }
                Err(StoreError::Away(error)) => {
                    self.observer.observe(Observation::Commit(CommitResult::Error));
                    absences += 1;
                    tracing::warn!(site = %self.id, %error, absences, "failed to store the new token: trying again");
                    self.clock.sleep(self.chance.pause(absences)).await;
                }
            }
        };
        self.mailbox.restore(answered);
        let failure = Failure { stage: Stage::Store, error: failure, pace: Pace::Ordinary };
        Box::pin(self.fail(claim, Missed { failure, source: commit.source, timings: commit.timings })).await
    }

    /// Notes a failure, where the store can.
    async fn fail(&self, claim: &Claim<'_>, missed: Missed) -> Ended {
        let snapshot = claim.start.snapshot;
        let mut time = claim.start.time;
        let attempt = snapshot.attempts().saturating_add(1);
        let delay = self.chance.backoff(attempt, missed.failure.pace);
        let mut failed = FailedAttempt {
            claim: claim.id.clone(),
            seen: snapshot.version,
            failure: missed.failure,
            attempt,
            retry_at: snapshot.at,
            now: snapshot.at,
            valid_until: snapshot.current.as_ref().and_then(|c| c.ends_at()),
            trigger: claim.start.trigger,
            source: missed.source,
            timings: missed.timings,
            note: claim.note.clone(),
        };
        tracing::warn!(
            site = %self.id, trigger = %failed.trigger, stage = %failed.failure.stage, attempt,
            retry.in_s = delay.as_secs(), error = %failed.failure.error, "refresh failed",
        );
        let (mut refusals, mut absences) = (0, 0);
        let answered = self.mailbox.take();
        let heard = self.mailbox.outcomes();
        loop {
            let asked = self.clock.now();
            failed.now = time.now(asked);
            failed.retry_at = whole_second_up(later(failed.now, delay));
            match self.store.fail(&failed).await {
                Ok(Recorded::Done(snapshot)) => {
                    self.mailbox.join(&answered);
                    self.hear_own_outcome(heard).await;
                    return Ended::Failed(Box::new(snapshot));
                }
                Ok(Recorded::Dropped(snapshot)) => {
                    self.mailbox.restore(answered);
                    return Ended::Superseded(Box::new(snapshot));
                }
                Ok(Recorded::Clock(snapshot)) => time = StoreTime { at: snapshot.at, read_at: asked },
                Err(StoreError::Refused(error)) => {
                    refusals += 1;
                    if refusals >= REFUSALS {
                        self.mailbox.restore(answered);
                        tracing::error!(site = %self.id, %error, "failed to note the failure in Redis");
                        // Whoever waits is told all the same; the caller announces it without the keys.
                        return Ended::Unrecorded(Box::new(failing(&failed)));
                    }
                    self.clock.sleep(self.chance.pause(refusals)).await;
                }
                Err(StoreError::Away(error)) => {
                    absences += 1;
                    tracing::warn!(site = %self.id, %error, absences, "failed to note the failure: trying again");
                    self.clock.sleep(self.chance.pause(absences)).await;
                }
            }
        }
    }

    /// When a token that is stored now will be renewed: at the next tick, or ahead of its end.
    pub(super) fn refresh_at(&self, now: Timestamp, ttl: Duration, expires_at: Option<Timestamp>) -> Option<Timestamp> {
        let key_end = later(now, ttl);
        let renewal = renew_at(now, expires_at.map_or(key_end, |e| e.min(key_end)));
        let tick = self.policy.schedule.next_after(now);
        Some(tick.map_or(renewal, |t| t.min(renewal)))
    }

    /// Messages that came before our own outcome may still be on their way to us. Waits until the outcome
    /// itself has come the same way, so that none of them is taken for a new one.
    async fn hear_own_outcome(&self, heard_before: u64) {
        const LONGEST: Duration = Duration::from_millis(250);
        let heard = async {
            while self.mailbox.outcomes() == heard_before {
                self.mailbox.changed().await;
            }
        };
        tokio::select! {
            biased;
            () = heard => {}
            () = self.clock.sleep(LONGEST) => {}
        }
    }
}

fn failing(failed: &FailedAttempt) -> Failing {
    Failing {
        attempts: failed.attempt,
        retry_at: failed.retry_at,
        trigger: failed.trigger,
        stage: failed.failure.stage,
        error: failed.failure.error.clone(),
    }
}
