//! What a trigger leads to: the contract's table, in one place.

use std::time::Duration;

use jiff::Timestamp;

use super::inbox::Inbox;
use super::lifetime::later;
use super::site::Policy;
use super::snapshot::{Provenance, Snapshot};
use super::trigger::Trigger;

/// What to do about all that is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// What was pending is served or void, and nobody waits for an answer.
    Nothing,
    /// A refresh is under way elsewhere: its outcome answers. Look again when the lock may have ended.
    Follow(Duration),
    /// Announce `failed` with the `retry_at` in force.
    Backoff,
    /// Announce the current token again.
    Repeat,
    /// Ask the API about the current token first.
    Verify(Trigger),
    /// A solve is due then.
    Defer(Timestamp),
    /// Claim and solve.
    Solve(Trigger),
}

/// Decides about everything in the inbox at once. `now` is an estimate of the store's clock.
#[must_use]
pub fn decide(snapshot: &Snapshot, inbox: &Inbox, policy: &Policy, now: Timestamp) -> Decision {
    if inbox.is_empty() {
        return Decision::Nothing;
    }
    if let Some(rest) = snapshot.lock {
        return Decision::Follow(rest);
    }
    if let Some(trigger) = inbox.forced {
        return Decision::Solve(trigger);
    }
    if let Some(trigger) = adoptable(snapshot, inbox, now) {
        return Decision::Verify(trigger);
    }
    if snapshot.backs_off(now) {
        return if inbox.wants_answer() { Decision::Backoff } else { Decision::Nothing };
    }
    let Some(current) = &snapshot.current else {
        return Decision::Solve(wanted(inbox, snapshot));
    };
    let fresh = current.is_younger_than(policy.debounce, now);
    let reported = inbox.reported.contains(current.token.fingerprint());
    let tick = inbox.tick.is_some_and(|due| !snapshot.is_refreshed_since(due, now));
    let expiry = inbox.expiry && current.renew_at(snapshot.at).is_some_and(|due| due <= now);
    let retry = inbox.retry && snapshot.failing.is_some();
    if tick || expiry || retry || (inbox.bare && !fresh) || (reported && !fresh) {
        return Decision::Solve(wanted(inbox, snapshot));
    }
    if reported {
        let stored_at = current.refresh().map_or(now, |r| r.at);
        return Decision::Defer(later(stored_at, policy.debounce));
    }
    if let Some(trigger) = inbox.implicit {
        return if current.has_ended(now) { Decision::Solve(trigger) } else { Decision::Verify(trigger) };
    }
    if inbox.wants_answer() { Decision::Repeat } else { Decision::Nothing }
}

/// A token that somebody else wrote is looked at even while backing off: it may be what ends the failures.
fn adoptable(snapshot: &Snapshot, inbox: &Inbox, now: Timestamp) -> Option<Trigger> {
    let current = snapshot.current.as_ref()?;
    let silent = !inbox.states();
    (!current.has_ended(now) && silent && current.provenance == Provenance::Foreign).then_some(inbox.implicit).flatten()
}

/// The word for a solve: the strongest statement that is pending; a retry keeps the word of what it retries.
fn wanted(inbox: &Inbox, snapshot: &Snapshot) -> Trigger {
    if inbox.bare || !inbox.reported.is_empty() {
        Trigger::Invalid
    } else if inbox.tick.is_some() {
        Trigger::Schedule
    } else if let (true, Some(failing)) = (inbox.retry, &snapshot.failing) {
        failing.trigger
    } else if inbox.expiry {
        Trigger::Expiry
    } else {
        inbox.implicit.unwrap_or(Trigger::Invalid)
    }
}
