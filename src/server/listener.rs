//! The connections: how many, and how long each may take.
//!
//! A connection carries one request. `axum::serve` sets no bound of its own, neither on their number nor on
//! their time, so hyper is driven here.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::state::{Limits, Server, Shared, router};

/// The most headers that a request may have.
const MAX_HEADERS: usize = 64;

/// How long to wait when no connection can be accepted, as when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until told to end; the connections there are then may finish for a moment.
pub async fn serve(listener: TcpListener, server: Server, shutdown: CancellationToken) {
    let limits = server.limits;
    let router = router(Shared::new(server, shutdown.clone()));
    let mut connections = Connections::new(limits.connections);
    let mut refused = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.tasks.join_next_with_id() => {
                connections.forget(ended.map_or_else(|e| e.id(), |(id, ())| id));
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    refused = false;
                    connections.open(stream, &router, limits);
                }
                Err(error) => {
                    // Said once, not at every try.
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "failed to accept a connection, trying on");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let farewell = timeout(limits.farewell, async { while connections.tasks.join_next().await.is_some() {} });
    // Those that take longer end with their tasks.
    let _ = farewell.await;
}

/// The connections that are open, the oldest first.
struct Connections {
    most: usize,
    tasks: JoinSet<()>,
    open: Vec<Connection>,
}

struct Connection {
    id: Id,
    task: AbortHandle,
    /// Whether a whole request has come.
    asked: Arc<AtomicBool>,
}

impl Connections {
    fn new(most: usize) -> Self {
        Self { most: most.max(1), tasks: JoinSet::new(), open: Vec::new() }
    }

    fn open(&mut self, stream: TcpStream, router: &Router, limits: Limits) {
        if self.open.len() >= self.most {
            // Whoever holds connections to ask nothing gives way, so that a probe always gets through.
            let place = self.open.iter().position(|c| !c.asked.load(Relaxed)).unwrap_or(0);
            self.open.remove(place).task.abort();
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(converse(stream, router.clone(), limits, asked.clone()));
        self.open.push(Connection { id: task.id(), task, asked });
    }

    fn forget(&mut self, id: Id) {
        self.open.retain(|c| c.id != id);
    }
}

/// One connection, one request.
async fn converse(stream: TcpStream, router: Router, limits: Limits, asked: Arc<AtomicBool>) {
    let follows = Arc::new(AtomicBool::new(false));
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        asked.store(true, Relaxed);
        let follows = follows.clone();
        let answer = routes.call(request);
        async move {
            let response = answer.await?;
            let kind = response.headers().get(CONTENT_TYPE);
            follows.store(kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")), Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.head_bytes)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // What a client does wrong is its own affair: it is answered or cut off, and not logged.
    if timeout(limits.answer, connection.as_mut()).await.is_err() && follows.load(Relaxed) {
        let _ = timeout(limits.follow, connection).await;
    }
}
