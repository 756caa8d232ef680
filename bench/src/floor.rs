//! The floor: the fewest round trips that the contract allows, on bare sockets, with nothing around them.
//!
//! For each message: a script that reads the state and takes the lock; a connection to the solver and its answer; a connection to the API and its answer; one
//! transaction that stores, announces and frees the lock. Nothing is parsed that need not be, nothing checked, nothing
//! logged, and nothing would survive a fault.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::Context as _;

use crate::resp::{Reply, Resp, command};

/// The channel on which the floor is asked, so that a sidecar may run beside it.
pub(crate) const INVALID: &str = "floor:token:invalid";
/// Where it announces.
pub(crate) const UPDATED: &str = "floor:token:updated";
/// Where it stores.
pub(crate) const TOKEN: &str = "floor_token";

/// What decides upon the state and takes the lock, in one step as the contract has it.
const CLAIM: &str = "redis.call('GET', KEYS[1]) redis.call('HMGET', KEYS[2], 'version', 'failures', 'retry_at') \
    return redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', 15000)";

/// Serves messages until it is killed.
pub(crate) fn serve(redis: SocketAddr, solver: SocketAddr) -> anyhow::Result<()> {
    let mut ear = Resp::connect(redis)?;
    let mut link = Resp::connect(redis)?;
    ear.subscribe(&[INVALID])?;
    let claim = link.ask(&["SCRIPT", "LOAD", CLAIM])?.text().context("no script")?;
    let body = format!(r#"{{"cmd":"request.get","url":"http://{solver}/shop","maxTimeout":60000}}"#);
    let solve = format!(
        "POST /v1 HTTP/1.1\r\nHost: {solver}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    loop {
        ear.message()?;
        if link.ask(&["EVALSHA", &claim, "3", TOKEN, "{floor_token}:meta", "{floor_token}:lock", "floor"])?
            == Reply::Nil
        {
            continue;
        }
        let answer = exchange(solver, &solve)?;
        let token = answer.split_once("Bearer%20").and_then(|(_, rest)| rest.split_once('"')).context("no token")?.0;
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
        link.send(&commit)?;
        for _ in 0..9 {
            link.reply()?;
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

/// Hears everything that is said on a channel, and does nothing with it: what a subscriber costs at the least.
pub(crate) fn drain(redis: SocketAddr, channel: &str) -> anyhow::Result<()> {
    let mut ear = Resp::connect(redis)?;
    ear.subscribe(&[channel])?;
    ear.drain()
}
