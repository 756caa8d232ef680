//! Answers without a solve: the current token or the failure in force, announced again.

use super::driver::Driver;
use super::ports::Store as _;
use super::site::Ports;
use crate::domain::lifetime::between;
use crate::domain::snapshot::{Current, Failing};
use token_sidecar_client::wire::{Event, Failed, FailedCause, Trigger, Updated, UpdatedCause};

impl<P: Ports> Driver<P> {
    pub(super) fn updated_again(&self) -> Option<Event> {
        let snapshot = self.state.snapshot();
        let current = snapshot.current.as_ref()?;
        let refresh = current.refresh();
        let now = self.now();
        let tick = self.site.policy.schedule.next_after(now);
        let renewal = current.renew_at();
        Some(Event::Updated(Updated {
            site: self.site.id.to_string(),
            cause: UpdatedCause::Repeated,
            version: snapshot.version.max(if refresh.is_none() { self.state.minimum_version() } else { 0 }),
            fingerprint: current.token.fingerprint().to_string(),
            key: self.site.store.token_key().to_owned(),
            ttl: current.key_ends_at.map(|end| between(now, end).as_secs()),
            expires_at: current.token.claims().expires_at,
            refresh_at: tick.into_iter().chain(renewal).min(),
            refreshed_at: refresh.map(|r| r.at),
            trigger: refresh.map_or(Trigger::Bootstrap, |r| r.trigger),
            source: refresh.map_or_else(|| "redis".to_owned(), |r| r.source.clone()),
        }))
    }

    pub(super) fn failed_again(&self) -> Option<Event> {
        let failing = self.state.snapshot().failing.as_ref()?;
        Some(self.failed(failing, FailedCause::Repeated))
    }

    pub(super) fn failed(&self, failing: &Failing, cause: FailedCause) -> Event {
        Event::Failed(Failed {
            site: self.site.id.to_string(),
            cause,
            stage: failing.stage,
            error: failing.error.clone(),
            attempt: failing.attempts,
            retry_at: failing.retry_at,
            valid_until: self.state.snapshot().current.as_ref().and_then(Current::ends_at),
            trigger: failing.trigger,
        })
    }
}
