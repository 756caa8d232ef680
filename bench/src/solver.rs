//! A FlareSolverr and a shop that cost as little as can be: what is measured is what asks them.
//!
//! `POST /v1` gives a new token after the time that it is set to take, `GET /web/api/…` takes it, `POST /control/expire` ends all.
//! Every connection serves one request: requests to a solver are hours apart.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::clock::{Instant, unix_seconds};

/// How many connections may wait: a herd comes all at once.
const BACKLOG: i32 = 4_096;
/// How many requests are served at once.
const SERVERS: usize = 16;

/// The servers, which end with the process.
#[derive(Debug, Clone)]
pub(crate) struct Solver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// When each solve was asked for, the request read to its end.
    arrivals: Vec<Instant>,
    /// What a solve takes.
    takes: Duration,
    /// How many tokens were given so far.
    given: u64,
    /// The tokens that work: all that were given since the last of them was ended, as a shop has it.
    working: BTreeSet<String>,
}

/// A token like the shop's: a JWT of an anonymous visitor, by HS256, that lives 168,000 s.
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // By default 128 may wait to be accepted; the kernel of one more asks again after a whole second.
        rustix::net::listen(&listener, BACKLOG)?;
        let solver = Self { address: listener.local_addr()?, shared: Arc::default() };
        for _ in 0..SERVERS {
            let (listener, solver) = (listener.try_clone()?, solver.clone());
            thread::spawn(move || {
                while let Ok((socket, _)) = listener.accept() {
                    // Whoever asked may have been killed.
                    let _gone = solver.serve(&socket);
                }
            });
        }
        Ok(solver)
    }

    /// Settings of a sidecar, and of Celery, that is to ask here.
    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        let here = format!("http://{}", self.address);
        [
            ("FLARESOLVERR_URL", format!("{here}/v1")),
            ("CHITAI_GOROD_SITE_URL", format!("{here}/shop")),
            ("CHITAI_GOROD_API_URL", format!("{here}/web/api/v2")),
            ("CONTROL_URL", here),
        ]
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a solve takes from now on.
    pub(crate) fn takes(&self, span: Duration) {
        self.state().takes = span;
    }

    /// How many solves were asked for so far.
    pub(crate) fn solves(&self) -> usize {
        self.state().arrivals.len()
    }

    /// When solve number `n` (from 0) was asked for; waits for it.
    pub(crate) fn arrival(&self, n: usize) -> anyhow::Result<Instant> {
        let wait =
            self.shared.asked.wait_timeout_while(self.state(), Duration::from_secs(120), |s| s.arrivals.len() <= n);
        let (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        state.arrivals.get(n).copied().context("nobody asked the solver")
    }

    /// When the solves from number `first` on were asked for.
    pub(crate) fn arrivals(&self, first: usize) -> Vec<Instant> {
        self.state().arrivals.get(first..).unwrap_or_default().to_vec()
    }

    /// Ends all tokens that were given so far.
    pub(crate) fn expire(&self) {
        self.state().working.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
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
                if self.state().working.contains(&bearer) {
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
        let takes = {
            let mut state = self.state();
            state.arrivals.push(Instant::now());
            state.takes
        };
        self.shared.asked.notify_all();
        if !takes.is_zero() {
            thread::sleep(takes);
        }
        let token = {
            let mut state = self.state();
            state.given += 1;
            let token = token(state.given);
            state.working.insert(token.clone());
            token
        };
        format!(
            r#"{{"status":"ok","message":"Challenge not detected!","startTimestamp":1,"endTimestamp":2,"version":"3.5.0","solution":{{"url":"http://{}/shop","status":200,"headers":{{}},"response":"<html><head></head><body>shop</body></html>","userAgent":"Mozilla/5.0","cookies":[{{"name":"access-token","value":"Bearer%20{token}","domain":"{}","path":"/","secure":false,"httpOnly":false,"sameSite":"Lax"}}]}}}}"#,
            self.address,
            self.address.ip(),
        )
    }
}
