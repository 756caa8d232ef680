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
use crate::statistics::Statistics;
use crate::token::Minted;
use crate::world::World;

/// A running simulator. It stops when this is dropped: connections break, solves end.
pub struct Simulator {
    address: SocketAddr,
    world: Arc<World>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Binds the port and serves it on the tokio runtime that this is called on, of either flavour.
    ///
    /// On a current-thread runtime the simulator answers only while the test awaits something.
    ///
    /// # Errors
    ///
    /// Where the address cannot be bound.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(settings.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let world = World::new(settings);
        #[expect(clippy::disallowed_methods, reason = "the task ends with the world")]
        let server = tokio::spawn(server::serve(listener, Arc::clone(&world)));
        Ok(Self { address, world, server })
    }

    /// Where it listens.
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

    /// Makes things go wrong from now on, in place of what did so before; what hangs goes on.
    pub fn faults(&self, faults: Faults) {
        self.world.set_faults(faults);
    }

    /// Makes everything work; what hangs goes on.
    pub fn clear_faults(&self) {
        self.world.set_faults(Faults::default());
    }

    /// What goes wrong now, `remaining` counted down.
    #[must_use]
    pub fn faults_in_force(&self) -> Faults {
        self.world.faults()
    }

    /// A live token.
    #[must_use]
    pub fn mint(&self) -> Minted {
        self.world.mint()
    }

    /// A live token that expires after this time, of which whole seconds count.
    #[must_use]
    pub fn mint_for(&self, life: Duration) -> Minted {
        self.world.mint_for(life)
    }

    /// Makes the API refuse every token of before; says how many were live.
    pub fn revoke_all(&self) -> usize {
        self.world.revoke(None)
    }

    /// Makes the API refuse one token, by fingerprint; says whether it was live.
    pub fn revoke(&self, fingerprint: &str) -> bool {
        self.world.revoke(Some(fingerprint)) == 1
    }

    /// Forgets tokens, sessions, faults and counters.
    pub fn reset(&self) {
        self.world.reset();
    }

    /// What has happened so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.world.statistics.borrow().clone()
    }

    /// Waits until the statistics are so, and gives them as they were then.
    pub async fn when(&self, so: impl FnMut(&Statistics) -> bool) -> Statistics {
        let mut statistics = self.world.statistics.subscribe();
        match statistics.wait_for(so).await {
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

    /// Stops, and returns when the port is free again.
    pub async fn stop(mut self) {
        self.world.stop.cancel();
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
        self.world.stop.cancel();
    }
}
