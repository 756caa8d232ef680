//! Answers without a solve: the current token or the failure in force, announced again.

use std::time::Duration;

use super::driver::{Driver, Stop};
use super::observation::DecisionKind;
use super::ports::{Checked, Store as _, StoreError};
use super::site::Ports;
use crate::domain::announcement;
use crate::domain::snapshot::Failing;
use token_sidecar_client::wire::{Event, FailedCause};

/// The least time between two announcements without a solve: a burst leads to twenty a second at most.
const ANNOUNCEMENT_PACE: Duration = Duration::from_millis(50);

impl<P: Ports> Driver<P> {
    /// Publishes an answer without a solve to all that is pending, rate limited.
    pub(super) async fn announce(
        &mut self,
        event: Option<Event>,
        decision: DecisionKind,
        stop: &Stop,
    ) -> Result<(), StoreError> {
        let Some(event) = event else {
            self.state.expire();
            return Ok(());
        };
        if self.clock() < self.announce_after {
            // What arrives meanwhile may ask for more than this answer.
            self.pause_until(self.announce_after, stop).await;
            return Ok(());
        }
        if self.state.unrecorded().is_some() {
            // Keys cannot be written, so there is no state to compare with.
            self.site.store.publish(&event).await?;
            self.decided(decision);
            self.inbox.answer();
        } else {
            let done = match self.site.store.announce(&self.state.snapshot().etag, &event).await? {
                Checked::Done(snapshot) => snapshot,
                Checked::Changed(snapshot) => {
                    self.learn(snapshot);
                    return Ok(());
                }
            };
            self.decided(decision);
            self.inbox.answer();
            self.learn(done);
        }
        self.announce_after = self.clock() + ANNOUNCEMENT_PACE;
        Ok(())
    }

    pub(super) fn updated_again(&self) -> Option<Event> {
        let (snapshot, now) = (self.state.snapshot(), self.now());
        let tick = self.site.policy.schedule.next_after(now);
        let (key, minimum_version) = (self.site.store.token_key(), self.state.minimum_version());
        announcement::repeated(&self.site.id, key, snapshot, minimum_version, tick, now).map(Event::Updated)
    }

    pub(super) fn failed_again(&self) -> Option<Event> {
        let failing = self.state.snapshot().failing.as_ref()?;
        Some(self.failed(failing, FailedCause::Repeated))
    }

    pub(super) fn failed(&self, failing: &Failing, cause: FailedCause) -> Event {
        Event::Failed(announcement::failed(&self.site.id, cause, failing, self.state.snapshot()))
    }
}
