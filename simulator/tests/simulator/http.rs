//! A minimal HTTP client.

use std::net::SocketAddr;

use serde_json::{Value, json};
use simulator::{Faults, Settings, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// All values of the header, whose name is in lower case.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }
}

/// Sends a request without waiting for the response.
pub(crate) async fn send(to: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let mut request = format!("{line} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Sends a request and reads the response; none where the connection ends without one.
pub(crate) async fn ask(to: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Option<Reply> {
    let mut bytes = Vec::new();
    let read = send(to, line, headers, body).await.read_to_end(&mut bytes).await;
    if read.is_err() || bytes.is_empty() {
        return None;
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn start() -> Simulator {
    Simulator::start(Settings::default()).unwrap()
}

pub(crate) fn with(faults: Faults) -> Simulator {
    let simulator = start();
    simulator.faults(faults);
    simulator
}

/// `POST /v1`
pub(crate) async fn v1(simulator: &Simulator, body: Value) -> Option<Reply> {
    ask(simulator.address(), "POST /v1", &[JSON], &body.to_string()).await
}

/// Solves a page of the shop.
pub(crate) async fn solve(simulator: &Simulator, page: &str) -> Option<Reply> {
    v1(simulator, order(simulator, page)).await
}

pub(crate) fn order(simulator: &Simulator, page: &str) -> Value {
    json!({"cmd": "request.get", "url": simulator.url(page), "maxTimeout": 30000})
}

/// The value of the first cookie of this name in FlareSolverr's response.
pub(crate) fn cookie(answer: &Value, name: &str) -> Option<String> {
    let cookies = answer["solution"]["cookies"].as_array()?;
    let cookie = cookies.iter().find(|cookie| cookie["name"] == name)?;
    cookie["value"].as_str().map(str::to_owned)
}

/// The bare token in FlareSolverr's response.
pub(crate) fn token(answer: &Value) -> Option<String> {
    cookie(answer, "access-token")?.strip_prefix("Bearer%20").map(str::to_owned)
}

/// The API's status for this token.
pub(crate) async fn search(simulator: &Simulator, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    let line = "GET /web/api/v2/search/product?phrase=python&customerCityId=39";
    ask(simulator.address(), line, &[("authorization", &authorization)], "").await.unwrap().status
}
