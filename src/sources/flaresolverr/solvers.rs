//! All servers that this process asks: the sources of many sites share one by its URL.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use super::server::Server;
use crate::http::{self, ClientError};

/// All servers that this process asks, by their URL.
#[derive(Default)]
pub struct Solvers(Mutex<HashMap<String, Arc<Server>>>);

impl Solvers {
    /// Destroys the sessions that solves have left behind when they were broken off. Before the process ends this is
    /// worth a few seconds, or their browsers stay.
    pub async fn sweep(&self) {
        let servers: Vec<_> = self.lock().values().cloned().collect();
        for server in servers {
            server.sweep().await;
        }
    }

    /// The server at this address, with no more solves at once than anybody has asked for.
    pub(super) fn server(&self, url: &SecretString, concurrency: usize) -> Result<Arc<Server>, ClientError> {
        let url = http::address(url.expose_secret(), "FlareSolverr")?;
        let mut servers = self.lock();
        if let Some(server) = servers.get(url.as_str()) {
            server.slots().narrow(concurrency);
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(Server::new(url.clone(), concurrency)?);
        servers.insert(url.into(), Arc::clone(&server));
        Ok(server)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Server>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Solvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().values()).finish()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn sources_of_one_url_share_a_server() {
        let solvers = Solvers::default();
        let server = |url: &str| solvers.server(&SecretString::from(url), 1).unwrap();
        assert!(Arc::ptr_eq(&server("http://a:1/v1"), &server(" http://a:1/v1")));
        assert!(!Arc::ptr_eq(&server("http://a:1/v1"), &server("http://a:2/v1")));
        let _ = server("http://user:hunter2@a:3/v1");
        assert!(!format!("{solvers:?}").contains("hunter2"));
    }
}
