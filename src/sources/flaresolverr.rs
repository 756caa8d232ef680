//! A browser behind FlareSolverr's v1 API.
//!
//! A page whose script sets the cookie late is asked for in the way that its server can: from 3.5.2 on cookies are
//! read after `waitInSeconds`. Before, they are read first, so the page is opened twice in a session of our own,
//! which a browser of the server belongs to and which is therefore always destroyed.
//!
//! ```text
//! wait? ──no──► one get, cookies alone
//!   │
//!   ├─ 3.5.2 or later ► one get with waitInSeconds
//!   ├─ earlier ───────► own session: get, wait, get, destroy (one get if the cookie is there at once)
//!   └─ unknown ───────► the first; the second if that brought no cookie
//! ```

mod complaint;
mod loose;
mod server;
mod slots;
mod solvers;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

pub use self::server::Health;
pub use self::solvers::Solvers;

use self::complaint::{Complaint, State};
use self::server::{GRACE, OwnSession, Reading, Server};
use self::slots::{Slot, Slots};
use self::wire::{Command, Page, Proxy, Reply};
use crate::config::FlaresolverrConfig;
use crate::config::source::ProxyConfig;
use crate::domain::extract::Solution;
use crate::http::ClientError;
use crate::refresh::ports::{Source, SourceError};

/// One page, asked of one server.
pub struct Flaresolverr {
    server: Arc<Server>,
    page: String,
    max_timeout: Duration,
    wait: Option<Duration>,
    wanted: Vec<String>,
    session: Option<Session>,
    proxy: Option<Box<ProxyConfig>>,
    disable_media: bool,
}

/// The session that is configured. Two requests at once in one get each other's pages.
struct Session {
    id: String,
    slots: Arc<Slots>,
}

/// What one get is about.
#[derive(Clone, Copy)]
struct Get<'a> {
    session: Option<&'a str>,
    wait: Option<Duration>,
}

impl Flaresolverr {
    /// Builds the source. `solvers` is one for the whole process: sources of one URL share its slots.
    ///
    /// # Errors
    /// [`ClientError`] where the URL is none, or TLS has no certificates to trust.
    pub fn new(config: &FlaresolverrConfig, solvers: &Solvers) -> Result<Self, ClientError> {
        let server = solvers.server(&config.url, config.concurrency)?;
        let session = config.session.as_ref().map(|id| Session { id: id.clone(), slots: server.session_slots(id) });
        Ok(Self {
            server,
            page: config.page.clone(),
            max_timeout: config.max_timeout,
            wait: config.wait.filter(|wait| !wait.is_zero()),
            wanted: config.wanted.clone(),
            session,
            proxy: config.proxy.clone().map(Box::new),
            disable_media: config.disable_media,
        })
    }

    /// Asks the server whether it is there. It may take half a minute while every browser is at work.
    ///
    /// # Errors
    /// [`SourceError`] where it is not.
    pub async fn health(&self) -> Result<Health, SourceError> {
        self.server.health().await.map_err(|complaint| complaint.error)
    }

    async fn page(&self) -> Result<Solution, Complaint> {
        let patience = self.max_timeout + GRACE;
        let mut turn = timeout(patience, self.turn()).await.map_err(|_| Complaint::busy(patience.as_secs()))?;
        // In a box: thousands of sites may wait for their turn, and none of them needs room for what comes after it.
        Box::pin(self.page_in(&mut turn)).await
    }

    async fn page_in(&self, turn: &mut [Slot]) -> Result<Solution, Complaint> {
        self.server.sweep().await;
        let session = self.session.as_ref().map(|session| session.id.as_str());
        let plain = Get { session, wait: None };
        let Some(wait) = self.wait else { return solution(self.get(turn, plain).await?) };
        let waiting = Get { session, wait: Some(wait) };
        match self.server.reading().await {
            Reading::AfterWait => solution(self.get(turn, waiting).await?),
            Reading::BeforeWait => solution(self.get_twice(turn, wait).await?),
            Reading::Unknown => {
                let page = self.get(turn, waiting).await?;
                if self.has_wanted(&page) || self.server.known_reading() == Reading::AfterWait {
                    return solution(page);
                }
                let page = self.get_twice(turn, wait).await?;
                if self.has_wanted(&page) {
                    self.server.learn(Reading::BeforeWait);
                }
                solution(page)
            }
        }
    }

