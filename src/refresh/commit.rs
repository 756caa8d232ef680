//! A refresh from its claim to its outcome: attempt → commit, under a lease that is renewed meanwhile.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptError, Found};
use super::observation::{Observation, Observer, OutcomeKind, Step};
use super::ports::{ClaimId, Clock, Commit, Committed, FailedAttempt, Jitter, KeyTtl, Recorded, Store, StoreError};
use super::site::{Ports, SiteContext};
use crate::domain::announcement;
use crate::domain::inbox::Inbox;
use crate::domain::lifetime::{later, renew_at};
use crate::domain::pending::{Note, Outcome};
use crate::domain::site_state::{SiteState, StoreClock};
use crate::domain::snapshot::{Failing, Refresh, Snapshot};
use crate::domain::verdict::{Failure, Pace};
use token_sidecar_client::wire::{FailedCause, Stage, Trigger, whole_second_up};

/// How often a write that Redis refuses is tried before the attempt counts as failed.
const REFUSALS: u32 = 3;
/// How long the process waits for its own announcement after a commit.
const OWN_OUTCOME_TIMEOUT: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) id: ClaimId,
    pub(super) trigger: Trigger,
    /// What the reporters said, for the history.
    pub(super) note: Note,
    /// What was known when the lock was taken.
    pub(super) state: &'a SiteState,
    /// Whether the configured token may be used: once, where Redis has none and no solve is forced.
    pub(super) offers_bootstrap: bool,
}

#[derive(Debug)]
pub(super) enum Work {
    Attempt,
    /// Adopt a token that another program wrote into the key, with its TTL.
    Adopt(Box<Found>),
}

#[derive(Debug)]
pub(super) enum RefreshOutcome {
    Refreshed(Box<Snapshot>),
    /// Another replica has stored a newer token, or holds the lock now: its outcome is the answer.
    Superseded(Box<Snapshot>),
    /// The failure is recorded and announced.
    Failed(Box<Snapshot>),
    /// The attempt failed, and Redis cannot record it.
    Unrecorded(Box<Failing>),
    /// Abandoned at shutdown; the lock is free.
    Abandoned,
}

impl<P: Ports> SiteContext<P> {
    /// Runs a claimed refresh to its end, or until `abandon`. Triggers that its announcement answers are settled in the
    /// inbox; the others stay there.
    pub(super) async fn refresh(
        &self,
        claim: &Claim<'_>,
        work: Work,
        inbox: &mut Inbox,
        abandon: &CancellationToken,
    ) -> RefreshOutcome {
        self.observer.observe(Observation::Entered(Step::Claimed));
        // An abandoned refresh is dropped before the lock is freed: it may hold the connection to Redis.
        let outcome = {
            let work = pin!(async {
                match work {
                    Work::Adopt(found) => {
                        let ttl = KeyTtl::Kept(found.ttl);
                        Box::pin(self.commit(claim, found, ttl, inbox)).await
                    }
                    Work::Attempt => match self.attempt(claim).await {
                        Ok(found) => {
                            let ttl = KeyTtl::New(found.ttl);
                            Box::pin(self.commit(claim, found, ttl, inbox)).await
                        }
                        Err(error) => Box::pin(self.fail(claim, error, inbox)).await,
                    },
                }
            });
            self.under_lease(claim, work, abandon).await
        };
        self.observer.observe(Observation::Finished(match &outcome {
            Some(RefreshOutcome::Refreshed(_)) => OutcomeKind::Refreshed,
            Some(RefreshOutcome::Superseded(_)) => OutcomeKind::Superseded,
            Some(RefreshOutcome::Failed(_) | RefreshOutcome::Unrecorded(_)) => OutcomeKind::Failed,
            Some(RefreshOutcome::Abandoned) | None => OutcomeKind::Abandoned,
        }));
        let Some(outcome) = outcome else {
            self.vacate(&claim.id).await;
            return RefreshOutcome::Abandoned;
        };
        outcome
    }

