//! The solvers of this process, each with its address, its slots and what it reports. Sources of one URL share one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use token_sidecar_client::excerpt::without;
use url::Url;

use super::error::FlaresolverrError;
use super::wire::Reply;
use crate::http::{self, Client, ClientError, Login, RequestError, Route};
use crate::sources::slots::{Slot, Slots};

/// `maxTimeout` is not an upper bound: the start of a browser and the server's queue add to it.
pub(super) const GRACE: Duration = Duration::from_secs(75);

/// While all its browsers are busy the server takes this long for any answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);
const VERSION_TIMEOUT: Duration = Duration::from_secs(3);

/// Most answers are small, as the page is left out; with a wait the page is included and may be megabytes.
const MAX_ANSWER: usize = 16 << 20;

/// All solvers of this process, by their URLs.
#[derive(Default)]
pub struct Solvers(Mutex<HashMap<String, Arc<Solver>>>);

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
    /// Sessions that are still to be destroyed, each with the number of attempts.
    pub(super) abandoned: Mutex<Vec<(String, u8)>>,
}

/// When a solver reads the cookies of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CookiesRead {
    /// From 3.5.2 on.
    AfterWait,
    /// Before 3.5.2.
    BeforeWait,
}

impl Solvers {
    /// Destroys the sessions that cancelled solves have left behind; otherwise their browsers outlive the process.
    pub async fn destroy_abandoned_sessions(&self) {
        let solvers: Vec<_> = lock(&self.0).values().cloned().collect();
        for solver in solvers {
            solver.destroy_abandoned().await;
        }
    }

    /// The solver at this address. Of several values of `concurrency` the smallest counts.
    pub(super) fn get(&self, url: &SecretString, concurrency: usize) -> Result<Arc<Solver>, ClientError> {
        let url = http::address(url.expose_secret(), "FlareSolverr")?;
        match lock(&self.0).entry(url.to_string()) {
            Entry::Occupied(entry) => {
                entry.get().slots.narrow(concurrency);
                Ok(Arc::clone(entry.get()))
            }
            Entry::Vacant(entry) => Ok(Arc::clone(entry.insert(Arc::new(Solver::new(url, concurrency)?)))),
        }
    }
}

impl Solver {
    fn new(mut url: Url, concurrency: usize) -> Result<Self, ClientError> {
        let client = Client::new(&url, Route::Direct)?;
        let login = Login::take(&mut url);
        Ok(Self {
            client,
            login,
            url,
            slots: Slots::new(concurrency),
            session_slots: Mutex::default(),
            cookies_read: Mutex::default(),
            abandoned: Mutex::default(),
        })
    }

    /// The slot of the session first, then one of the solver. A session has one slot: two requests at once in one
    /// session get each other's pages.
    pub(super) async fn slots(&self, session: Option<&str>) -> Vec<Slot> {
        let mut slots = Vec::new();
        if let Some(id) = session {
            let new = || Arc::new(Slots::new(1));
            let of_session = Arc::clone(lock(&self.session_slots).entry(id.to_owned()).or_insert_with(new));
            slots.push(of_session.take().await);
        }
        slots.push(self.slots.take().await);
        slots
    }

    /// Sends a command that occupies a browser and cannot be cancelled.
    pub(super) async fn solve(
        &self,
        slots: &mut [Slot],
        command: &Value,
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

    pub(super) async fn health(&self) -> Result<Health, FlaresolverrError> {
        let (status, reply) = self.get("health", HEALTH_TIMEOUT).await?;
        if !status.is_success() || reply.is_none() {
            return Err(FlaresolverrError::of_answer(status, reply.as_ref()));
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
        self.get(".", deadline).await.ok().filter(|(status, _)| status.is_success())?.1
    }

    async fn get(&self, path: &str, deadline: Duration) -> Result<(StatusCode, Option<Reply>), FlaresolverrError> {
        let url = self.url.join(path).unwrap_or_else(|_| self.url.clone());
        self.exchange(Request::new(Method::GET, url), deadline).await
    }

    pub(super) async fn send(&self, command: &Value, deadline: Duration) -> Result<Reply, FlaresolverrError> {
        let mut request = Request::new(Method::POST, self.url.clone());
        // The server ignores a body of another type.
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(command.to_string().into());
        let (status, mut reply) = self.exchange(request, deadline).await?;
        // The answer may quote the request.
        let passwords = [self.login.as_ref().map(Login::password), command["proxy"]["password"].as_str()];
        if let Some(message) = reply.as_mut().and_then(|reply| reply.message.as_mut()) {
            *message = without(message, passwords.into_iter().flatten());
        }
        success(status, reply)
    }

    async fn exchange(
        &self,
        mut request: Request,
        deadline: Duration,
    ) -> Result<(StatusCode, Option<Reply>), FlaresolverrError> {
        if let Some(login) = self.login.as_ref().and_then(Login::header) {
            request.headers_mut().insert(AUTHORIZATION, login);
        }
        let answer = self.client.exchange(request, MAX_ANSWER, deadline).await.map_err(FlaresolverrError::Request)?;
        answer.complete?;
        let reply = Reply::read(&answer.body);
        if let Some(version) = reply.as_ref().and_then(|reply| version(reply.version.as_deref()?)) {
            self.learn(if version >= [3, 5, 2] { CookiesRead::AfterWait } else { CookiesRead::BeforeWait });
        }
        Ok((answer.status, reply))
    }
}

/// The reply of an answer that reports success.
pub(super) fn success(status: StatusCode, reply: Option<Reply>) -> Result<Reply, FlaresolverrError> {
    match reply {
        Some(reply) if status.is_success() && reply.status.as_deref() == Some("ok") => Ok(reply),
        reply => Err(FlaresolverrError::of_answer(status, reply.as_ref())),
    }
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
    fn sources_of_one_url_share_a_solver() {
        let solvers = Solvers::default();
        let solver = |url: &str| solvers.get(&SecretString::from(url), 1).unwrap();
        assert!(Arc::ptr_eq(&solver("http://a:1/v1"), &solver(" http://a:1/v1")));
        assert!(!Arc::ptr_eq(&solver("http://a:1/v1"), &solver("http://a:2/v1")));
    }
}
