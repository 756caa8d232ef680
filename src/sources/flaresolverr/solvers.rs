//! All solvers of this process: sources of one URL share one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex};

use secrecy::{ExposeSecret, SecretString};

use super::solver::{Solver, lock};
use crate::http::{self, ClientError};

#[derive(Default)]
pub struct Solvers(Mutex<HashMap<String, Arc<Solver>>>);

impl Solvers {
    /// Destroys the sessions that cancelled solves have left behind; otherwise their browsers outlive the process.
    pub async fn destroy_abandoned_sessions(&self) {
        let solvers: Vec<_> = lock(&self.0).values().cloned().collect();
        for solver in solvers {
            solver.destroy_abandoned().await;
        }
    }

    /// The solver at this address. Of several values of `concurrency` the smallest counts.
    pub(super) fn get(&self, url: &SecretString, concurrency: usize) -> Result<Arc<Solver>, ClientError> {
        let url = http::address(url.expose_secret(), "FlareSolverr")?;
        match lock(&self.0).entry(url.to_string()) {
            Entry::Occupied(entry) => {
                entry.get().slots().narrow(concurrency);
                Ok(Arc::clone(entry.get()))
            }
            Entry::Vacant(entry) => Ok(Arc::clone(entry.insert(Arc::new(Solver::new(url, concurrency)?)))),
        }
    }
}

impl fmt::Debug for Solvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(lock(&self.0).values()).finish()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn sources_of_one_url_share_a_solver() {
        let solvers = Solvers::default();
        let solver = |url: &str| solvers.get(&SecretString::from(url), 1).unwrap();
        assert!(Arc::ptr_eq(&solver("http://a:1/v1"), &solver(" http://a:1/v1")));
        assert!(!Arc::ptr_eq(&solver("http://a:1/v1"), &solver("http://a:2/v1")));
        let _ = solver("http://user:hunter2@a:3/v1");
        assert!(!format!("{solvers:?}").contains("hunter2"));
    }
}
