//! A server on loopback that answers as its test decides, each connection once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use token_sidecar::config::FlaresolverrConfig;
use token_sidecar::domain::product::Wanted;
use tokio::sync::mpsc;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

/// What to do with a request.
pub(crate) enum Act {
    /// A whole answer: status and JSON.
    Json(u16, Value),
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then silence.
    Silence(Vec<u8>),
    /// These bytes, and then others without an end.
    Flood(Vec<u8>, Vec<u8>),
    /// These bytes, and then others now and again without an end.
    Drip(Vec<u8>, &'static [u8]),
    /// The connection ends without an answer.
    Close,
}

/// A server, and the requests it received.
pub(crate) struct Stub {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    arrivals: mpsc::UnboundedReceiver<()>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn command(&self) -> &str {
        self.body["cmd"].as_str().unwrap_or(&self.line)
    }
}

impl Stub {
    /// Answers by `answer`, which gets each request and its number from 0 on.
    pub(crate) fn new(answer: impl Fn(&Request, usize) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (arrival, arrivals) = mpsc::unbounded_channel();
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let count = log.lock().map(|mut log| (log.len(), log.push(request.clone())).0).unwrap();
                let act = answer(&request, count);
                let _ = arrival.send(());
                silent.extend(act.perform(stream));
            }
        });
        Self { url, seen, arrivals }
    }

    /// Resets each connection: one that ends with bytes unread is answered with RST.
    pub(crate) fn resetting() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0]);
            }
        });
        url
    }

    pub(crate) fn port(&self) -> u16 {
        self.peer().rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Sends these bytes to each client and nothing else; the port.
    pub(crate) fn greeting(bytes: &[u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes = bytes.to_vec();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Read first: a connection that ends with bytes unread is reset.
                let _ = stream.read(&mut [0; 1 << 14]);
                let _ = stream.write_all(&bytes);
            }
        });
        port
    }

    /// Host and port, as messages have them.
    pub(crate) fn peer(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches("/v1")
    }

    /// Ends when a request has come in.
    pub(crate) async fn arrival(&mut self) {
        self.arrivals.recv().await.unwrap();
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.seen().iter().map(|request| request.command().to_owned()).collect()
    }
}

impl Act {
    fn perform(self, mut stream: TcpStream) -> Option<TcpStream> {
        match self {
            Self::Json(status, body) => drop(stream.write_all(&answer(status, "application/json", &body.to_string()))),
            Self::Bytes(bytes) => drop(stream.write_all(&bytes)),
            Self::Silence(bytes) => return stream.write_all(&bytes).is_ok().then_some(stream),
            Self::Flood(head, rest) => {
                let _ = stream.write_all(&head);
                while stream.write_all(&rest).is_ok() {}
            }
            Self::Drip(head, rest) => {
                let _ = stream.write_all(&head);
                while stream.write_all(rest).is_ok() {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            Self::Close => drop(stream),
        }
        None
    }
}

/// An answer with its head.
pub(crate) fn answer(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nServer: waitress\r\n\r\n{body}")
        .into_bytes()
}

/// A redirect to another host.
pub(crate) fn redirect(status: u16, target: &str) -> Act {
    Act::Bytes(format!("HTTP/1.1 {status} X\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes())
}

/// A page with these cookies, as FlareSolverr returns it.
pub(crate) fn page(version: &str, cookies: &[(&str, &str)]) -> Act {
    let cookies: Vec<Value> =
        cookies.iter().map(|(name, value)| json!({"name": name, "value": value, "domain": "www.shop.test"})).collect();
    Act::Json(
        200,
        json!({
            "status": "ok", "message": "Challenge not detected!", "version": version,
            "solution": {"url": PAGE, "status": 200, "userAgent": AGENT, "cookies": cookies},
        }),
    )
}

/// A failure, as FlareSolverr returns it.
pub(crate) fn failure(version: &str, message: &str) -> Act {
    Act::Json(500, json!({"status": "error", "message": format!("Error: {message}"), "version": version}))
}

pub(crate) const PAGE: &str = "http://www.shop.test/";
pub(crate) const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0";

/// The settings of a source that requests this URL.
pub(crate) fn config(url: &str) -> FlaresolverrConfig {
    FlaresolverrConfig {
        urls: vec![SecretString::from(url)],
        kind: None,
        page: PAGE.into(),
        max_timeout: Duration::from_secs(60),
        wait: None,
        wanted: Wanted::OneOf(vec!["access-token".into()]),
        session: None,
        proxy: None,
        disable_media: false,
        concurrency: 1,
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let pair = |line: &String| line.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
    let mut request = Request { line: lines[0].clone(), headers: vec![], body: Value::Null };
    request.headers = lines.iter().skip(1).filter_map(pair).collect();
    let length = request.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = serde_json::from_slice(&body).unwrap_or_default();
    Some(request)
}
