//! A Redis server for a measurement, and a connection to it that costs as little as possible.
//!
//! The connection speaks RESP2 on a blocking socket: the measuring side must not use the client library that is measured.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::bench::TOKEN;
use crate::process::{Process, free_address, until};

/// Longer than any reply may take.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// An empty server, which stops when this is dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl RedisServer {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let address = free_address()?;
        let folder = tempfile::tempdir()?;
        let port = address.port().to_string();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxclients", "30000"])
            .arg("--dir")
            .arg(folder.path())
            .args(["--loglevel", "warning"]);
        let process = Process::start(&mut command)?;
        until("redis-server to accept connections", || Ok(Connection::open(address).is_ok().then_some(())))?;
        Ok(Self { _process: process, address, _folder: folder })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address)
    }

    /// The token of the sidecar's built-in site.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        self.connect()?.ask(&["GET", TOKEN])?.text().context("no token")
    }

    /// How many connections are subscribed to the channel.
    pub(crate) fn subscribers(&self, channel: &str) -> anyhow::Result<i64> {
        self.connect()?.subscribers(channel)
    }

    /// Counts the commands that clients send from now on. Commands called by a script are part of that script.
    pub(crate) fn count_commands(&self) -> anyhow::Result<CommandCounter> {
        let mut monitor = self.connect()?;
        monitor.ask(&["MONITOR"])?;
        let counted = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&counted);
        thread::spawn(move || {
            while let Ok(line) = monitor.reply() {
                if line.text().is_some_and(|line| !line.contains(" lua] ")) {
                    counting.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(CommandCounter { connection: self.connect()?, counted, own: 0 })
    }
}

/// Counts commands, without its own.
#[derive(Debug)]
pub(crate) struct CommandCounter {
    connection: Connection,
    counted: Arc<AtomicU64>,
    own: u64,
}

impl CommandCounter {
    /// The number of commands that Redis has executed until now.
    pub(crate) fn so_far(&mut self) -> anyhow::Result<u64> {
        self.own += 1;
        let before = self.counted.load(Ordering::Relaxed);
        self.connection.ask(&["PING"])?;
        until("MONITOR to report the PING", || Ok((self.counted.load(Ordering::Relaxed) > before).then_some(())))?;
        Ok(self.counted.load(Ordering::Relaxed) - self.own)
    }
}

/// A connection that speaks RESP2.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Number(i64),
    Nil,
    Array(Vec<Self>),
}

impl Connection {
    pub(crate) fn open(redis: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(redis).context("cannot connect to Redis")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, socket) })
    }

    /// Sends a command and reads its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> anyhow::Result<Reply> {
        self.send(&command(words))?;
        self.reply()
    }

    /// Sends commands that [`command`] has encoded.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.reader.get_ref().write_all(bytes)?)
    }

    /// Reads the next reply, or the next message of a subscription.
    pub(crate) fn reply(&mut self) -> anyhow::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).context("Redis closed the connection")?;
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            ":" => Reply::Number(rest.parse()?),
            "$" | "*" if rest == "-1" => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.reader.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => Reply::Array((0..rest.parse()?).map(|_| self.reply()).collect::<Result<_, _>>()?),
            _ => bail!("Redis replied: {line}"),
        })
    }

    /// Subscribes, and waits for the confirmations.
    pub(crate) fn subscribe(&mut self, channels: &[&str]) -> anyhow::Result<()> {
        self.send(&command(&[&["SUBSCRIBE"], channels].concat()))?;
        for _ in channels {
            self.reply()?;
        }
        Ok(())
    }

    /// How many connections are subscribed to the channel.
    pub(crate) fn subscribers(&mut self, channel: &str) -> anyhow::Result<i64> {
        let Reply::Array(reply) = self.ask(&["PUBSUB", "NUMSUB", channel])? else { bail!("no reply to PUBSUB NUMSUB") };
        Ok(reply.get(1).and_then(Reply::number).unwrap_or_default())
    }

    /// The channel and the payload of the next message.
    pub(crate) fn message(&mut self) -> anyhow::Result<(String, String)> {
        let Reply::Array(parts) = self.reply()? else { bail!("not a message") };
        let [Reply::Text(_), Reply::Text(channel), Reply::Text(payload)] = &parts[..] else { bail!("not a message") };
        Ok((channel.clone(), payload.clone()))
    }

    /// Reads this many bytes and drops them.
    pub(crate) fn skip(&mut self, bytes: u64) -> anyhow::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink())?;
        ensure!(skipped == bytes, "Redis closed the connection");
        Ok(())
    }

    /// Reads and drops everything until the connection ends.
    pub(crate) fn drain(mut self) -> anyhow::Result<()> {
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).context("no reply from Redis")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Reply {
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// Encodes a command for the wire.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}
