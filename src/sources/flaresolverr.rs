//! A browser behind FlareSolverr's v1 API.
//!
//! Some pages set the cookie late, by a script. From version 3.5.2 on FlareSolverr reads the cookies after
//! `waitInSeconds`. Earlier versions read them before the wait, so the page is opened twice in a session of our own.
//! A session keeps a browser open, and is therefore always destroyed.
//!
//! ```text
//! wait? ──no──► one get, cookies only
//!   │
//!   ├─ 3.5.2 or later ► one get with waitInSeconds
//!   ├─ earlier ───────► own session: get, wait, get, destroy (one get if the cookie is there at once)
//!   └─ unknown ───────► the first; the second if that brought no cookie
//! ```

mod error;
mod session;
mod solver;
mod solvers;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

pub use self::error::FlaresolverrError;
pub use self::solver::Health;
pub use self::solvers::Solvers;

use self::session::OwnSession;
use self::solver::{CookiesRead, GRACE, Solver};
use self::wire::{Command, Page, Proxy, Reply};
use super::slots::{Slot, Slots};
use crate::config::FlaresolverrConfig;
use crate::config::source::ProxyConfig;
use crate::domain::extract::Solution;
use crate::http::ClientError;
use crate::refresh::ports::{Source, SourceError};

/// One page, opened by one solver.
pub struct Flaresolverr {
    solver: Arc<Solver>,
    page: String,
    max_timeout: Duration,
    wait: Option<Duration>,
    wanted: Vec<String>,
    session: Option<Session>,
    proxy: Option<ProxyConfig>,
    disable_media: bool,
}

/// A configured session. It has one slot: two requests at once in one session get each other's pages.
struct Session {
    id: String,
    slots: Arc<Slots>,
}

/// What differs between the gets of one solve.
#[derive(Clone, Copy)]
struct Get<'a> {
    session: Option<&'a str>,
    wait: Option<Duration>,
}

impl Flaresolverr {
    /// Builds the source. `solvers` is shared by the whole process, and sources of one URL share its slots.
    ///
    /// # Errors
    /// [`ClientError`] if the URL is invalid, or no CA certificates are installed.
    pub fn new(config: &FlaresolverrConfig, solvers: &Solvers) -> Result<Self, ClientError> {
        let solver = solvers.get(&config.url, config.concurrency)?;
        let session = config.session.as_ref().map(|id| Session { id: id.clone(), slots: solver.session_slots(id) });
        Ok(Self {
            solver,
            page: config.page.clone(),
            max_timeout: config.max_timeout,
            wait: config.wait.filter(|wait| !wait.is_zero()),
            wanted: config.wanted.clone(),
            session,
            proxy: config.proxy.clone(),
            disable_media: config.disable_media,
        })
    }

    /// Checks the solver. The answer may take half a minute while all its browsers are busy.
    ///
    /// # Errors
    /// [`FlaresolverrError`] if it does not answer or is not FlareSolverr.
    pub async fn health(&self) -> Result<Health, FlaresolverrError> {
        self.solver.health().await
    }

    async fn open(&self) -> Result<Solution, FlaresolverrError> {
        let patience = self.max_timeout + GRACE;
        let mut slots = timeout(patience, self.slots()).await.map_err(|_| FlaresolverrError::NoSlot(patience))?;
        self.solver.destroy_abandoned().await;
        let session = self.session.as_ref().map(|session| session.id.as_str());
        let plain = Get { session, wait: None };
        let Some(wait) = self.wait else { return solution(self.get(&mut slots, plain).await?) };
        let waiting = Get { session, wait: Some(wait) };
        match self.solver.cookies_read().await {
            Some(CookiesRead::AfterWait) => solution(self.get(&mut slots, waiting).await?),
            Some(CookiesRead::BeforeWait) => solution(self.get_twice(&mut slots, wait).await?),
            None => {
                let page = self.get(&mut slots, waiting).await?;
                if self.has_wanted(&page) || self.solver.known_cookies_read() == Some(CookiesRead::AfterWait) {
                    return solution(page);
                }
                let page = self.get_twice(&mut slots, wait).await?;
                if self.has_wanted(&page) {
                    self.solver.learn(CookiesRead::BeforeWait);
                }
                solution(page)
            }
        }
    }

