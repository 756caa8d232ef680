//! The handle of a running simulator.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::Faults;
use crate::server;
use crate::settings::Settings;
use crate::shared_state::SharedState;
use crate::statistics::Statistics;
use crate::token::Minted;

/// A running simulator. Dropping it stops it: connections close, solves end.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<SharedState>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Binds the port and serves it on the current tokio runtime, of either flavour.
    ///
    /// On a current-thread runtime it serves only while the test awaits something.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(settings.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let state = SharedState::new(settings);
        #[expect(clippy::disallowed_methods, reason = "the task ends with the simulator")]
        let server = tokio::spawn(server::serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, server })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path that starts with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// For `FLARESOLVERR_URL`.
    #[must_use]
    pub fn flaresolverr_url(&self) -> String {
        self.url("/v1")
    }

    /// For `CHITAI_GOROD_SITE_URL`.
    #[must_use]
    pub fn shop_url(&self) -> String {
        self.url("/shop")
    }

    /// For `CHITAI_GOROD_API_URL`.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.url("/web/api/v2")
    }

    /// Replaces the faults. Requests that hang go on.
    pub fn faults(&self, faults: Faults) {
        self.state.set_faults(faults);
    }

    /// Removes all faults. Requests that hang go on.
    pub fn clear_faults(&self) {
        self.state.set_faults(Faults::default());
    }

    /// The current faults, with what is left of `remaining`.
    #[must_use]
    pub fn faults_in_force(&self) -> Faults {
        self.state.faults()
    }

    /// Creates a live token.
    #[must_use]
    pub fn mint(&self) -> Minted {
        self.state.mint()
    }

    /// Creates a live token that expires after this time, in whole seconds.
    #[must_use]
    pub fn mint_for(&self, life: Duration) -> Minted {
        self.state.mint_for(life)
    }

    /// Makes the API refuse all tokens made so far; returns how many were live.
    pub fn revoke_all(&self) -> usize {
        self.state.revoke(None)
    }

    /// Makes the API refuse one token, by fingerprint; returns whether it was live.
    pub fn revoke(&self, fingerprint: &str) -> bool {
        self.state.revoke(Some(fingerprint)) == 1
    }

    /// Forgets tokens, sessions, faults and counters.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// The statistics so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.state.statistics.borrow().clone()
    }

    /// Waits until the statistics fulfil the condition, and returns them.
    pub async fn when(&self, condition: impl FnMut(&Statistics) -> bool) -> Statistics {
        let mut statistics = self.state.statistics.subscribe();
        match statistics.wait_for(condition).await {
            Ok(found) => found.clone(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until `count` solves have arrived since the start or the last reset.
    pub async fn solve_started(&self, count: u64) -> Statistics {
        self.when(|all| all.solves.started >= count).await
    }

    /// Waits until `count` solves have ended.
    pub async fn solve_done(&self, count: u64) -> Statistics {
        self.when(|all| all.solves.done >= count).await
    }

    /// Waits until `count` API calls have arrived.
    pub async fn api_called(&self, count: u64) -> Statistics {
        self.when(|all| all.api.started >= count).await
    }

    /// Stops it, and returns when the port is free again.
    pub async fn stop(mut self) {
        self.state.stop.cancel();
        let _ = (&mut self.server).await;
    }

    /// Serves until the process ends.
    pub async fn run(mut self) {
        let _ = (&mut self.server).await;
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.state.stop.cancel();
    }
}
