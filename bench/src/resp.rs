//! Redis' protocol on a bare socket: what is measured with must not be what is measured.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection that speaks RESP2.
#[derive(Debug)]
pub(crate) struct Resp {
    reader: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Number(i64),
    Nil,
    Array(Vec<Self>),
}

impl Resp {
    pub(crate) fn connect(redis: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(redis).context("Redis cannot be reached")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, socket) })
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn ask(&mut self, words: &[&str]) -> anyhow::Result<Reply> {
        self.send(&command(words))?;
        self.reply()
    }

    /// Sends what [`command`] has made.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.reader.get_ref().write_all(bytes)?)
    }

    /// Reads the next answer, or message of a subscription.
    pub(crate) fn reply(&mut self) -> anyhow::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).context("Redis ended the connection")?;
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
            _ => bail!("Redis says: {line}"),
        })
    }

    /// Subscribes, and waits until Redis has confirmed it.
    pub(crate) fn subscribe(&mut self, channels: &[&str]) -> anyhow::Result<()> {
        self.send(&command(&[&["SUBSCRIBE"], channels].concat()))?;
        for _ in channels {
            self.reply()?;
        }
        Ok(())
    }

    /// The next message: its channel and what it says.
    pub(crate) fn message(&mut self) -> anyhow::Result<(String, String)> {
        let Reply::Array(parts) = self.reply()? else { bail!("no message") };
        let [Reply::Text(_), Reply::Text(channel), Reply::Text(payload)] = &parts[..] else { bail!("no message") };
        Ok((channel.clone(), payload.clone()))
    }

    /// Reads and drops so many bytes.
    pub(crate) fn skip(&mut self, bytes: u64) -> anyhow::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink())?;
        ensure!(skipped == bytes, "Redis ended the connection");
        Ok(())
    }

    /// Reads and drops whatever comes, until the connection ends.
    pub(crate) fn drain(mut self) -> anyhow::Result<()> {
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).context("Redis does not answer")?;
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

/// A command as it goes over the wire.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}
