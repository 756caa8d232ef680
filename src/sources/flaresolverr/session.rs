//! Sessions that a solve creates for itself, and those of them that could not be destroyed.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use super::solver::{Solver, lock};

/// How often to try to destroy a session: it may not exist yet, while the request that creates it is still
/// queued.
const ATTEMPTS: u8 = 3;

/// A session for one solve. One that was not destroyed is left to [`Abandoned`].
pub(super) struct OwnSession {
    solver: Arc<Solver>,
    id: String,
}

impl OwnSession {
    pub(super) fn new(solver: Arc<Solver>) -> Self {
        // Ids need not be secret, only unique: the keys of the standard hasher are random.
        Self { solver, id: format!("token-sidecar-{:016x}", RandomState::new().hash_one(0)) }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn destroy(mut self) {
        match self.solver.destroy(&self.id).await {
            Ok(()) => self.id.clear(),
            Err(error) => {
                tracing::warn!(%error, "failed to destroy a session of FlareSolverr: trying again before the next solve");
            }
        }
    }
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            self.solver.abandoned().push(std::mem::take(&mut self.id));
        }
    }
}

/// Sessions that are no longer used and still to be destroyed, each with the number of attempts.
#[derive(Default)]
pub(super) struct Abandoned(Mutex<Vec<(String, u8)>>);

impl Abandoned {
    fn push(&self, id: String) {
        lock(&self.0).push((id, 0));
    }

    pub(super) fn ids(&self) -> Vec<String> {
        lock(&self.0).iter().map(|(id, _)| id.clone()).collect()
    }

    /// Forgets a session that was destroyed or has used up its attempts.
    pub(super) fn tried(&self, id: &str, destroyed: bool) {
        lock(&self.0).retain_mut(|(other, attempts)| {
            *attempts += u8::from(other == id);
            other != id || !(destroyed || *attempts >= ATTEMPTS)
        });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use url::Url;

    #[test]
    fn a_session_that_is_dropped_is_remembered_for_three_attempts() {
        let solver = Arc::new(Solver::new(Url::parse("http://a:1/v1").unwrap(), 1).unwrap());
        let id = OwnSession::new(Arc::clone(&solver)).id().to_owned();
        for _ in 0..ATTEMPTS {
            assert_eq!(solver.abandoned().ids(), std::slice::from_ref(&id));
            solver.abandoned().tried(&id, false);
        }
        assert!(solver.abandoned().ids().is_empty());
    }
}
