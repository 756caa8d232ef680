//! What is published, as a parser receives it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::keys;
use super::patience::{DEADLINE, now};
use crate::support::contract;
use crate::support::redis_server::RedisServer;

/// How the channels of events end.
const EVENTS: [&str; 2] = [keys::ALL_UPDATED, keys::ALL_FAILED];

/// A message and its channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) channel: String,
    pub(crate) message: Value,
}

/// A subscription; it is complete when [`Events::on`] returns, and ends with the server.
///
/// Every event received must conform to the contract, whether the test takes it or not.
pub(crate) struct Events {
    received: Receiver<Received>,
    /// What broke the contract.
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Events {
    /// Every event of the built-in site, each once.
    pub(crate) fn of(server: &RedisServer) -> Self {
        Self::on(server, &[keys::UPDATED, keys::FAILED])
    }

    pub(crate) fn on(server: &RedisServer, channels: &[&str]) -> Self {
        let mut connection = server.connection();
        let (send, received) = channel();
        let (subscribed, ready) = channel();
        let channels: Vec<String> = channels.iter().map(|&c| c.to_owned()).collect();
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&wrong);
        std::thread::spawn(move || {
            let mut subscription = connection.as_pubsub();
            for channel in channels {
                subscription.subscribe(channel).unwrap();
            }
            subscribed.send(()).unwrap();
            while let Ok(message) = subscription.get_message() {
                let payload = message.get_payload_bytes();
                let text = || Value::String(String::from_utf8_lossy(payload).into_owned());
                let channel = message.get_channel_name().to_owned();
                let message = serde_json::from_slice(payload).unwrap_or_else(|_| text());
                if EVENTS.iter().any(|kind| channel.ends_with(kind)) {
                    noted.lock().unwrap().extend(contract::event(&message).err());
                }
                if send.send(Received { channel, message }).is_err() {
                    return;
                }
            }
        });
        ready.recv_timeout(DEADLINE).unwrap();
        Self { received, wrong }
    }

    /// The next message on any channel.
    pub(crate) fn received(&self) -> Received {
        let received = self.received.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("nothing was announced"));
        self.is_right();
        received
    }

    /// The next message.
    pub(crate) fn next(&self) -> Value {
        self.received().message
    }

    /// The next one, which must be a new token.
    pub(crate) fn refreshed(&self) -> Value {
        let event = self.next();
        assert_eq!((&event["event"], &event["cause"]), (&"token:updated".into(), &"refreshed".into()), "{event}");
        event
    }

    /// The next one, which must be the current token announced again.
    pub(crate) fn repeated(&self) -> Value {
        let event = self.next();
        assert_eq!((&event["event"], &event["cause"]), (&"token:updated".into(), &"repeated".into()), "{event}");
        event
    }

    /// The next one, which must be a failure at this stage.
    pub(crate) fn failed(&self, stage: &str) -> Value {
        let event = self.next();
        assert_eq!((&event["event"], &event["stage"]), (&"token:failed".into(), &stage.into()), "{event}");
        event
    }

    /// Skips messages until one satisfies this.
    pub(crate) fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        self.until_within(DEADLINE, what, so)
    }

    /// The same, where more time may pass than elsewhere.
    pub(crate) fn until_within(&self, bound: Duration, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let (began, mut skipped) = (now(), Vec::new());
        loop {
            let left = bound.saturating_sub(began.elapsed());
            let Ok(received) = self.received.recv_timeout(left) else {
                panic!("was not announced within {} s: {what}; what was: {skipped:?}", bound.as_secs());
            };
            if so(&received.message) {
                return received.message;
            }
            skipped.push(received.message.to_string());
        }
    }

    /// Panics if anything is announced within this time.
    pub(crate) fn silent_for(&self, span: Duration) {
        match self.received.recv_timeout(span) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("silence was expected: {other:?}"),
        }
    }

    /// Accepts what was received so far: the test itself has published what no sidecar would.
    pub(crate) fn forgive(&self) {
        self.wrong.lock().unwrap().clear();
    }

    fn is_right(&self) {
        let wrong = self.wrong.lock().unwrap().join("\n");
        assert!(wrong.is_empty(), "{wrong}");
    }

    /// What was received and not yet taken.
    pub(crate) fn drain(&self) -> Vec<Value> {
        self.received.try_iter().map(|received| received.message).collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.is_right();
        }
    }
}
