//! At its end a process answers the reports it leaves unanswered, where no other replica will.

use token_sidecar_client::redis::Link;
use token_sidecar_client::wire::{Channels, Event, SiteId};

use super::AppError;
use super::process::Contact;
use crate::domain::announcement;
use crate::domain::inbox::Inbox;
use crate::refresh::ports::Store as _;

/// Announces `failed` for a site with unanswered reports, unless another replica is subscribed: that one has received
/// them too. Must be called after this process has unsubscribed.
pub(super) async fn answer(link: &Link, site: &SiteId, contact: &Contact, mut inbox: Inbox) -> Result<(), AppError> {
    inbox.take_in(contact.mailbox.take());
    if !inbox.is_asked() || link.connector().subscribers(&Channels::of(site).invalid).await? > 0 {
        return Ok(());
    }
    let snapshot = contact.store.look().await?;
    tracing::info!(%site, "reports are unanswered at shutdown: announcing a failure");
    let failed = announcement::stopped(site, &snapshot);
    Ok(contact.store.publish(&Event::Failed(failed)).await?)
}
