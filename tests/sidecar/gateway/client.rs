//! An HTTP client that shows every byte.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::process::DEADLINE;

/// One connection.
pub(super) struct Connection(BufReader<TcpStream>);

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Lower-case names.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// What the gateway says that it did.
    pub(super) fn mark(&self) -> &str {
        self.header("x-token-sidecar")
    }
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(super) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).unwrap();
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    /// The head of the next answer; `None` where the connection has ended.
    pub(super) fn head(&mut self) -> Option<Answer> {
        let mut first = String::new();
        if self.0.read_line(&mut first).unwrap_or(0) == 0 {
            return None;
        }
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let headers = read_headers(&mut self.0);
        Some(Answer { status, headers, body: Vec::new() })
    }

    /// The next answer to a request other than HEAD.
    pub(super) fn answer(&mut self) -> Answer {
        let mut answer = self.head().unwrap_or_else(|| panic!("no answer"));
        answer.body = read_body(&mut self.0, &answer.headers, true);
        answer
    }

    pub(super) fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// All that comes until the server closes, even by a reset.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        bytes
    }

    /// Whether nothing comes within this time, not even the end.
    pub(super) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.stream().set_read_timeout(Some(span)).unwrap();
        let is_silent = self.0.fill_buf().is_err();
        self.stream().set_read_timeout(Some(DEADLINE)).unwrap();
        is_silent
    }

    /// Whether the server closes without another byte.
    pub(super) fn is_closed(&mut self) -> bool {
        self.0.fill_buf().map_or(true, <[u8]>::is_empty)
    }
}

/// One request without a body; `headers` are whole lines.
pub(super) fn ask(address: SocketAddr, method: &str, target: &str, headers: &str) -> Answer {
    send(address, method, target, headers, b"")
}

pub(super) fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target, "")
}

/// One request with a body, where there is one.
pub(super) fn send(address: SocketAddr, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n");
    if !body.is_empty() {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    let mut connection = Connection::open(address);
    connection.send(head + "\r\n");
    connection.send(body);
    connection.answer()
}

/// The lines of a head up to its end, with lower-case names.
pub(super) fn read_headers(from: &mut impl std::io::BufRead) -> Vec<(String, String)> {
    let lines = from.lines().map(Result::unwrap).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_once(':').map(|(k, v)| (k.to_lowercase(), v.trim().to_owned())).unwrap()).collect()
}

/// A body by its length or its chunks; else all that comes, if it `ends_with_connection`.
pub(super) fn read_body(
    from: &mut impl std::io::BufRead,
    headers: &[(String, String)],
    ends_with_connection: bool,
) -> Vec<u8> {
    let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let mut body = Vec::new();
    if value("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            let length = u64::from_str_radix(line.trim(), 16).unwrap();
            from.take(length).read_to_end(&mut body).unwrap();
            from.read_line(&mut line).unwrap();
            if length == 0 {
                return body;
            }
        }
    }
    match value("content-length").map(|length| length.parse().unwrap()) {
        Some(length) => from.take(length).read_to_end(&mut body).unwrap(),
        None if ends_with_connection => from.read_to_end(&mut body).unwrap(),
        None => 0,
    };
    body
}
