//! Takes in what Redis pushes, and folds it on the spot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::task::coop::poll_proceed;
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use crate::domain::event::Event;
use crate::domain::inbox::Arrival;
use crate::domain::site::SiteId;
use crate::domain::trigger::Report;
use crate::flow::mailbox::Mailbox;
use crate::flow::status::LinkObserver;

/// Hears for all sites of the process.
pub(super) struct Ear<O> {
    routes: BTreeMap<String, Route>,
    observer: Arc<O>,
    /// How many messages were heard, canaries included.
    heard: AtomicU64,
    /// The number of the canary that came back last.
    canary: AtomicU64,
    instance: String,
    wake: Notify,
}

struct Route {
    site: SiteId,
    mailbox: Arc<Mailbox>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Invalid,
    Event,
    Canary,
}

impl<O: LinkObserver> Ear<O> {
    pub(super) fn new(observer: Arc<O>, instance: String, sites: Vec<(SiteId, Arc<Mailbox>)>) -> Self {
        let mut routes = BTreeMap::new();
        for (site, mailbox) in sites {
            let channels = Channels::of(&site);
            for (channel, kind) in [
                (channels.invalid, Kind::Invalid),
                (channels.updated, Kind::Event),
                (channels.failed, Kind::Event),
                (channels.canary, Kind::Canary),
            ] {
                routes.insert(channel, Route { site: site.clone(), mailbox: Arc::clone(&mailbox), kind });
            }
        }
        let (heard, canary) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { routes, observer, heard, canary, instance, wake: Notify::new() }
    }

    /// All that is listened to.
    pub(super) fn channels(&self) -> Vec<String> {
        self.routes.keys().cloned().collect()
    }

    /// Where the canaries of this process fly.
    pub(super) fn canary_channel(&self) -> String {
        let channel = self.routes.iter().find(|(_, route)| route.kind == Kind::Canary);
        channel.map(|(channel, _)| channel.clone()).unwrap_or_default()
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

    /// Pub/sub forgets: what was said while nobody listened is asked for.
    pub(super) fn ask_for_what_was_missed(&self) {
        for route in self.routes.values().filter(|route| route.kind == Kind::Invalid) {
            route.mailbox.post(Arrival::Reconnect);
            route.mailbox.hint();
        }
    }

    /// Called by the connection's reader for everything that is pushed.
    pub(super) fn hear(&self, push: PushInfo, broken: &CancellationToken) {
        match push.kind {
            PushKind::Disconnection => broken.cancel(),
            PushKind::Message => {
                self.heard.fetch_add(1, Ordering::Relaxed);
                pay();
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && let Some(route) = std::str::from_utf8(channel).ok().and_then(|c| self.routes.get(c))
                {
                    self.route(route, payload);
                }
            }
            _ => {}
        }
    }

    fn route(&self, route: &Route, payload: &[u8]) {
        match route.kind {
            Kind::Invalid => {
                let report = Report::parse(payload);
                self.observer.message(&route.site, report.payload);
                route.mailbox.post(Arrival::Message(report));
            }
            Kind::Event => {
                let Some(event) = Event::parse(payload) else { return };
                if let Some(outcome) = event.outcome() {
                    route.mailbox.hear(outcome);
                }
                self.observer.event(&event);
            }
            Kind::Canary => self.landed(route, payload),
        }
    }

    fn landed(&self, route: &Route, payload: &[u8]) {
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
            None => route.mailbox.hint(),
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
