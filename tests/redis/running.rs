//! A subscription that runs beside a test, and what its observer has seen.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use token_sidecar::clock::SystemClock;
use token_sidecar::domain::inbox::Inbox;
use token_sidecar::domain::pending::Pending;
use token_sidecar::jitter::Delays;
use token_sidecar::redis::subscription::{CANARY_INTERVAL, CANARY_TIMEOUT, Subscription};
use token_sidecar::refresh::mailbox::Mailbox;
use token_sidecar::refresh::ports::Clock;
use token_sidecar::status::SubscriptionObserver;
use token_sidecar_client::redis::{Connector, Link, LinkError, RedisConfig};
use token_sidecar_client::wire::{Event, Payload, SiteId};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fixture::site;

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often canaries are published, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intervals {
    interval: Duration,
    pub(crate) timeout: Duration,
}

impl Intervals {
    /// Those of production.
    pub(crate) const PRODUCTION: Self = Self { interval: CANARY_INTERVAL, timeout: CANARY_TIMEOUT };
    pub(crate) const FREQUENT: Self = Self { interval: Duration::from_millis(20), timeout: CANARY_TIMEOUT };
    /// A lost canary is noticed soon.
    pub(crate) const IMPATIENT: Self =
        Self { interval: Duration::from_millis(20), timeout: Duration::from_millis(700) };
    /// Noticed soon, but not because the machine is busy for a moment.
    pub(crate) const LESS_IMPATIENT: Self =
        Self { interval: Duration::from_millis(20), timeout: Duration::from_millis(1_500) };
}

/// A clock that shortens these two waits alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestClock(Intervals, SystemClock);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.1.now()
    }

    async fn sleep(&self, span: Duration) {
        let is_interval = span <= CANARY_INTERVAL && span >= CANARY_INTERVAL * 3 / 4;
        self.1
            .sleep(match span {
                CANARY_TIMEOUT => self.0.timeout,
                _ if is_interval => self.0.interval.min(span),
                span => span,
            })
            .await;
    }
}

/// What the observer has received.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) connected: u32,
    pub(crate) disconnected: Vec<String>,
    pub(crate) canaries: u32,
    pub(crate) messages: Vec<(SiteId, Payload)>,
    pub(crate) events: Vec<Event>,
}

#[derive(Debug, Default, Clone)]
struct Recorder(Arc<(Mutex<Observed>, Notify)>);

impl Recorder {
    fn note(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_one();
    }
}

impl SubscriptionObserver for Recorder {
    fn connected(&self) {
        self.note(|seen| seen.connected += 1);
    }

    fn disconnected(&self, reason: &str) {
        self.note(|seen| seen.disconnected.push(reason.to_owned()));
    }

    fn canary(&self, _: Duration) {
        self.note(|seen| seen.canaries += 1);
    }

    fn message(&self, site: &SiteId, payload: Payload) {
        self.note(|seen| seen.messages.push((site.clone(), payload)));
    }

    fn event(&self, event: &Event) {
        self.note(|seen| seen.events.push(event.clone()));
    }
}

/// A mailbox, and what was taken out of it.
#[derive(Debug)]
pub(crate) struct Received(Arc<Mailbox>, Mutex<Inbox>);

impl Received {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        let mut inbox = self.1.lock().unwrap();
        inbox.take_in(self.0.take());
        inbox
    }

    /// What is pending.
    pub(crate) fn pending(&self) -> Pending {
        self.inbox().pending.clone()
    }

    /// Takes what is pending.
    pub(crate) fn take(&self) -> Pending {
        std::mem::take(&mut self.inbox().pending)
    }

    /// Whether Redis is known to have changed since this version was read.
    pub(crate) fn take_change(&self, known: u64) -> bool {
        self.inbox().take_change(known)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inbox().is_empty()
    }

    pub(crate) fn outcomes(&self) -> u64 {
        self.0.outcomes()
    }

    pub(crate) async fn changed(&self) {
        self.0.changed().await;
    }
}

/// A subscription that runs.
pub(crate) struct Running {
    pub(crate) mailboxes: Vec<Received>,
    pub(crate) ready: CancellationToken,
    pub(crate) stop: CancellationToken,
    recorder: Recorder,
    running: JoinSet<Result<(), LinkError>>,
}

impl Running {
    /// Subscribes for one site and waits until it is subscribed.
    pub(crate) async fn open(config: &RedisConfig, intervals: Intervals) -> Self {
        let running = Self::begin(config, intervals, vec![site()]);
        running.ready().await;
        running
    }

    /// Begins to subscribe.
    pub(crate) fn begin(config: &RedisConfig, intervals: Intervals, sites: Vec<SiteId>) -> Self {
        let clock = TestClock(intervals, SystemClock::start());
        let link = Arc::new(Link::new(Connector::new(config).unwrap()));
        let mailboxes: Vec<_> = sites.iter().map(|_| Arc::new(Mailbox::default())).collect();
        let recorder = Recorder::default();
        let subscription = Subscription::new(
            link,
            clock,
            Delays::new(Duration::from_secs(1), Duration::from_secs(2)),
            Arc::new(recorder.clone()),
            "one:with-colon".to_owned(),
            sites.into_iter().zip(mailboxes.iter().cloned()).collect(),
            Arc::default(),
        );
        let (ready, stop) = (CancellationToken::new(), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(subscription.run(ready.clone(), stop.clone()));
        let mailboxes = mailboxes.into_iter().map(|mailbox| Received(mailbox, Mutex::default())).collect();
        Self { mailboxes, ready, stop, recorder, running }
    }

    pub(crate) fn mailbox(&self) -> &Received {
        &self.mailboxes[0]
    }

    pub(crate) async fn ready(&self) {
        patiently("a subscription", self.ready.cancelled()).await;
    }

    /// What the observer has received so far.
    pub(crate) fn observed<T>(&self, read: impl FnOnce(&Observed) -> T) -> T {
        read(&self.recorder.0.0.lock().unwrap())
    }

    /// Waits until what the observer has received is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Observed) -> bool) {
        let waiting = async {
            while !self.observed(&wanted) {
                self.recorder.0.1.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("waited in vain for {what}; received: {:?}", self.observed(|seen| format!("{seen:?}")));
        }
    }

    /// Waits until the mailbox is as wanted.
    pub(crate) async fn mailbox_until(&self, what: &str, wanted: impl Fn(&Received) -> bool) {
        let waiting = async {
            while !wanted(self.mailbox()) {
                self.mailbox().changed().await;
            }
        };
        patiently(what, waiting).await;
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> Result<(), LinkError> {
        patiently("the end", self.running.join_next()).await.unwrap().unwrap()
    }
}

async fn patiently<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
