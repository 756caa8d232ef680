//! An HTTP server that keeps what it is sent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::listener::Listener;

/// A request that was received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// How it answers. Its body quotes the address and the key that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Status(u16),
    /// Not at all, until it is changed.
    Hangs,
    /// With 200, and a body that never comes.
    HeadAlone,
}

/// It ends when this is dropped.
pub(crate) struct Receiver {
    listener: Listener,
    answers: watch::Sender<Answers>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let (answers, state) = watch::channel(Answers::Status(200));
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let listener = Listener::start(move |client| serve(client, state.clone(), Arc::clone(&kept)));
        Self { listener, answers, received }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.listener.port())
    }

    pub(crate) fn answers(&self, how: Answers) {
        self.answers.send_replace(how);
    }

    /// All requests so far, also those that were not answered.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(client: TcpStream, mut answers: watch::Receiver<Answers>, received: Arc<Mutex<Vec<Received>>>) {
    let mut client = BufReader::new(client);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap_or(0);
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let Some((first, headers)) = lines.split_first() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = headers
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    let quoted = format!("not {path} with {}", headers.get("authorization").map_or("nothing", |value| value));
    received.lock().unwrap().push(Received { path, headers, body: String::from_utf8(body).unwrap() });
    let status = match answers.wait_for(|how| *how != Answers::Hangs).await.map(|how| *how) {
        Ok(Answers::Status(status)) => status,
        Ok(Answers::HeadAlone) => {
            client.write_all(b"HTTP/1.1 200 Said\r\ncontent-length: 1\r\n\r\n").await.unwrap();
            return std::future::pending().await;
        }
        Ok(Answers::Hangs) | Err(_) => return,
    };
    let head = format!("content-length: {}\r\nconnection: close\r\n\r\n", quoted.len());
    let answer = format!("HTTP/1.1 {status} Said\r\n{head}{quoted}");
    let _gone = client.write_all(answer.as_bytes()).await;
}
