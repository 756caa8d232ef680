//! A connection to one browser that speaks the Chrome DevTools Protocol (CDP): commands go out, answers and events come
//! in. A new browser may send more than this one knows, so what is unknown is left out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, Framed};

use super::error::BrowserError;

/// The longest message that is read. The longest expected one lists all cookies of a page.
pub(super) const MAX_MESSAGE: usize = 16 << 20;

/// Commands that a browser has not read yet. It reads them at once, so that more mean it hangs.
const MAX_UNREAD: usize = 4_096;

pub(super) struct Connection {
    transport: Transport,
    unread: VecDeque<String>,
    last_id: u64,
}

enum Transport {
    /// Messages end with a NUL.
    Pipe(Framed<UnixStream, AnyDelimiterCodec>),
    Socket(Box<WebSocketStream<reqwest::Upgraded>>),
}

#[derive(Debug)]
pub(super) enum Message {
    Answer {
        id: u64,
        result: Result<Box<RawValue>, String>,
    },
    /// `session` is `None` for one of the browser itself.
    Event {
        session: Option<String>,
        method: String,
        params: Box<RawValue>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    id: Option<u64>,
    method: Option<String>,
    session_id: Option<String>,
    params: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(default)]
    message: String,
}

impl Message {
    /// `None` for a message of another kind.
    pub(super) fn read(text: &[u8]) -> Result<Option<Self>, BrowserError> {
        let Wire { id, method, session_id: session, params, result, error } =
            serde_json::from_slice(text).map_err(|_| BrowserError::NoCdp)?;
        Ok(match (id, method) {
            (Some(id), _) => {
                let result = result.ok_or_else(|| error.map(|error| error.message).unwrap_or_default());
                Some(Self::Answer { id, result })
            }
            (None, Some(method)) => params.map(|params| Self::Event { session, method, params }),
            (None, None) => None,
        })
    }
}

impl Connection {
    /// Over the socket that is the browser's descriptors 3 and 4.
    pub(super) fn over_pipe(stream: UnixStream) -> Self {
        let codec = AnyDelimiterCodec::new_with_max_length(vec![0], vec![0], MAX_MESSAGE);
        Self::new(Transport::Pipe(Framed::new(stream, codec)))
    }

    pub(super) fn over_socket(socket: WebSocketStream<reqwest::Upgraded>) -> Self {
        Self::new(Transport::Socket(Box::new(socket)))
    }

    const fn new(transport: Transport) -> Self {
        Self { transport, unread: VecDeque::new(), last_id: 0 }
    }

    /// Queues a command for the session of a page, or for the browser; [`receive`](Self::receive) sends it.
    pub(super) fn send(&mut self, session: Option<&str>, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        self.unread.push_back(command.to_string());
        self.last_id
    }

    /// Sends what is queued, and waits for the next message. Nothing is lost if it is cancelled.
    ///
    /// # Errors
    /// [`BrowserError`] if the browser has ended, hangs, or sends something else than CDP.
    pub(super) async fn receive(&mut self) -> Result<Message, BrowserError> {
        loop {
            let text = poll_fn(|context| self.poll(context)).await?;
            if let Some(message) = Message::read(&text)? {
                return Ok(message);
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<u8>, BrowserError>> {
        if self.unread.len() > MAX_UNREAD {
            return Poll::Ready(Err(BrowserError::Silent));
        }
        while let Some(next) = self.unread.front() {
            match self.transport.poll_send(next, context) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => break,
            }
            self.unread.pop_front();
        }
        if let Poll::Ready(Err(error)) = self.transport.poll_flush(context) {
            return Poll::Ready(Err(error));
        }
        self.transport.poll_receive(context)
    }
}

impl Transport {
    fn poll_send(&mut self, text: &str, context: &mut Context<'_>) -> Poll<Result<(), BrowserError>> {
        match self {
            Self::Pipe(pipe) => {
                let mut pipe = Pin::new(pipe);
                std::task::ready!(Sink::<&str>::poll_ready(pipe.as_mut(), context))?;
                Poll::Ready(Ok(pipe.start_send(text)?))
            }
            Self::Socket(socket) => {
                let mut socket = Pin::new(socket);
                std::task::ready!(socket.as_mut().poll_ready(context)).map_err(|_| BrowserError::Ended)?;
                Poll::Ready(socket.start_send(Frame::text(text)).map_err(|_| BrowserError::Ended))
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BrowserError>> {
        match self {
            Self::Pipe(pipe) => Sink::<&str>::poll_flush(Pin::new(pipe), context).map_err(BrowserError::from),
            Self::Socket(socket) => Pin::new(socket).poll_flush(context).map_err(|_| BrowserError::Ended),
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<u8>, BrowserError>> {
        loop {
            return match self {
                Self::Pipe(pipe) => match std::task::ready!(Pin::new(pipe).poll_next(context)) {
                    Some(text) => Poll::Ready(Ok(text?.to_vec())),
                    None => Poll::Ready(Err(BrowserError::Ended)),
                },
                Self::Socket(socket) => match std::task::ready!(Pin::new(socket).poll_next(context)) {
                    Some(Ok(Frame::Text(text))) => Poll::Ready(Ok(text.as_bytes().to_vec())),
                    Some(Ok(Frame::Binary(bytes))) => Poll::Ready(Ok(bytes.to_vec())),
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => continue,
                    Some(Ok(Frame::Close(_)) | Err(_)) | None => Poll::Ready(Err(BrowserError::Ended)),
                },
            };
        }
    }
}

impl From<AnyDelimiterCodecError> for BrowserError {
    fn from(error: AnyDelimiterCodecError) -> Self {
        match error {
            AnyDelimiterCodecError::MaxChunkLengthExceeded => Self::TooLong(MAX_MESSAGE),
            AnyDelimiterCodecError::Io(_) => Self::Ended,
        }
    }
}

impl From<io::Error> for BrowserError {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}
