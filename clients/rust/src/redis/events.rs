//! One subscription on a connection of its own: messages in order, and an error when it breaks.

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

use super::connect::Connector;
use super::error::LinkError;
use crate::wire::Event;

/// How many messages may wait to be read. Further ones are dropped.
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
        let (sender, received) = mpsc::channel(CAPACITY);
        let sender = std::sync::Mutex::new(Some(sender));
        let receive = move |push: PushInfo| {
            let Ok(mut sender) = sender.lock() else { return };
            match (push.kind, &push.data[..]) {
                (PushKind::Message, [_, Value::BulkString(payload)]) => {
                    let _dropped_where_full = sender.as_ref().map(|s| s.try_send(payload.clone()));
                }
                (PushKind::Disconnection, _) => *sender = None,
                _ => {}
            }
        };
        let mut connection = connector.subscription(receive).await?;
        connection.subscribe(channels).await.map_err(|e| connector.error(&e))?;
        Ok(Self { received, connector: connector.clone(), _connection: connection })
    }

    /// The payload of the next message.
    pub async fn raw(&mut self) -> Result<Vec<u8>, LinkError> {
        let payload = self.received.recv().await;
        payload.ok_or_else(|| self.connector.away("the connection broke"))
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

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
