//! A client of HTTP/1.1 on a blocking socket, and many clients on one thread that send one request after another.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::clock::Instant;

/// Longer than any answer may take.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: u64,
}

impl Head {
    /// By the first line.
    fn of(line: &str) -> anyhow::Result<Self> {
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Self { status: status.context("no answer")?, length: 0 })
    }

    /// Takes in a further line; whether there are more.
    fn take_in(&mut self, line: &str) -> anyhow::Result<bool> {
        let Some((name, value)) = line.split_once(':') else { return Ok(false) };
        if name.eq_ignore_ascii_case("content-length") {
            self.length = value.trim().parse()?;
        }
        Ok(true)
    }
}

/// A GET without a body.
pub(crate) fn request(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { reader: BufReader::new(socket) })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.reader.get_ref().write_all(bytes)?)
    }

    pub(crate) fn head(&mut self) -> anyhow::Result<Head> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let mut head = Head::of(&line)?;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            if !head.take_in(&line)? {
                return Ok(head);
            }
        }
    }

    /// Reads this many bytes and drops them.
    pub(crate) fn skip(&mut self, bytes: u64) -> anyhow::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink())?;
        ensure!(skipped == bytes, "the body ended {} bytes early", bytes - skipped);
        Ok(())
    }

    pub(crate) fn text(&mut self, bytes: u64) -> anyhow::Result<String> {
        let mut text = String::new();
        self.reader.by_ref().take(bytes).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Sends a request and reads the whole answer; its status.
    pub(crate) fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.send(request)?;
        let head = self.head()?;
        self.skip(head.length)?;
        Ok(head.status)
    }
}

/// Clients that send one request after another, each on a connection of its own, all on one thread.
#[derive(Debug)]
pub(crate) struct Load {
    clients: JoinHandle<anyhow::Result<Vec<Tally>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests that were answered.
    answered: AtomicU64,
    /// Whether what counts has happened.
    is_marked: AtomicBool,
    is_over: AtomicBool,
}

/// What became of the requests of one client.
#[derive(Debug, Default)]
struct Tally {
    failures: u64,
    /// When the first request that was sent after the mark was answered with 200.
    went_on: Option<Instant>,
}

/// What became of the requests of all clients.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) requests: u64,
    /// Requests that were not answered with 200.
    pub(crate) failures: u64,
    /// When the last client had an answer to a request that it sent after the mark; none if a client had none.
    pub(crate) all_went_on: Option<Instant>,
}

impl Load {
    /// Returns once all are connected.
    pub(crate) fn start(address: SocketAddr, request: &[u8], clients: u32) -> anyhow::Result<Self> {
        let shared: Arc<Shared> = Arc::default();
        let sockets = (0..clients).map(|_| {
            let socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let (request, sharing) = (Arc::<[u8]>::from(request), Arc::clone(&shared));
        let clients = thread::spawn(move || {
            Builder::new_current_thread().enable_io().build()?.block_on(async {
                let mut clients = JoinSet::new();
                for socket in sockets {
                    let socket = tokio::net::TcpStream::from_std(socket)?;
                    clients.spawn(keep_asking(socket, Arc::clone(&request), Arc::clone(&sharing)));
                }
                Ok(clients.join_all().await)
            })
        });
        Ok(Self { clients, shared })
    }

    /// Requests that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// What counts happens now.
    pub(crate) fn mark(&self) {
        self.shared.is_marked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(self) -> anyhow::Result<Ended> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let tallies = self.clients.join().map_err(|_| anyhow!("a client has panicked"))??;
        let went_on = tallies.iter().map(|tally| tally.went_on).collect::<Option<Vec<_>>>();
        Ok(Ended {
            requests: self.shared.answered.load(Ordering::Relaxed),
            failures: tallies.iter().map(|tally| tally.failures).sum(),
            all_went_on: went_on.and_then(|times| times.into_iter().max()),
        })
    }
}

/// Until the load is over, or the connection.
async fn keep_asking(socket: tokio::net::TcpStream, request: Arc<[u8]>, shared: Arc<Shared>) -> Tally {
    let (mut reader, mut tally) = (tokio::io::BufReader::new(socket), Tally::default());
    while !shared.is_over.load(Ordering::Relaxed) {
        let is_marked = shared.is_marked.load(Ordering::Relaxed);
        let answer = ask(&mut reader, &request).await;
        shared.answered.fetch_add(1, Ordering::Relaxed);
        if !matches!(answer, Ok(200)) {
            tally.failures += 1;
        } else if is_marked && tally.went_on.is_none() {
            tally.went_on = Some(Instant::now());
        }
        if answer.is_err() {
            break;
        }
    }
    tally
}

/// Sends a request and reads the whole answer; its status.
async fn ask(reader: &mut tokio::io::BufReader<tokio::net::TcpStream>, request: &[u8]) -> anyhow::Result<u16> {
    reader.write_all(request).await?;
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let mut head = Head::of(&line)?;
    loop {
        line.clear();
        reader.read_line(&mut line).await?;
        if !head.take_in(&line)? {
            break;
        }
    }
    let read = tokio::io::copy_buf(&mut reader.take(head.length), &mut tokio::io::sink()).await?;
    ensure!(read == head.length, "the body ended early");
    Ok(head.status)
}
