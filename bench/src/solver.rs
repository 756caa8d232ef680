//! A minimal FlareSolverr and API, so that their own cost does not count.
//!
//! `POST /v1` returns a new token after the configured time, `GET /web/api/…` accepts it, `POST /control/expire` revokes
//! all tokens. Each connection serves one request: in production, solves are hours apart.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::clock::{Instant, unix_seconds};

/// Connections that may wait to be accepted: a thousand parsers connect at once.
const BACKLOG: i32 = 4_096;
/// Requests that are served at once.
const THREADS: usize = 16;

/// It runs until the process ends, or until it is killed.
#[derive(Debug, Clone)]
pub(crate) struct Solver {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    hangs: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<SolverState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct SolverState {
    /// When the request of each solve was complete.
    arrivals: Vec<Instant>,
    solve_time: Duration,
    /// Tokens made so far.
    made: u64,
    /// The tokens that the API accepts.
    live: BTreeSet<String>,
}

/// A token like the shop's: an anonymous visitor's JWT (HS256) that lives 168,000 s.
fn token(number: u64) -> String {
    let now = unix_seconds();
    let head = r#"{"alg":"HS256","typ":"JWT"}"#;
    let (exp, iss) = (now + 168_000, "/api/v1/auth/anonymous");
    let claims = format!(r#"{{"exp":{exp},"iat":{now},"iss":"{iss}","sub":"{number:064x}","type":10}}"#);
    let [head, claims] = [head, &claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    format!("{head}.{claims}.{number:0>43}")
}

impl Solver {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::with(Arc::default())
    }

    /// Another solver of the same shop.
    pub(crate) fn another(&self) -> anyhow::Result<Self> {
        Self::with(Arc::clone(&self.shared))
    }

    fn with(shared: Arc<Shared>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // With the default of 128, a client whose connection does not fit retries only after a second.
        rustix::net::listen(&listener, BACKLOG)?;
        let (address, listener) = (listener.local_addr()?, Arc::new(listener));
        let solver = Self { address, listener, shared, hangs: Arc::default() };
        for _ in 0..THREADS {
            let solver = solver.clone();
            thread::spawn(move || {
                while let Ok((socket, _)) = solver.listener.accept() {
                    // The client may have been killed.
                    let _client_gone = solver.serve(&socket);
                }
            });
        }
        Ok(solver)
    }

    /// Settings of a sidecar, and of Celery, that use this solver.
    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        let here = format!("http://{}", self.address);
        [
            ("FLARESOLVERR_URL", self.url()),
            ("CHITAI_GOROD_SITE_URL", format!("{here}/shop")),
            ("CHITAI_GOROD_API_URL", format!("{here}/web/api/v2")),
            ("CONTROL_URL", here),
        ]
    }

    /// Its address as a setting.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Refuses connections from now on.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        Ok(rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both)?)
    }

    /// Answers no solve from now on.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_solve_time(&self, time: Duration) {
        self.state().solve_time = time;
    }

    /// Solves requested so far.
    pub(crate) fn solves(&self) -> usize {
        self.state().arrivals.len()
    }

    /// Waits until solve number `n` (from 0) is requested; when that was.
    pub(crate) fn arrival(&self, n: usize) -> anyhow::Result<Instant> {
        let wait =
            self.shared.arrived.wait_timeout_while(self.state(), Duration::from_secs(120), |s| s.arrivals.len() <= n);
        let (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        state.arrivals.get(n).copied().context("no solve was requested")
    }

    /// When the solves from number `first` on were requested.
    pub(crate) fn arrivals(&self, first: usize) -> Vec<Instant> {
        self.state().arrivals.get(first..).unwrap_or_default().to_vec()
    }

    /// Makes the API refuse all tokens made so far.
    pub(crate) fn expire(&self) {
        self.state().live.clear();
    }

    /// Whether the API accepts this token.
    pub(crate) fn accepts(&self, token: &str) -> bool {
        self.state().live.contains(token)
    }

    fn state(&self) -> MutexGuard<'_, SolverState> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, socket: &TcpStream) -> anyhow::Result<()> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let (mut length, mut bearer) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match &name.to_ascii_lowercase()[..] {
                "content-length" => length = value.parse()?,
                "authorization" => bearer = value.trim_start_matches("Bearer ").to_owned(),
                _ => {}
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        let (status, body) = match line.split(' ').nth(1).unwrap_or_default() {
            "/v1" => ("200 OK", self.solve()),
            "/control/expire" => {
                self.expire();
                ("200 OK", "{}".to_owned())
            }
            path if path.starts_with("/web/api/") => {
                if self.accepts(&bearer) {
                    ("200 OK", r#"{"data":{"products":[]}}"#.to_owned())
                } else {
                    ("401 Unauthorized", r#"{"errors":[{"status":401}]}"#.to_owned())
                }
            }
            _ => {
                ("200 OK", r#"{"msg":"FlareSolverr is ready!","version":"3.5.0","userAgent":"Mozilla/5.0"}"#.to_owned())
            }
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len(),
        );
        let mut writer = socket;
        Ok(writer.write_all(answer.as_bytes())?)
    }

    fn solve(&self) -> String {
        let solve_time = {
            let mut state = self.state();
            state.arrivals.push(Instant::now());
            state.solve_time
        };
        self.shared.arrived.notify_all();
        while self.hangs.load(Ordering::Relaxed) {
            thread::park();
        }
        thread::sleep(solve_time);
        let token = {
            let mut state = self.state();
            state.made += 1;
            let token = token(state.made);
            state.live.insert(token.clone());
            token
        };
        format!(
            r#"{{"status":"ok","message":"Challenge not detected!","startTimestamp":1,"endTimestamp":2,"version":"3.5.0","solution":{{"url":"http://{}/shop","status":200,"headers":{{}},"response":"<html><head></head><body>shop</body></html>","userAgent":"Mozilla/5.0","cookies":[{{"name":"access-token","value":"Bearer%20{token}","domain":"{}","path":"/","secure":false,"httpOnly":false,"sameSite":"Lax"}}]}}}}"#,
            self.address,
            self.address.ip(),
        )
    }
}
