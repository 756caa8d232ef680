//! Taking the lock, where nothing has changed since the decision to.

use token_sidecar_client::wire::Trigger;

use super::Driver;
use crate::domain::inbox::Inbox;
use crate::refresh::ports::{Chance as _, ClaimId, Claimed, Clock as _, Store as _, StoreError};
use crate::refresh::site::World;

/// How often a claim is asked for while its answer does not arrive.
const CLAIM_TRIES: u32 = 3;

impl<W: World> Driver<W> {
    /// Takes the lock; `None` where the state has changed or the store refuses, with everything pending put back
    /// or answered.
    pub(super) async fn claim(&mut self, trigger: Trigger, inbox: &Inbox) -> Result<Option<ClaimId>, StoreError> {
        let id = self.site.chance.claim_id();
        let mut tries = 1;
        let claimed = loop {
            match self.site.store.claim(&self.seen.snapshot.etag, &id).await {
                // The lock may be ours without our knowing: asked again for the same claim, the store says so.
                Err(StoreError::Away(error)) if tries < CLAIM_TRIES => {
                    tracing::debug!(site = %self.site.id, %error, tries, "failed to claim: trying again");
                    self.site.clock.sleep(self.site.chance.pause(tries)).await;
                    tries += 1;
                }
                claimed => break claimed,
            }
        };
        if !matches!(claimed, Ok(Claimed::Taken(_))) {
            self.site.mailbox.restore(inbox.clone());
        }
        match claimed {
            Ok(Claimed::Taken(at)) => {
                self.seen.snapshot.at = at;
                self.seen.read_at = self.clock_now();
                Ok(Some(id))
            }
            Ok(Claimed::Changed(snapshot)) => {
                self.learn(*snapshot).await;
                Ok(None)
            }
            Err(StoreError::Refused(error)) => {
                // Nobody can store a token now: whoever waits is told so, and the pace is the back-off's.
                tracing::warn!(site = %self.site.id, %trigger, %error, "Redis refuses us");
                Box::pin(self.fail_unrecorded(trigger, &error)).await?;
                Ok(None)
            }
            Err(error @ StoreError::Away(_)) => {
                self.unanswered = Some(Box::new(id));
                Err(error)
            }
        }
    }
}
