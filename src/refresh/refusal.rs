//! What a driver does when a call to Redis fails: it waits for a Redis that is unreachable; where Redis refuses, it
//! announces failures at the pace of the back-off.

use std::time::Duration;

use super::driver::{Driver, HEARTBEAT, Stop};
use super::observation::DecisionKind;
use super::ports::{Jitter as _, Store as _, StoreError};
use super::site::Ports;
use crate::domain::lifetime::{between, later};
use crate::domain::pending::Outcome;
use crate::domain::snapshot::Failing;
use crate::domain::verdict::Pace;
use token_sidecar_client::wire::{FailedCause, Stage, Trigger, whole_second_up};

/// What a failure says of a Redis that refuses.
fn refused(error: &str) -> String {
    format!("commands are refused: {error}")
}

impl<P: Ports> Driver<P> {
    /// Waits until Redis answers again, or announces a failure where it refuses.
    pub(super) async fn recover(&mut self, error: StoreError, stop: &Stop) {
        match error {
            StoreError::Away(error) => {
                if self.errors == 1 {
                    tracing::warn!(site = %self.site.id, %error, "Redis did not answer; what is pending stays pending");
                } else {
                    tracing::debug!(site = %self.site.id, %error, errors = self.errors, "Redis still does not answer");
                }
                self.pause(self.site.jitter.pause(self.errors), stop).await;
                // Not left to the next turn: a successful reading does not show that the failed call would succeed, so
                // the errors go on counting.
                if self.look().await.is_err() {
                    self.state.expire();
                }
            }
            StoreError::Refused(error) => self.recover_from_refusal(&error, stop).await,
        }
    }

    async fn recover_from_refusal(&mut self, error: &str, stop: &Stop) {
        let now = self.now();
        let in_force = self.state.unrecorded().filter(|failing| now < failing.retry_at);
        let Some(in_force) = in_force.cloned() else {
            tracing::warn!(site = %self.site.id, %error, "Redis refuses us");
            let trigger = self.state.snapshot().failing.as_ref().map_or(Trigger::Invalid, |f| f.trigger);
            if let Err(error) = self.fail_unrecorded(trigger, error).await {
                tracing::warn!(site = %self.site.id, %error, "failed to announce a failure");
            }
            return;
        };
        self.take_in();
        if self.inbox.pending.wants_answer() {
            if self.inbox.pending.forced().is_some() {
                // What is refused may be another thing by now.
                self.state.keep_unrecorded(Box::new(Failing { error: refused(error), ..in_force }));
            }
            if let Err(error) = self.announce(self.failed_again(), DecisionKind::Backoff, stop).await {
                tracing::debug!(site = %self.site.id, %error, "failed to announce a failure");
                self.pause(self.site.jitter.pause(self.errors), stop).await;
            }
            return;
        }
        let until_retry = between(self.now(), in_force.retry_at) + Duration::from_millis(1);
        self.sleep(until_retry.min(HEARTBEAT), stop).await;
    }

    /// Announces an attempt that Redis can neither start nor record; that answers all that is pending.
    pub(super) async fn fail_unrecorded(&mut self, trigger: Trigger, error: &str) -> Result<(), StoreError> {
        let attempts = self.state.snapshot().attempts().saturating_add(1);
        let delay = self.site.jitter.backoff(attempts, Pace::Ordinary);
        self.announce_unrecorded(Box::new(Failing {
            attempts,
            retry_at: whole_second_up(later(self.now(), delay)),
            trigger,
            stage: Stage::Store,
            error: refused(error),
        }))
        .await
    }

    /// Announces a failure that Redis cannot record; it is kept in this process instead.
    pub(super) async fn announce_unrecorded(&mut self, failing: Box<Failing>) -> Result<(), StoreError> {
        self.state.keep_unrecorded(failing);
        let Some(event) = self.state.unrecorded().map(|failing| self.failed(failing, FailedCause::Attempt)) else {
            return Ok(());
        };
        self.take_in();
        match self.site.store.publish(&event).await {
            Ok(()) => {}
            Err(StoreError::Refused(error)) => {
                tracing::error!(site = %self.site.id, %error, "failed to announce a failure: parsers receive no answer");
            }
            Err(error @ StoreError::Away(_)) => return Err(error),
        }
        self.inbox.settle(Outcome::Failed);
        Ok(())
    }
}
