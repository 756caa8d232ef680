//! Takes in what Redis pushes, and folds it on the spot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use redis::{PushInfo, PushKind, Value};
use token_sidecar_client::wire::{Channels, Event, Report, SiteId, Topic};
use tokio::sync::Notify;
use tokio::task::coop::poll_proceed;
use tokio_util::sync::CancellationToken;

use crate::domain::pending::{Arrival, Outcome};
use crate::refresh::mailbox::Mailbox;
use crate::status::SubscriptionObserver;

/// How many sites are subscribed to by one command, each to its four channels.
const SITES_A_COMMAND: usize = 250;

/// Hears for all sites of the process.
pub(super) struct Ear<O> {
    sites: BTreeMap<SiteId, Arc<Mailbox>>,
    observer: Arc<O>,
    /// How many messages were heard, canaries included.
    heard: AtomicU64,
    /// The number of the canary that came back last.
    canary: AtomicU64,
    instance: String,
    wake: Notify,
}

impl<O: SubscriptionObserver> Ear<O> {
    pub(super) fn new(observer: Arc<O>, instance: String, sites: Vec<(SiteId, Arc<Mailbox>)>) -> Self {
        let (heard, canary) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { sites: sites.into_iter().collect(), observer, heard, canary, instance, wake: Notify::new() }
    }

    /// All that is listened to, in pieces of one command each.
    pub(super) fn channels(&self) -> impl Iterator<Item = Vec<String>> {
        let mut sites = self.sites.keys();
        std::iter::from_fn(move || {
            let piece = sites.by_ref().take(SITES_A_COMMAND);
            let piece: Vec<String> = piece.flat_map(|site| Channels::of(site).all()).collect();
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Where the canaries of this process fly.
    pub(super) fn canary_channel(&self) -> String {
        self.sites.keys().next().map(|site| Channels::of(site).canary).unwrap_or_default()
    }

    pub(super) fn observer(&self) -> &O {
        &self.observer
    }

    /// How many messages were heard so far.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Ends when this canary is back.
    pub(super) async fn canary(&self, number: u64) {
        while self.canary.load(Ordering::Relaxed) < number {
            self.wake.notified().await;
        }
    }

    /// Where the triggers of all sites arrive.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.sites.values().map(|mailbox| &**mailbox)
    }

    /// Called by the connection's reader for everything that is pushed.
    pub(super) fn hear(&self, push: PushInfo, broken: &CancellationToken) {
        match push.kind {
            PushKind::Disconnection => broken.cancel(),
            PushKind::Message => {
                self.heard.fetch_add(1, Ordering::Relaxed);
                pay();
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && let Some((site, topic)) = std::str::from_utf8(channel).ok().and_then(Channels::read)
                    && let Some((site, mailbox)) = self.sites.get_key_value(site)
                {
                    self.take_in(site, mailbox, topic, payload);
                }
            }
            _ => {}
        }
    }

    fn take_in(&self, site: &SiteId, mailbox: &Mailbox, topic: Topic, payload: &[u8]) {
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
            Topic::Canary => self.landed(mailbox, payload),
        }
    }

    fn landed(&self, mailbox: &Mailbox, payload: &[u8]) {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        match text.rsplit_once(':') {
            Some((instance, number)) if instance == self.instance => {
                if let Ok(number) = number.parse() {
                    self.canary.fetch_max(number, Ordering::Relaxed);
                    self.wake.notify_one();
                }
            }
            Some(_) => {}
            // Another replica gave a refresh up: the lock is free.
            None => mailbox.hint(),
        }
    }
}

/// Counts a message as a step of the task that reads: what is read at once holds thousands, and all other tasks would
/// wait until it is through with them. Once the steps are used up, its next read lets the others go first.
fn pay() {
    if let Poll::Ready(step) = poll_proceed(&mut Context::from_waker(Waker::noop())) {
        step.made_progress();
    }
}
