//! Answers without a solve: the current token or the back-off in force, announced again.

use std::time::Duration;

use token_sidecar_client::wire::{Event, Failed, FailedCause, Trigger, Updated, UpdatedCause};

use super::{Driver, Stop};
use crate::domain::inbox::Inbox;
use crate::domain::lifetime::between;
use crate::domain::snapshot::{Current, Failing};
use crate::refresh::observation::DecisionKind;
use crate::refresh::ports::{Announced, Clock, Store, StoreError};
use crate::refresh::site::World;

/// The least time between two announcements: a burst costs twenty of them a second.
const ANNOUNCEMENT_PACE: Duration = Duration::from_millis(50);

impl<W: World> Driver<W> {
    /// Publishes an answer for everything that was taken, at the pace of announcements.
    pub(super) async fn announce(
        &mut self,
        inbox: Inbox,
        event: Option<Event>,
        decision: DecisionKind,
        stop: &Stop,
    ) -> Result<(), StoreError> {
        let Some(event) = event else { return Ok(()) };
        let early = self.quiet_until.saturating_sub(self.clock_now());
        if !early.is_zero() {
            self.site.mailbox.restore(inbox);
            self.sleep_unless_forced(stop, early).await;
            return Ok(());
        }
        if self.unrecorded.is_some() {
            let published = self.site.store.publish(&event).await;
            published.inspect_err(|_| self.site.mailbox.restore(inbox.clone()))?;
            self.decided(decision, &inbox);
            self.quiet_until = self.clock_now() + ANNOUNCEMENT_PACE;
            return Ok(());
        }
        let announced = self.site.store.announce(&self.seen.snapshot.etag, &event).await;
        match announced.inspect_err(|_| self.site.mailbox.restore(inbox.clone()))? {
            Announced::Done(snapshot) => {
                self.decided(decision, &inbox);
                tracing::debug!(site = %self.site.id, folded = inbox.folded, decision = decision.as_str(), "answered without a solve");
                self.quiet_until = self.clock_now() + ANNOUNCEMENT_PACE;
                self.learn(snapshot).await;
            }
            Announced::Changed(snapshot) => {
                self.site.mailbox.restore(inbox);
                self.learn(snapshot).await;
            }
        }
        Ok(())
    }

    pub(super) fn updated_again(&self) -> Option<Event> {
        let snapshot = &self.seen.snapshot;
        let current = snapshot.current.as_ref()?;
        let refresh = current.refresh();
        let now = self.now();
        let tick = self.site.policy.schedule.next_after(now);
        let renewal = current.renew_at();
        Some(Event::Updated(Updated {
            site: self.site.id.to_string(),
            cause: UpdatedCause::Repeated,
            version: snapshot.version.max(if refresh.is_none() { self.floor } else { 0 }),
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
        let failing = self.seen.snapshot.failing.as_ref()?;
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
            valid_until: self.seen.snapshot.current.as_ref().and_then(Current::ends_at),
            trigger: failing.trigger,
        })
    }

    /// Sits the pace of announcements out; only what must not wait for it ends it early.
    async fn sleep_unless_forced(&self, stop: &Stop, span: Duration) {
        let forced = async {
            while self.site.mailbox.peek().forced.is_none() {
                self.site.mailbox.changed().await;
            }
        };
        tokio::select! {
            biased;
            () = stop.graceful.cancelled() => {}
            () = forced => {}
            () = self.site.clock.sleep(span) => {}
        }
    }
}
