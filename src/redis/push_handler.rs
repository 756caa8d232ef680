//! Receives what Redis pushes on the subscription, and merges it into the mailboxes at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use redis::{PushInfo, PushKind, Value};
use token_sidecar_client::wire::{Channels, Event, Report, SiteId, Topic};
use tokio::sync::oneshot;
use tokio::task::coop::poll_proceed;
use tokio_util::sync::CancellationToken;

use crate::domain::pending::{Arrival, Outcome};
use crate::refresh::mailbox::Mailbox;
use crate::status::SubscriptionObserver;

/// How many sites one SUBSCRIBE names, each with its four channels.
const SITES_A_COMMAND: usize = 250;

/// The receiving side of a process' subscription, for all of its sites.
pub(super) struct PushHandler<O> {
    sites: BTreeMap<SiteId, Arc<Mailbox>>,
    observer: Arc<O>,
}

/// What one connection has received.
#[derive(Default)]
pub(super) struct Incoming {
    /// Cancelled when the connection has ended.
    pub broken: CancellationToken,
    /// How many messages were received, canaries included.
    received: AtomicU64,
    /// The canary that was sent, and its waiter.
    canary: Mutex<Option<(String, oneshot::Sender<()>)>>,
}

impl Incoming {
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The receiver resolves when this text is received as a canary.
    pub(super) fn expect(&self, canary: String) -> oneshot::Receiver<()> {
        let (came_back, waiting) = oneshot::channel();
        *self.canary.lock().unwrap_or_else(PoisonError::into_inner) = Some((canary, came_back));
        waiting
    }

    /// Whether the payload is the expected canary; tells its waiter.
    fn is_canary(&self, payload: &[u8]) -> bool {
        let mut canary = self.canary.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, came_back)) = canary.take_if(|(expected, _)| expected.as_bytes() == payload) else { return false };
        came_back.send(()).is_ok()
    }
}

impl<O: SubscriptionObserver> PushHandler<O> {
    pub(super) fn new(observer: Arc<O>, sites: Vec<(SiteId, Arc<Mailbox>)>) -> Self {
        Self { sites: sites.into_iter().collect(), observer }
    }

    /// All channels, in lists of one command each.
    pub(super) fn channels(&self) -> Vec<Vec<String>> {
        let sites: Vec<&SiteId> = self.sites.keys().collect();
        let channels_of = |sites: &[&SiteId]| sites.iter().flat_map(|site| Channels::of(site).all()).collect();
        sites.chunks(SITES_A_COMMAND).map(channels_of).collect()
    }

    /// The channel for the canaries of this process: that of its first site.
    pub(super) fn canary_channel(&self) -> String {
        self.sites.keys().next().map(|site| Channels::of(site).canary).unwrap_or_default()
    }

    pub(super) fn observer(&self) -> &O {
        &self.observer
    }

    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.sites.values().map(|mailbox| &**mailbox)
    }

    /// Called by a connection's reader for each push.
    pub(super) fn receive(&self, push: PushInfo, incoming: &Incoming) {
        match push.kind {
            PushKind::Disconnection => incoming.broken.cancel(),
            PushKind::Message => {
                incoming.received.fetch_add(1, Ordering::Relaxed);
                spend_budget();
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && let Some((site, topic)) = std::str::from_utf8(channel).ok().and_then(Channels::read)
                    && let Some((site, mailbox)) = self.sites.get_key_value(site)
                {
                    self.fold(site, mailbox, topic, payload, incoming);
                }
            }
            _ => {}
        }
    }

    fn fold(&self, site: &SiteId, mailbox: &Mailbox, topic: Topic, payload: &[u8], incoming: &Incoming) {
        match topic {
            Topic::Invalid => {
                let (report, payload) = Report::parse(payload);
                self.observer.message(site, payload);
                mailbox.post(Arrival::Message(report));
            }
            Topic::Event => {
                let Some(event) = Event::parse(payload) else { return };
                if let Some(outcome) = Outcome::of(&event) {
                    mailbox.settle(outcome, event.version());
                }
                self.observer.event(&event);
            }
            // `vacated`: another replica has given a refresh up, and the lock is free. Canaries have a colon.
            Topic::Canary if !incoming.is_canary(payload) && !payload.contains(&b':') => mailbox.hint(),
            Topic::Canary => {}
        }
    }
}

/// Counts a message against the reading task's budget. One read may hold thousands of messages; once the budget is spent,
/// the next read lets the other tasks run first.
fn spend_budget() {
    if let Poll::Ready(step) = poll_proceed(&mut Context::from_waker(Waker::noop())) {
        step.made_progress();
    }
}
