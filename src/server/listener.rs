//! The connections: how many, and how long each may take.
//!
//! A connection carries one request. `axum::serve` bounds neither their number nor their time, so hyper is driven here.

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
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::context::{Context, HttpServer, Limits};
use super::routes::router;

const MAX_HEADERS: usize = 64;

/// How long to pause when no connection can be accepted, for instance without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until shutdown; connections that are open then may continue for a moment.
pub async fn serve(listener: TcpListener, server: HttpServer, shutdown: CancellationToken) {
    let limits = server.limits;
    let router = router(Context::new(server, shutdown.clone()));
    let mut connections = Connections::default();
    let mut refused = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    refused = false;
                    connections.open(stream, &router, limits).await;
                }
                Err(error) => {
                    // Logged once, not at every try.
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "failed to accept a connection: trying again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let farewell = timeout(limits.farewell, async { while connections.tasks.join_next().await.is_some() {} });
    // Dropping the set aborts those that take longer.
    let _ = farewell.await;
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first.
    open: Vec<Connection>,
}

struct Connection {
    task: AbortHandle,
    /// Whether a whole request was received.
    has_request: Arc<AtomicBool>,
}

impl Connections {
    async fn open(&mut self, stream: TcpStream, router: &Router, limits: Limits) {
        self.open.retain(|connection| !connection.task.is_finished());
        if self.open.len() >= limits.connections.max(1) {
            // A connection without a request is closed first, so that a probe always gets through.
            let oldest = self.open.iter().position(|c| !c.has_request.load(Relaxed)).unwrap_or(0);
            self.open.remove(oldest).task.abort();
            // Its file descriptor is free before the next connection is accepted.
            self.tasks.join_next().await;
        }
        let has_request = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(converse(stream, router.clone(), limits, Arc::clone(&has_request)));
        self.open.push(Connection { task, has_request });
    }
}

