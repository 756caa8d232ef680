//! Reports that a process leaves unanswered at its end are answered by it, where no other replica will.

use token_sidecar_client::redis::Link;
use token_sidecar_client::wire::{Channels, Event, Failed, FailedCause, SiteId, Stage, Trigger};

use super::AppError;
use super::process::Contact;
use crate::domain::inbox::Inbox;
use crate::domain::snapshot::Current;
use crate::refresh::ports::Store as _;

/// Announces `failed` for a site with unanswered reports, unless another replica is subscribed: it has received them
/// too. This process must not be subscribed any more.
///
/// # Errors
/// [`AppError::Redis`] where Redis is away or refuses.
pub(super) async fn answer(link: &Link, site: &SiteId, contact: &Contact, mut inbox: Inbox) -> Result<(), AppError> {
    inbox.take_in(contact.mailbox.take());
    if !inbox.is_asked() || link.connector().subscribers(&Channels::of(site).invalid).await? > 0 {
        return Ok(());
    }
    let snapshot = contact.store.look().await?;
    tracing::info!(%site, "a report is unanswered at the end: waiting parsers are told");
    let failed = Failed {
        site: site.to_string(),
        cause: FailedCause::Repeated,
        stage: Stage::Solve,
        error: "the sidecar was stopped before the refresh ended: report again when it is back".to_owned(),
        // The refresh that is given up counts: the contract has no failure without an attempt.
        attempt: snapshot.attempts().max(1),
        retry_at: snapshot.failing.as_ref().map_or(snapshot.at, |failing| failing.retry_at),
        valid_until: snapshot.current.as_ref().and_then(Current::ends_at),
        trigger: Trigger::Invalid,
    };
    Ok(contact.store.publish(&Event::Failed(failed)).await?)
}
