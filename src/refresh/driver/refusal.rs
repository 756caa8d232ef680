//! A store that fails a turn: waited for where it is away; where it says no, whoever waits is told, at the pace of
//! the back-off.

use std::time::Duration;

use token_sidecar_client::wire::{FailedCause, Stage, Trigger, whole_second_up};

use super::pulse::rest;
use super::{Driver, Stop};
use crate::domain::lifetime::{between, later};
use crate::domain::snapshot::Failing;
use crate::domain::verdict::Pace;
use crate::refresh::beat::BEAT;
use crate::refresh::commit::Ended;
use crate::refresh::observation::DecisionKind;
use crate::refresh::ports::{Chance, ClaimId, Store as _, StoreError};
use crate::refresh::site::World;

impl<W: World> Driver<W> {
    /// After an error of the store: waits until it answers, or answers in its place where it refuses.
    pub(super) async fn endure(&mut self, error: StoreError, stop: &Stop) {
        self.errors = self.errors.saturating_add(1);
        match error {
            StoreError::Away(error) => {
                if self.errors == 1 {
                    tracing::warn!(site = %self.site.id, %error, "Redis did not answer; what is pending stays pending");
                } else {
                    tracing::debug!(site = %self.site.id, %error, errors = self.errors, "Redis still does not answer");
                }
                self.recover(stop).await;
            }
            StoreError::Refused(error) => Box::pin(self.refused(&error, stop)).await,
        }
    }

    pub(super) async fn refused(&mut self, error: &str, stop: &Stop) {
        let in_force = self.unrecorded.as_ref().filter(|failing| self.now() < failing.retry_at);
        let Some(retry_at) = in_force.map(|failing| failing.retry_at) else {
            tracing::warn!(site = %self.site.id, %error, "Redis refuses us");
            let trigger = self.seen.snapshot.failing.as_ref().map_or(Trigger::Invalid, |f| f.trigger);
            if let Err(error) = self.fail_unrecorded(trigger, error).await {
                tracing::warn!(site = %self.site.id, %error, "failed to announce a failure");
            }
            return;
        };
        let inbox = self.site.mailbox.take();
        if inbox.wants_answer() {
            if let Err(error) = self.announce(inbox, self.failed_again(), DecisionKind::Backoff, stop).await {
                tracing::debug!(site = %self.site.id, %error, "failed to announce a failure");
                let _stopped_or_over = rest(&self.site, stop, self.errors).await;
            }
            return;
        }
        let until_retry = between(self.now(), retry_at) + Duration::from_millis(1);
        self.sleep(stop, until_retry.min(BEAT)).await;
    }

    /// Takes in how a claimed refresh ended. Where the store could not note the outcome, it has not freed the lock
    /// with it either: once all have heard of it, nobody has to wait for the lock's end.
    pub(super) async fn release(&mut self, claim: &ClaimId, ended: Ended) -> Result<(), StoreError> {
        let is_unrecorded = matches!(ended, Ended::Unrecorded(_));
        let concluded = self.conclude(ended).await;
        if is_unrecorded {
            self.site.vacate(claim).await;
        }
        concluded
    }

    /// Announces an attempt that the store can neither begin nor note; that answers all that is pending.
    pub(super) async fn fail_unrecorded(&mut self, trigger: Trigger, error: &str) -> Result<(), StoreError> {
        let attempts = self.seen.snapshot.attempts().saturating_add(1);
        let delay = self.site.chance.backoff(attempts, Pace::Ordinary);
        self.conclude(Ended::Unrecorded(Box::new(Failing {
            attempts,
            retry_at: whole_second_up(later(self.now(), delay)),
            trigger,
            stage: Stage::Store,
            error: format!("Redis refuses us: {error}"),
        })))
        .await
    }

    /// Announces a failure that the store cannot note; it is kept here instead.
    pub(super) async fn tell_unrecorded(&mut self, mut failing: Box<Failing>) -> Result<(), StoreError> {
        // What was noted before holds on: only what is noted later takes its place.
        let noted = self.seen.snapshot.failing.as_ref().map(|before| before.retry_at);
        failing.retry_at = noted.map_or(failing.retry_at, |noted| noted.max(failing.retry_at));
        let event = self.failed(&failing, FailedCause::Attempt);
        self.unrecorded = Some(failing);
        self.overlay();
        let answered = self.site.mailbox.take();
        match self.site.store.publish(&event).await {
            Ok(()) => {}
            Err(StoreError::Refused(error)) => {
                tracing::error!(site = %self.site.id, %error, "failed to announce a failure: nobody can be told");
            }
            Err(error @ StoreError::Away(_)) => {
                self.site.mailbox.restore(answered);
                return Err(error);
            }
        }
        Ok(())
    }
}
