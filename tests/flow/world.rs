//! Everything outside the flow, as the models share it: one state, one clock, and who receives what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar::domain::pending::{Arrival, Outcome};
use token_sidecar::refresh::mailbox::Mailbox;
use token_sidecar::refresh::observation::Step;
use token_sidecar::refresh::site::Ports;
use token_sidecar_client::wire::{Channels, Event, Failed, FailedCause, Report, Topic, Updated, UpdatedCause};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::database::Message;
use crate::keys::{Keys, LOCK, TOKEN, instant, millis};
use crate::outside::{
    Api, ModelChance, ModelClock, ModelObserver, ModelProbe, ModelSource, Mood, Script, Seen, Solves,
};
use crate::reply::{Command, Reply};
use crate::store::{Fault, ModelStore, Op, Rule};

/// The site's id.
pub(crate) const SITE: &str = "shop";
/// The user agent of every source.
pub(crate) const AGENT: &str = "Mozilla/5.0 (the solver's)";
/// The store's clock when a test begins: 2026-11-22T07:10:00Z.
const EPOCH_MS: i64 = 1_795_331_400_000;
/// Binds the ports to the models.
pub(crate) struct Model;

impl Ports for Model {
    type Store = ModelStore;
    type Source = ModelSource;
    type Probe = ModelProbe;
    type Clock = ModelClock;
    type Jitter = ModelChance;
    type Observer = ModelObserver;
}

/// What all models share.
#[derive(Clone)]
pub(crate) struct Shared {
    state: Arc<Mutex<State>>,
    bell: Arc<watch::Sender<()>>,
    origin: Instant,
}

/// The state of everything outside the flow.
pub(crate) struct State {
    pub(crate) keys: Keys,
    /// How far the store's clock has been set, in ms.
    pub(crate) clock_step: i64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) calls: Vec<(Duration, usize, Op)>,
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) sources: Vec<Script>,
    pub(crate) solves: Solves,
    pub(crate) api: Api,
    pub(crate) outputs: Vec<(usize, String)>,
    pub(crate) observed: Vec<(Duration, usize, Seen)>,
    pub(crate) subscribers: Vec<Subscriber>,
    /// When a message was last published on `S:token:invalid`.
    pub(crate) last_message: Option<Duration>,
}

/// The subscription of a replica.
pub(crate) struct Subscriber {
    /// Gone with the replica.
    mailbox: Weak<Mailbox>,
    pub(crate) is_subscribed: bool,
    /// How long one way of a call takes.
    pub(crate) latency: Duration,
    /// How much longer what is published takes.
    pub(crate) delay: Duration,
    /// Whether triggers wait for an answer, by its driver.
    pub(crate) is_pending: bool,
    queue: mpsc::UnboundedSender<(Duration, Topic, Vec<u8>)>,
}

impl Shared {
    /// An empty store, one source, an API that works.
    pub(crate) fn new() -> Self {
        let state = State {
            keys: Keys::new(),
            clock_step: 0,
            rules: Vec::new(),
            calls: Vec::new(),
            events: Vec::new(),
            sources: vec![Script::new()],
            solves: Solves::default(),
            api: Api { live: BTreeMap::new(), next: [].into(), mood: Mood::Honest, asked: Vec::new(), meanwhile: None },
            outputs: Vec::new(),
            observed: Vec::new(),
            subscribers: Vec::new(),
            last_message: None,
        };
        Self { state: Arc::new(Mutex::new(state)), bell: Arc::new(watch::Sender::new(())), origin: monotonic_now() }
    }

    /// Subscribes a mailbox, which gets what is published in its order, and gives it a number.
    pub(crate) fn subscribe(&self, mailbox: &Arc<Mailbox>) -> usize {
        let (queue, mut arriving) = mpsc::unbounded_channel::<(Duration, Topic, Vec<u8>)>();
        let (origin, subscriber) = (self.origin, Arc::downgrade(mailbox));
        spawn(async move {
            while let Some((at, topic, payload)) = arriving.recv().await {
                tokio::time::sleep_until(origin + at).await;
                if let Some(mailbox) = subscriber.upgrade() {
                    receive(&mailbox, topic, &payload);
                }
            }
        });
        let mailbox = Arc::downgrade(mailbox);
        let mut state = self.state();
        state.subscribers.push(Subscriber {
            mailbox,
            is_subscribed: true,
            latency: ms(1),
            delay: Duration::ZERO,
            is_pending: false,
            queue,
        });
        state.subscribers.len() - 1
    }

    /// Executes a command of any client, and delivers what it publishes.
    pub(crate) fn execute(&self, command: &Command) -> Reply {
        let (at, now) = (self.elapsed(), self.store_now());
        let mut state = self.state();
        let done = state.keys.execute(now, command);
        state.deliver(at, done.published);
        done.reply
    }

    /// Notified whenever something has happened.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => panic!("one thread: the state is locked twice in one statement"),
        }
    }

    /// Something has happened: all waiting tasks look again.
    pub(crate) fn ring(&self) {
        self.bell.send_replace(());
    }

    /// The time since the test began.
    pub(crate) fn elapsed(&self) -> Duration {
        monotonic_now() - self.origin
    }

    /// The store's clock in ms.
    pub(crate) fn store_now(&self) -> i64 {
        EPOCH_MS + millis(self.elapsed()) + self.state().clock_step
    }

    pub(crate) fn latency(&self, replica: usize) -> Duration {
        self.state().subscribers[replica].latency
    }
}

