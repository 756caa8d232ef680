//! The floor: the fewest round trips that the contract allows, on blocking sockets.
//!
//! For each message: a script that reads the state and takes the lock; a request to the solver; a request to the API; one
//! transaction that stores the token, announces it and frees the lock. It checks nothing, logs nothing and handles no
//! failure.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::Context as _;

use crate::redis::{Connection, Reply, command};

/// Channels and a key of its own, so that a sidecar can run beside it.
pub(crate) const INVALID: &str = "floor:token:invalid";
pub(crate) const UPDATED: &str = "floor:token:updated";
pub(crate) const TOKEN: &str = "floor_token";

/// Reads what a decision needs and takes the lock, in one step.
const CLAIM: &str = "redis.call('GET', KEYS[1]) redis.call('HMGET', KEYS[2], 'version', 'failures', 'retry_at') \
    return redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', 15000)";

pub(crate) fn serve(redis: SocketAddr, solver: SocketAddr) -> anyhow::Result<()> {
    let mut subscription = Connection::open(redis)?;
    let mut connection = Connection::open(redis)?;
    subscription.subscribe(&[INVALID])?;
    let claim = connection.ask(&["SCRIPT", "LOAD", CLAIM])?.text().context("the script is not loaded")?;
    let body = format!(r#"{{"cmd":"request.get","url":"http://{solver}/shop","maxTimeout":60000}}"#);
    let solve = format!(
        "POST /v1 HTTP/1.1\r\nHost: {solver}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    loop {
        subscription.message()?;
        if connection.ask(&["EVALSHA", &claim, "3", TOKEN, "{floor_token}:meta", "{floor_token}:lock", "floor"])?
            == Reply::Nil
        {
            continue;
        }
        let answer = exchange(solver, &solve)?;
        let token = answer
            .split_once("Bearer%20")
            .and_then(|(_, rest)| rest.split_once('"'))
            .context("the solver has sent no token")?
            .0;
        exchange(solver, &format!("GET /web/api/v2/search/product HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n"))?;
        let mut commit = command(&["MULTI"]);
        for words in [
            &["SET", TOKEN, token, "EX", "86400"][..],
            &["SET", "floor_cookies", "{}", "EX", "86400"],
            &["HSET", "{floor_token}:meta", "version", "1"],
            &["XADD", "{floor_token}:history", "MAXLEN", "~", "1000", "*", "outcome", "refreshed"],
            &["PUBLISH", "token:updated", "{}"],
            &["PUBLISH", UPDATED, "{}"],
            &["DEL", "{floor_token}:lock"],
            &["EXEC"],
        ] {
            commit.extend(command(words));
        }
        connection.send(&commit)?;
        for _ in 0..9 {
            connection.reply()?;
        }
    }
}

fn exchange(server: SocketAddr, request: &str) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Receives every message of a channel and drops it: the cheapest possible subscriber.
pub(crate) fn drain(redis: SocketAddr, channel: &str) -> anyhow::Result<()> {
    let mut subscription = Connection::open(redis)?;
    subscription.subscribe(&[channel])?;
    subscription.drain()
}
