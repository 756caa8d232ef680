//! The interfaces between the refresh and Redis, HTTP, clock and randomness.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::domain::extract::{Candidate, Solution};
use crate::domain::pending::Note;
use crate::domain::round::{Round, Turn};
use crate::domain::snapshot::Snapshot;
use crate::domain::stored::StoredToken;
use crate::domain::verdict::{Pace, Timings, Verdict};
use token_sidecar_client::wire::{Cookies, Event, Failed, Fingerprint, Token, Updated};

/// The keys of one site in a store that all replicas share. Every call is one atomic step in the store and ends in
/// bounded time.
pub trait Store: Send + Sync {
    fn look(&self) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Cheaper than `look`.
    fn heartbeat(&self) -> impl Future<Output = Result<Heartbeat, StoreError>> + Send;

    /// Takes the lock, if it is free and the state still has this `etag`; the time of that by the store's clock.
    fn claim(&self, etag: &str, claim: &ClaimId)
    -> impl Future<Output = Result<Checked<Timestamp>, StoreError>> + Send;

    /// Extends the lock by its TTL. A lock that has expired is taken again unless a newer token or another failure was
    /// recorded since `seen`, the state at the claim.
    fn renew(&self, claim: &ClaimId, seen: &Snapshot) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Stores a token or records a failure, announces it and frees the lock, or does nothing. Idempotent for one claim:
    /// a repeated call returns the same answer.
    fn record(&self, record: &Record) -> impl Future<Output = Result<Recorded, StoreError>> + Send;

    /// Announces the state again, if it still has this `etag` and the lock is free; the state at that moment.
    fn announce(&self, etag: &str, event: &Event)
    -> impl Future<Output = Result<Checked<Snapshot>, StoreError>> + Send;

    /// Frees the lock without an outcome and publishes that to the other replicas.
    fn vacate(&self, claim: &ClaimId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Publishes an event without writing a key: the last resort where keys cannot be written.
    fn publish(&self, event: &Event) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn token_key(&self) -> &str;
}

/// What has been told of a site, over all replicas.
pub trait NoticeStore: Send + Sync {
    /// Whether the last attempt on the site has failed.
    fn is_failing(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Sets the key of a notice for so long, unless it is there; whether it was not.
    fn claim(&self, name: &str, span: Duration) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Sets the key of a notice for so long, whether or not it is there.
    fn note(&self, name: &str, span: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes the key of a notice; whether it was there.
    fn release(&self, name: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

pub trait Source: Send + Sync {
    /// The name in messages, keys and metrics.
    fn name(&self) -> &str;

    /// Begins an attempt.
    fn begin(&self) -> Round {
        Round::of_one()
    }

    /// Fetches one answer in a turn of the attempt; ends in bounded time. `stored` is what was stored at the claim.
    fn solve(
        &self,
        turn: Turn,
        stored: Option<&StoredToken>,
    ) -> impl Future<Output = Result<Solved, SourceError>> + Send;

    /// The proxy by which its requests leave, named by its address.
    fn proxy(&self) -> Option<Fingerprint> {
        None
    }

    /// The token that it brought in this turn is good.
    fn proved(&self, _turn: Turn) {}
}

/// What a source brought.
pub struct Solved {
    pub solution: Solution,
    /// Where the source has the page still open: what it holds later, if that is something else. It is asked for where
    /// this solution has no usable token, or the API blocks it. Dropping it closes the page.
    pub later: Option<BoxFuture<'static, Option<Solved>>>,
}

impl From<Solution> for Solved {
    fn from(solution: Solution) -> Self {
        Self { solution, later: None }
    }
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
    fn interval(&self, longest: Duration) -> Duration;

    /// A random span up to `longest`.
    fn random_span(&self, longest: Duration) -> Duration;

    fn claim_id(&self) -> ClaimId;
}

/// The random id of a claim, stored as the lock's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimId(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whether the token's key exists.
    pub has_token: bool,
    /// By the store's clock.
    pub at: Timestamp,
}

/// The answer to a step that the store takes only in the state that it was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once, and most steps answer with a snapshot too")]
pub enum Checked<T> {
    Done(T),
    /// The state has changed or the lock is held: decide again.
    Changed(Snapshot),
}

/// The state of a claim after a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    Held,
    /// Another replica has it, or a newer token is stored.
    Lost,
}

/// An attempt that has ended, as it is written to the store.
#[derive(Debug, Clone)]
pub struct Record {
    pub claim: ClaimId,
    /// The store does nothing where it has a newer version.
    pub version_at_claim: u64,
    /// The estimate of the store's clock; the store refuses one that is too far off.
    pub now: Timestamp,
    /// The source of the token, or all that were tried.
    pub source: String,
    pub timings: Timings,
    /// From the reports, for the history.
    pub note: Note,
    pub end: AttemptEnd,
}

#[derive(Debug, Clone)]
pub enum AttemptEnd {
    Token(Box<NewToken>),
    Failure(Failed),
}

#[derive(Debug, Clone)]
pub struct NewToken {
    pub candidate: Candidate,
    pub ttl: KeyTtl,
    /// What is published; the store fills in the version.
    pub event: Updated,
    /// The proxy by which the token was fetched, named by its address.
    pub proxy: Option<Fingerprint>,
    /// The greatest version this process has seen: the new one is above it.
    pub minimum_version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTtl {
    New(Duration),
    /// The remaining TTL of the key; this one where the key has none.
    Kept(Duration),
}

impl KeyTtl {
    pub const fn span(self) -> Duration {
        let (Self::New(span) | Self::Kept(span)) = self;
        span
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Written and announced, by this call or an earlier one.
    Done(Snapshot),
    /// A newer token is stored, or another replica has taken the lock: nothing was written.
    Superseded(Snapshot),
    /// The estimate of the store's clock was too far off: try again with a better one.
    Clock(Snapshot),
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
