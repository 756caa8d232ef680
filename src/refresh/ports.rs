//! The interfaces between the refresh and Redis, HTTP, clock and randomness.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::extract::{Candidate, Solution};
use crate::domain::pending::Note;
use crate::domain::snapshot::Snapshot;
use crate::domain::verdict::{Pace, Timings, Verdict};
use token_sidecar_client::wire::{Cookies, Event, Failed, Token, Updated};

/// The keys of one site in a store that all replicas share. Every call is one atomic step in the store and ends in
/// bounded time.
pub trait Store: Send + Sync {
    fn look(&self) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Whether the token's key exists: cheaper than `look`.
    fn has_token(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Takes the lock, if it is free and the state still has this `etag`.
    fn claim(&self, etag: &str, claim: &ClaimId) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Extends the lock by its TTL. A lock that is gone is taken again while the version is still the one seen at
    /// the claim.
    fn renew(&self, claim: &ClaimId, seen: u64) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Stores a token, announces it and frees the lock, or does nothing. Idempotent for one claim: a repeated call
    /// returns the same answer.
    fn commit(&self, commit: &Commit) -> impl Future<Output = Result<Committed, StoreError>> + Send;

    /// Records a failed attempt, announces it and frees the lock. Does nothing where another replica has taken the
    /// lock. Idempotent for one claim.
    fn fail(&self, failed: &FailedAttempt) -> impl Future<Output = Result<Recorded, StoreError>> + Send;

    /// Announces the state again, if it still has this `etag` and the lock is free.
    fn announce(&self, etag: &str, event: &Event) -> impl Future<Output = Result<Announced, StoreError>> + Send;

    /// Frees the lock without an outcome and publishes that to the other replicas.
    fn vacate(&self, claim: &ClaimId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Publishes an event without writing a key: the last resort where keys cannot be written.
    fn publish(&self, event: &Event) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn token_key(&self) -> &str;
}

pub trait Source: Send + Sync {
    /// The name in messages, keys and metrics.
    fn name(&self) -> &str;

    /// Fetches one answer; ends in bounded time.
    fn solve(&self) -> impl Future<Output = Result<Solution, SourceError>> + Send;
}

pub trait Probe: Send + Sync {
    /// Sends one request to the API with the token, its cookies and the user agent it was fetched with; ends in bounded
    /// time.
    fn verify(
        &self,
        token: &Token,
        cookies: &Cookies,
        user_agent: Option<&str>,
    ) -> impl Future<Output = Verdict> + Send;
}

pub trait Clock: Send + Sync {
    /// The monotonic time since a fixed instant.
    fn now(&self) -> Duration;

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send;
}

/// Delays with jitter, and random ids.
pub trait Jitter: Send + Sync {
    /// The delay after so many failures in a row (at least 1), with jitter.
    fn backoff(&self, failures: u32, pace: Pace) -> Duration;

    /// A short delay before the n-th repetition (at least 1) of a request without a clear answer, with jitter.
    fn pause(&self, repetition: u32) -> Duration;

    /// A recurring interval: up to a quarter shorter than `longest`.
    fn heartbeat(&self, longest: Duration) -> Duration;

    /// A random span up to `longest`.
    fn up_to(&self, longest: Duration) -> Duration;

    fn claim_id(&self) -> ClaimId;
}

/// The random id of a claim, stored as the lock's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimId(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The lock is taken and the state unchanged; the time is that of the store's clock.
    Taken(Timestamp),
    /// The state has changed or the lock is held: decide again.
    Changed(Box<Snapshot>),
}

/// The state of a claim after a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    Held,
    /// Another replica has it, or a newer token is stored.
    Lost,
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub claim: ClaimId,
    /// The version seen at the claim. The store refuses the commit where a newer one is stored.
    pub seen: u64,
    /// The greatest version this process has seen: the new one is above it.
    pub floor: u64,
    pub candidate: Candidate,
    pub ttl: KeyTtl,
    /// What is published; the store fills in the version.
    pub event: Updated,
    pub timings: Timings,
    /// The estimate of the store's clock; the store refuses one that is too far off.
    pub now: Timestamp,
    /// What the reporters said, for the history.
    pub note: Note,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTtl {
    New(Duration),
    /// The remaining TTL of the key; this one where the key has none.
    Kept(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// Stored and announced, by this call or an earlier one.
    Stored(Snapshot),
    /// A newer token is stored: nothing was written or announced.
    Superseded(Snapshot),
    /// The estimate of the store's clock was too far off: try again with a better one.
    Clock(Snapshot),
}

#[derive(Debug, Clone)]
pub struct FailedAttempt {
    pub claim: ClaimId,
    /// The version seen at the claim.
    pub seen: u64,
    pub event: Failed,
    /// See [`Commit::now`].
    pub now: Timestamp,
    /// The sources that were tried.
    pub source: String,
    pub timings: Timings,
    /// See [`Commit::note`].
    pub note: Note,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Recorded and announced, by this call or an earlier one.
    Done(Snapshot),
    /// Another replica has taken the lock: its outcome counts.
    Dropped(Snapshot),
    /// The estimate of the store's clock was too far off: try again with a better one.
    Clock(Snapshot),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// Published; the state at that moment.
    Done(Snapshot),
    /// The state has changed: decide again.
    Changed(Snapshot),
}

/// Why a source returned no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What happened and what to do, without secrets; begins with the source's name.
    pub message: String,
    pub pace: Pace,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Redis is unreachable: the call may have been carried out or not. Try again.
    #[error("{0}")]
    Away(String),
    /// The store refuses, and will until an operator acts: read-only, out of memory, no permission.
    #[error("{0}")]
    Refused(String),
}
