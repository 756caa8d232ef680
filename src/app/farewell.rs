//! Whoever waits for a process that ends is told so, where nobody else will answer.

use std::sync::Arc;

use super::AppError;
use crate::adapters::clock::SystemClock;
use crate::adapters::redis::{Channels, Link, RedisStore};
use crate::config::SiteConfig;
use crate::domain::event::{Event, Failed, FailedCause};
use crate::domain::snapshot::Current;
use crate::domain::trigger::Trigger;
use crate::domain::verdict::Stage;
use crate::flow::mailbox::Mailbox;
use crate::flow::ports::Store as _;

/// Announces `failed` for a site with unanswered reports, unless another replica listens, which has heard them too.
/// This process must not listen any more.
///
/// # Errors
/// [`AppError::Redis`] where Redis is away or refuses.
pub(super) async fn tell(link: &Arc<Link<SystemClock>>, site: &SiteConfig, mailbox: &Mailbox) -> Result<(), AppError> {
    if !mailbox.peek().is_asked() || link.connector().subscribers(&Channels::of(&site.id).invalid).await? > 0 {
        return Ok(());
    }
    let (id, keys) = (site.id.clone(), site.keys.clone());
    let store = RedisStore::new(Arc::clone(link), id, keys, site.policy.lock_ttl, String::new());
    let snapshot = store.look().await?;
    tracing::info!(site = %site.id, "a report is unanswered at the end: whoever waits is told");
    let failed = Failed {
        site: site.id.to_string(),
        cause: FailedCause::Repeated,
        stage: Stage::Solve.as_str().to_owned(),
        error: "the sidecar was stopped before the refresh ended: report again when it is back".to_owned(),
        // The refresh that is given up counts: the contract has no failure without an attempt.
        attempt: snapshot.attempts().max(1),
        retry_at: snapshot.failing.as_ref().map_or(snapshot.at, |failing| failing.retry_at),
        valid_until: snapshot.current.as_ref().and_then(Current::ends_at),
        trigger: Trigger::Invalid,
    };
    Ok(store.publish(&Event::Failed(failed)).await?)
}
