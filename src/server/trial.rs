//! A server for tests: a clock that is set by hand, two sites, a history and a record of triggers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use token_sidecar_client::renewed::Renewed;
use token_sidecar_client::wire::{Cookies, SiteId, Stage, Token, Trigger};
use tokio_util::sync::CancellationToken;

use super::context::{Context, HttpServer, Limits, StoreReader};
use super::routes::router;
use crate::domain::schedule::Schedule;
use crate::domain::snapshot::{Current, Failing, Provenance, Refresh, Snapshot};
use crate::refresh::observation::{Observation, Observer};
use crate::status::{HistoryEntry, SiteObserver, StatusRegistry};

pub(crate) const TOKEN: &str = "very-secret-token";
pub(crate) const ADMIN: &str = "very-secret-admin";

/// A history: so many entries, one that cannot be read, an unreachable store, or one that does not answer.
#[derive(Clone)]
pub(crate) enum ModelHistory {
    Entries(usize),
    /// The same for all sites but this one.
    Without(&'static str),
    Away,
    Silence,
}

pub(crate) struct Trial {
    pub(crate) status: Arc<StatusRegistry>,
    pub(crate) shop: SiteObserver,
    pub(crate) limits: Limits,
    pub(crate) history: ModelHistory,
    pub(crate) admin_token: Option<&'static str>,
    pub(crate) stopping: CancellationToken,
    pub(crate) triggered: Arc<Mutex<Vec<String>>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) clock: Arc<AtomicU64>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn site(name: &str) -> SiteId {
    SiteId::parse(name).unwrap()
}

/// A token that was stored at 07:13:05 for a day, read at 07:20.
pub(crate) fn snapshot() -> Snapshot {
    let refresh = Refresh {
        at: "2026-11-22T07:13:05Z".parse().unwrap(),
        trigger: Trigger::Invalid,
        source: "flaresolverr".into(),
        user_agent: None,
    };
    Snapshot {
        at: "2026-11-22T07:20:00Z".parse().unwrap(),
        etag: String::new(),
        version: 1_795_331_585_623,
        current: Some(Current {
            token: Token::parse(TOKEN).unwrap(),
            cookies: Cookies::default(),
            key_ends_at: Some("2026-11-23T07:13:05Z".parse().unwrap()),
            provenance: Provenance::Sidecar(refresh),
        }),
        lock: None,
        failing: None,
    }
}

pub(crate) fn failing() -> Failing {
    Failing {
        attempts: 3,
        retry_at: "2026-11-22T07:21:00Z".parse().unwrap(),
        trigger: Trigger::Expiry,
        stage: Stage::Verify,
        error: "the API refuses <b>fresh</b> tokens".into(),
    }
}

impl Trial {
    /// A shop that is not read yet; the clock stands at 100 s.
    pub(crate) fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(100_000));
        let reader = clock.clone();
        let mut status = StatusRegistry::new(Arc::new(move || Duration::from_millis(reader.load(Relaxed))));
        let shop = status.add(&site("shop"), Schedule::parse("0 */3 * * *", "UTC").unwrap());
        Self {
            status: Arc::new(status),
            shop,
            limits: Limits::STANDARD,
            history: ModelHistory::Entries(1000),
            admin_token: Some(ADMIN),
            stopping: CancellationToken::new(),
            triggered: Arc::default(),
            shutdown: CancellationToken::new(),
            clock,
        }
    }

    /// The same with further sites.
    pub(crate) fn with_sites(others: &[&str]) -> Self {
        let trial = Self::new();
        let clock = trial.clock.clone();
        let mut status = StatusRegistry::new(Arc::new(move || Duration::from_millis(clock.load(Relaxed))));
        let shop = status.add(&site("shop"), Schedule::parse("0 */3 * * *", "UTC").unwrap());
        for name in others {
            status.add(&site(name), Schedule::parse("off", "UTC").unwrap());
        }
        Self { status: Arc::new(status), shop, ..trial }
    }

    pub(crate) fn look(&self, snapshot: &Snapshot) {
        self.shop.observe(Observation::Looked(snapshot));
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.clock.fetch_add(u64::try_from(span.as_millis()).unwrap(), Relaxed);
    }

    pub(crate) fn server(&self) -> HttpServer {
        let triggered = self.triggered.clone();
        HttpServer {
            status: self.status.clone(),
            store: Arc::new(self.history.clone()),
            refresh: Arc::new(move |site, note| {
                let word = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                triggered.lock().unwrap().push(format!("{site}: {} by {}", word(note.reason), word(note.source)));
            }),
            admin_token: self.admin_token.map(|token| Renewed::fixed(token.into())),
            instance: "box-1".into(),
            limits: self.limits,
            stopping: self.stopping.clone(),
        }
    }

    pub(in crate::server) fn context(&self) -> Arc<Context> {
        Context::new(self.server(), self.shutdown.clone())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    pub(in crate::server) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.context(), method, path, headers).await
    }
}

/// One request to the routes, without a connection.
pub(in crate::server) async fn ask(
    context: &Arc<Context>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let response = begin(context, method, path, headers).await;
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: head.status, headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

/// The same, with the body left to be read.
pub(in crate::server) async fn begin(
    context: &Arc<Context>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> axum::http::Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let routes = TowerToHyperService::new(router(context.clone()));
    routes.call(request.body(Body::empty()).unwrap()).await.unwrap()
}

impl StoreReader for ModelHistory {
    fn latest<'a>(&'a self, site: &'a SiteId, limit: usize) -> BoxFuture<'a, Result<Vec<HistoryEntry>, String>> {
        async move {
            match self {
                Self::Entries(count) => Ok((0..limit.min(*count)).map(|n| entry(site, n)).collect()),
                Self::Without(name) if site.as_str() == *name => Err("wrong type".to_owned()),
                Self::Without(_) => Ok((0..limit).map(|n| entry(site, n)).collect()),
                Self::Away => Err("connection refused".to_owned()),
                Self::Silence => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn listening<'a>(&'a self, sites: &'a [SiteId]) -> BoxFuture<'a, Result<Vec<usize>, String>> {
        async move {
            match self {
                Self::Entries(_) | Self::Without(_) => Ok(vec![2; sites.len()]),
                Self::Away => Err("connection refused".to_owned()),
                Self::Silence => std::future::pending().await,
            }
        }
        .boxed()
    }
}

fn entry(site: &SiteId, n: usize) -> HistoryEntry {
    HistoryEntry {
        at: "2026-11-22T07:13:05Z".parse().unwrap(),
        outcome: "refreshed".into(),
        trigger: Some("invalid".into()),
        source: Some(format!("{site}-{n}")),
        stage: None,
        error: None,
        version: Some(7),
        solve_ms: Some(17_000),
        extract_ms: Some(0),
        verify_ms: Some(300),
        reporter: None,
        reason: None,
        instance: Some("box-1".into()),
    }
}
