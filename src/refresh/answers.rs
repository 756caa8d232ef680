//! Answers without a solve: the current token or the failure in force, announced again.

use super::driver::Driver;
use super::ports::Store as _;
use super::site::Ports;
use crate::domain::announcement;
use crate::domain::snapshot::Failing;
use token_sidecar_client::wire::{Event, FailedCause};

impl<P: Ports> Driver<P> {
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
