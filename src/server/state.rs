//! What the server is given, and its routes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use token_sidecar_client::wire::SiteId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::{api, events, health, metrics, page};
use crate::status::registry::Board;
use crate::status::view::HistoryEntry;

/// Everything that the server needs.
pub struct Server {
    /// What is shown.
    pub board: Arc<Board>,
    /// Where past attempts are read.
    pub history: Arc<dyn History>,
    /// Sends a manual trigger to a site; `false` where nobody takes it any more.
    pub refresh: Arc<dyn Fn(&SiteId) -> bool + Send + Sync>,
    /// The bearer token for anything that acts; without one, nothing that acts exists.
    pub admin_token: Option<SecretString>,
    /// Names this process, as it stands in the history.
    pub instance: String,
    /// What clients may take.
    pub limits: Limits,
}

/// Where past attempts are read.
pub trait History: Send + Sync {
    /// The latest attempts of a site, newest first. The error must hold no secret.
    fn recent<'a>(&'a self, site: &'a SiteId, limit: usize) -> Entries<'a>;
}

/// Past attempts being read.
pub type Entries<'a> = Pin<Box<dyn Future<Output = Result<Vec<HistoryEntry>, String>> + Send + 'a>>;

/// What clients may take, so that none can keep the others waiting.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The oldest canary that counts as a sign of life.
    pub canary: Duration,
    /// How long a subscription that is known to be lost may be away, whatever the last canary said.
    pub outage: Duration,
    /// How many connections are open at once; one more takes the place of the oldest that has asked nothing.
    pub connections: usize,
    /// The largest head of a request, in bytes: 8 KiB at least.
    pub head_bytes: usize,
    /// How long the head of a request may take.
    pub head: Duration,
    /// How long a connection may take in all, but for one that follows the events.
    pub answer: Duration,
    /// How long one connection may follow the events; clients come back by themselves.
    pub follow: Duration,
    /// How many clients may follow the events.
    pub subscribers: usize,
    /// How long reading the history may take.
    pub history: Duration,
    /// How many may read the history at once.
    pub readers: usize,
    /// How long connections may go on once the server is told to end.
    pub farewell: Duration,
}

impl Limits {
    /// What `run` uses.
    pub const STANDARD: Self = Self {
        // A period of the canary, its time-out, and some.
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
}

/// What every route can see.
pub(super) struct Shared {
    pub(super) board: Arc<Board>,
    pub(super) history: Arc<dyn History>,
    pub(super) refresh: Arc<dyn Fn(&SiteId) -> bool + Send + Sync>,
    pub(super) admin_token: Option<SecretString>,
    pub(super) instance: String,
    pub(super) limits: Limits,
    pub(super) registry: Registry,
    pub(super) subscribers: Arc<Semaphore>,
    pub(super) readers: Semaphore,
    pub(super) shutdown: CancellationToken,
}

impl Shared {
    pub(super) fn new(server: Server, shutdown: CancellationToken) -> Arc<Self> {
        let Server { board, history, refresh, admin_token, instance, limits } = server;
        Arc::new(Self {
            registry: metrics::registry(board.clone()),
            board,
            history,
            refresh,
            admin_token: admin_token.filter(|token| !token.expose_secret().is_empty()),
            instance,
            limits,
            subscribers: Arc::new(Semaphore::new(limits.subscribers)),
            readers: Semaphore::new(limits.readers),
            shutdown,
        })
    }
}

/// All routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/", get(page::show))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
        .route("/api/status", get(api::status))
        .route("/api/history", get(api::history))
        .route("/api/events", get(events::follow));
    if shared.admin_token.is_some() {
        router = router.route("/api/sites/{site}/refresh", post(api::refresh));
    }
    router
        .fallback(async || Problem::not_found("there is no such page"))
        .method_not_allowed_fallback(async || {
            Problem(StatusCode::METHOD_NOT_ALLOWED, "this page does not take that method".into())
        })
        .layer(map_response(harden))
        .with_state(shared)
}

/// Nothing here is to be kept, guessed at, framed or told on.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}
