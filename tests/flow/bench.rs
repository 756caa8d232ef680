//! The bench of every test: one store, any number of replicas, and time that is paused.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use token_sidecar::domain::extract::CookieRule;
use token_sidecar::domain::inbox::Inbox;
use token_sidecar::domain::pending::{Arrival, Note};
use token_sidecar::domain::product::ProductRule;
use token_sidecar::domain::schedule::Schedule;
use token_sidecar::domain::site::{Policy, Verify};
use token_sidecar::domain::stored::StoredToken;
use token_sidecar::refresh::driver::{Driver, Stop};
use token_sidecar::refresh::mailbox::Mailbox;
use token_sidecar::refresh::manual::ManualOutcome;
use token_sidecar::refresh::site::SiteContext;
use token_sidecar_client::wire::{Fingerprint, SiteId, Token};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::keys::{COOKIES, LOCK, META, TOKEN, millis};
use crate::outside::{ModelChance, ModelClock, ModelObserver, ModelProbe, ModelSource, Solves};
use crate::reply::Reply;
use crate::store::{Fault, ModelStore, Op, Rule};
use crate::world::{AGENT, Model, SITE, Shared, State, secs, spawn};

/// Longer than anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(1800);
/// More calls of the store than this within a second, by one replica, are a loop that does not wait.
const BUSY: usize = 120;

/// A replica's task and how it is stopped.
struct Replica {
    task: JoinHandle<Inbox>,
    stop: Stop,
}

/// How the replicas are configured.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) bootstrap: Option<&'static str>,
}

pub(crate) struct Bench {
    pub(crate) shared: Shared,
    pub(crate) setup: Setup,
    /// How many solves may run at once: more than one only where a test takes leases away.
    pub(crate) solves_at_once: u64,
    replicas: BTreeMap<usize, Replica>,
    finished: bool,
}

