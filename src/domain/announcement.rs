//! Builds the messages about a site from its state.

use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::{Failed, FailedCause, SiteId, Stage, Token, Trigger, Updated, UpdatedCause};

use super::lifetime::between;
use super::snapshot::{Current, Failing, Refresh, Snapshot};

/// A new token. The version is 0 here: the store assigns it.
pub fn refreshed(
    site: &SiteId,
    key: &str,
    token: &Token,
    refresh: &Refresh,
    ttl: Duration,
    refresh_at: Option<Timestamp>,
) -> Updated {
    Updated {
        site: site.to_string(),
        cause: UpdatedCause::Refreshed,
        version: 0,
        fingerprint: token.fingerprint().to_string(),
        key: key.to_owned(),
        ttl: Some(ttl.as_secs()),
        expires_at: token.claims().expires_at,
        refresh_at,
        refreshed_at: Some(refresh.at),
        trigger: refresh.trigger,
        source: refresh.source.clone(),
    }
}

/// The current token, announced again; `None` where there is none. A token that another program wrote is announced with
/// `minimum_version` at least.
pub fn repeated(
    site: &SiteId,
    key: &str,
    snapshot: &Snapshot,
    minimum_version: u64,
    tick: Option<Timestamp>,
    now: Timestamp,
) -> Option<Updated> {
    let current = snapshot.current.as_ref()?;
    let refresh = current.refresh();
    Some(Updated {
        site: site.to_string(),
        cause: UpdatedCause::Repeated,
        version: snapshot.version.max(if refresh.is_none() { minimum_version } else { 0 }),
        fingerprint: current.token.fingerprint().to_string(),
        key: key.to_owned(),
        ttl: current.key_ends_at.map(|end| between(now, end).as_secs()),
        expires_at: current.token.claims().expires_at,
        refresh_at: tick.into_iter().chain(current.renew_at()).min(),
        refreshed_at: refresh.map(|r| r.at),
        trigger: refresh.map_or(Trigger::Bootstrap, |r| r.trigger),
        source: refresh.map_or_else(|| "redis".to_owned(), |r| r.source.clone()),
    })
}

/// A failed attempt, or the back-off after it, announced again.
pub fn failed(site: &SiteId, cause: FailedCause, failing: &Failing, snapshot: &Snapshot) -> Failed {
    Failed {
        site: site.to_string(),
        cause,
        stage: failing.stage,
        error: failing.error.clone(),
        attempt: failing.attempts,
        retry_at: failing.retry_at,
        valid_until: snapshot.current.as_ref().and_then(Current::ends_at),
        trigger: failing.trigger,
    }
}

/// A refresh that was abandoned because the process stops.
pub fn stopped(site: &SiteId, snapshot: &Snapshot) -> Failed {
    let failing = Failing {
        // The abandoned refresh counts: the contract has no failure without an attempt.
        attempts: snapshot.attempts().max(1),
        retry_at: snapshot.failing.as_ref().map_or(snapshot.at, |failing| failing.retry_at),
        trigger: Trigger::Invalid,
        stage: Stage::Solve,
        error: "the sidecar was stopped before the refresh ended: report again when it is back".to_owned(),
    };
    failed(site, FailedCause::Repeated, &failing, snapshot)
}