/// One connection, one request.
async fn converse(stream: TcpStream, router: Router, limits: Limits, has_request: Arc<AtomicBool>) {
    let follows = Arc::new(AtomicBool::new(false));
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        has_request.store(true, Relaxed);
        let follows = Arc::clone(&follows);
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
    // A client's mistakes are answered or cut off, and not logged.
    if timeout(limits.answer, connection.as_mut()).await.is_err() && follows.load(Relaxed) {
        let _ = timeout(limits.follow, connection).await;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::trial::{ModelHistory, Trial, site};
    use super::*;
    use crate::status::SubscriptionObserver;
    use std::net::SocketAddr;
    use token_sidecar_client::wire::{Event, Failed, FailedCause, Stage, Trigger};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    /// Far more than a healthy server needs, far less than any client's time-out.
    const PROMPT: Duration = Duration::from_secs(2);

    /// A server on a port of its own; it ends with the test.
    struct Live {
        address: SocketAddr,
        server: JoinSet<()>,
    }

    impl Live {
        async fn start(trial: &Trial) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut server = JoinSet::new();
            server.spawn(serve(listener, trial.server(), trial.shutdown.clone()));
            Self { address, server }
        }

        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }

        async fn exchange(&self, text: &str) -> String {
            rest(&mut self.send(text).await).await
        }

        async fn is_prompt(&self) {
            let answer = timeout(PROMPT, self.exchange(HEALTHZ)).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }

    /// Everything until the server closes, even by a reset.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    async fn until(stream: &mut TcpStream, words: &str) -> String {
        let mut text = String::new();
        while !text.contains(words) {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            assert_ne!(read, 0, "the end came before `{words}`: {text}");
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        text
    }

    fn healthy() -> Trial {
        let trial = Trial::new();
        trial.status.connected();
        trial.status.canary(Duration::ZERO);
        trial
    }

    #[tokio::test]
    async fn a_connection_carries_one_request() {
        let live = Live::start(&healthy()).await;
        let answer = live.exchange(&format!("{HEALTHZ}{HEALTHZ}")).await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(live.exchange("GET /healthz HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 OK"));
    }

    #[tokio::test]
    async fn idle_connections_do_not_delay_a_probe() {
        let live = Live::start(&healthy()).await;
        let mut idle = Vec::new();
        for _ in 0..200 {
            idle.push(live.send("").await);
        }
        live.is_prompt().await;
    }

    #[tokio::test]
    async fn when_all_places_are_taken_the_oldest_idle_connection_is_closed() {
        let mut trial = healthy();
        trial.limits.connections = 3;
        let live = Live::start(&trial).await;
        let mut follower = live.send("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n").await;
        until(&mut follower, "following").await;
        let mut oldest = live.send("").await;
        let _younger = live.send("GET / HT").await;
        live.is_prompt().await;
        assert_eq!(timeout(PROMPT, rest(&mut oldest)).await.unwrap(), "");
        for _ in 0..50 {
            drop(live.send("").await);
        }
        live.is_prompt().await;
        trial.status.event(&failed());
        until(&mut follower, "event: token:failed").await;
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_cut_off_and_delays_no_other_client() {
        let mut trial = healthy();
        trial.limits.head = Duration::from_millis(50);
        let live = Live::start(&trial).await;
        let mut slow = live.send("GET /healthz HTTP/1.1\r\nX: ").await;
        let mut silent = live.send("").await;
        live.is_prompt().await;
        for stream in [&mut slow, &mut silent] {
            let answer = timeout(PROMPT, rest(stream)).await.unwrap();
            assert!(!answer.contains("200 OK"), "{answer}");
        }
    }

    #[tokio::test]
    async fn heads_are_bounded_in_size_and_number() {
        let live = Live::start(&healthy()).await;
        let long = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
        let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100));
        let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(12 * 1024));
        for (request, status) in [(long, ""), (many, "431"), (path, "404"), ("nonsense\r\n\r\n".into(), "400")] {
            let answer = timeout(PROMPT, async {
                let mut stream = TcpStream::connect(live.address).await.unwrap();
                // The server may close before all of it is sent.
                let _ = stream.write_all(request.as_bytes()).await;
                rest(&mut stream).await
            });
            let answer = answer.await.unwrap();
            assert!(!answer.contains("200 OK"), "{answer}");
            assert!(answer.is_empty() && status.is_empty() || answer.contains(&format!(" {status}")), "{answer}");
        }
        live.is_prompt().await;
    }

    #[tokio::test]
    async fn a_body_is_not_waited_for() {
        let live = Live::start(&healthy()).await;
        let head = "POST /api/sites/shop/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
        let mut stream = live.send(head).await;
        let answer = timeout(PROMPT, until(&mut stream, "\r\n\r\n")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }

    #[tokio::test]
    async fn following_goes_on_when_the_time_of_an_answer_is_over() {
        let mut trial = healthy();
        trial.history = ModelHistory::Silence;
        trial.limits.answer = Duration::from_millis(50);
        let live = Live::start(&trial).await;
        let mut follower = live.send("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n").await;
        until(&mut follower, "following").await;
        // Begun later, so the follower's time is over when this one's is.
        let cut = live.exchange("GET /api/history HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(cut, "");
        trial.status.event(&failed());
        until(&mut follower, "event: token:failed").await;
    }

    #[tokio::test]
    async fn the_end_closes_what_follows_and_cuts_off_what_hangs() {
        let mut trial = healthy();
        trial.history = ModelHistory::Silence;
        trial.limits.farewell = Duration::from_millis(50);
        let mut live = Live::start(&trial).await;
        let mut follower = live.send("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n").await;
        until(&mut follower, "following").await;
        let mut hanging = live.send("GET /api/history?site=shop HTTP/1.1\r\nHost: x\r\n\r\n").await;
        live.is_prompt().await;
        trial.shutdown.cancel();
        timeout(PROMPT, live.server.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(rest(&mut follower).await, "0\r\n\r\n");
        assert_eq!(rest(&mut hanging).await, "");
        assert!(TcpStream::connect(live.address).await.is_err());
    }

    fn failed() -> Event {
        Event::Failed(Failed {
            site: site("shop").to_string(),
            cause: FailedCause::Attempt,
            stage: Stage::Solve,
            error: "FlareSolverr: timeout".into(),
            attempt: 1,
            retry_at: "2026-11-22T07:21:00Z".parse().unwrap(),
            valid_until: None,
            trigger: Trigger::Invalid,
        })
    }
}
