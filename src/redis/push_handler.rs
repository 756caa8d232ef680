//! Receives what Redis pushes on the subscription, and folds it into the mailboxes on the spot.

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

/// How many sites one SUBSCRIBE names, each with its four channels.
const SITES_A_COMMAND: usize = 250;

/// The receiving side of a process' subscription, for all of its sites.
pub(super) struct PushHandler<O> {
    sites: BTreeMap<SiteId, Arc<Mailbox>>,
    observer: Arc<O>,
    instance: String,
    /// How many messages were received, canaries included.
    received: AtomicU64,
    /// The number of the last canary that came back.
    canary: AtomicU64,
    canary_is_back: Notify,
}

impl<O: SubscriptionObserver> PushHandler<O> {
    pub(super) fn new(observer: Arc<O>, instance: String, sites: Vec<(SiteId, Arc<Mailbox>)>) -> Self {
        Self {
            sites: sites.into_iter().collect(),
            observer,
            instance,
            received: AtomicU64::default(),
            canary: AtomicU64::default(),
            canary_is_back: Notify::default(),
        }
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

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends when this canary has come back.
    pub(super) async fn canary(&self, number: u64) {
        while self.canary.load(Ordering::Relaxed) < number {
            self.canary_is_back.notified().await;
        }
    }

    /// Called by the connection's reader for each push; cancels `broken` when the connection has ended.
    pub(super) fn receive(&self, push: PushInfo, broken: &CancellationToken) {
        match push.kind {
            PushKind::Disconnection => broken.cancel(),
            PushKind::Message => {
                self.received.fetch_add(1, Ordering::Relaxed);
                spend_budget();
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && let Some((site, topic)) = std::str::from_utf8(channel).ok().and_then(Channels::read)
                    && let Some((site, mailbox)) = self.sites.get_key_value(site)
                {
                    self.fold(site, mailbox, topic, payload);
                }
            }
            _ => {}
        }
    }

    fn fold(&self, site: &SiteId, mailbox: &Mailbox, topic: Topic, payload: &[u8]) {
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
            Topic::Canary => self.canary_or_hint(mailbox, payload),
        }
    }

    fn canary_or_hint(&self, mailbox: &Mailbox, payload: &[u8]) {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        match text.rsplit_once(':') {
            Some((instance, number)) if instance == self.instance => {
                if let Ok(number) = number.parse() {
                    self.canary.fetch_max(number, Ordering::Relaxed);
                    self.canary_is_back.notify_one();
                }
            }
            Some(_) => {}
            // `vacated`: another replica has given a refresh up, and the lock is free.
            None => mailbox.hint(),
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