impl Bench {
    /// An empty store, one source that takes 17 s, an API that works; no replica runs yet.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let policy = Policy {
            debounce: secs(10),
            lock_ttl: secs(15),
            backoff_max: secs(600),
            token_ttl: secs(86_400),
            verify: Verify::Strict,
            schedule: Schedule::parse("off", "UTC").unwrap(),
        };
        let mut setup = Setup { policy, bootstrap: None };
        change(&mut setup);
        let shared = Shared::new();
        Self { shared, setup, solves_at_once: 1, replicas: BTreeMap::new(), finished: false }
    }

    /// A store with a working token that was stored an hour ago, and so many replicas whose question of
    /// start-up has been answered.
    pub(crate) async fn calm(replicas: usize) -> Self {
        Self::new().calmed(replicas).await
    }

    /// Stores a working token and lets so many replicas come to rest.
    pub(crate) async fn calmed(mut self, replicas: usize) -> Self {
        self.store_token("token-0", secs(3600));
        for _ in 0..replicas {
            self.start();
        }
        self.until("every replica has asked about the token", |s| s.repeated().len() >= replicas).await;
        self.rest().await;
        self.forget();
        self
    }

    /// Forgets what has happened so far.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.events.clear();
        state.calls.clear();
        state.observed.clear();
        state.api.asked.clear();
        let tokens = state.solves.tokens;
        state.solves = Solves { tokens, running: state.solves.running, ..Solves::default() };
        for source in &mut state.sources {
            source.started = 0;
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Puts a token there as if a sidecar had stored it so long ago, for a day.
    pub(crate) fn store_token(&self, token: &str, ago: Duration) {
        let at = (self.shared.store_now() - millis(ago)).to_string();
        let ttl = (millis(secs(86_400)) - millis(ago)).to_string();
        self.state().api.live.insert(token.to_owned(), Some(AGENT.to_owned()));
        self.redis(&["SET", TOKEN, token, "PX", &ttl]);
        self.redis(&["SET", COOKIES, &format!(r#"{{"access-token":"Bearer%20{token}"}}"#), "PX", &ttl]);
        let fingerprint = Fingerprint::of(token).to_string();
        self.redis(&["HSET", META, "version", &at, "refreshed_ms", &at, "fingerprint", &fingerprint]);
        self.redis(&["HSET", META, "trigger", "startup", "source", "solver", "user_agent", AGENT]);
    }

    /// Writes a token into the key as another program would.
    pub(crate) fn write_foreign(&self, token: &str, ttl: Option<Duration>) {
        match ttl {
            None => self.redis(&["SET", TOKEN, token]),
            Some(ttl) => self.redis(&["SET", TOKEN, token, "PX", &millis(ttl).to_string()]),
        }
    }

    /// A command of another client.
    pub(crate) fn redis(&self, words: &[&str]) {
        let reply = self.shared.execute(&words.iter().map(|word| word.as_bytes().to_vec()).collect());
        assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
    }

    /// Starts a replica.
    pub(crate) fn start(&mut self) -> usize {
        let replica = self.state().subscribers.len();
        let (site, stop) = (self.site(), Stop::default());
        let task = spawn(Driver::run(site, None, stop.clone()));
        self.replicas.insert(replica, Replica { task, stop });
        replica
    }

    /// The command `refresh`: a process of its own for one refresh, and how it ends.
    pub(crate) fn refresh_once(&self) -> (impl Future<Output = ManualOutcome> + use<>, Stop) {
        self.refresh_once_at(self.site())
    }

    /// The same with a site that is subscribed already.
    pub(crate) fn refresh_once_at(
        &self,
        site: SiteContext<Model>,
    ) -> (impl Future<Output = ManualOutcome> + use<>, Stop) {
        let stop = Stop::default();
        let once = tokio::time::timeout(PATIENCE, spawn(Driver::refresh_once(site, None, stop.clone())));
        (async { once.await.unwrap().unwrap().0 }, stop)
    }

    /// A site of another process, which is subscribed.
    pub(crate) fn site(&self) -> SiteContext<Model> {
        let mailbox = Arc::new(Mailbox::default());
        let replica = self.shared.subscribe(&mailbox);
        let sources = self.state().sources.len();
        let shared = || self.shared.clone();
        SiteContext {
            id: SiteId::parse(SITE).unwrap(),
            policy: self.setup.policy.clone(),
            product: ProductRule::Token(CookieRule {
                name: "access-token".into(),
                fallbacks: Vec::new(),
                prefix: "Bearer ".into(),
                ..CookieRule::default()
            }),
            page: "https://www.shop.test/".to_owned(),
            bootstrap: self.setup.bootstrap.map(|t| Box::new(Token::parse(t).unwrap())),
            mailbox,
            store: ModelStore::new(shared(), replica, self.setup.policy.lock_ttl),
            sources: (0..sources)
                .map(|number| ModelSource { shared: shared(), number, name: format!("source-{number}") })
                .collect(),
            probe: ModelProbe(shared()),
            stored: self.output(replica),
            clock: ModelClock(shared()),
            jitter: ModelChance { replica, state: (replica as u64 * 7919 + 1).into() },
            observer: ModelObserver(shared(), replica),
        }
    }

    /// Where a replica publishes what is stored: all of it that a sidecar has stored is noted.
    fn output(&self, replica: usize) -> watch::Sender<Option<Arc<StoredToken>>> {
        let (sender, mut receiver) = watch::channel(None::<Arc<StoredToken>>);
        let shared = self.shared.clone();
        spawn(async move {
            while receiver.changed().await.is_ok() {
                if let Some(stored) = receiver.borrow_and_update().as_ref().filter(|stored| stored.is_ours()) {
                    shared.state().outputs.push((replica, stored.token.expose().to_owned()));
                }
            }
        });
        sender
    }

    /// The process dies at once, at any stage.
    pub(crate) fn crash(&self, replica: usize) {
        self.replicas[&replica].task.abort();
        self.state().subscribers[replica].is_subscribed = false;
    }

    /// SIGTERM.
    pub(crate) fn stop(&self, replica: usize) {
        self.replicas[&replica].stop.graceful.cancel();
    }

    /// The grace is over.
    pub(crate) fn stop_now(&self, replica: usize) {
        self.stop(replica);
        self.replicas[&replica].stop.now.cancel();
    }

    pub(crate) fn has_ended(&self, replica: usize) -> bool {
        self.replicas[&replica].task.is_finished()
    }

    /// Waits for the end of a replica, and gives what it has left unanswered.
    pub(crate) async fn left_by(&mut self, replica: usize) -> Inbox {
        let task = self.replicas.remove(&replica).unwrap().task;
        tokio::time::timeout(secs(1), task).await.unwrap().unwrap()
    }

    /// `PUBLISH S:token:invalid …`.
    pub(crate) fn publish(&self, payload: &str) {
        let at = self.shared.elapsed();
        self.state().last_message = Some(at);
        self.redis(&["PUBLISH", &format!("{SITE}:token:invalid"), payload]);
    }

    /// A report that names the token.
    pub(crate) fn report(&self, token: &str) {
        self.publish(&format!(r#"{{"fingerprint":"{}"}}"#, Fingerprint::of(token)));
    }

    pub(crate) fn force(&self) {
        self.publish(r#"{"force":true}"#);
    }

    /// The command `refresh` or the web page.
    pub(crate) fn by_hand(&self, replica: usize) {
        self.post(replica, Arrival::Manual(Note::default()));
    }

    /// By hand, at the moment of the API's next answer.
    pub(crate) fn by_hand_at_the_next_answer(&self, replica: usize) {
        let mut state = self.state();
        state.api.meanwhile = Some(state.mailbox(replica));
    }

    pub(crate) fn post(&self, replica: usize, arrival: Arrival) {
        self.state().mailbox(replica).post(arrival);
    }

    /// Signals that the store may have changed, as the end of a lock does.
    pub(crate) fn hint(&self, replica: usize) {
        self.state().mailbox(replica).hint();
    }

    /// Takes a replica's subscription away; what is published is lost on it.
    pub(crate) fn unsubscribe(&self, replica: usize) {
        self.state().subscribers[replica].is_subscribed = false;
    }

    /// Gives it back, as the subscription does after a gap.
    pub(crate) fn reconnect(&self, replica: usize) {
        let mut state = self.state();
        state.subscribers[replica].is_subscribed = true;
        state.mailbox(replica).post(Arrival::Reconnect);
        state.mailbox(replica).hint();
    }

    pub(crate) fn slow(&self, replica: usize, latency: Duration) {
        self.state().subscribers[replica].latency = latency;
    }

    /// What is published reaches a replica so much later than the answers to its calls.
    pub(crate) fn late(&self, replica: usize, delay: Duration) {
        self.state().subscribers[replica].delay = delay;
    }

    /// The next calls of this kind go wrong, of any replica.
    pub(crate) fn spoil(&self, op: Op, fault: Fault, times: u32) {
        self.state().rules.push(Rule { replica: None, op: Some(op), fault, left: Some(times) });
    }

    /// All calls of this kind go wrong until [`Bench::mend`].
    pub(crate) fn spoil_all(&self, op: impl Into<Option<Op>>, fault: Fault) {
        self.state().rules.push(Rule { replica: None, op: op.into(), fault, left: None });
    }

    /// All calls of one replica go wrong until [`Bench::mend`].
    pub(crate) fn cut_off(&self, replica: usize) {
        self.state().rules.push(Rule { replica: Some(replica), op: None, fault: Fault::Away, left: None });
    }

    /// One replica's store takes no writes.
    pub(crate) fn refuse_writes_of(&self, replica: usize) {
        for op in [Op::Claim, Op::Commit, Op::Fail] {
            let rule = Rule { replica: Some(replica), op: Some(op), fault: Fault::Refused, left: None };
            self.state().rules.push(rule);
        }
    }

    pub(crate) fn mend(&self) {
        self.state().rules.clear();
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Waits for something to be true.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&State) -> bool) {
        let mut bell = self.shared.bell();
        let waiting = async {
            while !is(&self.state()) {
                bell.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let state = self.state();
            panic!("waited in vain until: {what}\nevents: {:#?}\nobserved: {:?}", state.events, state.observed);
        }
    }

    /// Waits until nothing is pending and the lock is free.
    pub(crate) async fn rest(&self) {
        let began = self.shared.elapsed();
        let mut quiet = 0;
        while quiet < 3 {
            self.pass(Duration::from_millis(250)).await;
            let now = self.shared.store_now();
            let mut state = self.state();
            quiet = if state.is_at_rest(now) { quiet + 1 } else { 0 };
            let (pending, lock) = (state.is_pending(), state.keys.get(LOCK));
            assert!(self.shared.elapsed() < began + PATIENCE, "never came to rest: pending: {pending}, lock {lock:?}");
        }
    }

    /// Comes to rest, checks what must hold after any test, and stops all replicas.
    pub(crate) async fn finish(mut self) {
        self.finished = true;
        self.rest().await;
        self.check();
        for replica in self.replicas.values() {
            replica.stop.graceful.cancel();
        }
        for (_, replica) in std::mem::take(&mut self.replicas) {
            match tokio::time::timeout(secs(60), replica.task).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => assert!(!error.is_panic(), "a replica panicked: {error}"),
                Err(_) => panic!("a replica at rest did not stop"),
            }
        }
    }

    fn check(&self) {
        let state = self.state();
        let versions: Vec<u64> = state.refreshed().iter().map(|u| u.version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "versions only grow: {versions:?}");
        let most = state.solves.most_at_once;
        assert!(most <= self.solves_at_once, "{most} solves at once");
        for (_, event) in &state.events {
            let text = event.to_json();
            assert!(!text.contains("token-"), "no token in a message: {text}");
        }
        if let Some(asked) = state.last_message.filter(|_| state.has_subscriber()) {
            let answered = state.events.last().is_some_and(|(at, _)| *at >= asked);
            assert!(answered, "a message at {asked:?} was not answered: {:#?}", state.events);
        }
        for replica in 0..state.subscribers.len() {
            let calls: Vec<Duration> = state.calls.iter().filter(|c| c.1 == replica).map(|c| c.0).collect();
            let busy = calls.windows(BUSY).find(|w| w[BUSY - 1] - w[0] < secs(1));
            assert!(busy.is_none(), "replica {replica} asked the store {BUSY} times within a second");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a test ends with `finish`");
    }
}
