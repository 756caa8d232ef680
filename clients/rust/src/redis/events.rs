//! One subscription on a connection of its own: messages in order, and an error when it breaks.

use std::sync::{Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

use super::connect::Connector;
use super::error::LinkError;
use crate::wire::Event;

/// How many messages may wait to be read. With one more the subscription ends: a gap must not go unseen.
const CAPACITY: usize = 1024;

/// What is published on some channels from the subscription on.
pub struct Events {
    received: mpsc::Receiver<Vec<u8>>,
    connector: Connector,
    /// Ends the subscription when it is dropped.
    _connection: MultiplexedConnection,
}

impl Events {
    /// Subscribes to these channels.
    pub async fn on(connector: &Connector, channels: &[String]) -> Result<Self, LinkError> {
        let (receive, received) = queue();
        let mut connection = connector.subscription(receive).await?;
        connection.subscribe(channels).await.map_err(|e| connector.error(&e))?;
        Ok(Self { received, connector: connector.clone(), _connection: connection })
    }

    /// The payload of the next message; an error where the connection broke or the messages were not read in time.
    pub async fn raw(&mut self) -> Result<Vec<u8>, LinkError> {
        let payload = self.received.recv().await;
        payload.ok_or_else(|| {
            self.connector.away("the subscription ended: the connection broke, or too many messages waited to be read")
        })
    }

    /// The next event; messages that are none are skipped.
    pub async fn next(&mut self) -> Result<Event, LinkError> {
        loop {
            if let Some(event) = Event::parse(&self.raw().await?) {
                return Ok(event);
            }
        }
    }

    /// Discards what has arrived and was not read.
    pub fn discard_unread(&mut self) {
        while self.received.try_recv().is_ok() {}
    }
}

/// Takes what is pushed, and the payloads that it leads to. They end where the connection breaks or one is too many.
fn queue() -> (impl Fn(PushInfo) + Send + Sync, mpsc::Receiver<Vec<u8>>) {
    let (sender, received) = mpsc::channel(CAPACITY);
    let sender = Mutex::new(Some(sender));
    let receive = move |push: PushInfo| {
        let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
        match (push.kind, &push.data[..]) {
            (PushKind::Message, [_, Value::BulkString(payload)]) => {
                drop(sender.take_if(|sender| sender.try_send(payload.clone()).is_err()));
            }
            (PushKind::Disconnection, _) => *sender = None,
            _ => {}
        }
    };
    (receive, received)
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_falls_behind_is_cut_off_behind_what_it_has() {
        let (receive, mut received) = queue();
        let push = |number: usize| PushInfo {
            kind: PushKind::Message,
            data: vec![Value::BulkString(b"channel".to_vec()), Value::BulkString(number.to_string().into_bytes())],
        };
        (0..CAPACITY + 2).for_each(|number| receive(push(number)));
        let read: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).collect();
        assert_eq!(read.len(), CAPACITY);
        assert_eq!(read.last(), Some(&(CAPACITY - 1).to_string().into_bytes()));
        assert_eq!(received.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }
}
