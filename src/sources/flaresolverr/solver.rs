//! The solvers of this process, each with its address, its slots and what it reports. Sources of one URL share one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use token_sidecar_client::excerpt::without;
use url::Url;

use super::error::FlaresolverrError;
use super::wire::Reply;
use crate::clock::SystemClock;
use crate::config::SolverKind;
use crate::domain::breaker::{Breaker, SolverStatus, Standing};
use crate::http::{self, Client, ClientError, Login, RequestError, Route};
use crate::refresh::ports::Clock as _;
use crate::sources::slots::{Slot, Slots};

/// `maxTimeout` is not an upper bound: the start of a browser and the server's queue add to it.
pub(super) const GRACE: Duration = Duration::from_secs(75);

/// While all its browsers are busy the server takes this long for any answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);
const VERSION_TIMEOUT: Duration = Duration::from_secs(3);

/// Most answers are small, as the page is left out; with a wait the page is included and may be megabytes.
const MAX_ANSWER: usize = 16 << 20;

/// All solvers of this process, by their addresses.
#[derive(Default)]
pub struct Solvers(Mutex<BTreeMap<String, Arc<Solver>>>);

/// What a solver reports about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `None` for another server with FlareSolverr's API.
    pub kind: Option<SolverKind>,
    pub version: Option<String>,
    pub user_agent: Option<String>,
}

pub(super) struct Solver {
    client: Client,
    url: Url,
    login: Option<Login>,
    slots: Slots,
    session_slots: Mutex<HashMap<String, Arc<Slots>>>,
    /// What it was set to be.
    kind: Option<SolverKind>,
    /// It has said that it is a FlareSolverr, and answered ever since.
    is_flaresolverr: AtomicBool,
    /// A site has others beside it.
    is_one_of_several: AtomicBool,
    cookies_read: Mutex<Option<CookiesRead>>,
    breaker: Mutex<Breaker>,
    clock: SystemClock,
    /// Sessions that are still to be destroyed, each with the number of attempts.
    pub(super) abandoned: Mutex<Vec<(String, u8)>>,
    /// Held while they are destroyed, so that the next solve waits for it.
    pub(super) tidying: tokio::sync::Mutex<()>,
}

struct Exchanged {
    status: StatusCode,
    headers: HeaderMap,
    /// `None` where the body is no JSON object.
    reply: Option<Reply>,
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

    /// The solvers of sites that have several, by their addresses.
    pub fn states(&self) -> Vec<SolverStatus> {
        let solvers = lock(&self.0);
        let of_several = solvers.iter().filter(|(_, solver)| solver.is_one_of_several.load(Relaxed));
        of_several.map(|(address, solver)| solver.status(address.clone())).collect()
    }

    /// The solver at this address. Of several values of `concurrency` the smallest counts.
    pub(super) fn get(
        &self,
        url: &SecretString,
        concurrency: usize,
        kind: Option<SolverKind>,
    ) -> Result<Arc<Solver>, ClientError> {
        let url = http::address(url.expose_secret(), "FlareSolverr")?;
        match lock(&self.0).entry(shown(&url)) {
            Entry::Occupied(entry) => {
                entry.get().slots.narrow(concurrency);
                Ok(Arc::clone(entry.get()))
            }
            Entry::Vacant(entry) => Ok(Arc::clone(entry.insert(Arc::new(Solver::new(url, concurrency, kind)?)))),
        }
    }
}