impl State {
    /// Sends what was published on its way to all subscribers.
    fn deliver(&mut self, at: Duration, published: Vec<Message>) {
        for Message { channel, payload } in published {
            let Some((SITE, topic)) = Channels::read(&channel) else { continue };
            if topic == Topic::Event {
                self.events.push((at, Event::parse(&payload).unwrap()));
            }
            for subscriber in self.subscribers.iter().filter(|e| e.is_subscribed) {
                let _ = subscriber.queue.send((at + subscriber.latency + subscriber.delay, topic, payload.clone()));
            }
        }
    }

    pub(crate) fn fault(&mut self, replica: usize, op: Op) -> Option<Fault> {
        let applies =
            |r: &&mut Rule| r.replica.is_none_or(|n| n == replica) && r.op.is_none_or(|o| o == op) && r.left != Some(0);
        let rule = self.rules.iter_mut().find(applies)?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault)
    }

    pub(crate) fn refreshed(&self) -> Vec<&Updated> {
        self.updated(UpdatedCause::Refreshed)
    }

    pub(crate) fn repeated(&self) -> Vec<&Updated> {
        self.updated(UpdatedCause::Repeated)
    }

    /// The attempts that were announced as failed.
    pub(crate) fn failed(&self) -> Vec<&Failed> {
        self.failures(FailedCause::Attempt)
    }

    /// The announcements of a back-off in force.
    pub(crate) fn failed_again(&self) -> Vec<&Failed> {
        self.failures(FailedCause::Repeated)
    }

    fn updated(&self, cause: UpdatedCause) -> Vec<&Updated> {
        let ours = self.events.iter().filter_map(|(_, event)| match event {
            Event::Updated(updated) => Some(updated),
            Event::Failed(_) => None,
        });
        ours.filter(|u| u.cause == cause).collect()
    }

    fn failures(&self, cause: FailedCause) -> Vec<&Failed> {
        let ours = self.events.iter().filter_map(|(_, event)| match event {
            Event::Failed(failed) => Some(failed),
            Event::Updated(_) => None,
        });
        ours.filter(|f| f.cause == cause).collect()
    }

    /// The token that parsers read.
    pub(crate) fn token(&self) -> Option<&str> {
        self.keys.get(TOKEN)
    }

    /// When the last event was published.
    pub(crate) fn last_event(&self) -> Option<Duration> {
        self.events.last().map(|(at, _)| *at)
    }

    /// When the solves began.
    pub(crate) fn solves_began(&self) -> Vec<Duration> {
        self.observed.iter().filter(|o| o.2 == Seen::Entered(Step::Solve)).map(|o| o.0).collect()
    }

    /// How many triggers have been counted with a decision.
    pub(crate) fn decided(&self) -> u64 {
        self.observed.iter().map(|o| if let Seen::Decided(_, folded) = o.2 { folded } else { 0 }).sum()
    }

    pub(crate) fn saw(&self, seen: &Seen) -> usize {
        self.observed.iter().filter(|o| o.2 == *seen).count()
    }

    pub(crate) fn count(&self, op: Op) -> usize {
        self.calls.iter().filter(|c| c.2 == op).count()
    }

    pub(crate) fn is_at_rest(&mut self, now: i64) -> bool {
        self.keys.expire(now);
        self.keys.get(LOCK).is_none() && !self.is_pending()
    }

    /// Whether triggers wait for an answer at a replica that is subscribed.
    pub(crate) fn is_pending(&self) -> bool {
        self.subscribers.iter().any(|e| e.is_subscribed && e.is_pending && e.mailbox.strong_count() > 0)
    }

    /// Whether any replica is there to answer.
    pub(crate) fn has_subscriber(&self) -> bool {
        self.subscribers.iter().any(|e| e.is_subscribed && e.mailbox.strong_count() > 0)
    }

    pub(crate) fn mailbox(&self, replica: usize) -> Arc<Mailbox> {
        self.subscribers[replica].mailbox.upgrade().unwrap()
    }
}

/// What the subscription does with a message.
fn receive(mailbox: &Mailbox, topic: Topic, payload: &[u8]) {
    match topic {
        Topic::Invalid => mailbox.post(Arrival::Message(Report::parse(payload).0)),
        Topic::Event => {
            let event = Event::parse(payload).unwrap();
            if let Some(outcome) = Outcome::of(&event) {
                mailbox.settle(outcome, event.version());
            }
        }
        // `vacated`: a lock was freed without an outcome.
        Topic::Canary => mailbox.hint(),
    }
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// An instant so long after a test began, by a store's clock that was never set.
pub(crate) fn at(since: Duration) -> Timestamp {
    instant(EPOCH_MS + millis(since))
}

#[expect(clippy::disallowed_methods, reason = "a test has no shutdown that would have to know of its tasks")]
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

#[expect(clippy::disallowed_methods, reason = "the paused clock is the tests' port `Clock`")]
fn monotonic_now() -> Instant {
    Instant::now()
}
