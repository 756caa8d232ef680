//! The replies of Redis, and how they are written on the wire.

/// A reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Self>),
    /// A push of RESP3.
    Push(Vec<Self>),
}

/// The protocol that a connection chose with HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Self {
        Self::Bulk(text.as_ref().to_vec())
    }

    /// Appends the reply as bytes.
    pub(crate) fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        let mut line = |kind: char, text: &str| out.extend_from_slice(format!("{kind}{text}\r\n").as_bytes());
        match self {
            Self::Nil if protocol == Protocol::Resp3 => line('_', ""),
            Self::Nil => line('$', "-1"),
            Self::Status(text) => line('+', text),
            Self::Error(text) => line('-', text),
            Self::Integer(number) => line(':', &number.to_string()),
            Self::Bulk(bytes) => {
                line('$', &bytes.len().to_string());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Array(items) | Self::Push(items) => {
                line(if matches!(self, Self::Push(_)) { '>' } else { '*' }, &items.len().to_string());
                for item in items {
                    item.write(protocol, out);
                }
            }
        }
    }
}

/// A command as a client sends it: its name and arguments.
pub(crate) type Command = Vec<Vec<u8>>;

/// Takes the next whole command off the front of what was received.
pub(crate) fn take_command(received: &mut Vec<u8>) -> Option<Command> {
    let mut at = 0;
    let words = number(received, &mut at, b'*')?;
    let mut command = Vec::with_capacity(words);
    for _ in 0..words {
        let length = number(received, &mut at, b'$')?;
        command.push(received.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    if at > received.len() {
        return None;
    }
    received.drain(..at);
    Some(command)
}

fn number(bytes: &[u8], at: &mut usize, kind: u8) -> Option<usize> {
    let line = bytes.get(*at..)?;
    let end = line.windows(2).position(|w| w == b"\r\n")?;
    assert_eq!(line[0], kind, "a client speaks RESP");
    *at += end + 2;
    Some(std::str::from_utf8(&line[1..end]).unwrap().parse().unwrap())
}
