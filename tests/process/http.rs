//! The sidecar's own HTTP, over a plain socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::DEADLINE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The lines of the head, without the first.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {}", self.body))
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

/// The status of an answer, where there is one. `headers` are whole lines, each with its `\r\n`.
pub(crate) fn try_get(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<u16> {
    let mut first = String::new();
    send(address, "GET", path, headers)?.read_line(&mut first)?;
    Ok(status(&first).unwrap_or_default())
}

/// `headers` are whole lines, each with its `\r\n`.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let (mut answer, mut rest) = open(address, method, path, headers);
    rest.read_to_string(&mut answer.body).unwrap();
    answer
}

/// Reads the head of an answer; the rest is to come.
pub(crate) fn open(address: SocketAddr, method: &str, path: &str, headers: &str) -> (Answer, BufReader<TcpStream>) {
    let mut stream = send(address, method, path, headers).unwrap();
    let lines = stream.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty());
    let mut head: Vec<String> = lines.collect();
    assert!(!head.is_empty(), "no HTTP from {address}");
    let first = head.remove(0);
    let status = status(&first).unwrap_or_else(|| panic!("no status: {first}"));
    (Answer { status, headers: head, body: String::new() }, stream)
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &str) -> std::io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(BufReader::new(stream))
}

fn status(first_line: &str) -> Option<u16> {
    first_line.split(' ').nth(1)?.parse().ok()
}
