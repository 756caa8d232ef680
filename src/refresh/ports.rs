//! What the flow asks of the outside. It knows nothing of Redis or HTTP.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::extract::{Candidate, Solution};
use crate::domain::pending::Note;
use crate::domain::snapshot::Snapshot;
use crate::domain::verdict::{Pace, Timings, Verdict};
use token_sidecar_client::wire::{Cookies, Event, Failed, Token, Updated};

/// The keys of one site in a store that all replicas share. Every call is one atomic step there, and
/// every call ends in bounded time.
pub trait Store: Send + Sync {
    /// Reads the site's state.
    fn look(&self) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Whether the token's key exists: a cheap question.
    fn has_token(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Takes the lock, if it is free and the state is still the one that `etag` names.
    fn claim(&self, etag: &str, claim: &ClaimId) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Prolongs the lock by its TTL. One that is gone is taken again while the version is still the one
    /// seen at the claim.
    fn renew(&self, claim: &ClaimId, seen: u64) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Stores a token, announces it and frees the lock, or does nothing. Asked twice for one claim, it
    /// does it once and answers the same.
    fn commit(&self, commit: &Commit) -> impl Future<Output = Result<Committed, StoreError>> + Send;

    /// Notes a failed attempt, announces it and frees the lock. Does nothing where the claim was lost to
    /// somebody else. Asked twice for one claim, it does it once.
    fn fail(&self, failed: &FailedAttempt) -> impl Future<Output = Result<Recorded, StoreError>> + Send;

    /// Announces the state again, if it is still the one that `etag` names and nobody holds the lock.
    fn announce(&self, etag: &str, event: &Event) -> impl Future<Output = Result<Announced, StoreError>> + Send;

    /// Frees the lock without an outcome and tells the other replicas so.
    fn vacate(&self, claim: &ClaimId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Publishes an event without touching a key: the last resort where keys cannot be written.
    fn publish(&self, event: &Event) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The key of the token, for the messages.
    fn token_key(&self) -> &str;
}

/// Where tokens come from.
pub trait Source: Send + Sync {
    /// The name that stands in messages, keys and metrics.
    fn name(&self) -> &str;

    /// Fetches one answer; ends in bounded time.
    fn solve(&self) -> impl Future<Output = Result<Solution, SourceError>> + Send;
}

/// The API's word on a token.
pub trait Probe: Send + Sync {
    /// Asks the API once, with the token, its cookies and the user agent it was fetched with; ends in
    /// bounded time.
    fn verify(
        &self,
        token: &Token,
        cookies: &Cookies,
        user_agent: Option<&str>,
    ) -> impl Future<Output = Verdict> + Send;
}

/// A clock that only goes forward, and waiting on it.
pub trait Clock: Send + Sync {
    /// The time since some fixed instant.
    fn now(&self) -> Duration;

    /// Ends after a while.
    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send;
}

/// Delays with jitter, and random ids.
pub trait Jitter: Send + Sync {
    /// How long to wait after so many failures in a row (1 at least), with jitter.
    fn backoff(&self, failures: u32, pace: Pace) -> Duration;

    /// A short delay before the n-th repetition (1 at least) of a request that said nothing, with jitter.
    fn pause(&self, repetition: u32) -> Duration;

    /// An interval that recurs: up to a quarter shorter than `longest`.
    fn heartbeat(&self, longest: Duration) -> Duration;

    /// Any span up to `longest`.
    fn up_to(&self, longest: Duration) -> Duration;

    /// A new claim's id.
    fn claim_id(&self) -> ClaimId;
}

/// The random id of a claim; the lock's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimId(pub String);

/// A claim's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The lock is ours and the state is as it was; when, by the store's clock.
    Taken(Timestamp),
    /// The state has changed or the lock is held: decide again.
    Changed(Box<Snapshot>),
}

/// What is left of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// It was prolonged.
    Held,
    /// Somebody else has it, or a newer token is stored.
    Lost,
}

/// A token to be stored, with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The claim under which it was fetched.
    pub claim: ClaimId,
    /// The version seen at the claim: the fence.
    pub seen: u64,
    /// The greatest version this process has ever seen: the new one is above it.
    pub floor: u64,
    /// The token and what it was fetched with.
    pub candidate: Candidate,
    /// The TTL of the keys.
    pub ttl: KeyTtl,
    /// What is published; the store puts the version in.
    pub event: Updated,
    /// How long each step took.
    pub timings: Timings,
    /// The estimate of the store's clock; the store refuses one that is off.
    pub now: Timestamp,
    /// For the history: what the reporters said.
    pub note: Note,
}

/// The TTL that a commit gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTtl {
    /// This one.
    New(Duration),
    /// The one that the key has; this one where it has none.
    Kept(Duration),
}

/// A commit's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// Stored and announced, now or when it was asked before.
    Stored(Snapshot),
    /// A newer token is there: nothing was stored, nothing said.
    Superseded(Snapshot),
    /// The estimate of the store's clock was off; try again with the right one.
    Clock(Snapshot),
}

/// An attempt that failed.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// The claim under which it ran.
    pub claim: ClaimId,
    /// The version seen at the claim.
    pub seen: u64,
    /// What is published.
    pub event: Failed,
    /// The estimate of the store's clock; the store refuses one that is off.
    pub now: Timestamp,
    /// The sources that were tried.
    pub source: String,
    /// How long each step took.
    pub timings: Timings,
    /// For the history: what the reporters said.
    pub note: Note,
}

/// The answer to a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Recorded and announced, now or when it was asked before.
    Done(Snapshot),
    /// The claim was lost to somebody else, whose outcome counts.
    Dropped(Snapshot),
    /// The estimate of the store's clock was off; try again with the right one.
    Clock(Snapshot),
}

/// An announcement's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// Published; the state at that moment.
    Done(Snapshot),
    /// The state has changed: decide again.
    Changed(Snapshot),
}

/// Why a source has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What happened and what to do, without any secret; begins with the source's name.
    pub message: String,
    /// How soon another attempt makes sense.
    pub pace: Pace,
}

/// Why the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing is known: it may have been done or not. Try again.
    #[error("{0}")]
    Away(String),
    /// The store said no and will say no again until somebody acts: read-only, out of memory, no permission.
    #[error("{0}")]
    Refused(String),
}
