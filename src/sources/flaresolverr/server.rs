//! One server, as all sites of this process share it: its connection, its slots, and what is known of it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use token_sidecar_client::excerpt::without;
use url::Url;

use super::complaint::{Complaint, State, success};
use super::slots::{Slot, Slots};
use super::wire::{Command, Reply};
use crate::http::{self, Answer, Client, ClientError, Ending, Fault, Login, Route};

/// `maxTimeout` is no upper bound: starting a browser and the server's own queue come on top.
pub(super) const GRACE: Duration = Duration::from_secs(75);

/// With all its browsers at work the server takes this long for the smallest question.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);
const VERSION_TIMEOUT: Duration = Duration::from_secs(3);
const DESTROY_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers are small, as pages are left out of them; where the wait needs the page it may be megabytes.
const MAX_ANSWER: usize = 16 << 20;

/// A session that is not there may still be on its way in: so often it is looked for.
const SWEEPS: u8 = 3;

/// A server that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its version, where it says.
    pub version: Option<String>,
    /// What its browser calls itself, where it says.
    pub user_agent: Option<String>,
}

/// One server.
pub(super) struct Server {
    client: Client,
    url: Url,
    login: Option<Login>,
    peer: String,
    slots: Slots,
    session_slots: Mutex<HashMap<String, Arc<Slots>>>,
    reading: Mutex<Reading>,
    orphans: Mutex<Vec<Orphan>>,
}

/// When the server reads the cookies of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// After `waitInSeconds`: 3.5.2 and later.
    AfterWait,
    /// Before it.
    BeforeWait,
    /// Not known yet.
    Unknown,
}

/// A session of our own. Dropped alive, it is destroyed before the next solve.
pub(super) struct OwnSession {
    server: Arc<Server>,
    id: String,
}

/// A session that nobody uses any more, and how often it was looked for.
struct Orphan {
    id: String,
    sweeps: u8,
}

impl Server {
    pub(super) fn new(mut url: Url, concurrency: usize) -> Result<Self, ClientError> {
        let client = Client::new(&url, Route::Direct)?;
        let login = Login::take(&mut url);
        Ok(Self {
            client,
            login,
            peer: http::peer(&url),
            url,
            slots: Slots::new(concurrency),
            session_slots: Mutex::default(),
            reading: Mutex::new(Reading::Unknown),
            orphans: Mutex::default(),
        })
    }

    pub(super) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The one slot of a session.
    pub(super) fn session_slots(&self, id: &str) -> Arc<Slots> {
        Arc::clone(lock(&self.session_slots).entry(id.to_owned()).or_insert_with(|| Arc::new(Slots::new(1))))
    }

    /// Sends a command that a browser works on, which nothing can call back.
    pub(super) async fn solve(
        &self,
        turn: &mut [Slot],
        command: &Command<'_>,
        max_timeout: Duration,
    ) -> Result<Reply, Complaint> {
        turn.iter_mut().for_each(|slot| slot.solving(max_timeout));
        let deadline = max_timeout + GRACE;
        let answer = self.client.exchange(self.request(command), MAX_ANSWER, deadline).await;
        // Whoever refuses or drops a connection is not at work on it; whoever says nothing may be.
        if !matches!(answer, Err(Fault::Late)) {
            turn.iter_mut().for_each(Slot::ended);
        }
        self.read(answer, command, deadline)
    }

    /// Destroys a session; that there is none is as good.
    pub(super) async fn destroy(&self, session: &str) -> Result<(), Complaint> {
        match self.end(session).await {
            Err(complaint) if complaint.state != State::SessionUnknown => Err(complaint),
            _ => Ok(()),
        }
    }

    /// Destroys the sessions that were left behind.
    pub(super) async fn sweep(&self) {
        let left: Vec<String> = lock(&self.orphans).iter().map(|orphan| orphan.id.clone()).collect();
        for id in left {
            let done = self.end(&id).await.is_ok();
            lock(&self.orphans).retain_mut(|orphan| {
                orphan.sweeps += u8::from(orphan.id == id);
                orphan.id != id || !(done || orphan.sweeps >= SWEEPS)
            });
        }
    }

    async fn end(&self, session: &str) -> Result<Reply, Complaint> {
        let command = Command::on_session("sessions.destroy", session);
        let answer = self.client.exchange(self.request(&command), MAX_ANSWER, DESTROY_TIMEOUT).await;
        self.read(answer, &command, DESTROY_TIMEOUT)
    }

    pub(super) async fn health(&self) -> Result<Health, Complaint> {
        let answer = self.whole(self.ask("health", HEALTH_TIMEOUT).await, HEALTH_TIMEOUT)?;
        let reply = Reply::read(&answer.body);
        if !answer.status.is_success() || reply.is_none() {
            return Err(Complaint::of_answer(answer.status, reply.as_ref()));
        }
        // Only FlareSolverr itself answers here; others that speak its API are as healthy.
        let index = self.read_index(self.ask(".", HEALTH_TIMEOUT).await).unwrap_or_default();
        Ok(Health { version: index.version, user_agent: index.user_agent })
    }

    /// When the server reads cookies; asks for its version if need be, which takes milliseconds where a solve in the
    /// wrong way would take many seconds.
    pub(super) async fn reading(&self) -> Reading {
        if self.known_reading() == Reading::Unknown {
            let index = self.ask(".", VERSION_TIMEOUT).await;
            self.read_index(index);
        }
        self.known_reading()
    }