impl Solver {
    fn new(mut url: Url, concurrency: usize, kind: Option<SolverKind>) -> Result<Self, ClientError> {
        let client = Client::new(&url, Route::Direct)?;
        let login = Login::take(&mut url);
        Ok(Self {
            client,
            login,
            url,
            slots: Slots::new(concurrency),
            session_slots: Mutex::default(),
            kind,
            is_flaresolverr: AtomicBool::new(false),
            is_one_of_several: AtomicBool::new(false),
            cookies_read: Mutex::default(),
            breaker: Mutex::default(),
            clock: SystemClock::start(),
            abandoned: Mutex::default(),
            tidying: tokio::sync::Mutex::default(),
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

    pub(super) fn address(&self) -> String {
        shown(&self.url)
    }

    /// A site has others beside it.
    pub(super) fn is_one_of_several(&self) {
        self.is_one_of_several.store(true, Relaxed);
    }

    fn status(&self, address: String) -> SolverStatus {
        let (breaker, now) = (*lock(&self.breaker), self.clock.now());
        // A fraction of a second counts as one.
        let left_alone_s = breaker.left_alone(now).map(|left| left.as_secs() + 1);
        SolverStatus { address, state: breaker.state(now), left_alone_s }
    }

    pub(super) fn standing(&self) -> Standing {
        lock(&self.breaker).standing(self.clock.now())
    }

    /// A solve begins that takes at most `longest`; when, for [`Self::ended`].
    pub(super) fn begin(&self, longest: Duration) -> Duration {
        let now = self.clock.now();
        lock(&self.breaker).begin(now, longest);
        now
    }

    /// How long ago a solve began.
    pub(super) fn since(&self, began: Duration) -> Duration {
        self.clock.now().saturating_sub(began)
    }

    /// A solve that began at `began` has ended.
    pub(super) fn ended(&self, began: Duration, error: Option<&FlaresolverrError>) {
        match error.map_or(Some(false), FlaresolverrError::is_of_the_solver) {
            Some(true) => {
                // Another server may come in its place.
                self.is_flaresolverr.store(false, Relaxed);
                lock(&self.breaker).failed(began, self.clock.now());
            }
            Some(false) => lock(&self.breaker).succeeded(),
            None => {}
        }
    }

    pub(super) async fn health(&self) -> Result<Health, FlaresolverrError> {
        // Only FlareSolverr answers here; other servers with its API count as healthy without an answer.
        let (kind, index) = self.index(HEALTH_TIMEOUT).await.unwrap_or_default();
        // To answer about its health, Byparr opens a page.
        if kind != Some(SolverKind::Byparr) {
            let Exchanged { status, reply, .. } = self.get("health", HEALTH_TIMEOUT).await?;
            if !status.is_success() || reply.is_none() {
                return Err(FlaresolverrError::of_answer(status, reply.as_ref()));
            }
        }
        Ok(Health { kind, version: index.version, user_agent: index.user_agent })
    }

    /// What the solver is; `None` where it answers and does not say. Asking takes milliseconds; a solve in the wrong way
    /// takes many seconds.
    pub(super) async fn kind(&self) -> Result<Option<SolverKind>, FlaresolverrError> {
        if self.kind.is_some() {
            return Ok(self.kind);
        }
        if self.is_flaresolverr.load(Relaxed) {
            return Ok(Some(SolverKind::Flaresolverr));
        }
        self.index(HEALTH_TIMEOUT).await.map(|(kind, _)| kind)
    }

    /// When the solver reads cookies, if its version is known.
    pub(super) async fn cookies_read(&self) -> Option<CookiesRead> {
        if self.known_cookies_read().is_none() {
            let _version = self.index(VERSION_TIMEOUT).await;
        }
        self.known_cookies_read()
    }

    pub(super) fn known_cookies_read(&self) -> Option<CookiesRead> {
        *lock(&self.cookies_read)
    }

    pub(super) fn learn(&self, cookies_read: CookiesRead) {
        *lock(&self.cookies_read) = Some(cookies_read);
    }

    /// The answer to `GET /`, and what it says the solver is: Byparr leads to its documentation.
    async fn index(&self, deadline: Duration) -> Result<(Option<SolverKind>, Reply), FlaresolverrError> {
        let Exchanged { status, headers, reply } = self.get(".", deadline).await?;
        let leads_to_docs = headers.get(LOCATION).is_some_and(|to| to.to_str().is_ok_and(|to| to.ends_with("/docs")));
        let has_version = reply.as_ref().is_some_and(|reply| reply.version.is_some());
        let kind = match status {
            _ if status.is_redirection() && leads_to_docs => Some(SolverKind::Byparr),
            _ if status.is_success() && has_version => Some(SolverKind::Flaresolverr),
            _ => None,
        };
        self.is_flaresolverr.store(kind == Some(SolverKind::Flaresolverr), Relaxed);
        Ok((self.kind.or(kind), reply.filter(|_| status.is_success()).unwrap_or_default()))
    }

    async fn get(&self, path: &str, deadline: Duration) -> Result<Exchanged, FlaresolverrError> {
        let url = self.url.join(path).unwrap_or_else(|_| self.url.clone());
        self.exchange(Request::new(Method::GET, url), deadline).await
    }

    pub(super) async fn send(&self, command: &Value, deadline: Duration) -> Result<Reply, FlaresolverrError> {
        let mut request = Request::new(Method::POST, self.url.clone());
        // The server ignores a body of another type.
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(command.to_string().into());
        let Exchanged { status, mut reply, .. } = self.exchange(request, deadline).await?;
        // The answer may quote the request.
        let passwords = [self.login.as_ref().map(Login::password), command["proxy"]["password"].as_str()];
        if let Some(message) = reply.as_mut().and_then(|reply| reply.message.as_mut()) {
            *message = without(message, passwords.into_iter().flatten());
        }
        success(status, reply)
    }

    async fn exchange(&self, mut request: Request, deadline: Duration) -> Result<Exchanged, FlaresolverrError> {
        if let Some(login) = self.login.as_ref().and_then(Login::header) {
            request.headers_mut().insert(AUTHORIZATION, login);
        }
        let answer = self.client.exchange(request, MAX_ANSWER, deadline).await.map_err(FlaresolverrError::Request)?;
        answer.complete?;
        let reply = Reply::read(&answer.body);
        if let Some(version) = reply.as_ref().and_then(|reply| version(reply.version.as_deref()?)) {
            self.learn(if version >= [3, 5, 2] { CookiesRead::AfterWait } else { CookiesRead::BeforeWait });
        }
        Ok(Exchanged { status: answer.status, headers: answer.headers, reply })
    }
}

/// The reply of an answer that reports success.
pub(super) fn success(status: StatusCode, reply: Option<Reply>) -> Result<Reply, FlaresolverrError> {
    match reply {
        Some(reply) if status.is_success() && reply.status.as_deref() == Some("ok") => Ok(reply),
        reply => Err(FlaresolverrError::of_answer(status, reply.as_ref())),
    }
}

/// Host and port of a solver; with the path where it is not the usual one.
fn shown(url: &Url) -> String {
    http::peer(url) + Some(url.path()).filter(|path| *path != "/v1").unwrap_or_default()
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
        let solver = |url: &str| solvers.get(&SecretString::from(url), 1, None).unwrap();
        assert!(Arc::ptr_eq(&solver("http://a:1/v1"), &solver(" http://a:1/v1")));
        assert!(!Arc::ptr_eq(&solver("http://a:1/v1"), &solver("http://a:2/v1")));
    }
}