    /// Stores what was found; tries again while Redis is unreachable.
    async fn commit(&self, claim: &Claim<'_>, found: Box<Found>, ttl: KeyTtl, inbox: &mut Inbox) -> RefreshOutcome {
        self.observer.observe(Observation::Entered(Step::Commit));
        let began = self.clock.now();
        let mut time = claim.state.clock();
        let last_moment = found.expires_at.unwrap_or_else(|| later(time.now(began), found.ttl));
        let (mut refusals, mut absences) = (0, 0);
        // The announcement of the commit answers what has arrived up to here. What arrives later is answered only where
        // that announcement is received after it: a repeated commit publishes nothing.
        inbox.take_in(self.mailbox.take());
        let outcomes = self.mailbox.outcomes();
        let error = loop {
            let asked = self.clock.now();
            let now = time.now(asked);
            if now >= last_moment {
                break "Redis was away until the token expired".to_owned();
            }
            let candidate = found.candidate.clone();
            let refresh = Refresh {
                at: now,
                trigger: found.trigger,
                source: found.source.clone(),
                user_agent: candidate.user_agent.clone(),
            };
            let refresh_at = self.refresh_at(now, found.ttl, found.expires_at);
            let key = self.store.token_key();
            let commit = Commit {
                claim: claim.id.clone(),
                seen: claim.state.snapshot().version,
                floor: claim.state.minimum_version(),
                event: announcement::refreshed(&self.id, key, &candidate.token, &refresh, found.ttl, refresh_at),
                candidate,
                ttl,
                timings: found.timings,
                now,
                note: claim.note.clone(),
            };
            match self.store.commit(&commit).await {
                Ok(Committed::Stored(snapshot)) => {
                    inbox.settle(Outcome::Refreshed(found.candidate.token.fingerprint()));
                    self.observer.observe(Observation::Timed(Step::Commit, self.clock.now().saturating_sub(began)));
                    self.await_own_outcome(outcomes).await;
                    return RefreshOutcome::Refreshed(Box::new(snapshot));
                }
                Ok(Committed::Superseded(snapshot)) => return RefreshOutcome::Superseded(Box::new(snapshot)),
                Ok(Committed::Clock(snapshot)) => time = StoreClock { at: snapshot.at, read_at: asked },
                Err(StoreError::Refused(error)) => {
                    refusals += 1;
                    if refusals >= REFUSALS {
                        break format!("Redis refused to store the token: {error}");
                    }
                    self.clock.sleep(self.jitter.pause(refusals)).await;
                }
                Err(StoreError::Away(error)) => {
                    absences += 1;
                    tracing::warn!(site = %self.id, %error, absences, "failed to store the new token: trying again");
                    self.clock.sleep(self.jitter.pause(absences)).await;
                }
            }
        };
        let failure = Failure { stage: Stage::Store, error, pace: Pace::Ordinary };
        let error = AttemptError { failure, source: found.source, timings: found.timings };
        self.fail(claim, error, inbox).await
    }

    /// Records a failure, where Redis can.
    async fn fail(&self, claim: &Claim<'_>, error: AttemptError, inbox: &mut Inbox) -> RefreshOutcome {
        let snapshot = claim.state.snapshot();
        let mut time = claim.state.clock();
        let attempt = snapshot.attempts().saturating_add(1);
        let delay = self.jitter.backoff(attempt, error.failure.pace);
        let mut failing = Failing {
            attempts: attempt,
            retry_at: snapshot.at,
            trigger: claim.trigger,
            stage: error.failure.stage,
            error: error.failure.error,
        };
        tracing::warn!(
            site = %self.id, trigger = %failing.trigger, stage = %failing.stage, attempt,
            retry.in_s = delay.as_secs(), error = %failing.error, "refresh failed",
        );
        let (mut refusals, mut absences) = (0, 0);
        inbox.take_in(self.mailbox.take());
        let outcomes = self.mailbox.outcomes();
        loop {
            let asked = self.clock.now();
            let now = time.now(asked);
            failing.retry_at = whole_second_up(later(now, delay));
            let failed = FailedAttempt {
                claim: claim.id.clone(),
                seen: snapshot.version,
                event: announcement::failed(&self.id, FailedCause::Attempt, &failing, snapshot),
                now,
                source: error.source.clone(),
                timings: error.timings,
                note: claim.note.clone(),
            };
            match self.store.fail(&failed).await {
                Ok(Recorded::Done(snapshot)) => {
                    inbox.settle(Outcome::Failed);
                    self.await_own_outcome(outcomes).await;
                    return RefreshOutcome::Failed(Box::new(snapshot));
                }
                Ok(Recorded::Dropped(snapshot)) => return RefreshOutcome::Superseded(Box::new(snapshot)),
                Ok(Recorded::Clock(snapshot)) => time = StoreClock { at: snapshot.at, read_at: asked },
                Err(StoreError::Refused(error)) => {
                    refusals += 1;
                    if refusals >= REFUSALS {
                        tracing::error!(site = %self.id, %error, "failed to record the failure in Redis");
                        // The driver announces it without writing a key.
                        return RefreshOutcome::Unrecorded(Box::new(failing));
                    }
                    self.clock.sleep(self.jitter.pause(refusals)).await;
                }
                Err(StoreError::Away(error)) => {
                    absences += 1;
                    tracing::warn!(site = %self.id, %error, absences, "failed to record the failure: trying again");
                    self.clock.sleep(self.jitter.pause(absences)).await;
                }
            }
        }
    }

    /// When a token that is stored now is renewed: at the next tick, or ahead of its end.
    pub(super) fn refresh_at(&self, now: Timestamp, ttl: Duration, expires_at: Option<Timestamp>) -> Option<Timestamp> {
        let key_end = later(now, ttl);
        let renewal = renew_at(now, expires_at.map_or(key_end, |e| e.min(key_end)));
        let tick = self.policy.schedule.next_after(now);
        Some(tick.map_or(renewal, |t| t.min(renewal)))
    }

    /// The answer to a commit and the messages published before it travel over two connections. Waits until the
    /// subscription has received this process' own announcement, so that a report sent before the commit does not count
    /// as a new one.
    async fn await_own_outcome(&self, outcomes_before: u64) {
        let received = async {
            while self.mailbox.outcomes() == outcomes_before {
                self.mailbox.changed().await;
            }
        };
        tokio::select! {
            biased;
            () = received => {}
            () = self.clock.sleep(OWN_OUTCOME_TIMEOUT) => {}
        }
    }
}