    pub(super) fn known_reading(&self) -> Reading {
        *lock(&self.reading)
    }

    pub(super) fn learn(&self, reading: Reading) {
        *lock(&self.reading) = reading;
    }

    async fn ask(&self, path: &str, within: Duration) -> Result<Answer, Fault> {
        let url = self.url.join(path).unwrap_or_else(|_| self.url.clone());
        self.client.exchange(self.with_login(Request::new(Method::GET, url)), MAX_ANSWER, within).await
    }

    fn request(&self, command: &Command<'_>) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        // Without this very type the server does not read the body.
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(serde_json::to_vec(command).unwrap_or_default().into());
        self.with_login(request)
    }

    fn with_login(&self, mut request: Request) -> Request {
        if let Some(login) = self.login.as_ref().and_then(Login::header) {
            request.headers_mut().insert(AUTHORIZATION, login);
        }
        request
    }

    fn read(&self, answer: Result<Answer, Fault>, command: &Command<'_>, waited: Duration) -> Result<Reply, Complaint> {
        let answer = self.whole(answer, waited)?;
        let mut reply = Reply::read(&answer.body);
        // A server may say back what it was told.
        let login = self.login.as_ref().map(Login::password);
        let told = [login, command.proxy.as_ref().and_then(|proxy| proxy.password)];
        if let Some(said) = reply.as_mut().and_then(|reply| reply.message.as_mut()) {
            *said = without(said, told.into_iter().flatten());
        }
        self.learn_of(reply.as_ref());
        success(answer.status, reply)
    }

    fn whole(&self, answer: Result<Answer, Fault>, waited: Duration) -> Result<Answer, Complaint> {
        let answer = answer.map_err(|fault| Complaint::of_fault(&fault, &self.peer, waited.as_secs()))?;
        match &answer.ending {
            Ending::Whole => Ok(answer),
            Ending::Cut => Err(Complaint::of_rest("is larger than 16 MiB", &self.peer)),
            Ending::Broken(cause) => Err(Complaint::of_rest(&format!("broke off: {cause}"), &self.peer)),
        }
    }

    fn read_index(&self, answer: Result<Answer, Fault>) -> Option<Reply> {
        let answer = answer.ok().filter(|answer| answer.status.is_success())?;
        let reply = Reply::read(&answer.body);
        self.learn_of(reply.as_ref());
        reply
    }

    fn learn_of(&self, reply: Option<&Reply>) {
        if let Some(version) = reply.and_then(|reply| reply.version.as_deref()).and_then(version) {
            self.learn(if version >= [3, 5, 2] { Reading::AfterWait } else { Reading::BeforeWait });
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.peer)
    }
}

impl OwnSession {
    pub(super) fn new(server: Arc<Server>) -> Self {
        // The keys of the standard hasher are random: an id need be no better than unlike any other.
        Self { server, id: format!("token-sidecar-{:016x}", RandomState::new().hash_one(0)) }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn destroy(mut self) {
        match self.server.destroy(&self.id).await {
            Ok(()) => self.id.clear(),
            Err(complaint) => {
                let error = &complaint.error;
                tracing::warn!(%error, "FlareSolverr has not destroyed a session; it is tried again before the next solve");
            }
        }
    }
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            lock(&self.server.orphans).push(Orphan { id: std::mem::take(&mut self.id), sweeps: 0 });
        }
    }
}

/// The numbers of `3.5.2` or `v3.5.2-beta`.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.trim().trim_start_matches('v').split(['.', '-', '+']).map(str::parse);
    let major = parts.next()?.ok()?;
    let mut next = || parts.next().and_then(Result::ok).unwrap_or_default();
    Some([major, next(), next()])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(version("3.5.2"), Some([3, 5, 2]));
        assert_eq!(version("v3.10-beta"), Some([3, 10, 0]));
        for text in ["", "latest", "-1"] {
            assert_eq!(version(text), None, "{text}");
        }
        assert!(version("3.10.0").unwrap() >= [3, 5, 2]);
        assert!(version("3.3.21rc4").unwrap() < [3, 5, 2]);
    }

    fn server(url: &str) -> Arc<Server> {
        Arc::new(Server::new(Url::parse(url).unwrap(), 1).unwrap())
    }

    #[test]
    fn user_and_password_of_the_url_are_used_and_never_shown() {
        let server = server("http://m%40e:s%2Fecret@127.0.0.1:8191/v1");
        let request = server.request(&Command::on_session("sessions.destroy", "a"));
        assert_eq!(request.headers()[AUTHORIZATION], "Basic bUBlOnMvZWNyZXQ=");
        assert_eq!(request.url().as_str(), "http://127.0.0.1:8191/v1");
        assert_eq!(format!("{server:?}"), "Server(127.0.0.1:8191)");
    }

    #[test]
    fn a_session_that_is_dropped_is_remembered() {
        let server = server("http://a:1/v1");
        let id = OwnSession::new(Arc::clone(&server)).id().to_owned();
        assert_eq!(lock(&server.orphans).iter().map(|o| o.id.clone()).collect::<Vec<_>>(), [id]);
    }
}
