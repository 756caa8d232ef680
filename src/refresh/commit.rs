//! A refresh from its claim to its outcome: attempt → commit, under a lease that is renewed meanwhile.

use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptError, Found};
use super::observation::{Observation, Observer, OutcomeKind, Step};
use super::ports::{AttemptEnd, ClaimId, Clock, Jitter, NewToken, Record, Recorded, Store, StoreError};
use super::site::{Ports, SiteContext};
use crate::domain::announcement;
use crate::domain::inbox::Inbox;
use crate::domain::lifetime::{later, renew_at};
use crate::domain::pending::{Note, Outcome};
use crate::domain::site_state::{SiteState, StoreClock};
use crate::domain::snapshot::{Failing, Refresh, Snapshot};
use crate::domain::verdict::{Failure, Pace, Timings};
use token_sidecar_client::wire::{FailedCause, Stage, Trigger, whole_second_up};

/// How often a write that Redis refuses is tried before the attempt counts as failed.
const REFUSALS: u32 = 3;
/// How long the process waits for its own announcement after a commit.
const OWN_OUTCOME_TIMEOUT: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) id: ClaimId,
    pub(super) trigger: Trigger,
    /// From the reports, for the history.
    pub(super) note: Note,
    /// What was known when the lock was taken.
    pub(super) state: &'a SiteState,
    /// Whether the configured token may be used: once, where Redis has none and no solve is forced.
    pub(super) offers_bootstrap: bool,
    /// Another replica has the lock, or stored a token.
    pub(super) is_lost: AtomicBool,
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
    /// Runs a claimed refresh to its end, or until `abandon`: an attempt, or the adoption of what is in the key. Triggers
    /// that its announcement answers are settled in the inbox; the others stay there.
    pub(super) async fn refresh(
        &self,
        claim: &Claim<'_>,
        adopted: Option<Box<Found>>,
        inbox: &mut Inbox,
        abandon: &CancellationToken,
    ) -> RefreshOutcome {
        self.observer.observe(Observation::Entered(Step::Claimed));
        // An abandoned refresh is dropped before the lock is freed: it may hold the connection to Redis.
        let outcome = {
            let work = pin!(async {
                let found = match adopted {
                    Some(found) => Ok(found),
                    None => self.attempt(claim).await,
                };
                match found {
                    Ok(found) => Box::pin(self.commit(claim, *found, inbox)).await,
                    Err(error) => Box::pin(self.fail(claim, error, inbox)).await,
                }
            });
            self.under_lease(claim, work, abandon).await.unwrap_or(RefreshOutcome::Abandoned)
        };
        let kind = match &outcome {
            RefreshOutcome::Refreshed(_) => OutcomeKind::Refreshed,
            RefreshOutcome::Superseded(_) => OutcomeKind::Superseded,
            RefreshOutcome::Failed(_) | RefreshOutcome::Unrecorded(_) => OutcomeKind::Failed,
            RefreshOutcome::Abandoned => OutcomeKind::Abandoned,
        };
        self.observer.observe(Observation::Finished(kind, claim.trigger));
        if kind == OutcomeKind::Abandoned {
            self.vacate(&claim.id).await;
        }
        outcome
    }

    async fn commit(&self, claim: &Claim<'_>, found: Found, inbox: &mut Inbox) -> RefreshOutcome {
        self.observer.observe(Observation::Entered(Step::Commit));
        let Found { candidate, ttl, source, proxy, trigger, timings } = found;
        let expires_at = candidate.token.claims().expires_at;
        let last_moment = expires_at.unwrap_or_else(|| later(claim.state.clock().now(self.clock.now()), ttl.span()));
        let outcome = Outcome::Refreshed(candidate.token.fingerprint());
        let end_at = |now| {
            let (source, user_agent) = (source.clone(), candidate.user_agent.clone());
            let refresh = Refresh { at: now, trigger, source, user_agent };
            let refresh_at = self.refresh_at(now, ttl.span(), expires_at);
            let key = self.store.token_key();
            AttemptEnd::Token(Box::new(NewToken {
                event: announcement::refreshed(&self.id, key, &candidate.token, &refresh, ttl.span(), refresh_at),
                candidate: candidate.clone(),
                ttl,
                proxy,
                minimum_version: claim.state.minimum_version(),
            }))
        };
        match self.record(claim, inbox, outcome, last_moment, (&source, timings), end_at).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let failure = Failure { stage: Stage::Store, error, pace: Pace::Ordinary };
                self.fail(claim, AttemptError { failure, source, timings }, inbox).await
            }
        }
    }

    /// Records a failure, where Redis can.
    async fn fail(&self, claim: &Claim<'_>, error: AttemptError, inbox: &mut Inbox) -> RefreshOutcome {
        let AttemptError { failure, source, timings } = error;
        let snapshot = claim.state.snapshot();
        let attempts = snapshot.attempts().saturating_add(1);
        let delay = self.jitter.backoff(attempts, failure.pace);
        let (stage, error) = (failure.stage, failure.error);
        let mut failing = Failing { attempts, retry_at: snapshot.at, trigger: claim.trigger, stage, error };
        tracing::warn!(
            site = %self.id, trigger = %failing.trigger, stage = %failing.stage, attempt = attempts,
            retry.in_s = delay.as_secs(), error = %failing.error, "refresh failed",
        );
        let end_at = |now| {
            failing.retry_at = whole_second_up(later(now, delay));
            AttemptEnd::Failure(announcement::failed(&self.id, FailedCause::Attempt, &failing, snapshot))
        };
        match self.record(claim, inbox, Outcome::Failed, Timestamp::MAX, (&source, timings), end_at).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(site = %self.id, %error, "failed to record the failure in Redis");
                // The driver announces it without writing a key.
                RefreshOutcome::Unrecorded(Box::new(failing))
            }
        }
    }

    /// Writes and announces how an attempt ended: again while Redis is unreachable, a few times where it refuses. Fails
    /// with the reason for which it cannot be written.
    async fn record(
        &self,
        claim: &Claim<'_>,
        inbox: &mut Inbox,
        outcome: Outcome,
        last_moment: Timestamp,
        (source, timings): (&str, Timings),
        mut end_at: impl FnMut(Timestamp) -> AttemptEnd,
    ) -> Result<RefreshOutcome, String> {
        // The announcement answers what has arrived up to here. What arrives later is answered only where the
        // announcement is received after it: a repeated call publishes nothing.
        inbox.take_in(self.mailbox.take());
        let outcomes = self.mailbox.outcomes();
        let (mut clock, began) = (claim.state.clock(), self.clock.now());
        let (mut refusals, mut absences) = (0, 0);
        loop {
            let asked = self.clock.now();
            let now = clock.now(asked);
            if now >= last_moment {
                return Err("Redis was away until the token expired".to_owned());
            }
            let record = Record {
                claim: claim.id.clone(),
                version_at_claim: claim.state.snapshot().version,
                now,
                source: source.to_owned(),
                timings,
                note: claim.note.clone(),
                end: end_at(now),
            };
            let error = match self.store.record(&record).await {
                Ok(Recorded::Done(snapshot)) => {
                    inbox.settle(outcome);
                    if outcome != Outcome::Failed {
                        let took = self.clock.now().saturating_sub(began);
                        self.observer.observe(Observation::Timed(Step::Commit, took));
                    }
                    self.await_own_outcome(outcomes).await;
                    let snapshot = Box::new(snapshot);
                    return Ok(match outcome {
                        Outcome::Refreshed(_) => RefreshOutcome::Refreshed(snapshot),
                        Outcome::Failed => RefreshOutcome::Failed(snapshot),
                    });
                }
                Ok(Recorded::Superseded(snapshot)) => return Ok(RefreshOutcome::Superseded(Box::new(snapshot))),
                Ok(Recorded::Clock(snapshot)) => {
                    clock = StoreClock { at: snapshot.at, read_at: asked };
                    continue;
                }
                Err(error) => error,
            };
            match error {
                StoreError::Refused(error) if refusals + 1 == REFUSALS => {
                    return Err(format!("the write is refused: {error}"));
                }
                StoreError::Refused(_) => refusals += 1,
                StoreError::Away(error) => {
                    absences += 1;
                    tracing::warn!(site = %self.id, %error, absences, "failed to write the outcome: trying again");
                }
            }
            self.clock.sleep(self.jitter.pause(refusals + absences)).await;
        }
    }

    /// When a token that is stored now is renewed: at the next tick, or ahead of its end.
    fn refresh_at(&self, now: Timestamp, ttl: Duration, expires_at: Option<Timestamp>) -> Option<Timestamp> {
        let key_end = later(now, ttl);
        let renewal = renew_at(now, expires_at.map_or(key_end, |e| e.min(key_end)));
        let tick = self.policy.schedule.next_after(now);
        tick.into_iter().chain([renewal]).min()
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
