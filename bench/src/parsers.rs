//! Parsers on bare sockets: what they do is the contract's, and costs next to nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::clock::Instant;
use crate::process::Redis;
use crate::resp::{Resp, command};
use crate::solver::Solver;
use crate::world::{FAILED, INVALID, TOKEN, UPDATED};

/// A parser that waits for new tokens and reports.
#[derive(Debug)]
pub(crate) struct Parser {
    ear: Resp,
    link: Resp,
    report: Vec<u8>,
    get: Vec<u8>,
}

/// One report and what came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Until the solver had the request.
    pub(crate) dispatch: Duration,
    /// Until the parser held the new token.
    pub(crate) end_to_end: Duration,
}

impl Parser {
    /// One that listens already, to whoever serves these channels and this key.
    pub(crate) fn listening(redis: &Redis, invalid: &str, updated: &str, key: &str) -> anyhow::Result<Self> {
        let mut ear = redis.connect()?;
        ear.subscribe(&[updated])?;
        let (report, get) = (command(&["PUBLISH", invalid, "now"]), command(&["GET", key]));
        Ok(Self { ear, link: redis.connect()?, report, get })
    }

    /// Reports, waits for the announcement and reads the key.
    pub(crate) fn sample(&mut self, solver: &Solver) -> anyhow::Result<Sample> {
        let next = solver.solves();
        let began = Instant::now();
        self.link.send(&self.report)?;
        ensure!(self.link.reply()?.number() > Some(0), "nobody listens");
        self.ear.message()?;
        self.link.send(&self.get)?;
        self.link.reply()?.text().context("no token")?;
        let end_to_end = Instant::now().since(began);
        Ok(Sample { dispatch: solver.arrival(next)?.since(began), end_to_end })
    }
}

/// A parser that was told 401: subscribes, reports, waits, reads the key and calls again. It gives the moment at which
/// it works again.
pub(crate) fn recover(ear: &mut Resp, link: &mut Resp, solver: SocketAddr, refused: &str) -> anyhow::Result<Instant> {
    ear.subscribe(&[UPDATED, FAILED])?;
    let told = link.ask(&["PUBLISH", INVALID, refused])?;
    ensure!(told.number() > Some(0), "nobody listens");
    let (channel, said) = ear.message()?;
    ensure!(channel == UPDATED, "{said}");
    let token = link.ask(&["GET", TOKEN])?.text().context("no token")?;
    ensure!(call(solver, &token)?, "the new token is refused");
    Ok(Instant::now())
}

/// Calls the API; whether it accepts the token.
fn call(solver: SocketAddr, token: &str) -> anyhow::Result<bool> {
    let mut socket = TcpStream::connect(solver)?;
    let request = format!("GET /web/api/v2/search/product HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}
