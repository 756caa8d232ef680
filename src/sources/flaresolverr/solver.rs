//! One solver, which all sites of this process share: its address, its slots, and what it reports.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, StatusCode};
use token_sidecar_client::excerpt::without;
use url::Url;

use super::error::FlaresolverrError;
use super::session::Abandoned;
use super::wire::{Command, Reply};
use crate::http::{self, Answer, Client, ClientError, Login, RequestError, Route};
use crate::sources::slots::{Slot, Slots};

/// `maxTimeout` is not an upper bound: the start of a browser and the server's queue add to it.
pub(super) const GRACE: Duration = Duration::from_secs(75);

/// While all its browsers are busy the server takes this long for any answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);
const VERSION_TIMEOUT: Duration = Duration::from_secs(3);
const DESTROY_TIMEOUT: Duration = Duration::from_secs(10);

/// Most answers are small, as the page is left out; with a wait the page is included and may be megabytes.
const MAX_ANSWER: usize = 16 << 20;

/// What a solver reports about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub version: Option<String>,
    pub user_agent: Option<String>,
}

pub(super) struct Solver {
    client: Client,
    url: Url,
    login: Option<Login>,
    slots: Slots,
    session_slots: Mutex<HashMap<String, Arc<Slots>>>,
    cookies_read: Mutex<Option<CookiesRead>>,
    abandoned: Abandoned,
}

/// When a solver reads the cookies of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CookiesRead {
    /// From 3.5.2 on.
    AfterWait,
    /// Before 3.5.2.
    BeforeWait,
}

impl Solver {
    pub(super) fn new(mut url: Url, concurrency: usize) -> Result<Self, ClientError> {
        let client = Client::new(&url, Route::Direct)?;
        let login = Login::take(&mut url);
        Ok(Self {
            client,
            login,
            url,
            slots: Slots::new(concurrency),
            session_slots: Mutex::default(),
            cookies_read: Mutex::default(),
            abandoned: Abandoned::default(),
        })
    }

    pub(super) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The one slot of a session.
    pub(super) fn session_slots(&self, id: &str) -> Arc<Slots> {
        Arc::clone(lock(&self.session_slots).entry(id.to_owned()).or_insert_with(|| Arc::new(Slots::new(1))))
    }

    pub(super) const fn abandoned(&self) -> &Abandoned {
        &self.abandoned
    }

    /// Sends a command that occupies a browser and cannot be cancelled.
    pub(super) async fn solve(
        &self,
        slots: &mut [Slot],
        command: &Command<'_>,
        max_timeout: Duration,
    ) -> Result<Reply, FlaresolverrError> {
        slots.iter_mut().for_each(|slot| slot.begin(max_timeout));
        let answer = self.send(command, max_timeout + GRACE).await;
        // After a time-out the solver may still be working; after any other failure it is not.
        if !matches!(answer, Err(FlaresolverrError::Request(RequestError::TimedOut { .. }))) {
            slots.iter_mut().for_each(Slot::end);
        }
        answer
    }

