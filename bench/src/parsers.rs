//! Parsers that follow the contract on blocking sockets, at next to no cost of their own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::bench::{FAILED, INVALID, TOKEN, UPDATED};
use crate::clock::Instant;
use crate::redis::{Connection, RedisServer, command};
use crate::solver::Solver;

/// A parser that reports and waits, again and again.
#[derive(Debug)]
pub(crate) struct Parser {
    subscription: Connection,
    connection: Connection,
    report: Vec<u8>,
    get: Vec<u8>,
}

/// The times of one report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Until the solver has the request.
    pub(crate) dispatch: Duration,
    /// Until the parser holds the new token.
    pub(crate) end_to_end: Duration,
}

impl Parser {
    /// Subscribes.
    pub(crate) fn subscribed(redis: &RedisServer, invalid: &str, updated: &str, key: &str) -> anyhow::Result<Self> {
        let mut subscription = redis.connect()?;
        subscription.subscribe(&[updated])?;
        let (report, get) = (command(&["PUBLISH", invalid, "now"]), command(&["GET", key]));
        Ok(Self { subscription, connection: redis.connect()?, report, get })
    }

    /// Reports, waits for the announcement and reads the key.
    pub(crate) fn sample(&mut self, solver: &Solver) -> anyhow::Result<Sample> {
        let next = solver.solves();
        let started = Instant::now();
        self.connection.send(&self.report)?;
        ensure!(self.connection.reply()?.number() > Some(0), "no sidecar is subscribed");
        self.subscription.message()?;
        self.connection.send(&self.get)?;
        self.connection.reply()?.text().context("no token")?;
        let end_to_end = Instant::now().since(started);
        Ok(Sample { dispatch: solver.arrival(next)?.since(started), end_to_end })
    }
}

/// What a parser does after a 401: subscribes, reports, waits, reads the key and calls again. Returns when the API has
/// accepted the new token.
pub(crate) fn recover(
    subscription: &mut Connection,
    connection: &mut Connection,
    solver: SocketAddr,
    report: &str,
) -> anyhow::Result<Instant> {
    subscription.subscribe(&[UPDATED, FAILED])?;
    let receivers = connection.ask(&["PUBLISH", INVALID, report])?;
    ensure!(receivers.number() > Some(0), "no sidecar is subscribed");
    let (channel, event) = subscription.message()?;
    ensure!(channel == UPDATED, "{event}");
    let token = connection.ask(&["GET", TOKEN])?.text().context("no token")?;
    ensure!(is_accepted(solver, &token)?, "the new token is refused");
    Ok(Instant::now())
}

fn is_accepted(solver: SocketAddr, token: &str) -> anyhow::Result<bool> {
    let mut socket = TcpStream::connect(solver)?;
    let request = format!("GET /web/api/v2/search/product HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}
