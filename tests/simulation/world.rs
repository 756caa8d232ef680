//! Everything outside the sidecars of one story: Redis and its connections, the shop, the laws.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use token_sidecar_client::wire::{Event, Fingerprint, UpdatedCause};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chronicle::Chronicle;
use crate::engine::{Done, Engine, Left, Refusal};
use crate::laws::{Ask, Laws};
use crate::reply::{Command, Reply};
use crate::scripts;
use crate::shop::{Mood, Shop};

/// The site's id.
pub(crate) const SITE: &str = "shop";
/// Its keys, as configured.
pub(crate) const TOKEN_KEY: &str = "shop_token";
pub(crate) const COOKIES_KEY: &str = "shop_cookies";
/// The number of a client that is not a sidecar.
pub(crate) const OTHER_CLIENT: usize = usize::MAX;
/// The channel of reports.
pub(crate) const INVALID: &str = "shop:token:invalid";
/// The channels of answers.
const ANSWERS: [&str; 2] = ["shop:token:updated", "shop:token:failed"];
/// Redis' clock when a story begins, in ms: 2026-11-22T07:10:00Z.
pub(crate) const EPOCH_MS: i64 = 1_795_331_400_000;

/// The state shared by everything in a story.
#[derive(Clone)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    /// Not a `watch`, which wakes its waiters in an order that differs from run to run.
    bell: Arc<Notify>,
    origin: Instant,
}

pub(crate) struct State {
    engine: Box<dyn Engine>,
    /// Whether Redis runs.
    up: bool,
    /// The offset of Redis' clock, in ms.
    clock_step: i64,
    sessions: BTreeMap<u64, Session>,
    opened: u64,
    /// One for each process, in the order of their starts.
    pub(crate) processes: Vec<Process>,
    pub(crate) shop: Shop,
    pub(crate) laws: Laws,
    pub(crate) chronicle: Chronicle,
    /// The token that was announced last as new.
    pub(crate) newest: Option<String>,
    /// Parsers report no longer.
    pub(crate) is_quiet: bool,
}

/// A sidecar's process, as the rest of the story sees it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) way: Way,
    /// Stopped by SIGSTOP: its waits do not end, and its connections stall.
    pub(crate) frozen: bool,
    pub(crate) latency: Duration,
    /// The script after whose execution the connection breaks, before the reply.
    pub(crate) loses_answer_to: Option<&'static str>,
    /// When Redis last gave it the lock.
    pub(crate) claimed: Duration,
    pub(crate) dead: bool,
    /// The token that its `.env` holds.
    pub(crate) output: Option<String>,
}

/// The network between a process and Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Nothing arrives, and connections stay open.
    Stalled,
    /// Connections are refused.
    Cut,
}

/// A connection, as Redis sees it.
struct Session {
    process: usize,
    channels: BTreeSet<String>,
    pushes: mpsc::UnboundedSender<Reply>,
    broken: CancellationToken,
}

/// How Redis reacts to a command.
pub(crate) enum Answer {
    Reply(Reply),
    /// Subscribed to these channels, with one reply each.
    Subscribed(Vec<Reply>),
    /// The connection breaks before the reply.
    Broken,
}

impl World {
    pub(crate) fn new(engine: Box<dyn Engine>, solvers: usize, chronicle: Chronicle) -> Self {
        let state = State {
            engine,
            up: true,
            clock_step: 0,
            sessions: BTreeMap::new(),
            opened: 0,
            processes: Vec::new(),
            shop: Shop::new(solvers),
            laws: Laws::new(),
            chronicle,
            newest: None,
            is_quiet: false,
        };
        Self { state: Arc::new(Mutex::new(state)), bell: Arc::default(), origin: monotonic_now() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.try_lock().expect("one thread: the state is locked twice in one statement, or a law was broken")
    }

    /// The time since the story began.
    pub(crate) fn elapsed(&self) -> Duration {
        monotonic_now() - self.origin
    }

    /// Redis' clock in ms.
    pub(crate) fn redis_now(&self) -> i64 {
        EPOCH_MS + millis(self.elapsed()) + self.state().clock_step
    }

    /// Wakes everything that waits for a condition.
    pub(crate) fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Waits until the condition is true, for at most this time; returns whether it is.
    pub(crate) async fn until(&self, longest: Duration, is: impl Fn(&State) -> bool) -> bool {
        tokio::time::timeout(longest, self.wait(is)).await.is_ok()
    }

    /// Waits until the condition is true.
    pub(crate) async fn wait(&self, is: impl Fn(&State) -> bool) {
        loop {
            let mut rung = std::pin::pin!(self.bell.notified());
            rung.as_mut().enable();
            if is(&self.state()) {
                return;
            }
            rung.await;
        }
    }

    /// Writes a line of the story.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let at = self.elapsed();
        self.state().chronicle.note(at, line);
    }