    /// Opens the page, and once more after the wait if its cookies were not there yet, in one session.
    async fn get_twice(&self, turn: &mut [Slot], wait: Duration) -> Result<Page, Complaint> {
        let own = match &self.session {
            Some(_) => None,
            None => Some(OwnSession::new(Arc::clone(&self.server))),
        };
        let session = own.as_ref().map(OwnSession::id).or(self.session.as_ref().map(|session| session.id.as_str()));
        let get = Get { session, wait: None };
        let outcome = match self.get(turn, get).await {
            Ok(page) if !self.has_wanted(&page) => {
                sleep(wait).await;
                self.get(turn, get).await
            }
            outcome => outcome,
        };
        if let Some(own) = own {
            own.destroy().await;
        }
        outcome
    }

    /// Opens the page. A configured session whose browser has died is destroyed and begun anew, once.
    async fn get(&self, turn: &mut [Slot], get: Get<'_>) -> Result<Page, Complaint> {
        let outcome = self.get_once(turn, get).await;
        match (&outcome, &self.session) {
            (Err(complaint), Some(session)) if complaint.state == State::SessionDead => {
                tracing::info!(
                    solver.session = session.id,
                    "the browser of FlareSolverr's session has died: begun anew"
                );
                self.server.destroy(&session.id).await?;
                self.get_once(turn, get).await
            }
            _ => outcome,
        }
    }

    async fn get_once(&self, turn: &mut [Slot], get: Get<'_>) -> Result<Page, Complaint> {
        // The page's own time is not to be eaten up by the wait.
        let max_timeout = self.max_timeout + get.wait.unwrap_or_default();
        if let (Some(session), Some(_)) = (get.session, &self.proxy) {
            // With `session` a get ignores its proxy, so the session is given it. One that exists already stays.
            let mut create = Command::on_session("sessions.create", session);
            create.proxy = self.proxy();
            self.server.solve(turn, &create, self.max_timeout).await?;
        }
        let command = Command {
            cmd: "request.get",
            url: Some(&self.page),
            max_timeout: Some(u64::try_from(max_timeout.as_millis()).unwrap_or(u64::MAX).max(1)),
            session: get.session,
            proxy: if get.session.is_none() { self.proxy() } else { None },
            wait_in_seconds: get.wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            // The page itself is of no use and may be megabytes; but without it the wait would be skipped.
            return_only_cookies: get.wait.is_none().then_some(true),
            disable_media: self.disable_media.then_some(true),
        };
        self.server.solve(turn, &command, max_timeout).await.and_then(page)
    }

    /// A slot of the configured session first, then one of the server.
    async fn turn(&self) -> Vec<Slot> {
        let mut turn = Vec::new();
        if let Some(session) = &self.session {
            turn.extend(session.slots.take().await);
        }
        turn.extend(self.server.slots().take().await);
        turn
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
        self.page().await.map_err(|complaint| complaint.error)
    }
}

impl fmt::Debug for Flaresolverr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flaresolverr").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What the answer to a `request.get` comes to: all that is made of it, without the connection.
///
/// # Errors
/// [`SourceError`] where it has no cookies to offer.
pub fn read_answer(status: StatusCode, body: &[u8]) -> Result<Solution, SourceError> {
    let reply = complaint::success(status, Reply::read(body));
    reply.and_then(page).and_then(solution).map_err(|complaint| complaint.error)
}

fn page(reply: Reply) -> Result<Page, Complaint> {
    reply.solution.ok_or_else(|| Complaint::without("solution"))
}

fn solution(page: Page) -> Result<Solution, Complaint> {
    page.into_solution().ok_or_else(|| Complaint::without("list of cookies"))
}