    /// Destroys a session. One that does not exist counts as destroyed.
    pub(super) async fn destroy(&self, session: &str) -> Result<(), FlaresolverrError> {
        match self.send(&Command::on_session("sessions.destroy", session), DESTROY_TIMEOUT).await {
            Err(FlaresolverrError::SessionUnknown) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Destroys the sessions that were left behind.
    pub(super) async fn destroy_abandoned(&self) {
        for id in self.abandoned.ids() {
            let command = Command::on_session("sessions.destroy", &id);
            let destroyed = self.send(&command, DESTROY_TIMEOUT).await.is_ok();
            self.abandoned.tried(&id, destroyed);
        }
    }

    pub(super) async fn health(&self) -> Result<Health, FlaresolverrError> {
        let answer = complete(self.get("health", HEALTH_TIMEOUT).await)?;
        let reply = Reply::read(&answer.body);
        if !answer.status.is_success() || reply.is_none() {
            return Err(FlaresolverrError::of_answer(answer.status, reply.as_ref()));
        }
        // Only FlareSolverr answers here; other servers with its API count as healthy without an answer.
        let index = self.index(HEALTH_TIMEOUT).await.unwrap_or_default();
        Ok(Health { version: index.version, user_agent: index.user_agent })
    }

    /// When the solver reads cookies, if its version is known. Asking for it takes milliseconds; a solve in the wrong
    /// way takes many seconds.
    pub(super) async fn cookies_read(&self) -> Option<CookiesRead> {
        if self.known_cookies_read().is_none() {
            self.index(VERSION_TIMEOUT).await;
        }
        self.known_cookies_read()
    }

    pub(super) fn known_cookies_read(&self) -> Option<CookiesRead> {
        *lock(&self.cookies_read)
    }

    pub(super) fn learn(&self, cookies_read: CookiesRead) {
        *lock(&self.cookies_read) = Some(cookies_read);
    }

    /// The answer to `GET /`.
    async fn index(&self, deadline: Duration) -> Option<Reply> {
        let answer = self.get(".", deadline).await.ok().filter(|answer| answer.status.is_success())?;
        let reply = Reply::read(&answer.body);
        self.learn_version(reply.as_ref());
        reply
    }

    fn learn_version(&self, reply: Option<&Reply>) {
        if let Some(version) = reply.and_then(|reply| reply.version.as_deref()).and_then(version) {
            self.learn(if version >= [3, 5, 2] { CookiesRead::AfterWait } else { CookiesRead::BeforeWait });
        }
    }

    async fn get(&self, path: &str, deadline: Duration) -> Result<Answer, RequestError> {
        let url = self.url.join(path).unwrap_or_else(|_| self.url.clone());
        self.client.exchange(self.with_login(Request::new(Method::GET, url)), MAX_ANSWER, deadline).await
    }

    async fn send(&self, command: &Command<'_>, deadline: Duration) -> Result<Reply, FlaresolverrError> {
        let answer = complete(self.client.exchange(self.request(command), MAX_ANSWER, deadline).await)?;
        let mut reply = Reply::read(&answer.body);
        // The answer may quote the request.
        let passwords =
            [self.login.as_ref().map(Login::password), command.proxy.as_ref().and_then(|proxy| proxy.password)];
        if let Some(message) = reply.as_mut().and_then(|reply| reply.message.as_mut()) {
            *message = without(message, passwords.into_iter().flatten());
        }
        self.learn_version(reply.as_ref());
        success(answer.status, reply)
    }

    fn request(&self, command: &Command<'_>) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        // The server ignores a body of another type.
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
}

impl fmt::Debug for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Solver({})", http::peer(&self.url))
    }
}

/// The reply of an answer that reports success.
pub(super) fn success(status: StatusCode, reply: Option<Reply>) -> Result<Reply, FlaresolverrError> {
    match reply {
        Some(reply) if status.is_success() && reply.status.as_deref() == Some("ok") => Ok(reply),
        reply => Err(FlaresolverrError::of_answer(status, reply.as_ref())),
    }
}

fn complete(answer: Result<Answer, RequestError>) -> Result<Answer, FlaresolverrError> {
    let answer = answer.map_err(FlaresolverrError::Request)?;
    answer.complete.clone()?;
    Ok(answer)
}

/// The numbers of `3.5.2` or `v3.5.2-beta`.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.trim().trim_start_matches('v').split(['.', '-', '+']).map(str::parse);
    let major = parts.next()?.ok()?;
    let mut next = || parts.next().and_then(Result::ok).unwrap_or_default();
    Some([major, next(), next()])
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    #[test]
    fn user_and_password_of_the_url_are_used_and_never_shown() {
        let solver = Solver::new(Url::parse("http://m%40e:s%2Fecret@127.0.0.1:8191/v1").unwrap(), 1).unwrap();
        let request = solver.request(&Command::on_session("sessions.destroy", "a"));
        assert_eq!(request.headers()[AUTHORIZATION], "Basic bUBlOnMvZWNyZXQ=");
        assert_eq!(request.url().as_str(), "http://127.0.0.1:8191/v1");
        assert_eq!(format!("{solver:?}"), "Solver(127.0.0.1:8191)");
    }
}