    /// Runs a command of a client that is not a sidecar; `None` if Redis is down.
    pub(crate) fn command(&self, words: &[&str]) -> Option<Reply> {
        let command: Command = words.iter().map(|w| w.as_bytes().to_vec()).collect();
        self.is_up().then(|| self.execute(OTHER_CLIENT, &command).reply)
    }

    /// The string in a key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        match self.command(&["GET", key]) {
            Some(Reply::Bulk(text)) => Some(String::from_utf8(text).unwrap()),
            _ => None,
        }
    }

    fn execute(&self, process: usize, command: &Command) -> Done {
        let (at, now) = (self.elapsed(), self.redis_now());
        let mut state = self.state();
        let done = state.engine.execute(now, process, command);
        if process != OTHER_CLIENT || command[0] != b"GET" {
            state.chronicle.note(at, || scripts::line(process, command, &done.reply));
        }
        for message in &done.published {
            state.chronicle.note(at, || format!("  {} {}", message.channel, scripts::text(&message.payload)));
            state.deliver(&message.channel, &message.payload);
            if ANSWERS.contains(&message.channel.as_str())
                && let Some(event) = Event::parse(&message.payload)
            {
                state.published(at, &event, scripts::name(command).is_some());
            }
        }
        drop(state);
        if !done.published.is_empty() {
            self.ring();
        }
        done
    }

    /// Accepts a connection.
    pub(crate) fn open_session(&self, process: usize) -> (u64, mpsc::UnboundedReceiver<Reply>, CancellationToken) {
        let mut state = self.state();
        let (pushes, receiver) = mpsc::unbounded_channel();
        let broken = CancellationToken::new();
        state.opened += 1;
        let session = Session { process, channels: BTreeSet::new(), pushes, broken: broken.clone() };
        let id = state.opened;
        state.sessions.insert(id, session);
        (id, receiver, broken)
    }

    /// A connection was closed by either side.
    pub(crate) fn close_session(&self, id: u64) {
        let at = self.elapsed();
        let mut state = self.state();
        if let Some(session) = state.sessions.remove(&id) {
            state.laws.excuse(session.process, at);
        }
    }

    /// Executes a command of a session.
    pub(crate) fn serve(&self, id: u64, command: &Command) -> Answer {
        let process = self.state().sessions[&id].process;
        let word = |n: usize| String::from_utf8_lossy(command.get(n).map_or(b"".as_slice(), |w| w)).into_owned();
        match word(0).to_ascii_uppercase().as_str() {
            "HELLO" => Answer::Reply(Reply::Array(Vec::new())),
            "CLIENT" => Answer::Reply(Reply::ok()),
            "SUBSCRIBE" => {
                let at = self.elapsed();
                let mut state = self.state();
                // It verifies the token now, without a report that the laws know of.
                state.laws.excuse(process, at);
                let session = state.sessions.get_mut(&id).unwrap();
                let confirmed = command[1..].iter().map(|channel| {
                    session.channels.insert(String::from_utf8_lossy(channel).into_owned());
                    let count = i64::try_from(session.channels.len()).unwrap();
                    Reply::Push(vec![Reply::bulk("subscribe"), Reply::bulk(channel), Reply::Integer(count)])
                });
                Answer::Subscribed(confirmed.collect())
            }
            _ => {
                let done = self.execute(process, command);
                let (at, name) = (self.elapsed(), scripts::name(command));
                let mut state = self.state();
                let items = if let Reply::Array(items) = &done.reply { &items[..] } else { &[] };
                match (name, items) {
                    (Some("claim"), [_, Reply::Nil]) => state.processes[process].claimed = at,
                    (Some("commit" | "fail"), [Reply::Bulk(outcome), ..]) => {
                        state.laws.settling(&scripts::claim(command).unwrap(), outcome);
                    }
                    _ => {}
                }
                if name.is_some() && state.processes[process].loses_answer_to == name {
                    state.processes[process].loses_answer_to = None;
                    state.break_sessions(Some(process));
                    return Answer::Broken;
                }
                Answer::Reply(done.reply)
            }
        }
    }

    /// Whether Redis accepts connections.
    pub(crate) fn is_up(&self) -> bool {
        self.state().up
    }

    pub(crate) fn set_way(&self, process: usize, way: Way) {
        let at = self.elapsed();
        {
            let mut state = self.state();
            state.processes[process].way = way;
            state.laws.excuse(process, at);
            if way == Way::Cut {
                state.break_sessions(Some(process));
            }
        }
        self.ring();
    }

    /// Breaks the connections of a process.
    pub(crate) fn reset(&self, process: usize) {
        let at = self.elapsed();
        let mut state = self.state();
        state.laws.excuse(process, at);
        state.break_sessions(Some(process));
    }

    pub(crate) fn freeze(&self, process: usize, frozen: bool) {
        let at = self.elapsed();
        {
            let mut state = self.state();
            state.processes[process].frozen = frozen;
            state.laws.excuse(process, at);
        }
        self.ring();
    }

    /// Stops Redis.
    pub(crate) fn down(&self) {
        let at = self.elapsed();
        let mut state = self.state();
        state.up = false;
        state.laws.excuse_all(at);
        state.break_sessions(None);
    }

    /// Starts Redis again.
    pub(crate) fn up(&self, left: Left) {
        let (at, now) = (self.elapsed(), self.redis_now());
        let mut state = self.state();
        state.engine.restart(now, left);
        state.up = true;
        state.laws.excuse_all(at);
        if left != Left::Everything {
            state.laws.data_lost(at);
        }
    }

    pub(crate) fn save(&self) {
        let now = self.redis_now();
        self.state().engine.save(now);
    }

    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        let at = self.elapsed();
        let mut state = self.state();
        state.laws.excuse_all(at);
        state.engine.refuse(refusal);
    }

    /// Breaks the connection after the process's next script of this name, before its reply.
    pub(crate) fn lose_answer(&self, process: usize, script: &'static str) {
        let at = self.elapsed();
        let mut state = self.state();
        state.processes[process].loses_answer_to = Some(script);
        state.laws.excuse(process, at);
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        let at = self.elapsed();
        let mut state = self.state();
        if state.shop.mood != mood {
            state.shop.mood = mood;
            state.shop.mood_since = at;
        }
    }

    /// Another client has changed the keys.
    pub(crate) fn excuse_all(&self) {
        let at = self.elapsed();
        self.state().laws.excuse_all(at);
    }

    pub(crate) fn set_clock(&self, step: i64) {
        let at = self.elapsed();
        let mut state = self.state();
        state.clock_step += step;
        state.laws.excuse_all(at);
    }
}

