//! An API that shows every byte that it is sent, and answers with any.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::client::{read_body, read_headers};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }
}

/// It ends with the process.
pub(crate) struct Api {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Api {
    /// Answers each request with these bytes; with none it closes the connection.
    pub(crate) fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with(true, move |request, stream| {
            let answer = answer(request);
            !answer.is_empty() && stream.write_all(&answer).is_ok()
        })
    }

    /// `serve` says whether the connection goes on. Unless `reads_bodies`, the body of a request is left to it.
    pub(crate) fn with(
        reads_bodies: bool,
        serve: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests, serve) = (listener.local_addr().unwrap(), Arc::default(), Arc::new(serve));
        let api = Self { address, requests: Arc::clone(&requests) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, serve) = (Arc::clone(&requests), Arc::clone(&serve));
                std::thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    let mut reader = BufReader::new(stream);
                    while let Some(request) = read(&mut reader, reads_bodies) {
                        requests.lock().unwrap().push(request.clone());
                        if !serve(&request, &mut writer) {
                            let _ = writer.shutdown(std::net::Shutdown::Both);
                            return;
                        }
                    }
                });
            }
        });
        api
    }

    /// Its `api_url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v2", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Request {
        self.requests().pop().unwrap()
    }
}

fn read(reader: &mut BufReader<TcpStream>, reads_bodies: bool) -> Option<Request> {
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return None;
    }
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let headers = read_headers(reader);
    let body = if reads_bodies { read_body(reader, &headers, false) } else { Vec::new() };
    Some(Request { method, target, headers, body })
}

/// A whole answer; `headers` are whole lines.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What the API of the shop answers to the probe.
pub(crate) fn json(body: &str) -> Vec<u8> {
    answer(200, "Content-Type: application/json\r\n", body)
}
