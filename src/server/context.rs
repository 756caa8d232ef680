//! What the server is given, and what its routes share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Resource, getrlimit};
use secrecy::SecretString;
use token_sidecar_client::renewed::Renewed;
use token_sidecar_client::wire::SiteId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::shared_page::SharedPage;
use crate::domain::pending::Note;
use crate::status::{HistoryEntry, StatusRegistry};

/// Triggers a manual refresh of a site.
type ManualTrigger = dyn Fn(&SiteId, Note) + Send + Sync;

pub struct HttpServer {
    pub status: Arc<StatusRegistry>,
    pub store: Arc<dyn StoreReader>,
    pub refresh: Arc<ManualTrigger>,
    /// Bearer token for the routes that act, read again for each request; without it they do not exist.
    pub admin_token: Option<Renewed<SecretString>>,
    /// The name of this process in the history.
    pub instance: String,
    pub limits: Limits,
    /// Cancelled once the process takes no more triggers; the server goes on until all is answered.
    pub stopping: CancellationToken,
}

/// What the routes read in Redis when they are asked. The errors must hold no secret.
pub trait StoreReader: Send + Sync {
    /// The latest attempts of a site, newest first.
    fn latest<'a>(&'a self, site: &'a SiteId, limit: usize) -> BoxFuture<'a, Result<Vec<HistoryEntry>, String>>;

    /// How many sidecars are subscribed to the reports of each site.
    fn listening<'a>(&'a self, sites: &'a [SiteId]) -> BoxFuture<'a, Result<Vec<usize>, String>>;
}

/// Limits on clients, so that none can block the others.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The age at which the last canary no longer counts.
    pub canary: Duration,
    /// How long the subscription may be lost before the process is unhealthy, whatever the age of the last canary.
    pub outage: Duration,
    /// The most open connections; a further one replaces the oldest that has sent no request.
    pub connections: usize,
    /// The largest head of a request, in bytes; at least 8 KiB.
    pub head_bytes: usize,
    /// How long receiving the head of a request may take.
    pub head: Duration,
    /// How long a connection may last, unless it follows the events.
    pub answer: Duration,
    /// How long one connection may follow the events; clients reconnect by themselves.
    pub follow: Duration,
    /// How many clients may follow the events at once.
    pub subscribers: usize,
    /// How long reading the history may take.
    pub history: Duration,
    /// How many clients may read the history at once.
    pub readers: usize,
    /// How long open connections may continue after shutdown has begun.
    pub farewell: Duration,
}

impl Limits {
    /// The limits in production.
    pub const STANDARD: Self = Self {
        // The interval of the canary and its timeout, with a margin.
        canary: Duration::from_secs(25),
        outage: Duration::from_secs(8),
        connections: 256,
        head_bytes: 16 * 1024,
        head: Duration::from_secs(5),
        answer: Duration::from_secs(10),
        follow: Duration::from_secs(60 * 60),
        subscribers: 32,
        history: Duration::from_secs(5),
        readers: 4,
        farewell: Duration::from_secs(2),
    };

    /// The same, with connections for half of the file descriptors that this process may open: Redis and the sources
    /// need the others.
    pub fn of_the_process() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        let half = descriptors.map_or(usize::MAX, |descriptors| descriptors / 2);
        Self { connections: Self::STANDARD.connections.min(half), ..Self::STANDARD }
    }
}

/// What the server is given, and what it keeps for its routes.
pub(super) struct Context {
    server: HttpServer,
    /// One for each format.
    pub(super) metrics: [SharedPage; 2],
    pub(super) states: SharedPage,
    pub(super) readiness: SharedPage,
    pub(super) subscribers: Arc<Semaphore>,
    pub(super) readers: Semaphore,
    pub(super) shutdown: CancellationToken,
}

impl Context {
    pub(super) fn new(server: HttpServer, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            subscribers: Arc::new(Semaphore::new(server.limits.subscribers)),
            readers: Semaphore::new(server.limits.readers),
            server,
            metrics: Default::default(),
            states: SharedPage::default(),
            readiness: SharedPage::default(),
            shutdown,
        })
    }
}

impl Deref for Context {
    type Target = HttpServer;

    fn deref(&self) -> &HttpServer {
        &self.server
    }
}