impl State {
    /// The processes to whose subscription Redis would send a report.
    pub(crate) fn listeners(&self) -> BTreeSet<usize> {
        self.sessions.values().filter(|s| s.channels.contains(INVALID)).map(|s| s.process).collect()
    }

    /// The first unanswered report that a living process received.
    pub(crate) fn unanswered(&self) -> Option<&Ask> {
        self.laws.unanswered(|process| !self.processes[process].dead)
    }

    fn deliver(&self, channel: &str, payload: &[u8]) {
        for session in self.sessions.values().filter(|s| s.channels.contains(channel)) {
            let push = vec![Reply::bulk("message"), Reply::bulk(channel), Reply::bulk(payload)];
            let _gone_with_its_task = session.pushes.send(Reply::Push(push));
        }
    }

    fn break_sessions(&self, process: Option<usize>) {
        for session in self.sessions.values().filter(|s| process.is_none_or(|p| s.process == p)) {
            session.broken.cancel();
        }
    }

    fn published(&mut self, at: Duration, event: &Event, is_noted: bool) {
        let token = match event {
            Event::Updated(updated) => {
                self.shop.tokens().find(|token| Fingerprint::of(token).to_string() == updated.fingerprint)
            }
            Event::Failed(_) => None,
        };
        let works = token.is_some_and(|token| self.shop.works(token));
        self.laws.event(at, event, is_noted, token.map(|token| self.shop.proof(token)), works);
        if matches!(event, Event::Updated(updated) if updated.cause == UpdatedCause::Refreshed) {
            self.newest = token.map(str::to_owned);
        }
    }
}

pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the tasks of a story end with its runtime")]
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

#[expect(clippy::disallowed_methods, reason = "the paused clock is the story's port `Clock`")]
fn monotonic_now() -> Instant {
    Instant::now()
}
