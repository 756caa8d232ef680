//! An API behind the gateway that accepts the solver's tokens, keeps connections, and takes and sends bodies of any size.
//!
//! - `GET /late?ms=N` is judged and answered `N` milliseconds after the tokens were revoked.
//! - `GET /large?bytes=N` sends so many bytes.
//! - A body is answered with how many bytes of it were read.
//! - Whatever else is answered with a little JSON.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Instant;
use crate::solver::Solver;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;
static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// It runs on a thread of its own until the process ends.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    solver: Solver,
    counts: Arc<Counts>,
    /// When the tokens were revoked.
    revoked: watch::Sender<Option<Instant>>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Late requests that have arrived.
    pub(crate) late: AtomicU64,
    /// Late requests that were answered with 401.
    pub(crate) late_refused: AtomicU64,
    /// Bytes of large bodies that were sent.
    pub(crate) sent: AtomicU64,
}

impl Api {
    pub(crate) fn start(solver: &Solver) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let (counts, revoked) = (Arc::default(), watch::Sender::new(None));
        let api = Self { address: listener.local_addr()?, solver: solver.clone(), counts, revoked };
        let (runtime, serving) = (Builder::new_current_thread().enable_all().build()?, api.clone());
        thread::spawn(move || runtime.block_on(serving.accept(listener)));
        Ok(api)
    }

    /// Its `api_url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Refuses all tokens made so far from now on.
    pub(crate) fn revoke(&self) -> Instant {
        self.solver.expire();
        let now = Instant::now();
        self.revoked.send_replace(Some(now));
        now
    }

    async fn accept(self, listener: TcpListener) -> io::Result<()> {
        let (listener, mut connections) = (tokio::net::TcpListener::from_std(listener)?, JoinSet::new());
        loop {
            let (socket, _) = listener.accept().await?;
            let api = self.clone();
            // A client may leave at any time.
            connections.spawn(async move { api.serve(socket).await });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn serve(&self, socket: TcpStream) -> anyhow::Result<()> {
        socket.set_nodelay(true)?;
        let mut socket = BufReader::new(socket);
        let (mut first, mut line) = (String::new(), String::new());
        loop {
            first.clear();
            if socket.read_line(&mut first).await? == 0 {
                return Ok(());
            }
            let (mut length, mut bearer) = (0, String::new());
            loop {
                line.clear();
                socket.read_line(&mut line).await?;
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.parse()?;
                } else if name.eq_ignore_ascii_case("authorization") {
                    value.trim_start_matches("Bearer ").clone_into(&mut bearer);
                }
            }
            let read = tokio::io::copy_buf(&mut (&mut socket).take(length), &mut tokio::io::sink()).await?;
            let target = first.split(' ').nth(1).context("no target")?;
            let late = target.strip_prefix("/late?ms=").map(str::parse).transpose()?;
            if let Some(ms) = late {
                self.counts.late.fetch_add(1, Ordering::Relaxed);
                self.wait(Duration::from_millis(ms)).await?;
            }
            if !self.solver.accepts(&bearer) {
                self.counts.late_refused.fetch_add(late.is_some().into(), Ordering::Relaxed);
                answer(&mut socket, "401 Unauthorized", r#"{"errors":[{"status":401}]}"#).await?;
            } else if let Some(bytes) = target.strip_prefix("/large?bytes=") {
                self.send(&mut socket, bytes.parse()?).await?;
            } else if length > 0 {
                answer(&mut socket, "200 OK", &read.to_string()).await?;
            } else {
                answer(&mut socket, "200 OK", r#"{"data":{"products":[]}}"#).await?;
            }
        }
    }

    /// Waits until so long after the revocation.
    async fn wait(&self, span: Duration) -> anyhow::Result<()> {
        let at = self.revoked.subscribe().wait_for(Option::is_some).await?.unwrap_or_else(Instant::now);
        tokio::time::sleep(span.saturating_sub(Instant::now().since(at))).await;
        Ok(())
    }

    async fn send(&self, socket: &mut BufReader<TcpStream>, bytes: u64) -> anyhow::Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        let mut left = bytes;
        while left > 0 {
            let length = left.min(PIECE.len() as u64);
            socket.write_all(&PIECE[..usize::try_from(length)?]).await?;
            left -= length;
            self.counts.sent.fetch_add(length, Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn answer(socket: &mut BufReader<TcpStream>, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    socket.write_all((head + body).as_bytes()).await
}
