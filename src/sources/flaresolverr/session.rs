//! Sessions that a solve creates for itself, and those of them that are still to be destroyed.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Handle;

use super::error::FlaresolverrError;
use super::solver::{Solver, lock};
use super::wire::Reply;
use crate::clock::SystemClock;

/// How often to try to destroy a session: the request that creates it may still be queued.
const ATTEMPTS: u8 = 3;

const DESTROY_TIMEOUT: Duration = Duration::from_secs(10);
const LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// What the ids of our sessions begin with; the end of the session's time follows, in seconds since 1970.
const PREFIX: &str = "token-sidecar-";

/// How many overdue sessions are destroyed after one solve.
const MAX_OVERDUE: usize = 16;

/// A session for one solve. Once dropped it is among the abandoned ones.
pub(super) struct OwnSession {
    solver: Arc<Solver>,
    pub(super) id: String,
}

impl OwnSession {
    /// `longest` is how long the session may be in use.
    pub(super) fn new(solver: &Arc<Solver>, longest: Duration) -> Self {
        let until = SystemClock::wall().as_second().saturating_add_unsigned(longest.as_secs());
        // Ids need not be secret, only unique: the keys of the standard hasher are random.
        let id = format!("{PREFIX}{until}-{:016x}", RandomState::new().hash_one(0));
        Self { solver: Arc::clone(solver), id }
    }
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        lock(&self.solver.abandoned).push((std::mem::take(&mut self.id), 0));
    }
}

impl Solver {
    /// Destroys a session. One that does not exist counts as destroyed.
    pub(super) async fn destroy(&self, session: &str) -> Result<(), FlaresolverrError> {
        match self.send_destroy(session).await {
            Err(FlaresolverrError::SessionUnknown) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Destroys the sessions that nothing uses any more, beside what goes on: neither a token that was found nor the time of
    /// an attempt waits for that.
    pub(super) fn tidy_up(self: &Arc<Self>) {
        let solver = Arc::clone(self);
        Handle::current().spawn(async move {
            solver.find_overdue().await;
            solver.destroy_abandoned().await;
        });
    }

    /// Destroys the sessions of solves that have ended or were cancelled.
    pub(super) async fn destroy_abandoned(&self) {
        let _one_at_a_time = self.tidying.lock().await;
        let ids: Vec<String> = lock(&self.abandoned).iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            let outcome = self.send_destroy(&id).await;
            lock(&self.abandoned).retain_mut(|(other, attempts)| {
                *attempts += u8::from(*other == id);
                *other != id || (outcome.is_err() && *attempts < ATTEMPTS)
            });
            match outcome {
                Err(FlaresolverrError::SessionUnknown) | Ok(_) => {}
                Err(error) => tracing::warn!(
                    %error,
                    "failed to destroy a session of FlareSolverr: trying again before the next solve"
                ),
            }
        }
    }

    /// Adds the sessions of killed sidecars to the abandoned ones. One whose time is not over may be in use.
    async fn find_overdue(&self) {
        let listed = self.send(&json!({"cmd": "sessions.list"}), LIST_TIMEOUT).await.unwrap_or_default();
        let now = SystemClock::wall().as_second();
        let mut overdue = listed.sessions;
        overdue.retain(|id| end_of(id).is_some_and(|until| until < now));
        overdue.truncate(MAX_OVERDUE);
        if !overdue.is_empty() {
            tracing::info!(sessions = overdue.len(), "a sidecar was killed during a solve: destroying its sessions");
        }
        lock(&self.abandoned).extend(overdue.into_iter().map(|id| (id, 0)));
    }

    async fn send_destroy(&self, session: &str) -> Result<Reply, FlaresolverrError> {
        self.send(&json!({"cmd": "sessions.destroy", "session": session}), DESTROY_TIMEOUT).await
    }
}

/// When the time of one of our sessions is over; `None` for any other session.
fn end_of(id: &str) -> Option<i64> {
    let (until, _) = id.strip_prefix(PREFIX)?.split_once('-')?;
    until.parse().ok()
}