    /// Opens the page, and once more after the wait if its cookies were not there yet, in one session.
    async fn get_twice(&self, slots: &mut [Slot], wait: Duration) -> Result<Page, FlaresolverrError> {
        let own = match &self.session {
            Some(_) => None,
            None => Some(OwnSession::new(Arc::clone(&self.solver))),
        };
        let session = own.as_ref().map(OwnSession::id).or(self.session.as_ref().map(|session| session.id.as_str()));
        let get = Get { session, wait: None };
        let outcome = match self.get(slots, get).await {
            Ok(page) if !self.has_wanted(&page) => {
                sleep(wait).await;
                self.get(slots, get).await
            }
            outcome => outcome,
        };
        if let Some(own) = own {
            own.destroy().await;
        }
        outcome
    }

    /// Opens the page. A configured session whose browser has died is destroyed and created anew, once.
    async fn get(&self, slots: &mut [Slot], get: Get<'_>) -> Result<Page, FlaresolverrError> {
        match (self.get_once(slots, get).await, &self.session) {
            (Err(FlaresolverrError::SessionDead), Some(session)) => {
                tracing::info!(
                    solver.session = session.id,
                    "the browser of FlareSolverr's session has died: creating the session anew"
                );
                self.solver.destroy(&session.id).await?;
                self.get_once(slots, get).await
            }
            (outcome, _) => outcome,
        }
    }

    async fn get_once(&self, slots: &mut [Slot], get: Get<'_>) -> Result<Page, FlaresolverrError> {
        // The wait counts against `maxTimeout`.
        let max_timeout = self.max_timeout + get.wait.unwrap_or_default();
        if let (Some(session), Some(_)) = (get.session, &self.proxy) {
            // A get in a session ignores its own proxy, so the session is created with it unless it exists already.
            let mut create = Command::on_session("sessions.create", session);
            create.proxy = self.proxy();
            self.solver.solve(slots, &create, self.max_timeout).await?;
        }
        let command = Command {
            cmd: "request.get",
            url: Some(&self.page),
            max_timeout: Some(u64::try_from(max_timeout.as_millis()).unwrap_or(u64::MAX).max(1)),
            session: get.session,
            proxy: if get.session.is_none() { self.proxy() } else { None },
            wait_in_seconds: get.wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            // The page is not needed and may be megabytes, but leaving it out also skips the wait.
            return_only_cookies: get.wait.is_none().then_some(true),
            disable_media: self.disable_media.then_some(true),
        };
        self.solver.solve(slots, &command, max_timeout).await.and_then(page)
    }

    /// A slot of the configured session first, then one of the solver.
    async fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        if let Some(session) = &self.session {
            slots.push(session.slots.take().await);
        }
        slots.push(self.solver.slots().take().await);
        slots
    }

    fn proxy(&self) -> Option<Proxy<'_>> {
        self.proxy.as_ref().map(|proxy| Proxy {
            url: &proxy.url,
            username: proxy.username.as_deref(),
            password: proxy.password.as_ref().map(SecretString::expose_secret),
        })
    }

    fn has_wanted(&self, page: &Page) -> bool {
        let mut cookies = page.cookies.iter().flatten();
        cookies.any(|cookie| !cookie.value.is_empty() && self.wanted.contains(&cookie.name))
    }
}

impl Source for Flaresolverr {
    fn name(&self) -> &str {
        "flaresolverr"
    }

    async fn solve(&self) -> Result<Solution, SourceError> {
        Ok(self.open().await?)
    }
}

impl fmt::Debug for Flaresolverr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flaresolverr").field("solver", &self.solver).finish_non_exhaustive()
    }
}

/// Parses the answer to a `request.get`.
///
/// # Errors
/// [`SourceError`] if it has no cookies.
pub fn read_answer(status: StatusCode, body: &[u8]) -> Result<Solution, SourceError> {
    let reply = solver::success(status, Reply::read(body));
    Ok(reply.and_then(page).and_then(solution)?)
}

fn page(reply: Reply) -> Result<Page, FlaresolverrError> {
    reply.solution.ok_or(FlaresolverrError::Lacks("solution"))
}

fn solution(page: Page) -> Result<Solution, FlaresolverrError> {
    page.into_solution().ok_or(FlaresolverrError::Lacks("list of cookies"))
}
